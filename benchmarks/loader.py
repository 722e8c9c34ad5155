r"""What a training pair costs to load, against the ways that others load it: `python -m benchmarks.loader [--peers FOLDER]`.

A pair is two distinct views by chance of one object of 12, at 256 × 256 pixels, in batches of 16, and their cameras. Goals, in
pairs a CPU-second:

- 8 times a torch dataset of loose 512 × 512 PNG and `.npy` files that reads and resizes them at each visit as Zero-1-to-3 does;
  both down to floats on white in [−1, 1] and relative poses;
- as many as the best of plain `webdataset` on the same shards, `litdata` and `mosaicml-streaming` on the same pictures, where
  they are installed; all down to uint8 RGBA and c2w;
- 85 % of the bare decoder's, which decodes two pictures that lie in memory and does nothing else.

LitData and MosaicML Streaming want other versions of what the project pins. They are installed beside it, without their
dependencies (`torchvision` and the clouds' clients are not needed for a local folder), and `--peers` names where:

    pip install --no-deps --target FOLDER litdata lightning-utilities \
        mosaicml-streaming brotli python-snappy cramjam zstd xxhash catalogue

Six composed objects are rendered at 512 and at 256 pixels and stand under 100 and 1,000 keys; the shards hold the latter in
lossless WebP (`--encoding`), as is recommended for training. All of it was just written or read, so the page cache is warm for
everybody. Each contender has a process of its own, of which one works at a time, for 0.3 seconds in every round; the best
round counts. With `--workers N` the loaders have so many processes, started anew in each round of five seconds; CPU-seconds
then include theirs, and the time on the wall is that of all together. `--renders FOLDER` takes rendered objects of one's own, of
512 pixels, for both sizes. `--quick` takes fewer copies and rounds, without goals. About five minutes.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.loader_contenders import ALONE, BATCH, CONTENDERS, LIBRARIES, Batches, Material
from benchmarks.shard_material import copied_workspace, rendered_folders
from blender_render.view_codecs import Encoding, encode_view
from training.data import shard_plan
from training.data.shard_parameters import ShardParameters
from training.data.writer import write_shards

_RENDERED, _LOADED = 512, 256
_LOOSE_GOAL, _LIBRARIES_GOAL, _DECODE_GOAL = 8.0, 1.0, 0.85
_SECONDS, _SECONDS_WITH_WORKERS = 0.3, 5.0


@dataclass(frozen=True)
class Cost:
    """Of one pair, milliseconds."""

    cpu: float
    wall: float


@dataclass(frozen=True)
class Sizes:
    """How much is loaded, and how often."""

    loose: int
    """Objects that lie in loose files."""
    stored: int
    """Objects in shards and in the libraries' own formats; an epoch of them should last for many batches."""
    rounds: int


_FULL, _QUICK = Sizes(loose=100, stored=1000, rounds=15), Sizes(loose=12, stored=96, rounds=3)


@lru_cache
def _opened(name: str, material: Material) -> Batches:
    """A contender's batches, which go on from round to round."""
    batches = CONTENDERS[name](material, 0)
    next(batches)
    return batches


def one_round(name: str, material: Material, workers: int, seconds: float) -> Cost:
    """Let a contender load for a while, in this process."""
    workers = 0 if name in ALONE else workers
    batches = CONTENDERS[name](material, workers) if workers else _opened(name, material)
    cpu, started, pairs = _cpu_seconds(), time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(batches)
        pairs += BATCH
    wall = time.perf_counter() - started
    if workers:
        # What workers took is known once they have ended.
        batches.close()
    return Cost(1e3 * (_cpu_seconds() - cpu) / pairs, 1e3 * wall / pairs)


