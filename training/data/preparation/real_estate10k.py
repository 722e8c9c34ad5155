"""RealEstate10K and ACID as their publishers give them: camera files, with the frames that a user took out of the videos.

`<clip>.txt` lie in a folder, or in its `train`, `validation` (or `val`) and `test`, which then are the splits; frames are
`<clip>/<time>.png` or `.jpg` beside the camera file, or in a folder of frames of the same layout
(`training.data.importers.real_estate10k` has the format). Without the publisher's splits clips of one video share theirs.

The sets have no depth. Beside them may lie a reconstruction of each clip by COLMAP, `<clip>/sparse/0` or `<clip>` in a folder of
models, whose pictures bear the frames' names: its points become sparse depth. It must be of the clip's own world, that is
triangulated from the published poses; of another one the units would be unknown.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import View
from stage.errors import InputError
from stage.failures import ObjectFailedError
from training.data.importers.real_estate10k import camera_lines, camera_of, frame_file
from training.data.preparation.colmap_models import check_installed, model_folder, shots
from training.data.preparation.picture_files import read_rgb, size_of
from training.data.preparation.source_scenes import (
    LeftOut,
    LoadedFrame,
    OpenedScene,
    SourceFrame,
    SourceScene,
    SparseDepth,
)

_SPLITS = {"train": "train", "validation": "val", "val": "val", "test": "test"}
# Of an axis, and of the mean distance of a clip's cameras to their middle: what two poses of a frame may differ by in one world.
_SAME_WORLD = 0.02

Points = Float[np.ndarray, "n 3"]


def clip_scenes(
    source: Path, category: Literal["re10k", "acid"], frames: Path | None = None, models: Path | None = None
) -> Iterator[SourceScene]:
    """The clips of a folder of camera files.

    Args:
        source: camera files, or the folders of the publisher's splits with them.
        category: of its scenes.
        frames: where the clips' folders of frames are; None is beside the camera files.
        models: where the clips' reconstructions are, if there are any.

    Raises:
        InputError: when there is no camera file, or models are named and pycolmap is not installed.
    """
    if models:
        check_installed()
    folders = {"": source} | {folder: source / folder for folder in _SPLITS}
    files = [(folder, path) for folder, place in folders.items() for path in sorted(place.glob("*.txt"))]
    if not files:
        raise InputError(f"no camera file {source / '*.txt'} or {source / 'train' / '*.txt'}", "name their folder")
    for folder, path in files:
        pictures = _clip_folder(frames, folder, path.stem) if frames else path.with_suffix("")
        model = _clip_folder(models, folder, path.stem) if models else None
        with path.open(errors="replace") as stream:
            video = stream.readline().strip()
        yield SourceScene(category, path.stem, partial(_open, path, pictures, model), _SPLITS.get(folder, ""), video)


def _clip_folder(place: Path, split: str, clip: str) -> Path:
    """A clip's folder, in its split's or not."""
    inside = place / split / clip
    return inside if inside.is_dir() else place / clip


def _open(cameras: Path, pictures: Path, model: Path | None) -> OpenedScene:
    views, left_out = dict[Path, View](), list[LeftOut]()
    for line in camera_lines(cameras):
        path = frame_file(pictures, line)
        if path is None:
            left_out.append(LeftOut(f"{int(line[0])}", "its picture is not there"))
            continue
        try:
            views[path] = camera_of(line, *size_of(path))
        except (ValueError, OSError) as error:
            left_out.append(LeftOut(path.name, str(error)))
    points: dict[str, Points] = {}
    if model:
        try:
            points = _points({path.stem: view for path, view in views.items()}, model)
        except (ValueError, ObjectFailedError) as error:
            left_out.append(LeftOut("depth", str(error)))
    frames = [
        SourceFrame(path.name, view.c2w, view.intrinsics, partial(_load, path, view, points.get(path.stem)))
        for path, view in views.items()
    ]
    return OpenedScene(frames, left_out)


def _load(path: Path, view: View, points: Points | None) -> LoadedFrame:
    picture = read_rgb(path, view.intrinsics.width, view.intrinsics.height)
    return LoadedFrame(picture, None if points is None else SparseDepth.of(points, view.c2w, view.intrinsics))


def _points(views: dict[str, View], model: Path) -> dict[str, Points]:
    """The world points that were seen in each frame of a clip's reconstruction.

    Raises:
        ValueError: when there is none, or it is of another world.
        ObjectFailedError: when it is damaged.
    """
    place = model_folder(model)
    if place is None:
        raise ValueError(f"no reconstruction in {model}")
    found = {PurePosixPath(shot.name).stem: shot for shot in shots(place)}
    known = {stem: shot for stem, shot in found.items() if stem in views}
    if len(known) < 2:
        raise ValueError(f"{place} has {len(known)} of the clip's frames, two are needed")
    _check_world(np.array([views[stem].c2w for stem in known]), np.array([shot.c2w for shot in known.values()]), place)
    return {stem: shot.points for stem, shot in known.items()}


def _check_world(ours: Float[np.ndarray, "v 4 4"], theirs: Float[np.ndarray, "v 4 4"], place: Path) -> None:
    centres = ours[:, :3, 3]
    spread = np.linalg.norm(centres - centres.mean(axis=0), axis=1).mean()
    moved = np.linalg.norm(theirs[:, :3, 3] - centres, axis=1).max()
    turned = np.abs(theirs[:, :3, :3] - ours[:, :3, :3]).max()
    if moved > _SAME_WORLD * spread or turned > _SAME_WORLD:
        raise ValueError(f"the poses of {place} are not the camera file's; triangulate from those")
