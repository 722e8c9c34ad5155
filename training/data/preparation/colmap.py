"""Scenes that COLMAP has reconstructed: `sparse/0` (or `sparse`, or the files themselves) and beside it a folder of pictures.

A source is one such folder, or a folder of them, each a scene of its name. Pictures may be stored smaller than they were
reconstructed from, as Mip-NeRF 360's `images_4`: their lenses follow. Depth is sparse: where the points lie that were seen in the
picture.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from stage.errors import InputError
from training.data.preparation.colmap_models import Shot, check_installed, model_folder, pinhole, shots, undistorted
from training.data.preparation.picture_files import read_rgb, size_of
from training.data.preparation.source_scenes import (
    LeftOut,
    LoadedFrame,
    OpenedScene,
    SourceFrame,
    SourceScene,
    SparseDepth,
)
from training.data.zeronvs_cameras import check_camera

CATEGORY = "colmap"
PICTURES = "images"
# What a folder's name may hold in a shard.
_OTHERS = re.compile(r"[^A-Za-z0-9_.\-]")


def colmap_scenes(source: Path, pictures: str = PICTURES) -> Iterator[SourceScene]:
    """The reconstructions in a folder.

    Args:
        source: a scene's folder, or a folder of such.
        pictures: name of the folder of pictures beside each `sparse`.

    Raises:
        InputError: when there is no reconstruction, or pycolmap is not installed.
    """
    check_installed()
    folders = [source] if model_folder(source) else sorted(path for path in source.glob("*/") if model_folder(path))
    if not folders:
        raise InputError(f"no reconstruction in {source}", "name a folder with sparse/0 in it, or a folder of such")
    for folder in folders:
        name = _OTHERS.sub("_", folder.resolve().name)
        yield SourceScene(CATEGORY, name, partial(_open, folder, pictures))


def _open(folder: Path, pictures: str) -> OpenedScene:
    frames, left_out = [], []
    for shot in shots(model_folder(folder) or folder):
        try:
            frames.append(_frame(folder / pictures / shot.name, shot))
        except ValueError as error:
            left_out.append(LeftOut(shot.name, str(error)))
        except OSError as error:
            left_out.append(LeftOut(shot.name, f"{error.strerror or error}: {error.filename}"))
    return OpenedScene(frames, left_out)


def _frame(path: Path, shot: Shot) -> SourceFrame:
    size = size_of(path)
    lens = pinhole(shot, *size)
    check_camera(shot.c2w, lens)
    return SourceFrame(shot.name, shot.c2w, lens, partial(_load, path, size, shot))


def _load(path: Path, size: tuple[int, int], shot: Shot) -> LoadedFrame:
    depth = SparseDepth.of(shot.points, shot.c2w, pinhole(shot, *size))
    return LoadedFrame(undistorted(shot, read_rgb(path, *size)), depth)
