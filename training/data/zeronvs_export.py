"""Rendered objects as scenes in ZeroNVS's layout, `<source>/<uid>/frame000001.png` …, a set of shards for each split.

Pictures are composited on white, for the layout has no alpha, and resized to what the published loader asserts: a shorter side
of 256. Depth is the renderings' where they have the pass, and invalid everywhere (0) where they do not.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from blender_render.passes import load_depth, pass_path
from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import on_white, read_rgba, read_views
from catalog.table import SPLITS, Asset, selected_rows
from geometry.cameras import Intrinsics
from stage.errors import InputError
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.zeronvs_cameras import CameraForm
from training.data.zeronvs_layout import Scene, write_scenes

# What the published loader asserts of a picture's shorter side, before it crops the middle.
PUBLISHED_SIDE = 256


def export_zeronvs(
    workspace: Workspace,
    target: Path,
    side: int = PUBLISHED_SIDE,
    form: CameraForm = "co3d",
    max_bytes: int = 256 * 2**20,
) -> list[Path]:
    """Write a workspace's rendered objects as shards; the shards.

    Args:
        workspace: with renderings.
        target: folder that receives `train-000000.tar` …; older shards in it are replaced.
        side: shorter side of a picture, pixels.
        form: which of ZeroNVS's loaders is to read them.
        max_bytes: a shard is closed when it has so many.

    Raises:
        InputError: when nothing is rendered, `target` holds a shard set of ours, or an object cannot be written.
    """
    if (target / INDEX).exists():
        raise InputError(f"{target} holds shards", "name another folder to export to")
    complete = rendered_fingerprints(workspace)
    assets = [asset for asset in selected_rows(workspace) if asset.uid in complete]
    renders = workspace.scratch / "renders"
    unpack_missing(workspace.renders, renders, [asset.uid for asset in assets])
    written: list[Path] = []
    for split in SPLITS:
        scenes = rendered_scenes((asset for asset in assets if asset.split == split), renders, side)
        written += write_scenes(target, split, scenes, form, max_bytes)
    return written


def rendered_scenes(assets: Iterable[Asset], renders: Path, side: int) -> Iterator[Scene]:
    """Rendered objects as scenes, one at a time."""
    for asset in assets:
        folder = object_folder(renders, asset.uid)
        views = read_views(folder)
        lenses = tuple(_resized_lens(view.intrinsics, side) for view in views)
        pictures = [_resized(read_rgba(folder, number), lens) for number, lens in enumerate(lenses)]
        depths = [_depth(folder / f"{number:03d}", lens) for number, lens in enumerate(lenses)]
        c2w = np.stack([view.c2w for view in views])
        yield Scene(asset.source, asset.uid, np.stack(pictures), c2w, lenses, np.stack(depths))


def _resized_lens(lens: Intrinsics, side: int) -> Intrinsics:
    """The intrinsics of the picture when its shorter side is `side`."""
    factor = side / min(lens.width, lens.height)
    return lens.resized(round(lens.width * factor), round(lens.height * factor))


def _resized(rgba: UInt8[np.ndarray, "h w 4"], lens: Intrinsics) -> UInt8[np.ndarray, "H W 3"]:
    picture = Image.fromarray(np.rint(on_white(rgba) * 255.0).astype(np.uint8))
    if picture.size == (lens.width, lens.height):
        return np.asarray(picture)
    # Pillow's filters widen with the reduction, so that nothing is aliased.
    return np.asarray(picture.resize((lens.width, lens.height), Image.Resampling.BICUBIC))


def _depth(stem: Path, lens: Intrinsics) -> Float[np.ndarray, "H W"]:
    """Depth of a view at the resized pixels' centres; never a mean across an edge, which is where nothing is."""
    path = pass_path(stem, "depth")
    if not path.is_file():
        return np.zeros((lens.height, lens.width), dtype=np.float32)
    depth = load_depth(path)
    rows = ((np.arange(lens.height) + 0.5) * depth.shape[0] / lens.height).astype(int)
    columns = ((np.arange(lens.width) + 0.5) * depth.shape[1] / lens.width).astype(int)
    return depth[np.ix_(rows, columns)]
