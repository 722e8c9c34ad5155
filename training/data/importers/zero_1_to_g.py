"""Zero-1-to-G's published layout (`training.data.zero_1_to_g_layout`): scenes of renderings and splatter images.

A scene is used as its loader uses it: with 56 pictures and cameras, and a splatter folder of exactly seven files. What its loader
passes over without a word is left out with a reason. Cameras and Gaussians come into our world, turned about Z so that the input,
000, stands at azimuth 0.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from blender_render.camera_sets import View
from blender_render.splatter_files import FUSED, read_splatter_images
from geometry.cameras import Intrinsics, project
from geometry.gaussian_operations import transform
from geometry.gaussians import Gaussians
from geometry.ply import read_ply
from geometry.splatter_tensor import side_of
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from training.data.importers.candidates import (
    Candidate,
    ImportedSplatter,
    ImportedViews,
    PartFailedError,
    PublishedSet,
)
from training.data.importers.object_arrays import LARGEST, read_object_dict
from training.data.importers.splatter_import import PART
from training.data.importers.square_pictures import check_squares
from training.data.zero_1_to_g_layout import (
    FIRST_SPLATTER_VIEW,
    SPLATTER_FILES,
    SPLATTER_VIEWS,
    VIEWS,
    number_of,
    splatter_frame,
    view_of,
)

SOURCE = "zero_1_to_g"
RENDERINGS = "renderings"
_FOLDERS = "eval_pred_gs_*_es"
_RANGE = "9000-9999"
# Gaussians as opaque as this lie on surfaces, which a picture shows within its outline; if the frames are right, most of them.
_OPAQUE, _LEAST_SHARE = 0.5, 0.5
_LEAST_ALPHA = 1
# 98,304 Gaussians with harmonics of degree 3 are 24 MB.
_LARGEST_PLY = 64 * 2**20


def zero_1_to_g(renderings: Path, splatters: Path, views: int = VIEWS) -> PublishedSet:
    """The scenes of two folders.

    Args:
        renderings: has a folder a scene.
        splatters: has a folder a scene in each `*/9000-9999`, or is such a folder.
        views: pictures of a complete scene.

    Raises:
        InputError: when a folder is missing, or there is no scene; also for fewer views than the splatter images have.
    """
    for folder in (renderings, splatters):
        if not folder.is_dir():
            raise InputError(
                f"no folder {folder}", "name the folder of renderings, and with --splatters that of splatter images"
            )
    if views <= SPLATTER_VIEWS:
        raise InputError(f"{views} views do not hold the splatter images' {SPLATTER_VIEWS}", f"set --views to {VIEWS}")
    pattern = "*" if splatters.name == _RANGE else f"*/{_RANGE}/*"
    folders: dict[str, list[Path]] = defaultdict(list)
    for scene in sorted(path for path in splatters.glob(pattern) if path.is_dir()):
        folders[scene.name] += sorted(scene.glob(_FOLDERS))
    scenes = sorted({path.name for path in renderings.iterdir() if path.is_dir()} | set(folders))
    if not scenes:
        raise InputError(
            f"no scene in {renderings}", "name the folder that has a folder of 000.png and 000.npy a scene"
        )
    load = partial(_load, views=views)
    candidates = [Candidate(uid, partial(load, renderings / uid, folders[uid])) for uid in scenes]
    return PublishedSet(SOURCE, candidates, len(candidates), splatters=True)


def _load(folder: Path, splatters: Sequence[Path], views: int) -> ImportedViews:
    splatter = _complete(splatters)
    pictures, cameras, coverage = _rendered(folder, views)
    seen = slice(FIRST_SPLATTER_VIEW, FIRST_SPLATTER_VIEW + SPLATTER_VIEWS)
    images, fused = _in_world(splatter, cameras[FIRST_SPLATTER_VIEW])
    _check_projection(fused, [folder / name for name in list(pictures)[seen]], cameras[seen])
    side = side_of(images[0])
    lenses = [view.intrinsics.resized(side, side) for view in cameras[seen]]
    placed = tuple(View(view.c2w, lens) for view, lens in zip(cameras[seen], lenses, strict=True))
    return ImportedViews(tuple(pictures.values()), coverage, cameras, splatter=ImportedSplatter(images, fused, placed))


def _complete(splatters: Sequence[Path]) -> Path:
    """The first splatter folder of exactly the seven files; as the loader, whichever comes first counts."""
    if not splatters:
        raise PartFailedError(PART, FailureClass.MISSING, "it has no splatter folder")
    counts = []
    for folder in splatters:
        names = {path.name for path in folder.iterdir()}
        if names == set(SPLATTER_FILES):
            return folder
        counts.append(len(names))
    whole = len(SPLATTER_FILES)
    what = (
        f"{counts[0]} files, not {whole}" if counts[0] != whole else f"other files than {SPLATTER_FILES[0]} … {FUSED}"
    )
    raise PartFailedError(PART, FailureClass.MISSING, f"its splatter folder has {what}")


def _rendered(folder: Path, views: int) -> tuple[dict[str, bytes], tuple[View, ...], tuple[float, ...]]:
    """Pictures by name, cameras and mean alpha."""
    stems = [f"{number:03d}" for number in range(views)]
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if missing := [
        f"{stem}{suffix}" for stem in stems for suffix in (".png", ".npy") if f"{stem}{suffix}" not in there
    ]:
        what = (
            f"{len(missing)} of {2 * views} files are missing, {missing[0]} first"
            if there
            else "it has no folder of renderings"
        )
        raise PartFailedError(RENDERINGS, FailureClass.MISSING, what)
    pictures = {f"{stem}.png": (folder / f"{stem}.png").read_bytes() for stem in stems}
    try:
        size, coverage = check_squares(pictures)
    except ObjectFailedError as error:
        raise PartFailedError(RENDERINGS, error.failure, str(error)) from None
    return pictures, _cameras([folder / f"{stem}.npy" for stem in stems], size), coverage


def _cameras(paths: Sequence[Path], size: int) -> tuple[View, ...]:
    """The cameras of some files, turned about Z so that the first stands at azimuth 0."""
    cameras: list[View] = []
    turned = 0.0
    for path in paths:
        try:
            with path.open("rb") as stream:
                values = read_object_dict(stream.read(LARGEST + 1))
            turned = turned if cameras else number_of(values, "azimuth")
            cameras.append(view_of(values, turned, size))
        except ValueError as error:
            raise PartFailedError(RENDERINGS, FailureClass.PARSE, f"{path.name} is no camera: {error}") from None
    return tuple(cameras)


def _in_world(folder: Path, first: View) -> tuple[tuple[Gaussians, ...], Gaussians]:
    """Splatter images and fused Gaussians in our world."""
    for name in SPLATTER_FILES:
        if (size := (folder / name).stat().st_size) > _LARGEST_PLY:
            raise PartFailedError(PART, FailureClass.OVERSIZED, f"{name} has {size} bytes, over {_LARGEST_PLY}")
    back = splatter_frame(first.c2w).inverse()
    try:
        images = tuple(transform(image, back) for image in read_splatter_images(folder, SPLATTER_VIEWS))
        fused = transform(read_ply(folder / FUSED), back)
    except InputError as error:
        what = str(error).replace(f"{folder}/", "").partition(";")[0]
        raise PartFailedError(PART, FailureClass.PARSE, what) from None
    if len({len(image) for image in images}) > 1:
        raise PartFailedError(PART, FailureClass.PARSE, "its splatter images differ in size")
    return images, fused


def _check_projection(fused: Gaussians, pictures: Sequence[Path], cameras: Sequence[View]) -> None:
    """Refuse Gaussians that are not what the pictures show, as those of another scene or another camera distance are."""
    means = fused.means[fused.opacities > _OPAQUE].astype(np.float64)
    if not len(means):
        raise PartFailedError(PART, FailureClass.BLANK, "none of its Gaussians is opaque")
    for path, view in zip(pictures, cameras, strict=True):
        with Image.open(path, formats=["PNG"]) as image:
            alpha = np.asarray(image)[..., 3]
        share = _share_inside(means, alpha >= _LEAST_ALPHA, view.c2w, view.intrinsics)
        if share < _LEAST_SHARE:
            what = f"{share:.0%} of its opaque Gaussians are within the outline of {path.name}"
            raise PartFailedError(PART, FailureClass.PARSE, what)


def _share_inside(points: np.ndarray, outline: np.ndarray, c2w: np.ndarray, lens: Intrinsics) -> float:
    pixels, depth = project(points, c2w, lens)
    # What is behind the camera or out of the picture is in no outline.
    columns, rows = np.floor(np.clip(np.nan_to_num(pixels, nan=-1.0), -1, lens.width)).astype(np.int64).T
    inside = (depth > 0) & (columns >= 0) & (columns < lens.width) & (rows >= 0) & (rows < lens.height)
    return float(outline[rows[inside], columns[inside]].sum() / len(points))
