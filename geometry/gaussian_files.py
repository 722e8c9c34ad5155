"""Gaussians in any file this project knows, told by the suffix; a format is one line of `FORMATS`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geometry.gaussians import Gaussians
from geometry.ply import read_ply, write_ply
from geometry.splat_file import read_splat, write_splat
from stage.errors import InputError


@dataclass(frozen=True)
class Format:
    """How Gaussians are read from a path and written to one."""

    read: Callable[[Path], Gaussians]
    write: Callable[[Path, Gaussians], None]


FORMATS = {".ply": Format(read_ply, write_ply), ".splat": Format(read_splat, write_splat)}


def read_gaussians(path: Path) -> Gaussians:
    """Read a file of Gaussians.

    Raises:
        InputError: when the suffix is unknown or the file is absent or damaged.
    """
    return _format_of(path).read(path)


def write_gaussians(path: Path, gaussians: Gaussians) -> None:
    """Write Gaussians atomically, in the format of the suffix.

    Raises:
        InputError: when the suffix is unknown.
    """
    _format_of(path).write(path, gaussians)


def _format_of(path: Path) -> Format:
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise InputError(
            f"{path}: no format of Gaussians is called {path.suffix!r}", f"known are {', '.join(FORMATS)}"
        )
    return known
