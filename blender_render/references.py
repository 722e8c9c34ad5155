"""Where the references in an asset file lead: to a file below the asset's folder, or out of it, where nothing is read.

Files name textures and buffers by relative paths, by addresses, by paths of the machine that they were made on, and by paths that
somebody wishes us to read. Only the first kind is followed.
"""

import re
from os.path import normpath
from pathlib import Path
from urllib.parse import unquote

# Relative to the folder of the asset file; the last is the layout of Google Scanned Objects.
_TEXTURE_FOLDERS = (".", "textures", "../materials/textures")
# An address (`http:`, `file:`), or a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def target_below(folder: Path, reference: str) -> Path | None:
    """The file below `folder` that a reference names, links resolved, whether it exists or not; None when it leads out.

    Args:
        folder: the asset's own.
        reference: a path with slashes or backslashes, percent-encoded or not; both readings must stay in the folder.
    """
    plain = reference.replace("\\", "/")
    literal, decoded = _below(folder, plain), _below(folder, unquote(plain).replace("\\", "/"))
    if literal is None or decoded is None:
        return None
    return literal if literal.is_file() else decoded


def _below(folder: Path, reference: str) -> Path | None:
    if reference.startswith("/") or _SCHEME.match(reference) or normpath(reference).startswith(".."):
        return None
    try:
        target = (folder / reference).resolve()
        # Raises for a name that no file system takes.
        target.is_file()
        return target if target.is_relative_to(folder.resolve()) else None
    except (ValueError, OSError, RuntimeError):
        # A zero byte, a name beyond the file system's length, links in a circle.
        return None


def file_name(reference: str) -> str:
    """The last part of a path of any system."""
    return reference.replace("\\", "/").rstrip("/").rpartition("/")[2]


def absent(folder: Path, name: str) -> Path:
    """A path at which there is no file, to stand for a texture that is not followed: only its name is left."""
    return folder.resolve() / ".not-followed" / name


def texture_by_name(asset: Path, name: str) -> Path | None:
    """The file of that name in the folders where an asset's textures may lie; None when there is none.

    Args:
        asset: the asset's file.
        name: a bare file name.
    """
    for folder in (asset.parent / place for place in _TEXTURE_FOLDERS):
        target = target_below(folder, name) if name else None
        if target and target.is_file():
            return target
    return None
