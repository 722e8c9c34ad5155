"""What versions of data cost: `python -m benchmarks.versions`.

1. *An object more*: boxes at 16 pixels, rendered and in shards; then one is added, and `dvc repro` brings catalogue, renders,
   splatter images and shards up to date. Printed: objects rendered, packs and shards written, seconds beside those of the first
   run.
2. *Nothing to do*: `dvc repro` over 100,000 files of 2 KB with nothing changed and DVC's state database warm, once as loose files
   in one output and once as the packs that `stage.packs` makes of them.

Goals: one object rendered and one pack written; 5 s for nothing to do over packs. `--quick` takes 40 boxes and 10,000 files.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from flows.workspaces import PROJECT, chosen_parameters, prepare
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace

_GOAL_SECONDS = 5.0
_FILES_AN_OBJECT = 20
_PACKS = 16
_REPEATS = 3
_CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_SIDES = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
CHEAP = (
    "catalog.source=folder",
    "render.resolution=16",
    "render.views=2",
    "render.quality.samples=1",
    "render.packs=8",
    "splatter.max_objects=1",
    "splatter.resolution=32",
    "splatter.check_views=1",
    "splatter.quality.samples=1",
)
_DEFINITION = """
stages:
  gather:
    cmd: "true"
    deps: [made]
    outs: [data]
"""


def dvc(root: Path, *arguments: str) -> tuple[float, str]:
    """Seconds of a DVC command and what it said.

    Raises:
        RuntimeError: when it fails.
    """
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    started = time.perf_counter()
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stdout[-2000:] + result.stderr[-2000:])
    return time.perf_counter() - started, result.stdout


def write_box(folder: Path, number: int) -> None:
    """A box of some height as an .obj file."""
    height = 0.2 + 0.8 * (number * 37 % 1000) / 1000
    corners = "".join(f"v {x} {y} {z * height}\n" for x, y, z in _CORNERS)
    (folder / f"box{number:05d}.obj").write_text(corners + _SIDES)


def added_object(root: Path, boxes: int) -> bool:
    """Whether a box more costs one rendering and one pack; prints what both runs said of it."""
    folder = root / "boxes"
    folder.mkdir()
    for number in range(boxes):
        write_box(folder, number)
    place = Workspace(root / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, [*CHEAP, f"catalog.path={folder}"]))
    first, _ = dvc(place.root, "repro", "shard")
    write_box(folder, boxes)
    second, said = dvc(place.root, "repro", "shard")
    for line in said.splitlines():
        if re.match(r"\w+: [\d,]+ of [\d,]+ objects", line):
            print(line)
    print(f"{boxes} boxes: {first:.0f} s, one more: {second:.0f} s")
    return f"render: 1 of {boxes + 1} objects rendered, {boxes} kept; 1 of 8 packs written" in said


def nothing_to_do(root: Path, objects: int, packed: bool) -> float:
    """Seconds of `dvc repro` with nothing changed, the fastest of some, over the files of so many objects."""
    root.mkdir()
    loose = root / ("scratch" if packed else "data")
    for number in range(objects):
        write_object(loose, f"{number:08x}", number)
    if packed:
        write_packs(loose, [f"{number:08x}" for number in range(objects)], root / "data", _PACKS)
    dvc(root, "init", "--no-scm", "--quiet")
    (root / ".dvcignore").write_text("scratch/\n")
    (root / ".dvc" / "config").write_text(
        (PROJECT / ".dvc" / "config").read_text().replace("[core]", "[core]\n no_scm = True")
    )
    (root / "made").write_text("made\n")
    (root / "dvc.yaml").write_text(_DEFINITION)
    # The outputs are there already; DVC hashes them and remembers.
    committed, _ = dvc(root, "commit", "--force")
    seconds = [dvc(root, "repro") for _ in range(_REPEATS)]
    assert all("up to date" in said for _, said in seconds)
    fastest = min(second for second, _ in seconds)
    what = f"{objects * _FILES_AN_OBJECT:,} files {'in packs' if packed else 'loose'}"
    print(f"{what}: committed in {committed:.1f} s, nothing to do in {fastest:.1f} s")
    return fastest


def write_object(root: Path, uid: str, number: int) -> None:
    """An object's folder of 20 files of 2 KB, each with content of its own."""
    folder = object_folder(root, uid)
    folder.mkdir(parents=True)
    for view in range(_FILES_AN_OBJECT):
        (folder / f"{view:03d}.png").write_bytes(f"{number} {view} ".encode() * 200)


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 boxes and 10,000 files")
    quick = parser.parse_args().quick
    boxes, objects = (40, 500) if quick else (500, 5000)
    with tempfile.TemporaryDirectory() as folder:
        single = added_object(Path(folder), boxes)
        nothing_to_do(Path(folder) / "loose", objects, packed=False)
        seconds = nothing_to_do(Path(folder) / "packed", objects, packed=True)
    print(f"an added object costs {'one object' if single else 'MORE THAN ONE OBJECT'} (goal one object)")
    print(f"versions: {seconds:.1f} s (goal {_GOAL_SECONDS:.0f} s)")
    return int(seconds > _GOAL_SECONDS or not single)


if __name__ == "__main__":
    sys.exit(main())
