"""The `splatter` stage: pixel-aligned Gaussians of six fixed views of every object, in closed form or refined from there.

Reads `data/catalog/` and which objects could be rendered; works in `scratch/splatters/` and, where `refinement.steps` is not 0,
`scratch/splatters_refined/`; writes `data/splatters/` (packs of `splatter_{0..5}.ply`, `fused.ply` and `splatter.safetensors`,
and `splatters.parquet`, which says of each object how near its Gaussians are to unseen views) and `data/splatter_metrics.json`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from blender_render.batch import Batch, BatchJob
from blender_render.farm import RENDER_CODE, Farm, object_fingerprint, recipe
from blender_render.parameters import RenderParameters, SplatterParameters
from blender_render.protocols import FOV, cameras
from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import read_record
from blender_render.splatter_refinement import REFINED, refine_splatters
from catalog.table import Asset, selected_rows, with_files
from geometry.cameras import Intrinsics
from stage.changes import Changes
from stage.errors import InputError
from stage.failures import Outcome, check_failure_rate
from stage.files import replacing, write_json
from stage.packs import object_folder, unpack_kept, write_packs
from stage.seeds import generator
from stage.workspace import Workspace

_HANDLER = "blender_render.splatter_worker:splatter_object"
_CODE = (
    *RENDER_CODE,
    "blender_render.closed_form",
    "blender_render.splatter_files",
    "blender_render.splatter_quality",
    "blender_render.splatter_worker",
    "geometry.compositing",
    "geometry.gaussian_tensors",
    "geometry.gaussians",
    "geometry.inset",
    "geometry.picture_metrics",
    "geometry.ply",
    "geometry.projection",
    "geometry.rasterizer",
    "geometry.rasterizer_cpu",
    "geometry.rasterizer_gsplat",
    "geometry.rendered_quality",
    "geometry.spherical_harmonics",
    "geometry.splatter",
    "geometry.splatter_tensor",
    "geometry.tiles",
    "geometry.view_features",
)
# What decides an object's Gaussians, beside its cameras and light.
_DECISIVE = {"colour", "footprint", "opacity", "inset"}
_SHARES = ("transparent", "thin", "cut_off")
# Of the record's entry `quality`, for the fused Gaussians and for the union of the splatter images.
_METRICS = ("psnr", "ssim", "alpha_iou")
_SUMMARIES: dict[str, Callable[[list[float]], float]] = {"": np.mean, "_worst": np.min}
_COLUMNS = (
    *("gaussians", "union_gaussians"),
    *(f"{kind}{name}{suffix}" for kind in ("", "union_") for name in _METRICS for suffix in _SUMMARIES),
    *_SHARES,
    "falls_short",
)
# What a worker writes beside the Gaussians for refinement alone.
_VIEWS = "views"


def make_splatters(
    parameters: SplatterParameters, seed: int, workspace: Workspace, changes: Changes | None = None
) -> dict[str, Any]:
    """Make the splatter images of a workspace's objects; the summary that is also written as metrics.

    What the packs of a former run have, made of the same, is not made again, also where scratch space is empty; of refined
    ones the closed form is.

    Args:
        parameters: of the stage.
        seed: the run's.
        workspace: the workspace.
        changes: is told what was made and what kept.

    Raises:
        StageFailedError: when more than `max_failure_rate` of the objects fail.
        InputError: when none succeeds.
    """
    rendered = rendered_fingerprints(workspace)
    chosen = [asset for asset in selected_rows(workspace) if asset.uid in rendered][: parameters.max_objects]
    assets = with_files(chosen, workspace)
    root = workspace.scratch / "splatters"
    changes = changes or Changes()
    jobs = _jobs(assets, parameters, seed, workspace)
    refined = bool(parameters.refinement.steps)
    unpack_kept(workspace.splatters, workspace.scratch / REFINED if refined else root, [job.uid for job in jobs])
    failed = Batch(root, _HANDLER, parameters.executor, changes=changes).run(jobs, "splatter")
    check_failure_rate("splatter", failed, len(assets), parameters.max_failure_rate)
    if refined:
        lost = {outcome.uid for outcome in failed}
        closed_forms = {job.uid: job.fingerprint for job in jobs if job.uid not in lost}
        failed += refine_splatters(closed_forms, parameters, seed, workspace)
        root = workspace.scratch / REFINED
        check_failure_rate("splatter", failed, len(assets), parameters.max_failure_rate)
    complete = sorted({asset.uid for asset in assets} - {outcome.uid for outcome in failed})
    if not complete:
        raise InputError("no object gave Gaussians", f"see {root / 'ledger.jsonl'}")
    write_packs(root, complete, workspace.splatters, parameters.packs, without=_VIEWS, changes=changes)
    frame = _table(complete, failed, root)
    with replacing(workspace.splatters / "splatters.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    summary = {"objects": len(complete), **{name: round(float(frame[name].mean()), 4) for name in _METRICS}}
    write_json(workspace.root / "data" / "splatter_metrics.json", summary)
    return summary


def _jobs(assets: Sequence[Asset], parameters: SplatterParameters, seed: int, workspace: Workspace) -> list[BatchJob]:
    farm = _farm(parameters, seed, workspace)
    sample = farm.sample_job()
    shared = recipe(sample, _CODE, **_own(sample.uid, parameters, seed))
    jobs = []
    for asset in assets:
        fingerprint = object_fingerprint(shared, asset)
        jobs.append(BatchJob(asset.uid, fingerprint, partial(_payload, asset, fingerprint, farm, parameters)))
    return jobs


def _payload(asset: Asset, fingerprint: str, farm: Farm, parameters: SplatterParameters) -> dict[str, Any]:
    job = replace(farm.job(asset), fingerprint=fingerprint)
    # The host looks at `output` to tell a full disk from other failures.
    return {"job": job.payload(), "output": job.output, **_own(asset.uid, parameters, farm.seed)}


def _own(uid: str, parameters: SplatterParameters, seed: int) -> dict[str, Any]:
    """What a worker is told beside the render job."""
    supervised = parameters.refinement.views if parameters.refinement.steps else 0
    return {
        "check_cameras": _random_cameras(uid, "check", parameters.check_views, seed),
        "supervision_cameras": _random_cameras(uid, "supervision", supervised, seed),
        "lens": asdict(Intrinsics.from_fov(FOV, parameters.resolution)),
        "parameters": parameters.model_dump(include=_DECISIVE),
    }


def _farm(parameters: SplatterParameters, seed: int, workspace: Workspace) -> Farm:
    """The six views; light and camera purposes are those of the render stage, so objects look alike."""
    views = RenderParameters(
        protocol=parameters.layout,
        views=6,
        resolution=parameters.resolution,
        quality=parameters.quality,
        assets=parameters.assets,
        executor=parameters.executor,
    )
    return Farm(workspace.scratch / "splatters", views, seed, workspace)


def _random_cameras(uid: str, purpose: str, count: int, seed: int) -> list[list[list[float]]]:
    """c2w matrices around the object as in Zero-1-to-3's training renders; those of two purposes are independent."""
    if not count:
        return []
    # Where a camera stands does not depend on the size of its picture.
    views = cameras("zero123", generator(seed, uid, f"splatter {purpose} cameras"), count, size=1)
    return [view.c2w.tolist() for view in views]


