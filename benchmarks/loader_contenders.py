"""Ways to load training pairs, each an endless iterator of batches: ours, the bare decoder, loose files and three libraries.

Every way but `loose` and `planned_on_white` ends with uint8 RGBA of two distinct views by chance, and their c2w, of `BATCH`
objects. The libraries hold each object's encoded views as the shards do, next to one another, and only two are decoded, by the
project's decoder; `webdataset_plain` alone decodes what it reads, as its usual pipeline does.
"""

import importlib.util
import json
import sys
import types
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.loose_views import LooseViews
from benchmarks.shard_material import VIEWS
from blender_render.view_codecs import decode_view
from systems.zero123.conditioning import relative_pose
from training.data.batches import ViewBatch, ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader

BATCH = 16
_SHUFFLED = 64
_CHUNK_BYTES = 64 * 2**20

Batches = Generator[Any, None, None]
Pair = tuple[np.ndarray, np.ndarray]
"""uint8 [2, h, w, 4] and c2w [2, 4, 4]."""


@dataclass(frozen=True)
class Material:
    """The same objects, in each form that is read."""

    renders: Path
    """Loose object folders, as rendered."""
    shards: Path
    """Shard set of their pictures, made smaller."""
    copies: Path
    """Where libraries with a format of their own keep them."""
    side: int
    """Width and height of what is loaded, pixels."""

    def reader(self) -> ShardReader:
        """Of the shard set."""
        return ShardReader(self.shards, "train")


def bare(material: Material, _workers: int) -> Batches:
    """The limit: two pictures decoded from memory, and nothing else; none is kept, so their memory stays warm."""
    reader = material.reader()
    objects = [reader.members(number) for number in range(len(reader))]
    for number in count():
        for view in _two_views():
            decode_view(objects[number % len(objects)], view)
        if number % BATCH == BATCH - 1:
            yield None


def planned(material: Material, workers: int) -> Generator[ViewBatch, None, None]:
    """Ours: what a training reads through."""
    reader = material.reader()
    plan = Plan((Mixed("objects", len(reader)),), batch_size=BATCH, seed=0)
    yield from PlannedLoader(plan, {"objects": reader}, ViewChoice(drawn=2), workers=workers)


def planned_on_white(material: Material, workers: int) -> Batches:
    """Ours down to what Zero-1-to-3's dataset gives: floats on white in [−1, 1], and poses."""
    for batch in planned(material, workers):
        target, condition = _on_white(batch.rgba).unbind(1)
        poses = np.stack([relative_pose(*pair) for pair in batch.c2w.numpy()])
        yield {"target": target, "condition": condition, "pose": torch.from_numpy(poses)}


def loose(material: Material, workers: int) -> Batches:
    """Loose 512² files, the way of Zero-1-to-3."""
    folders = sorted(path.parent for path in material.renders.glob("*/*/transforms.json"))
    return _repeated(DataLoader(LooseViews(folders, VIEWS, material.side), BATCH, shuffle=True, num_workers=workers))


def webdataset_plain(material: Material, workers: int) -> Batches:
    """WebDataset's usual pipeline on our shards: decode the sample, then take two views of it."""
    return _repeated(DataLoader(_shuffled(material).decode("rgba8").map(_pair_of_arrays), BATCH, num_workers=workers))


def webdataset_selective(material: Material, workers: int) -> Batches:
    """The same with the choice before the decoder."""
    return _repeated(DataLoader(_shuffled(material).map(_pair_of_members), BATCH, num_workers=workers))


