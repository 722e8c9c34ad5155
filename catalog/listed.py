"""Rows of objects that a publisher lists and nobody has downloaded yet; texts of strangers made fit for a table."""

import re
from typing import Any

from catalog.folder import FILE_TYPES, uid_of
from catalog.split import SplitParameters, split_of
from catalog.table import Asset

_UID = re.compile(r"[0-9A-Za-z]{1,64}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")


def listed_asset(
    uid: str,
    source: str,
    split: SplitParameters,
    *,
    file_type: str,
    url: str = "",
    page: str = "",
    sha256: str = "",
    size: int = 0,
    licence: str = "",
    author: str = "",
    title: str = "",
    tags: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    faces: int | None = None,
    reason: str = "",
) -> Asset:
    """A row whose file is still with the publisher; it is left out when it cannot be had or be read.

    Args:
        uid: the publisher's identifier; one that is not letters and digits is replaced and the object left out.
        source: name of the source.
        split: shares of the splits.
        file_type: extension without its dot.
        url: where the file is; empty when nowhere.
        page: where people see the object.
        sha256: published hash; anything that is none counts as unpublished.
        size: bytes as the publisher says; 0 when it does not.
        licence: the publisher's words.
        author: its maker.
        title: its name.
        tags: free words.
        categories: words of a fixed vocabulary.
        faces: number of faces as the publisher counts.
        reason: why it is left out already.
    """
    if not _UID.fullmatch(uid):
        uid, reason = uid_of(uid), reason or "its uid is not letters and digits"
    if file_type not in FILE_TYPES:
        reason = reason or f"files of type {file_type or 'unknown'} cannot be imported"
    return Asset(
        uid=uid,
        source=source,
        path="",
        sha256=sha256.lower() if _SHA256.fullmatch(sha256) else "",
        companions_sha256="",
        bytes=size,
        file_type=file_type,
        up_axis="Y",
        licence=licence or "unknown",
        author=author or "unknown",
        title=title or uid,
        tags=tags,
        split=split_of(uid, split),
        selected=not reason,
        reason=reason,
        url=url,
        page=page,
        faces=faces,
        categories=categories,
    )


def text(value: Any) -> str:  # noqa: ANN401 - JSON is any value
    """A text in one line that UTF-8 can hold; empty for anything else."""
    return " ".join(value.encode(errors="replace").decode().split()) if isinstance(value, str) else ""


def number(value: Any) -> int | None:  # noqa: ANN401 - JSON is any value
    """A count; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is any value
    """A mapping; an empty one for anything else."""
    return value if isinstance(value, dict) else {}
