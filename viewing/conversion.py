"""Files of Gaussians that other programs read, by suffix: ours, and through splat-transform those of the web.

All hold the numbers of the 3DGS PLY file, our world's, Z up. SPZ's axes are right, up, back where PLY's are taken as right, down,
front; the converter turns them both ways, so means read from an SPZ file are those that were written. Viewers take −Y for up in a
PLY file: `upright` turns the Gaussians for them.
"""

import tempfile
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from geometry import gaussian_files
from geometry.gaussian_operations import transform as transformed
from geometry.gaussians import Gaussians
from geometry.ply import read_ply, write_ply
from geometry.similarity import Similarity
from stage.errors import InputError
from stage.files import replacing
from stage.foreign_files import MOST_INFLATED, BoundedGzip
from viewing.splat_transform import transform

_NATIVE = tuple(gaussian_files.FORMATS)
_BY_THE_CONVERTER = (".spz", ".sog")
# 24 bits with 12 after the point; what lies further out would be moved there.
_SPZ_REACH = 2048.0
_PIECE = 1 << 20
SUFFIXES = (*_NATIVE, *_BY_THE_CONVERTER)


def read_gaussians(path: Path) -> Gaussians:
    """Read Gaussians of any format that is known by its suffix.

    Raises:
        InputError: when the suffix is unknown, the file is absent or damaged, or the converter is needed and not installed.
    """
    suffix = _known(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if suffix in _NATIVE:
        return gaussian_files.read_gaussians(path)
    _refuse_bomb(path, suffix)
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch:
        plain = Path(scratch) / "gaussians.ply"
        transform(path, plain, named=path)
        try:
            return read_ply(plain)
        except InputError as error:
            # The user knows nothing of the file in between.
            raise InputError(str(error).replace(str(plain), str(path))) from error


def _refuse_bomb(path: Path, suffix: str) -> None:
    """Refuse a file of which more comes out than is believable: the converter holds all of it. It says itself what is damaged."""
    try:
        size = _inflated(path) if suffix == ".spz" else _unpacked(path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        return
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if size > MOST_INFLATED:
        raise InputError(f"{path}: more than {MOST_INFLATED:,} bytes come out of it")


def _inflated(path: Path) -> int:
    """Bytes that come out of a gzip file, as an SPZ file before version 4 is one."""
    with BoundedGzip(path, MOST_INFLATED) as stream:
        return sum(map(len, iter(partial(stream.read1, _PIECE), b"")))


def _unpacked(path: Path) -> int:
    """Bytes that come out of a zip archive, as a SOG file is one."""
    with zipfile.ZipFile(path) as archive:
        return sum(entry.file_size for entry in archive.infolist())


def write_gaussians(path: Path, gaussians: Gaussians) -> None:
    """Write Gaussians atomically in the format of the suffix; the same Gaussians give the same bytes.

    Raises:
        InputError: when the suffix is unknown, the format cannot hold the Gaussians, or the converter is needed and not
            installed.
    """
    suffix = _known(path)
    if suffix in _NATIVE:
        gaussian_files.write_gaussians(path, gaussians)
        return
    if not len(gaussians):
        raise InputError(f"{path}: there are no Gaussians, and a {suffix} file holds at least one")
    if suffix == ".spz" and np.abs(gaussians.means).max() >= _SPZ_REACH:
        raise InputError(
            f"{path}: Gaussians lie beyond {_SPZ_REACH:.0f}, which SPZ cannot hold", "scale them, or write .sog"
        )
    with tempfile.TemporaryDirectory(prefix="viewforge-") as scratch, replacing(path) as temporary:
        plain, converted = Path(scratch) / "gaussians.ply", Path(scratch) / f"gaussians{suffix}"
        write_ply(plain, gaussians)
        transform(plain, converted, named=path)
        temporary.write_bytes(converted.read_bytes())


def convert(source: Path, target: Path, turned: bool = False) -> int:
    """Convert a file of Gaussians to the format of another suffix; how many it holds.

    Args:
        source: what to read.
        target: what to write.
        turned: whether they are turned `upright`.

    Raises:
        InputError: as of reading and writing; nothing is written then.
    """
    _known(target)
    gaussians = read_gaussians(source)
    write_gaussians(target, upright(gaussians) if turned else gaussians)
    return len(gaussians)


def upright(gaussians: Gaussians) -> Gaussians:
    """Gaussians of our world turned for viewers: (x, y, z) to (x, −z, y)."""
    return transformed(gaussians, Similarity(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])))


def _known(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: {suffix or 'no suffix'} is none of {', '.join(SUFFIXES)}")
    return suffix
