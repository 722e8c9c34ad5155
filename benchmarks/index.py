"""What the index of a large shard set costs to hold: `python -m benchmarks.index`.

An index of 800,000 objects of 12 views is written, and read by processes that do nothing else: CPU-seconds until a reader has the
rows of a split and what a plan asks of them, and the memory that these take beyond what the process had before; the same as
Python objects; what a worker process is sent when it is spawned; and what a forked one has for itself once it has looked up
10,000 rows. Goals: 2 s, and half a kilobyte a row. `--quick` takes 80,000 objects against a tenth of the seconds. Two minutes.
"""

import argparse
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from stage.seeds import generator
from training.data.index import IndexRow, IndexRows, read_rows, write_index

_OBJECTS, _QUICK_OBJECTS = 800_000, 80_000
_GOAL_SECONDS, _GOAL_BYTES = 2.0, 512.0
_SHARD, _VIEWS, _LOOKED_UP, _REPEATS = 1000, 12, 10_000, 3


def rows(count: int) -> Iterator[IndexRow]:
    """An index as the writer makes it, of objects that there are not."""
    chance = generator(0, "rows", "index")
    members = "/".join(["cameras.json", *(f"{view:03d}.webp" for view in range(_VIEWS))])
    for number in range(count):
        sizes = tuple(chance.integers(10_000, 60_000, _VIEWS + 1).tolist())
        yield IndexRow(
            shard=f"train-{number // _SHARD:06d}.tar",
            key=chance.bytes(16).hex(),
            offset=number % _SHARD * 400_000,
            size=sum(sizes),
            sha256=chance.bytes(32).hex(),
            views=_VIEWS,
            split="train",
            licence="CC-BY-4.0",
            source="objaverse",
            fingerprint=chance.bytes(32).hex(),
            members=members,
            sizes=sizes,
            checks=chance.bytes(8 * (_VIEWS + 1)),
        )


def in_columns(folder: Path) -> tuple[float, float]:
    """Seconds and bytes of the rows as a reader holds them."""
    before, started = _bytes(), time.process_time()
    held = read_rows(folder).of_split("train")
    assert held.views.sum() == _VIEWS * len(held)
    assert held[len(held) // 2].views == _VIEWS
    return time.process_time() - started, _bytes() - before


def as_objects(folder: Path) -> tuple[float, float]:
    """The same as a list of `IndexRow`."""
    before, started = _bytes(), time.process_time()
    held = list(read_rows(folder))
    assert held[len(held) // 2].views == _VIEWS
    return time.process_time() - started, _bytes() - before


def spawned(folder: Path) -> tuple[float, float]:
    """Seconds to send the rows to another process and take them there, and bytes sent."""
    held = read_rows(folder).of_split("train")
    started = time.process_time()
    data = pickle.dumps(held, protocol=5)
    assert len(pickle.loads(data)) == len(held)  # noqa: S301 - its own
    return time.process_time() - started, len(data)


def forked(folder: Path) -> tuple[float, float]:
    """Seconds to look up rows in a forked process, and bytes that it then has for itself."""
    held = read_rows(folder).of_split("train")
    held[0]
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("fork"), initializer=_take, initargs=(held,)
    ) as pool:
        return pool.submit(_look_up).result()


def _take(held: IndexRows) -> None:
    globals()["_held"] = held


def _look_up() -> tuple[float, float]:
    held: IndexRows = globals()["_held"]
    before, started = psutil.Process().memory_full_info().uss, time.process_time()
    for number in np.random.default_rng(0).integers(len(held), size=_LOOKED_UP).tolist():
        held[number]
    return time.process_time() - started, psutil.Process().memory_full_info().uss - before


def _bytes() -> float:
    return psutil.Process(os.getpid()).memory_info().rss


def apart(phase: Callable[[Path], tuple[float, float]], folder: Path) -> tuple[float, float]:
    """A phase in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(phase, folder).result()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="80,000 objects")
    quick = parser.parse_args().quick
    objects, goal = (_QUICK_OBJECTS, _GOAL_SECONDS / 10) if quick else (_OBJECTS, _GOAL_SECONDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_index(folder, rows(objects))
        size = (folder / "index.parquet").stat().st_size
        print(f"{objects:,} objects of {_VIEWS} views: index.parquet of {size / 1e6:.0f} MB")
        for phase in (as_objects, spawned, forked):
            seconds, held = apart(phase, folder)
            print(f"{phase.__name__}: {seconds:.2f} s, {held / 1e6:.0f} MB")
        seconds, held = (
            min(values) for values in zip(*(apart(in_columns, folder) for _ in range(_REPEATS)), strict=True)
        )
        print(f"in_columns, the best of {_REPEATS}: {seconds:.2f} s, {held / 1e6:.0f} MB")
    print(f"index: {seconds:.2f} s (goal {goal:.1f} s), {held / objects:.0f} bytes a row (goal {_GOAL_BYTES:.0f})")
    return int(seconds > goal or held / objects > _GOAL_BYTES)


if __name__ == "__main__":
    sys.exit(main())
