"""CO3D as its publishers give it, version 1 or 2: a folder of categories, each sequence of which is a scene.

`<category>/frame_annotations.jgz` and `sequence_annotations.jgz` are gzipped JSON lists; paths in them are relative to the folder
of categories. Poses are PyTorch3D's R and T; intrinsics are normalised device coordinates, of version 1 unless a viewpoint names
its `intrinsics_format`. Depth is the bits of 16-bit floats in a 16-bit PNG, times `scale_adjustment`; it is to be believed
only where the depth mask is set. Source: facebookresearch/co3d `co3d/dataset/data_types.py`, and pytorch3d
`implicitron/dataset/utils.py` (`load_depth`, `load_1bit_png_mask`).

A sequence's split follows from its name, or from a set list (`set_lists/set_lists_<name>.json`): then from the strictest of test,
val and train that names one of its frames, so that no object is both trained on and tested with. Frames that the list does not
name are passed over without a word.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from stage.foreign_files import BoundedGzip, parse_json
from training.data.pictures import decoded
from training.data.preparation.picture_files import read_rgb
from training.data.preparation.source_scenes import LeftOut, LoadedFrame, OpenedScene, SourceFrame, SourceScene
from training.data.zeronvs_cameras import camera_of
from training.data.zeronvs_layout import decode_depth

_FRAMES, _SEQUENCES = "frame_annotations.jgz", "sequence_annotations.jgz"
_STRICTEST_LAST = ("train", "val", "test")
# A dataset of JSON objects as dictionaries takes gigabytes; sequences come category by category.
_CATEGORIES_AT_ONCE = 2

_Row = dict[str, Any]
_Split = tuple[str, frozenset[int]]


def co3d_scenes(root: Path, min_quality: float | None = None, set_list: str | None = None) -> Iterator[SourceScene]:
    """The sequences of all categories below a folder, or of the one that it is.

    Args:
        root: folder of categories, or a category's.
        min_quality: leave out sequences whose cameras' `viewpoint_quality_score` is lower or unknown.
        set_list: name of a set list, such as `fewview_dev`, whose splits and frames are followed.

    Raises:
        InputError: when there is no category, or an annotation of sequences or a set list is missing or damaged.
    """
    categories = [root] if (root / _FRAMES).is_file() else sorted(path.parent for path in root.glob(f"*/{_FRAMES}"))
    if not categories:
        raise InputError(f"no category of CO3D in {root}: {root / '*' / _FRAMES}", "name the folder of categories")
    for category in categories:
        yield from _sequences(category, min_quality, set_list)


def _sequences(category: Path, min_quality: float | None, set_list: str | None) -> Iterator[SourceScene]:
    listed = _listed(category, set_list) if set_list else None
    rows = _annotations(category / _SEQUENCES)
    for name, row in sorted((str(row.get("sequence_name", "")), row) for row in rows):
        quality = row.get("viewpoint_quality_score")
        doubt = ""
        if min_quality is not None and not (isinstance(quality, int | float) and quality >= min_quality):
            doubt = f"the quality of its cameras is {quality}, {min_quality:g} is asked for"
        split, numbers = ("", None) if listed is None else listed.get(name, ("train", frozenset[int]()))
        yield SourceScene(
            category.name, name, partial(_open, category, name, numbers, doubt), split, f"{category.name}/{name}"
        )


def _open(category: Path, name: str, numbers: frozenset[int] | None, doubt: str) -> OpenedScene:
    if doubt:
        raise ObjectFailedError(FailureClass.DEGENERATE, doubt)
    rows = _frames_of(category).get(name, [])
    if numbers is not None:
        rows = [row for row in rows if row.get("frame_number") in numbers]
        if not rows:
            raise ObjectFailedError(FailureClass.MISSING, "the set list names no frame of it")
    frames, left_out = [], []
    for row in rows:
        try:
            frames.append(_frame(category.parent, row))
        except (KeyError, TypeError) as error:
            left_out.append(LeftOut(_frame_name(row), f"its annotation lacks something: {error}"))
        except ValueError as error:
            left_out.append(LeftOut(_frame_name(row), str(error)))
    return OpenedScene(frames, left_out)


def _frame(root: Path, row: _Row) -> SourceFrame:
    height, width = (int(length) for length in row["image"]["size"])
    if not row.get("viewpoint"):
        raise ValueError("it has no camera")
    c2w, lens, _ = camera_of(row["viewpoint"], width, height)
    load = partial(_load, root, row["image"]["path"], width, height, row.get("depth"))
    return SourceFrame(_frame_name(row), c2w, lens, load)


def _load(root: Path, picture: str, width: int, height: int, depth: _Row | None) -> LoadedFrame:
    return LoadedFrame(read_rgb(root / picture, width, height), _depth(root, depth) if depth else None)


def _depth(root: Path, row: _Row) -> Float[np.ndarray, "h w"]:
    """Depth where the mask believes it, 0 elsewhere."""
    try:
        depth = decode_depth((root / row["path"]).read_bytes()) * np.float32(row["scale_adjustment"])
        if not row.get("mask_path"):
            return depth
        mask = np.asarray(decoded((root / row["mask_path"]).read_bytes()).convert("L"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"its depth: {error}") from None
    if mask.shape != depth.shape:
        raise ValueError("its depth and the mask of it differ in size")
    return np.where(mask > 0, depth, np.float32(0.0))


def _frame_name(row: _Row) -> str:
    image = row.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    return Path(str(path)).stem if path else f"number {row.get('frame_number')}"


@lru_cache(maxsize=_CATEGORIES_AT_ONCE)
def _frames_of(category: Path) -> dict[str, list[_Row]]:
    """The frames of each sequence of a category, in their order in time."""
    sequences: defaultdict[str, list[_Row]] = defaultdict(list)
    try:
        for row in _annotations(category / _FRAMES):
            sequences[str(row.get("sequence_name"))].append(row)
    except InputError as error:
        raise ObjectFailedError(FailureClass.PARSE, str(error)) from None
    for rows in sequences.values():
        rows.sort(key=lambda row: (row.get("frame_number") or 0, _frame_name(row)))
    return dict(sequences)


def _listed(category: Path, name: str) -> dict[str, _Split]:
    """Split and frames of each sequence that a set list names; a category that lacks this list has none."""
    path = category / "set_lists" / f"set_lists_{name}.json"
    if not path.is_file():
        return {}
    splits: dict[str, str] = {}
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    try:
        lists = parse_json(path.read_bytes())
        for split in _STRICTEST_LAST:
            for sequence, number, _ in lists.get(split, []):
                splits[sequence] = split
                numbers[sequence].add(int(number))
    except (ValueError, TypeError, AttributeError):
        raise InputError(f"{path} is no set list", "download it again") from None
    return {sequence: (split, frozenset(numbers[sequence])) for sequence, split in splits.items()}


def _inflated(path: Path) -> bytes:
    with BoundedGzip(path) as stream:
        return stream.read()


def _annotations(path: Path) -> list[_Row]:
    try:
        rows = parse_json(_inflated(path))
    except FileNotFoundError:
        raise InputError(f"there is no {path}", "download the category's annotations") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}", "download it again") from None
    if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise InputError(f"{path} is no list of annotations", "download it again")
    return rows