def litdata(material: Material, workers: int) -> Batches:
    """LitData's dataset and loader on its own chunks."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import Cache

    if not (material.copies / "litdata").is_dir():
        cache = Cache(str(material.copies / "litdata"), chunk_bytes=_CHUNK_BYTES)
        for number, sample in enumerate(_samples(material)):
            cache[number] = sample
        cache.done()
        cache.merge()

    dataset = StreamingDataset(str(material.copies / "litdata"), shuffle=True, transform=_pair_of_sample)
    return _repeated(StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers))


def mosaicml_streaming(material: Material, workers: int) -> Batches:
    """MosaicML Streaming's dataset on its own shards."""
    base = _streaming_base()
    folder = str(material.copies / "streaming")
    if not Path(folder).is_dir():
        columns = {name: "bytes" for name in next(_samples(material)) if name != "c2w"} | {"c2w": "ndarray"}
        with base.MDSWriter(out=folder, columns=columns, size_limit=_CHUNK_BYTES) as writer:
            for sample in _samples(material):
                writer.write(sample)

    class Pairs(base.StreamingDataset):  # type: ignore[name-defined]
        def __getitem__(self, index: int) -> Pair:
            return _pair_of_sample(super().__getitem__(index))

    dataset = Pairs(local=folder, shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
    return _repeated(DataLoader(dataset, BATCH, num_workers=workers))


Contender = Callable[[Material, int], Batches]
ALONE = ("bare decode",)
"""What has no loader, and so no worker processes."""
LIBRARIES: dict[str, Contender] = {
    "webdataset": webdataset_plain,
    "webdataset, two views": webdataset_selective,
    "litdata": litdata,
    "mosaicml-streaming": mosaicml_streaming,
}
CONTENDERS: dict[str, Contender] = {
    "bare decode": bare,
    "planned": planned,
    "planned, on white": planned_on_white,
    "loose files": loose,
    **LIBRARIES,
}


def _streaming_base() -> types.ModuleType:
    """`streaming.base`; the package itself imports vision datasets, which want torchvision, and nothing here does."""
    if "streaming" not in sys.modules:
        spec = importlib.util.find_spec("streaming")
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("No module named 'streaming'")
        package = types.ModuleType("streaming")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["streaming"] = package
    return importlib.import_module("streaming.base")


def _on_white(rgba: UInt8[Tensor, "b v h w 4"]) -> Float[Tensor, "b v 3 h w"]:
    """Composites in [−1, 1]; picture by picture and plane by plane, which stays in the processor's cache."""
    pictures = torch.empty(*rgba.shape[:2], 3, *rgba.shape[2:4])
    for source, target in zip(rgba.flatten(0, 1), pictures.flatten(0, 1), strict=True):
        planes = source.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        torch.mul(planes[:3].sub_(255), planes[3].mul_(2 / 255**2), out=target).add_(1)
    return pictures


def _two_views() -> list[int]:
    return torch.randperm(VIEWS)[:2].tolist()


def _samples(material: Material) -> Iterator[dict[str, Any]]:
    """Objects as the libraries store them: encoded views by name, and cameras."""
    reader = material.reader()
    for number in range(len(reader)):
        members = reader.members(number)
        cameras = json.loads(members.pop("cameras.json"))
        yield {**members, "c2w": np.array(cameras["c2w"])}


def _pair_of_sample(sample: dict[str, Any]) -> Pair:
    chosen = _two_views()
    return np.stack([decode_view(sample, view) for view in chosen]), np.array(sample["c2w"])[chosen]


def _shuffled(material: Material) -> Any:  # noqa: ANN401 - WebDataset has no types
    shards = sorted(map(str, material.shards.glob("*.tar")))
    return webdataset.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(_SHUFFLED)


def _pair_of_arrays(sample: dict[str, Any]) -> Pair:
    chosen = _two_views()
    suffix = next(name.partition(".")[2] for name in sample if name.startswith("000."))
    return np.stack([sample[f"{view:03d}.{suffix}"] for view in chosen]), np.array(sample["cameras.json"]["c2w"])[
        chosen
    ]


def _pair_of_members(sample: dict[str, Any]) -> Pair:
    chosen = _two_views()
    pictures = [decode_view(sample, view) for view in chosen]
    return np.stack(pictures), np.array(json.loads(sample["cameras.json"])["c2w"])[chosen]


def _repeated(batches: "DataLoader[Any] | Any") -> Batches:  # noqa: ANN401 - loaders of libraries
    """Epoch after epoch, full batches alone."""
    while True:
        yield from batches
