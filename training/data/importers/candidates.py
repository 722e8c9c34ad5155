"""What an importer finds in a published set: candidates, each read when it is its turn, into one object's views."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from blender_render.camera_sets import View
from geometry.gaussians import Gaussians
from stage.failures import FailureClass, ObjectFailedError

# A uid is a folder's name, and the key of a WebDataset sample, which ends at the first dot.
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# `000.png` to `999.png`.
MAX_VIEWS = 1000


@dataclass(frozen=True)
class ImportedSplatter:
    """One object's splatter images, checked and in our world."""

    images: tuple[Gaussians, ...]
    """Of each view the Gaussians of a square picture, one a pixel and row-major."""
    fused: Gaussians
    cameras: tuple[View, ...]
    """Of each view, with intrinsics in pixels of the splatter image."""


@dataclass(frozen=True)
class ImportedViews:
    """One object's pictures and cameras, checked and in our conventions."""

    pictures: tuple[bytes, ...]
    """PNG files, sRGB, straight alpha or none; all of one size."""
    coverage: tuple[float, ...]
    """Mean alpha of each."""
    views: tuple[View, ...]
    category: str = ""
    """What it is, in the publisher's words; empty where nobody said."""
    splatter: ImportedSplatter | None = None


class PartFailedError(ObjectFailedError):
    """Raised by a candidate of several parts, such as renderings and splatter images: one of them cannot be used."""

    def __init__(self, part: str, failure: FailureClass, message: str) -> None:
        self.part = part
        super().__init__(failure, message)


@dataclass(frozen=True)
class Candidate:
    """An object that may be usable."""

    uid: str
    load: Callable[[], ImportedViews]
    """Reads it; raises `ObjectFailedError` where it is incomplete or damaged."""


@dataclass(frozen=True)
class PublishedSet:
    """The candidates of a data set."""

    source: str
    """What the catalogue calls it."""
    candidates: Iterable[Candidate]
    total: int = 0
    """How many there are; 0 where only reading tells."""
    split_key: Callable[[str], str] = str
    """From a uid what its split follows from; renderings of the same object share it."""


def check_uid(uid: str) -> None:
    """Refuse a name that cannot be a uid.

    Raises:
        ObjectFailedError: for characters other than letters, digits, hyphens and underscores.
    """
    if not _UID.fullmatch(uid):
        raise ObjectFailedError(FailureClass.PARSE, f"{uid!r} has other characters than letters, digits, - and _")
