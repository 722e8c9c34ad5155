"""A workspace that renders boxes at 16 pixels with one sample."""

from pathlib import Path

from benchmarks.versions import CHEAP, write_box
from flows.workspaces import PROJECT, chosen_parameters, prepare
from stage.workspace import Workspace


def cheap_workspace(root: Path, boxes: int) -> Workspace:
    """A workspace of so many boxes, which lie in a folder `boxes` beside it; nothing has run."""
    folder = root.parent / "boxes"
    folder.mkdir()
    for number in range(boxes):
        write_box(folder, number)
    place = Workspace(root)
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, [*CHEAP, f"catalog.path={folder}"]))
    return place