def _table(complete: list[str], failed: list[Outcome], root: Path) -> pd.DataFrame:
    """A row for each object: numbers of Gaussians, mean and worst quality, why it falls short, or why there is none."""
    records = {uid: read_record(object_folder(root, uid)) for uid in complete}
    rows = [{"uid": uid, **_row(record), "failure": "", "message": ""} for uid, record in records.items()]
    rows += [{"uid": lost.uid, "failure": str(lost.failure), "message": lost.message} for lost in failed]
    frame = pd.DataFrame(rows, columns=["uid", *_COLUMNS, "failure", "message"])
    counts = {"gaussians": 0, "union_gaussians": 0, "falls_short": ""}
    return (
        frame.fillna(counts).astype({"gaussians": int, "union_gaussians": int}).sort_values("uid", ignore_index=True)
    )


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """An object's columns; the quality of the fused Gaussians goes without a prefix."""
    scores = {
        f"{prefix}{name}{suffix}": float(summary(record["quality"][kind][name]))
        for kind, prefix in (("fused", ""), ("union", "union_"))
        for name in _METRICS
        for suffix, summary in _SUMMARIES.items()
    }
    counts = {name: record[name] for name in ("gaussians", "union_gaussians", "falls_short")}
    return {**counts, **scores, **record["shares"]}
