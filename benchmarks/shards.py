"""How fast shards are written and verified: `python -m benchmarks.shards`.

Three figures, each a share of what the work cannot do without, measured in turn in one run; the best of the rounds counts:

- written as rendered: seconds on the wall of copying the pictures one after the other into one file that is flushed to the disk
  at its end, against those of the stage with as many workers as it takes by itself. Goal 90 %.
- written in lossless WebP: CPU-seconds of encoding the same pictures, which are in memory, against those of writing, on one
  process each. Goal 90 %.
- verified: CPU-seconds of reading and hashing the same shards against those of `verify` with one thread. Goal 80 %.

Composed objects of 12 views are rendered at 512 (or `--renders FOLDER`: of one's own) and 256 pixels and stand under as many
keys as asked; all of it lies in the page cache, so the copy's speed is that of writing. `--quick` takes a few objects, without
goals. About four minutes and 1.5 GB of the temporary folder.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.shard_material import copied_workspace, rendered_folders
from blender_render.rendered_object import read_rgba
from blender_render.view_codecs import encode_view
from stage.workspace import Workspace
from training.data.shard_parameters import ShardParameters
from training.data.verify import verify
from training.data.writer import write_shards

_WRITING_GOAL, _ENCODING_GOAL, _VERIFYING_GOAL = 0.9, 0.9, 0.8
_ROUNDS = 7
_FEW = 24
_CHUNK = 1 << 20

Clock = Callable[[], float]


def best_of(clock: Clock, *works: Callable[[], object]) -> list[float]:
    """Seconds of the best round of each work, done in turn."""
    best = [float("inf")] * len(works)
    for _ in range(_ROUNDS):
        for number, work in enumerate(works):
            started = clock()
            work()
            best[number] = min(best[number], clock() - started)
    return best


def loose(workspace: Workspace) -> list[Path]:
    """The pictures of a workspace's objects."""
    return sorted((workspace.scratch / "renders").glob("*/*/[0-9][0-9][0-9].png"))


def copy(workspace: Workspace, target: Path) -> None:
    """All pictures in one file, flushed to the disk."""
    with target.open("wb") as stream:
        for path in loose(workspace):
            stream.write(path.read_bytes())
        stream.flush()
        os.fsync(stream.fileno())
    target.unlink()


def write(workspace: Workspace, parameters: ShardParameters) -> None:
    """A set from nothing."""
    shutil.rmtree(workspace.shards, ignore_errors=True)
    write_shards(parameters, workspace)


def hashed(folder: Path) -> None:
    """Read and hash all shards."""
    for path in sorted(folder.glob("*.tar")):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)


def writing(whole: Workspace, scratch: Path) -> float:
    """Seconds of copying pictures as a share of those of writing them as rendered."""
    copied, written = best_of(
        time.perf_counter,
        lambda: copy(whole, scratch / "copy"),
        lambda: write(whole, ShardParameters()),
    )
    size = sum(path.stat().st_size for path in loose(whole)) / 1e6
    print(f"{size:,.0f} MB of pictures: copied at {size / copied:,.0f} MB/s, written at {size / written:,.0f} MB/s")
    return copied / written


def encoding(few: Workspace) -> float:
    """CPU-seconds of encoding pictures as a share of those of writing them so."""
    pictures = [read_rgba(path.parent, int(path.stem)) for path in loose(few)]
    parameters = ShardParameters(encoding="webp", workers=1)
    encoded, written = best_of(
        time.process_time,
        lambda: [encode_view(rgba, "webp") for rgba in pictures],
        lambda: write(few, parameters),
    )
    print(f"{len(pictures)} pictures: encoded in {encoded:.2f} s, written in {written:.2f} s")
    return encoded / written


def verifying(whole: Workspace) -> float:
    """CPU-seconds of reading and hashing shards as a share of those of verifying them."""
    read, verified = best_of(time.process_time, lambda: hashed(whole.shards), lambda: verify(whole.shards, workers=1))
    size = sum(path.stat().st_size for path in whole.shards.glob("*.tar")) / 1e6
    print(
        f"{size:,.0f} MB of shards: hashed at {size / read:,.0f} MB/s, verified at {size / verified:,.0f} MB/s a core"
    )
    return read / verified


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renders", type=Path, help="folder of objects rendered at 512 pixels")
    parser.add_argument("--quick", action="store_true", help="a few objects, no goals")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        large = rendered_folders(options.renders, scratch / "large", 512, 2 if options.quick else 6)
        small = rendered_folders(None, scratch / "small", 256, 2 if options.quick else 6)
        whole = copied_workspace(scratch / "whole", large, 32 if options.quick else 600)
        few = copied_workspace(scratch / "few", small, 2 if options.quick else _FEW)
        shares = {
            "written as rendered, share of a copy's speed": (writing(whole, scratch), _WRITING_GOAL),
            "written in WebP, share of the encoder's speed": (encoding(few), _ENCODING_GOAL),
            "verified, share of the speed of hashing": (verifying(whole), _VERIFYING_GOAL),
        }
    for name, (share, goal) in shares.items():
        print(f"shards {name}: {share:.2f} (goal {0.0 if options.quick else goal})")
    return int(not options.quick and any(share < goal for share, goal in shares.values()))


if __name__ == "__main__":
    sys.exit(main())
