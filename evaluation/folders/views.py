"""The pictures of one object on both sides, view by view: their bytes, and what these show.

The truth says which views there are; a prediction without one of them is no prediction of this object. The bytes are read once,
hashed, and decoded only when the object is scored.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from evaluation.folders.layout import ObjectFiles
from evaluation.folders.pictures import Filter, decode_picture, fitted
from stage.failures import FailureClass, ObjectFailedError


@dataclass(frozen=True)
class Side:
    """One side's files of an object, read.

    Args:
        files: where they lie.
        content: their bytes by role: a view's name, `transforms.json`, `mesh`.
    """

    files: ObjectFiles
    content: dict[str, bytes]

    def sha256(self) -> str:
        """Hash of roles and bytes; neither folder nor time counts."""
        digest = hashlib.sha256()
        for role, data in sorted(self.content.items()):
            digest.update(f"{role}\0{hashlib.sha256(data).hexdigest()}\n".encode())
        return digest.hexdigest()

    def picture(self, view: str) -> Float[np.ndarray, "h w 3"]:
        """A view, RGB on white in [0, 1].

        Raises:
            ObjectFailedError: when it cannot be read.
        """
        return decode_picture(str(self.files.views[view]), self.content[view])


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        ObjectFailedError: when it is not there or empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ObjectFailedError(FailureClass.MISSING, f"{path} is gone") from None
    if not data:
        raise ObjectFailedError(FailureClass.EMPTY, f"{path} is empty")
    return data


def scored_views(truth: ObjectFiles, input_view: str | None) -> list[str]:
    """The views to be scored, in order: those of the truth but the input's.

    Raises:
        ObjectFailedError: when the truth lacks the input view, or has no other.
    """
    if not truth.views:
        raise ObjectFailedError(FailureClass.MISSING, "the truth has no pictures of this object")
    if input_view is not None and input_view not in truth.views:
        raise ObjectFailedError(FailureClass.MISSING, f"the truth has no view {input_view}, the input view")
    views = [view for view in truth.views if view != input_view]
    if not views:
        raise ObjectFailedError(FailureClass.EMPTY, "the truth has no view to be scored")
    return views


def true_pictures(side: Side) -> dict[str, Float[np.ndarray, "h w 3"]]:
    """All views of the truth, the input's among them.

    Raises:
        ObjectFailedError: when one cannot be read, or they differ in size.
    """
    pictures = {view: side.picture(view) for view in side.files.views}
    sizes = {picture.shape[:2] for picture in pictures.values()}
    if len(sizes) > 1:
        (a, b), (c, d) = sorted(sizes)[:2]
        raise ObjectFailedError(FailureClass.MISMATCH, f"the truth's views differ in size: {b}×{a} and {d}×{c} pixels")
    return pictures


def predicted_pictures(
    side: Side, views: list[str], truth: dict[str, Float[np.ndarray, "h w 3"]], resize: Filter | None, sample: int
) -> Float[np.ndarray, "t h w 3"]:
    """The predictions of the given views, in the truth's size.

    Args:
        side: the predictions.
        views: to be scored, in order.
        truth: all of the truth's views, in order.
        resize: filter for another size; none refuses it.
        sample: which strip, where there are several.

    Raises:
        ObjectFailedError: when a view is missing, cannot be read or is of another size.
    """
    height, width = next(iter(truth.values())).shape[:2]
    # A strip is of square views; what is wide where the truth is wide is a view.
    found = strip_views(side, list(truth), sample) if height == width else None
    if found is None:
        _require(side, views)
        found = {view: side.picture(view) for view in views}
    names = {view: str(side.files.views.get(view, f"view {view}")) for view in views}
    return np.stack([fitted(found[view], height, width, names[view], resize) for view in views])


def require_views(truth: ObjectFiles, prediction: ObjectFiles, input_view: str | None) -> None:
    """Refuse a prediction without pictures, before anything is read.

    Raises:
        ObjectFailedError: when a side has no pictures, or the truth none to be scored.
    """
    scored_views(truth, input_view)
    if not prediction.views:
        raise ObjectFailedError(FailureClass.MISSING, "no prediction of this object")


def _require(side: Side, views: list[str]) -> None:
    missing = [view for view in views if view not in side.files.views]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ObjectFailedError(
            FailureClass.MISSING, f"no prediction of view {shown}, of {len(views)} views that are scored"
        )


def strip_views(side: Side, views: list[str], sample: int) -> dict[str, Float[np.ndarray, "h w 3"]] | None:
    """The views of a strip, all of the truth's from left to right as SyncDreamer's `generate.py` writes them.

    A picture is a strip where the truth has several views and it is as many times as wide as high.

    Returns:
        Pictures by view; None where the pictures are single views.

    Raises:
        ObjectFailedError: when there are strips and not this one.
    """
    first = side.picture(next(iter(side.files.views)))
    height, count = len(first), len(views)
    if count < 2 or first.shape[1] != count * height:
        return None
    if str(sample) not in side.files.views:
        raise ObjectFailedError(
            FailureClass.MISSING,
            f"no strip {sample}: there are {', '.join(side.files.views)}; choose one with --sample",
        )
    strip = side.picture(str(sample))
    if strip.shape[1] != count * height:
        raise ObjectFailedError(
            FailureClass.MISMATCH, f"{side.files.views[str(sample)]} is no strip of {count} square views"
        )
    return dict(zip(views, np.split(strip, count, axis=1), strict=True))
