"""What 100,000 objects cost before the first is rendered: `python -m benchmarks.catalog`.

A catalogue is read and filtered by every filter at once; then the render stage plans all of its objects (a fingerprint each)
and finds in their records and its ledger that all are complete. Goals: 10 s and 1 GiB in all, in one process whose peak memory
is what the operating system says; the records have just been written, so they come from the cache of files. `--quick` takes
10,000 objects against a tenth of the seconds.
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
from typing import Any

from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from catalog.selection import SelectionParameters, select
from catalog.table import SPLITS, Asset, read_table, write_table
from stage.failures import Outcome
from stage.packs import object_folder
from stage.workspace import Workspace

_OBJECTS = 100_000
_QUICK_OBJECTS = 10_000
_GOAL_SECONDS = 10.0
_GOAL_MEGABYTES = 1024.0
_MIRROR = "https://huggingface.co/datasets/allenai/objaverse/resolve/main/glbs/000-023"
# Roughly Objaverse's shares.
_LICENCES = (
    ("CC-BY-4.0",) * 88 + ("CC-BY-NC-SA-4.0",) * 6 + ("CC-BY-NC-4.0",) * 3 + ("CC-BY-SA-4.0",) * 2 + ("CC0-1.0",)
)


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
def measured(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the seconds of the block."""
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


def write(folder: Path, objects: int) -> dict[str, float]:
    """Write a catalogue, a list of four fifths of its uids, and what a render stage leaves of them; seconds of the first."""
    seconds: dict[str, float] = {}
    assets = list(synthetic_catalogue(objects))
    with measured(seconds, "write the catalogue"):
        write_table(folder / "catalog.parquet", assets)
    (folder / "list.json").write_text(json.dumps([asset.uid for asset in assets[: objects * 4 // 5]]))
    _write_renderings(_farm(folder), assets)
    return seconds


def _farm(folder: Path) -> Farm:
    return Farm(folder / "renders", RenderParameters(), 0, Workspace(folder))


def _write_renderings(farm: Farm, assets: list[Asset]) -> None:
    """A record for each object, as long as the worker's, and its line in the ledger."""
    statistics = dict.fromkeys(("meshes", "vertices", "faces", "materials", "textures", "lights", "cameras"), 12345)
    with (farm.root.parent / "ledger.jsonl").open("w") as ledger:
        for asset in assets:
            folder = object_folder(farm.root, asset.uid)
            folder.mkdir(parents=True)
            fingerprint = farm.fingerprint(asset)
            record: dict[str, Any] = {"uid": asset.uid, "asset_sha256": asset.sha256, "fingerprint": fingerprint}
            record |= {"warnings": [], "coverage": [0.123456] * farm.parameters.views, "statistics": statistics}
            (folder / "record.json").write_text(json.dumps(record, indent=2))
            outcome = Outcome(asset.uid, None, "", "", 1, 12.345, 600_000_000, {})
            ledger.write(json.dumps({**outcome.row(), "fingerprint": fingerprint}) + "\n")
    (farm.root.parent / "ledger.jsonl").rename(farm.root / "ledger.jsonl")


def resume(folder: Path, objects: int) -> dict[str, float]:
    """Read, filter, plan and find complete; the seconds of each."""
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
    seconds: dict[str, float] = {}
    with measured(seconds, "read"):
        assets = read_table(folder / "catalog.parquet")
    with measured(seconds, "filter"):
        kept = select(assets, parameters, 0, Workspace(folder))
    assert sum(asset.selected for asset in kept) == objects // 50
    ledger = folder / "renders" / "ledger.jsonl"
    before = ledger.stat().st_size
    with measured(seconds, "plan and resume"):
        failed = _farm(folder).render(assets)
    assert not failed
    assert ledger.stat().st_size == before, "nothing was rendered"
    return {**seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _apart(phase: Callable[[Path, int], dict[str, float]], folder: Path, objects: int) -> dict[str, float]:
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
        written = _apart(write, Path(folder), objects)
        found = _apart(resume, Path(folder), objects)
    megabytes = found.pop("megabytes")
    for name, seconds in {**written, **found}.items():
        print(f"{name}, {objects:,} objects: {seconds:.2f} s")
    total = sum(found.values())
    print(f"peak memory: {megabytes:.0f} MiB (goal {_GOAL_MEGABYTES:.0f} MiB)")
    print(f"catalog: {total:.2f} s (goal {goal:.1f} s)")
    return int(total > goal or megabytes > _GOAL_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
