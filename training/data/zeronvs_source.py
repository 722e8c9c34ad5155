"""Scenes in ZeroNVS's shards as they were published, read where they lie: a source of views without an import.

    scenes = ZeroNvsScenes(Path("/data/co3d"), index=Path("/scratch/co3d.parquet"))
    Mixed("co3d", len(scenes), probability=0.34, draws=draws_at_rate(0.025, scenes.counts), shards=scenes.shards)

Only the pictures and cameras that are asked for are read. The shards have no hashes: what tells a damaged picture are PNG's own
checksums, and a camera is checked to be one. Depth is read once, by the scan, where scales are wanted
(`training.data.zeronvs_scales`).
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Int, UInt8

from geometry.scene_scales import ScaleName
from stage.errors import InputError
from training.data.pictures import decoded
from training.data.views import ObjectViews, ReadViews
from training.data.zeronvs_cameras import camera_from
from training.data.zeronvs_index import scene_index
from training.data.zeronvs_scales import WantedScales
from training.data.zeronvs_shards import SceneShards, shards_in

_Frame = tuple[UInt8[np.ndarray, "h w 4"], Float[np.ndarray, "4 4"], Float[np.ndarray, "4"]]


class ZeroNvsScenes:
    """The scenes of some shards, in the order of shards and of the scenes in them.

    Args:
        shards: which; a folder means all `*.tar` in it or below it.
        index: the file that keeps what a scan of the shards found; None is `frames.parquet` in their folder.
        processes: that scan.
        scales: of each view, where they are wanted.
        scale: which of them the system needs: views of which it is unknown are refused.
        split: train, val or test, by the names of the shards (`training.data.zeronvs_shards`); None takes all of them.

    Raises:
        InputError: when there is no scene, a shard is damaged or truncated, the index cannot be written, or the estimator that is
            asked for is not available.
    """

    remote = False
    licences: tuple[str, ...] = ()
    """None is stated in the shards."""

    def __init__(
        self,
        shards: Path | SceneShards,
        index: Path | None = None,
        processes: int = 1,
        scales: WantedScales | None = None,
        split: str | None = None,
        *,
        scale: ScaleName | None = None,
    ) -> None:
        self._shards = shards_in(shards) if isinstance(shards, Path) else shards
        self.folder, self.split, self._scale = self._shards.folder, split or "train", scale
        whole = scene_index(self._shards, index, processes, scales)
        self._index = whole if split is None else whole.only(self._shards.of_split(split))
        if not len(self):
            raise InputError(
                f"no shard in {self.folder} is of the split {split}",
                f"name some {split}-*.tar, or put them in {split}/",
            )

    def __len__(self) -> int:
        return len(self._index.scenes)

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """How many views each scene has, as `draws_at_rate` wants it."""
        return self._index.views

    @property
    def shards(self) -> tuple[int, ...]:
        """Scenes of each shard, as `Mixed` wants it for the order `window`."""
        return tuple(len(list(group)) for _, group in groupby(self._index.shards))

    @property
    def identity(self) -> str:
        """Where they are, for messages."""
        return str(self.folder)

    def key(self, number: int) -> str:
        """The uid of a scene, `<category>_<scene>`, as after an import."""
        return "_".join(self._index.scenes[number].split("/")[-2:])

    def index_sha256(self) -> str:
        """What stands for the scenes' bytes: the hash of their shards' names and sizes and of all that was found in them."""
        return self._index.sha256()

    def view_count(self, number: int) -> int:
        """How many views a scene has."""
        return int(self._index.views[number])

    def views(self, number: int, chosen: Sequence[int]) -> ObjectViews:
        """Some views of a scene, decoded; raises as `read_views` does."""
        return self.read_views(number, chosen).decoded()

    def read_views(self, number: int, chosen: Sequence[int]) -> ReadViews:
        """Some views of a scene, in the order asked for; its uid is its `key`.

        Decoded already: its intrinsics depend on the pictures' size.

        Raises:
            InputError: naming shard and frame, when it is damaged; or the scene, when a view lacks the scale that is needed.
        """
        scene, shard = self._index.scenes[number], self.folder / self._index.shards[number]
        try:
            with shard.open("rb", buffering=0) as stream:
                frames = [self._frame(stream, number, view) for view in chosen]
        except OSError as error:
            raise InputError(f"{shard}: {scene}: {error.strerror or error}", "restore the shard") from None
        rgba, c2w, intrinsics = zip(*frames, strict=True)
        if len({picture.shape for picture in rgba}) > 1:
            raise InputError(f"{shard}: {scene}: its pictures differ in size", "leave the scene out")
        scales = self._scales(number, chosen)
        read = ReadViews(self.key(number), np.stack(c2w), np.stack(intrinsics), lambda place, _: rgba[place], scales)
        if self._scale:
            read.require(self._scale)
        return read

    def _scales(self, number: int, chosen: Sequence[int]) -> Float[np.ndarray, "v 3"] | None:
        if self._index.scales is None:
            return None
        return self._index.scales[self._index.starts[number] + np.asarray(chosen)].astype(np.float64)

    def _frame(self, stream: BinaryIO, number: int, view: int) -> _Frame:
        row = {name: int(values[self._index.starts[number] + view]) for name, values in self._index.frames.items()}
        try:
            picture = np.asarray(decoded(_piece(stream, row["picture_offset"], row["picture_size"])).convert("RGBA"))
            height, width = picture.shape[:2]
            metadata = _piece(stream, row["metadata_offset"], row["metadata_size"])
            c2w, lens, _ = camera_from(metadata, width, height)
        except ValueError as error:
            key = f"{self._index.scenes[number]}/frame{row['number']:06d}"
            raise InputError(f"{stream.name}: {key}: {error}", "download the shard again") from None
        return picture, c2w, np.array([lens.fx, lens.fy, lens.cx, lens.cy])


def _piece(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)