def _cpu_seconds() -> float:
    """User and system time of this process and of those that it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _begin(peers: str) -> None:
    """Make a process ready for a contender: the libraries installed beside the project come after its own."""
    sys.path.append(peers)
    torch.set_num_threads(1)


def measure(material: Material, rounds: int, workers: int, peers: Path | None) -> dict[str, Cost]:
    """The best round of every contender that is installed."""
    spawning, seconds = multiprocessing.get_context("spawn"), _SECONDS_WITH_WORKERS if workers else _SECONDS
    costs: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(ProcessPoolExecutor(1, spawning, _begin, (str(peers),))) for name in costs
        }
        for _ in range(rounds):
            for name, found in list(costs.items()):
                try:
                    found.append(processes[name].submit(one_round, name, material, workers, seconds).result())
                except ModuleNotFoundError as error:
                    print(f"{name}: not available: {error}")
                    del costs[name]
    return {name: min(found, key=lambda cost: cost.cpu) for name, found in costs.items()}


def prepared(folder: Path, renders: Path | None, sizes: Sizes, encoding: Encoding) -> Material:
    """Render and write what is read."""
    workspaces = {}
    for side, objects in ((_RENDERED, sizes.loose), (_LOADED, sizes.stored)):
        originals = rendered_folders(renders, folder / f"rendered{side}", side)
        workspaces[side] = copied_workspace(folder / f"copied{side}", originals, objects)
    with mock.patch.object(shard_plan, "encode_view", _encoded_once(encoding)):
        write_shards(ShardParameters(encoding=encoding, size=_LOADED, workers=1), workspaces[_LOADED])
    (folder / "copies").mkdir()
    return Material(workspaces[_RENDERED].scratch / "renders", workspaces[_LOADED].shards, folder / "copies", _LOADED)


def _encoded_once(encoding: Encoding) -> Callable[..., Mapping[str, bytes]]:
    """An encoder that remembers: most pictures stand under many keys."""
    known: dict[bytes, Mapping[str, bytes]] = {}

    def encode(rgba: UInt8[np.ndarray, "h w 4"], *_: object) -> Mapping[str, bytes]:
        data = rgba.tobytes()
        if data not in known:
            known[data] = encode_view(rgba, encoding)
        return known[data]

    return encode


def judged(costs: dict[str, Cost], goals: tuple[float, float, float]) -> bool:
    """Print each claim; whether one falls short."""
    libraries = [name for name in LIBRARIES if name in costs]
    best = min(libraries, key=lambda name: costs[name].cpu)
    planned = costs["planned"].cpu
    claims = {
        "loader against loose files": (costs["loose files"].cpu / costs["planned, on white"].cpu, goals[0]),
        f"loader against the best of {', '.join(libraries)}, which is {best}": (costs[best].cpu / planned, goals[1]),
        "loader, share of the bare decoder's speed": (costs["bare decode"].cpu / planned, goals[2]),
    }
    for name, (figure, goal) in claims.items():
        print(f"{name}: {figure:.2f} (goal {goal})")
    return any(figure < goal for figure, goal in claims.values())


def print_table(costs: Mapping[str, Cost], encoding: str, workers: int) -> None:
    """A table as `docs/benchmarks.md` has it."""
    print(
        f"\n| {encoding}, {workers} workers | CPU-ms a pair | pairs a CPU-s | ms a pair on the wall |\n| --- | --- | --- | --- |"
    )
    for name, cost in costs.items():
        print(f"| {name} | {cost.cpu:.2f} | {1e3 / cost.cpu:,.0f} | {cost.wall:.2f} |")
    print()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder that LitData and MosaicML Streaming are installed in")
    parser.add_argument("--renders", type=Path, help="folder of objects rendered at 512 pixels")
    parser.add_argument("--encoding", choices=("webp", "png"), default="webp", help="of the pictures in shards")
    parser.add_argument("--workers", type=int, default=0, help="worker processes of each loader")
    parser.add_argument("--quick", action="store_true", help="fewer copies and rounds, no goals")
    options = parser.parse_args()
    sizes = _QUICK if options.quick else _FULL
    with tempfile.TemporaryDirectory() as folder:
        material = prepared(Path(folder), options.renders, sizes, options.encoding)
        costs = measure(material, sizes.rounds, options.workers, options.peers)
    print_table(costs, options.encoding, options.workers)
    return int(judged(costs, (0.0, 0.0, 0.0) if options.quick else (_LOOSE_GOAL, _LIBRARIES_GOAL, _DECODE_GOAL)))


if __name__ == "__main__":
    sys.exit(main())
