"""Rendered objects of a workspace as scenes, `<source>/<uid>`, with the splits of its catalogue.

Pictures are composited on white, for the layout has no alpha. Depth is the renderings' where they have the pass, and unknown
everywhere where they do not.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from blender_render.passes import load_depth, pass_path
from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import on_white, read_rgba, read_views
from catalog.table import SPLITS, selected_rows
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace
from training.data.preparation.source_scenes import LoadedFrame, OpenedScene, SourceFrame, SourceScene


def rendered_scenes(workspace: Workspace) -> Iterator[SourceScene]:
    """The rendered objects of a workspace; unpacks them where they are not loose.

    Raises:
        InputError: when nothing is rendered.
    """
    complete = rendered_fingerprints(workspace)
    assets = [asset for asset in selected_rows(workspace) if asset.uid in complete]
    renders = workspace.scratch / "renders"
    unpack_missing(workspace.renders, renders, [asset.uid for asset in assets])
    for asset in sorted(assets, key=lambda asset: (SPLITS.index(asset.split), asset.uid)):
        yield SourceScene(asset.source, asset.uid, partial(_open, object_folder(renders, asset.uid)), asset.split)


def _open(folder: Path) -> OpenedScene:
    return OpenedScene(
        [
            SourceFrame(f"{number:03d}", view.c2w, view.intrinsics, partial(_load, folder, number))
            for number, view in enumerate(read_views(folder))
        ]
    )


def _load(folder: Path, number: int) -> LoadedFrame:
    picture = np.rint(on_white(read_rgba(folder, number)) * 255.0).astype(np.uint8)
    path = pass_path(folder / f"{number:03d}", "depth")
    return LoadedFrame(picture, load_depth(path) if path.is_file() else None)
