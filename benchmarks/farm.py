"""Throughput of the render farm: `python -m benchmarks.farm`.

Goals over 200 composed objects of 12 views at 256 × 256 pixels, preset `fast`, workers of one thread: 85 % of the objects'
time inside Blender's renderer, and, over the first 40 of them, two workers 1.8 times as fast as one, their start included. The
supervisor's memory over 2,000 objects of next to no work grows by no more than 4 MB from the first tenth to the last. `--quick`
takes 16 objects. Measure on a quiet machine: about 7 minutes.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from blender_render.batch import Batch, BatchJob
from blender_render.farm import Farm
from blender_render.ledger import ledger_rows
from blender_render.parameters import QualityParameters, RenderParameters
from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import Asset, selected_assets
from stage.executor import ExecutorParameters
from stage.workspace import Workspace

_OBJECTS, _SCALED_OBJECTS, _QUICK_OBJECTS = 200, 40, 16
_LIGHT_OBJECTS = 2000
_SHARE_GOAL, _SCALING_GOAL, _GROWTH_GOAL_MB = 0.85, 1.8, 4.0


def light(payload: dict[str, Any]) -> dict[str, Any]:
    """A worker function that does next to nothing, and answers as a rendering does."""
    return {"warnings": [payload["uid"]], "seconds": {"import": 0.0, "colour": 0.0}}


def timed_run(root: Path, assets: Sequence[Asset], workers: int, workspace: Workspace) -> float:
    """Render what is missing of some assets; wall-clock seconds."""
    # One thread in either run, or a lone worker would have two.
    executor = ExecutorParameters(workers=workers, threads=1)
    quality = QualityParameters(preset="fast", device="cpu")
    farm = Farm(root, RenderParameters(resolution=256, quality=quality, executor=executor), 0, workspace)
    started = time.monotonic()
    failed = farm.render(assets, f"{workers} workers")
    assert not failed, failed
    return time.monotonic() - started


def share_inside(root: Path) -> float:
    """The share of the objects' own time that was inside Blender's renderer."""
    rows = list(ledger_rows(root))
    inside = sum(row["phases"]["colour"] + row["phases"]["geometry"] for row in rows)
    return inside / sum(row["seconds"] for row in rows)


def memory_growth(root: Path, objects: int) -> float:
    """MB by which this process grows while a farm works on many light objects, from the first tenth to the last."""
    uids = [f"{number:032x}" for number in range(objects)]
    jobs = [BatchJob(uid, uid, {"uid": uid, "output": str(root / uid[-2:] / uid)}) for uid in uids]
    batch = Batch(root, "benchmarks.farm:light", ExecutorParameters(workers=2))
    samples: list[tuple[int, int]] = []
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(batch.ledger, samples, done))
    watcher.start()
    failed = batch.run(jobs, "light objects")
    done.set()
    watcher.join()
    assert not failed, failed
    early = max(memory for number, memory in samples if number <= objects / 10)
    late = max(memory for number, memory in samples if number >= objects * 9 / 10)
    return (late - early) / 1e6


def _watch(ledger: Path, samples: list[tuple[int, int]], done: threading.Event) -> None:
    """Note the ledger's lines and this process's resident bytes, now and then, until it is done."""
    process, last = psutil.Process(os.getpid()), False
    while not last:
        last = done.wait(0.02)
        lines = ledger.read_bytes().count(b"\n") if ledger.is_file() else 0
        samples.append((lines, process.memory_info().rss))


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_OBJECTS} objects")
    objects = _QUICK_OBJECTS if parser.parse_args().quick else _OBJECTS
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        growth = memory_growth(workspace.root / "light", _LIGHT_OBJECTS)
        build_catalog(CatalogParameters(objects=objects), 0, workspace)
        assets = selected_assets(workspace)
        some = assets[:_SCALED_OBJECTS]
        alone = timed_run(workspace.root / "one", some, 1, workspace)
        together = timed_run(workspace.root / "two", some, 2, workspace)
        rest = timed_run(workspace.root / "two", assets, 2, workspace)
        share = share_inside(workspace.root / "two")
    print(f"supervisor's growth over {_LIGHT_OBJECTS:,} objects: {growth:.1f} MB (goal {_GROWTH_GOAL_MB:g} MB)")
    scaling = alone / together
    print(f"two workers over {len(some)} objects: {scaling:.2f} times as fast as one (goal {_SCALING_GOAL:g})")
    print(f"{len(assets)} objects: {together + rest:.0f} s")
    print(f"farm: {share:.1%} of the time inside the renderer (goal {_SHARE_GOAL:.0%})")
    return int(growth > _GROWTH_GOAL_MB or scaling < _SCALING_GOAL or share < _SHARE_GOAL)


if __name__ == "__main__":
    sys.exit(main())
