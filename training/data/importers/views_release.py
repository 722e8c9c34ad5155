"""Zero-1-to-3's published renderings, `views_release`: a folder of object folders, or the tar of it.

An object is twelve `000.png` (512×512 RGBA) and `000.npy` (3×4 world-to-camera in OpenGL axes), seen through a 35 mm lens on a
32 mm sensor. `valid_paths.json`, where the folder has it, says which objects count; mirrors have it empty or as a Git LFS
pointer, and then all of them do. Source: cvlab-columbia/zero123 `ldm/data/simple.py` and
`objaverse-rendering/scripts/blender_script.py`.
"""

import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import FOV, View
from geometry.cameras import Intrinsics, c2w_from_zero123
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from stage.foreign_files import parse_json
from training.data.archive_folders import folders_in_archive
from training.data.importers.candidates import Candidate, ImportedViews, PublishedSet
from training.data.importers.square_pictures import check_squares
from training.data.zeronvs_cameras import check_camera

SOURCE = "views_release"
VIEWS = 12
_FILE = re.compile(r"\d{3}\.(?:png|npy)")
_SECOND_RENDERING = re.compile(r"_\d+$")


def views_release(source: Path, views: int = VIEWS) -> PublishedSet:
    """The objects of a `views_release` folder or tar.

    Args:
        source: the folder or the tar, compressed or not.
        views: pictures of a complete object.

    Raises:
        InputError: when there is no such folder or file, or its `valid_paths.json` is no list of folders.
    """
    if not source.is_dir():
        return PublishedSet(SOURCE, _in_archive(source, views), split_key=_same_object)
    paths = _listed(source)
    candidates = [Candidate(path.name, partial(_load_folder, source / path, views)) for path in paths]
    return PublishedSet(SOURCE, candidates, len(candidates), _same_object)


def _same_object(uid: str) -> str:
    """A name that ends in `_1` is another rendering of the object without it."""
    return _SECOND_RENDERING.sub("", uid)


def _listed(root: Path) -> list[PurePosixPath]:
    """Object folders relative to the root: those of `valid_paths.json`, or all that there are."""
    path = root / "valid_paths.json"
    try:
        names = parse_json(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return sorted(PurePosixPath(entry.name) for entry in root.iterdir() if entry.is_dir())
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise InputError(f"{path} is no list of folders", "delete it to import all of them")
    paths = [PurePosixPath(name) for name in names]
    if outside := [each for each in paths if each.is_absolute() or ".." in each.parts]:
        raise InputError(f"{path} leads out of its folder: {outside[0]}", "delete it to import all folders")
    return paths


def _in_archive(archive: Path, views: int) -> Iterator[Candidate]:
    for folder, files in folders_in_archive(archive):
        if any(map(_FILE.fullmatch, files)):
            yield Candidate(PurePosixPath(folder).name, partial(_load, files, views))


def _load_folder(folder: Path, views: int) -> ImportedViews:
    if not folder.is_dir():
        raise ObjectFailedError(FailureClass.MISSING, "its folder is missing")
    return _load({path.name: path.read_bytes() for path in folder.iterdir() if _FILE.fullmatch(path.name)}, views)


def _load(files: dict[str, bytes], views: int) -> ImportedViews:
    names = [f"{number:03d}" for number in range(views)]
    if missing := [
        f"{name}{suffix}" for name in names for suffix in (".png", ".npy") if f"{name}{suffix}" not in files
    ]:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ObjectFailedError(FailureClass.MISSING, f"{missing[0]}{others} missing")
    width, coverage = check_squares({f"{name}.png": files[f"{name}.png"] for name in names})
    lens = Intrinsics.from_fov(FOV, width)
    cameras = tuple(View(_read_pose(f"{name}.npy", files[f"{name}.npy"], lens), lens) for name in names)
    return ImportedViews(tuple(files[f"{name}.png"] for name in names), coverage, cameras)


def _read_pose(name: str, data: bytes, lens: Intrinsics) -> Float[np.ndarray, "4 4"]:
    """c2w of a `.npy`, which is looked at before it is loaded: never a pickle, never larger than a matrix."""
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of NumPy's format")  # noqa: TRY301 - told as the rest is
        shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        if shape != (3, 4) or kind.kind != "f":
            raise ValueError(f"{kind} of shape {shape}")  # noqa: TRY301 - told as the rest is
        matrix = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64)
        c2w = c2w_from_zero123(matrix)
        check_camera(c2w, lens)
    except (ValueError, EOFError) as error:
        what = str(error).partition("\n")[0]
        raise ObjectFailedError(FailureClass.PARSE, f"{name} is no 3×4 matrix of a camera: {what}") from None
    return c2w
