"""What visitors bring, and what there is for those who bring nothing: uploads within limits, examples of the workspace."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from blender_render.rendered_object import read_rgba
from demo.limits import Limits
from stage.errors import InputError, ViewforgeError
from stage.files import replacing
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace
from systems.pictures.choices import FramingName
from systems.pictures.opening import decode_picture
from systems.pictures.preparation import Prepared, prepare
from systems.pictures.segmentation import what_is_missing

_MOST_EXAMPLES = 8
# Where a picture comes from decides nothing here: of these only the page's words differ from the command line's.
_WAYS = {
    "auto": "find it",
    "alpha": "its transparency",
    "segment": "segment it",
    "none": "the whole picture",
}
_REMEDY = "give one with transparency, or choose the whole picture if it is on white already"


@dataclass(frozen=True)
class Example:
    """A picture to begin with."""

    path: Path
    """PNG with transparency."""
    title: str
    """Of its object."""


def read_upload(path: Path, limits: Limits) -> Image.Image:
    """An uploaded picture, RGBA.

    Raises:
        InputError: when it is no still picture within the limits.
    """
    with path.open("rb") as stream:
        data = stream.read(limits.picture.most_bytes + 1)
    return decode_picture(data, path.name, limits.picture)


def prepared(picture: Image.Image, framing: FramingName, foreground: str) -> Prepared:
    """What a model is shown of a visitor's picture.

    Args:
        picture: RGBA.
        framing: of the model's system.
        foreground: one of `foreground_choices`: never the path of a file of this machine.

    Raises:
        InputError: when no object is found.
    """
    if foreground not in _WAYS:
        raise InputError(f"{foreground!r} is no way to find an object", f"choose {', '.join(_WAYS)}")
    try:
        return prepare(picture, framing, foreground)
    except InputError as error:
        message = str(error).removesuffix(f"; {error.remedy}")
        # That of the command line names its options.
        raise InputError(message, _REMEDY if "--" in error.remedy else error.remedy) from None


def foreground_choices() -> list[tuple[str, str]]:
    """What the page offers, words first; a segmentation only where there is a network for it."""
    absent = {"segment"} if what_is_missing() else set()
    return [(words, way) for way, words in _WAYS.items() if way not in absent]


def write_examples(workspace: Workspace, folder: Path) -> list[Example]:
    """Write pictures of the workspace's own rendered objects, held-out ones first; none where nothing is rendered."""
    try:
        rows = pd.read_parquet(workspace.renders / "objects.parquet", columns=["uid", "title", "split", "complete"])
        rows = rows[rows["complete"]].assign(seen=lambda table: table["split"] == "train").sort_values(["seen", "uid"])
        chosen = rows.head(_MOST_EXAMPLES)
        unpack_missing(workspace.renders, folder / "objects", list(chosen["uid"]))
        return [_written(folder, uid, title) for uid, title in zip(chosen["uid"], chosen["title"], strict=True)]
    except (ViewforgeError, OSError, ValueError):
        # They are a courtesy: a page without them serves all the same.
        return []


def _written(folder: Path, uid: str, title: str) -> Example:
    path = folder / f"{uid[:40]}.png"
    with replacing(path) as temporary:
        Image.fromarray(read_rgba(object_folder(folder / "objects", uid), 0)).save(temporary, format="PNG")
    return Example(path, title or uid)


def on_white(picture: Image.Image, size: int = 320) -> Image.Image:
    """A picture as people are shown it: on white, small ones enlarged so that their pixels can be seen."""
    method = Image.Resampling.NEAREST if picture.width < size else Image.Resampling.LANCZOS
    rgba = picture.resize((size, size), method)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
