"""How long a catalogue of 100,000 objects takes to read and to filter, and in how much memory: `python -m benchmarks.catalog`.

Goals: 2 s for reading and selecting by every filter at once, within 300 MB for the process. Also printed: the seconds of writing.
Each phase runs in a process of its own, whose peak memory is what the operating system says. `--quick` takes 10,000 objects
against a tenth of the seconds.
"""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from catalog.selection import SelectionParameters, select
from catalog.table import SPLITS, Asset, read_table, write_table
from stage.workspace import Workspace

_OBJECTS = 100_000
_QUICK_OBJECTS = 10_000
_GOAL_SECONDS = 2.0
_GOAL_MEGABYTES = 300.0
_MIRROR = "https://huggingface.co/datasets/allenai/objaverse/resolve/main/glbs/000-023"
# Roughly Objaverse's shares.
_LICENCES = (
    ("CC-BY-4.0",) * 88 + ("CC-BY-NC-SA-4.0",) * 6 + ("CC-BY-NC-4.0",) * 3 + ("CC-BY-SA-4.0",) * 2 + ("CC0-1.0",)
)

Measured = tuple[float, float]


def synthetic_catalogue(objects: int) -> Iterator[Asset]:
    """Rows as long as those of Objaverse, with unique paths, sums, addresses and titles."""
    chance = random.Random(0)  # noqa: S311 - no secret
    for number in range(objects):
        uid = f"{chance.getrandbits(128):032x}"
        yield Asset(
            uid=uid,
            source="objaverse",
            path=f"scratch/downloads/objaverse/{uid[:2]}/{uid}.glb",
            sha256=f"{chance.getrandbits(256):064x}",
            companions_sha256="",
            bytes=int(10 ** chance.uniform(3, 8)),
            file_type="glb",
            up_axis="Y",
            licence=chance.choice(_LICENCES),
            author=f"author {chance.randrange(objects // 8)}",
            title=f"the title of an object {number}",
            tags=tuple(f"tag {chance.randrange(500)}" for _ in range(chance.randrange(6))),
            split=chance.choice((*SPLITS[:1] * 8, *SPLITS)),
            selected=True,
            reason="",
            url=f"{_MIRROR}/{uid}.glb",
            page=f"https://sketchfab.com/3d-models/{uid}",
            faces=chance.randrange(10**6) if chance.random() < 0.9 else None,
            categories=(f"category {chance.randrange(1156)}",) if chance.random() < 0.5 else (),
        )


@contextmanager
def measured(result: list[float]) -> Iterator[None]:
    """Append the seconds of the block."""
    started = time.perf_counter()
    yield
    result.append(time.perf_counter() - started)


def write(folder: Path, objects: int) -> Measured:
    """Write a catalogue and a list of four fifths of its uids; seconds of the first, peak memory in MB."""
    seconds: list[float] = []
    assets = list(synthetic_catalogue(objects))
    with measured(seconds):
        write_table(folder / "catalog.parquet", assets)
    (folder / "list.json").write_text(json.dumps([asset.uid for asset in assets[: objects * 4 // 5]]))
    return sum(seconds), _megabytes()


def read_and_select(folder: Path, objects: int) -> Measured:
    """Read the catalogue and apply every filter; seconds and peak memory in MB."""
    parameters = SelectionParameters(
        licences=("by", "by-sa", "cc0"),
        commercial_only=True,
        lists=str(folder),
        uids="list.json",
        categories=tuple(f"category {number}" for number in range(1000)),
        tags=tuple(f"tag {number}" for number in range(400)),
        min_bytes=2000,
        max_bytes=50_000_000,
        max_faces=800_000,
        max_objects=objects // 50,
    )
    seconds: list[float] = []
    with measured(seconds):
        kept = select(read_table(folder / "catalog.parquet"), parameters, 0, Workspace(folder))
    assert sum(asset.selected for asset in kept) == objects // 50
    return sum(seconds), _megabytes()


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _apart(phase: Callable[[Path, int], Measured], folder: Path, objects: int) -> Measured:
    """A phase in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(phase, folder, objects).result()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10,000 objects")
    quick = parser.parse_args().quick
    objects, goal = (_QUICK_OBJECTS, _GOAL_SECONDS / 10) if quick else (_OBJECTS, _GOAL_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        written, _ = _apart(write, Path(folder), objects)
        seconds, megabytes = _apart(read_and_select, Path(folder), objects)
    print(f"write {objects:,} objects: {written:.2f} s")
    print(f"peak memory of reading and selecting: {megabytes:.0f} MB (goal {_GOAL_MEGABYTES:.0f} MB)")
    print(f"catalog: {seconds:.2f} s (goal {goal:.1f} s)")
    return int(seconds > goal or megabytes > _GOAL_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
