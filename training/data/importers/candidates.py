"""What an importer finds in a published set: candidates, each read when it is its turn, into one object's views."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from blender_render.camera_sets import View
from stage.failures import FailureClass, ObjectFailedError

# A uid is a folder's name, and the key of a WebDataset sample, which ends at the first dot.
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# `000.png` to `999.png`.
MAX_VIEWS = 1000


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
