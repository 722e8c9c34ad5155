"""A folder of boxes as .obj files, and a workspace that renders them at 16 pixels with one sample."""

from pathlib import Path

from flows.workspaces import PROJECT, chosen_parameters, prepare
from stage.workspace import Workspace

_CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
_FACES = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
_CHEAP = {
    "catalog.source": "folder",
    "render.resolution": 16,
    "render.views": 2,
    "render.quality.samples": 1,
    "render.packs": 8,
    "splatter.max_objects": 1,
    "splatter.resolution": 32,
    "splatter.check_views": 1,
    "splatter.quality.samples": 1,
}


def write_box(folder: Path, number: int) -> None:
    """The box of a number, one of 500 heights."""
    height = 0.2 + 0.8 * (number * 37 % 500) / 500
    corners = "".join(f"v {x} {y} {z * height}\n" for x, y, z in _CORNERS)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"box{number:04d}.obj").write_text(corners + _FACES)


def cheap_workspace(root: Path, boxes: int) -> Workspace:
    """A workspace of so many boxes, which lie in a folder `boxes` beside it; nothing has run."""
    folder = root.parent / "boxes"
    for number in range(boxes):
        write_box(folder, number)
    values = {**_CHEAP, "catalog.path": folder}
    place = Workspace(root)
    prepare(
        place, chosen_parameters(PROJECT / "params.yaml", None, [f"{key}={value}" for key, value in values.items()])
    )
    return place
