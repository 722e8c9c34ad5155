"""Renderings and splatter images of a workspace in the layout that Zero-1-to-G's own code trains on (`zero_1_to_g_layout`).

`OUT/renderings` is its `--data_path_rendering`, `OUT/splatters` its `--data_path_splatter_gt`. Pictures are the renders' own
bytes. The renders must have the camera protocol `zero_1_to_g_training`, and the splatter images its layout.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from blender_render.camera_sets import View
from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import read_views
from blender_render.splatter_files import FUSED, read_splatter_images, view_path
from geometry.gaussian_operations import transform
from geometry.ply import read_ply, write_ply
from stage.errors import InputError
from stage.files import remove_leftovers, replacing_folder
from stage.packs import object_folder, unpack_missing
from stage.progress import Progress
from stage.workspace import Workspace
from training.data.zero_1_to_g_layout import FIRST_SPLATTER_VIEW, SPLATTER_VIEWS, splatter_frame, values_of

RENDERINGS, SPLATTERS = "renderings", "splatters"
_SCENES = Path("00000", "9000-9999")
_FOLDER = "eval_pred_gs_0_es"
_SAME_PLACE = 1e-6
_REMEDY = (
    "render with render.protocol: zero_1_to_g_training and make the splatter images with splatter.layout: six_views"
)


@dataclass(frozen=True)
class ZeroOneToGExport:
    """What was written."""

    scenes: int
    views: int
    """Of the scene that has fewest: the published loader passes over those of less than 56."""


def export_zero_1_to_g(workspace: Workspace, target: Path) -> ZeroOneToGExport:
    """Write every object that has renderings and splatter images; folders of the same objects are replaced.

    Raises:
        InputError: when there are none, or an object's cameras are not those of the layout.
    """
    uids = _objects(workspace)
    renders = workspace.scratch / "renders"
    unpack_missing(workspace.renders, renders, uids)
    for folder in (target / RENDERINGS, target / SPLATTERS / _SCENES):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    counts = []
    # Scratch space may have splatter images of other parameters.
    with (
        tempfile.TemporaryDirectory(dir=workspace.scratch) as scratch,
        Progress("export", len(uids), "scenes") as progress,
    ):
        splatters = Path(scratch)
        unpack_missing(workspace.splatters, splatters, uids)
        for uid in uids:
            counts.append(_export(uid, object_folder(renders, uid), object_folder(splatters, uid), target))
            progress.advance()
    return ZeroOneToGExport(len(uids), min(counts))


def _objects(workspace: Workspace) -> list[str]:
    table = workspace.splatters / "splatters.parquet"
    if not table.is_file():
        raise InputError(f"no splatter images {table}", "run viewforge splatter first")
    rows = pq.read_table(table, columns=["uid", "failure"]).to_pylist()
    uids = sorted({row["uid"] for row in rows if not row["failure"]} & set(rendered_fingerprints(workspace)))
    if not uids:
        raise InputError(f"no object of {workspace.root} has renderings and splatter images", "run viewforge splatter")
    return uids


def _export(uid: str, renders: Path, splatters: Path, target: Path) -> int:
    """Write one scene; the number of its views."""
    views, cameras = read_views(renders), read_views(splatters)
    seen = views[FIRST_SPLATTER_VIEW : FIRST_SPLATTER_VIEW + SPLATTER_VIEWS]
    if len(cameras) != SPLATTER_VIEWS or len(seen) != SPLATTER_VIEWS or not all(map(_same, seen, cameras)):
        raise InputError(f"views 001 to 006 of {uid} are not those of its splatter images", _REMEDY)
    with replacing_folder(target / RENDERINGS / uid) as folder:
        _write_renderings(folder, uid, renders, views)
    with replacing_folder(target / SPLATTERS / _SCENES / uid) as folder:
        _write_splatters(folder / _FOLDER, splatters, cameras[0])
    return len(views)


def _same(view: View, other: View) -> bool:
    lenses = view.intrinsics.fov_x, other.intrinsics.fov_x
    return bool(np.allclose(view.c2w, other.c2w, atol=_SAME_PLACE) and np.isclose(*lenses))


def _write_renderings(folder: Path, uid: str, renders: Path, views: Sequence[View]) -> None:
    for number, view in enumerate(views):
        name = f"{number:03d}.png"
        (folder / name).write_bytes((renders / name).read_bytes())
        try:
            values = values_of(view)
        except ValueError as error:
            raise InputError(f"{uid}, view {number:03d}: {error}", _REMEDY) from None
        np.save(folder / f"{number:03d}.npy", np.array(values, dtype=object), allow_pickle=True)


def _write_splatters(folder: Path, splatters: Path, first: View) -> None:
    folder.mkdir(parents=True)
    frame = splatter_frame(first.c2w)
    for number, image in enumerate(read_splatter_images(splatters, SPLATTER_VIEWS)):
        write_ply(view_path(folder, number), transform(image, frame))
    write_ply(folder / FUSED, transform(read_ply(splatters / FUSED), frame))
