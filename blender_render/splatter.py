"""The `splatter` stage: pixel-aligned Gaussians of six fixed views of every object, in closed form or refined from there.

Reads `data/catalog/` and which objects could be rendered; works in `scratch/splatters/` and, where `refinement.steps` is not 0,
`scratch/splatters_refined/`; writes `data/splatters/` (packs
of `splatter_{0..5}.ply`, `fused.ply` and `splatter.safetensors`, and `splatters.parquet`) and `data/splatter_metrics.json`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from blender_render.batch import Batch, BatchJob
from blender_render.farm import RENDER_CODE, Farm, object_fingerprint, recipe
from blender_render.parameters import RenderParameters, SplatterParameters
from blender_render.protocols import SIX_VIEW_AZIMUTHS, cameras
from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import read_record
from blender_render.splatter_refinement import REFINED, refine_splatters
from catalog.table import Asset, selected_rows, with_files
from stage.errors import InputError
from stage.failures import Outcome, check_failure_rate
from stage.files import replacing, write_json
from stage.packs import object_folder, write_packs
from stage.seeds import generator
from stage.workspace import Workspace

_HANDLER = "blender_render.splatter_worker:splatter_object"
_CODE = (
    *RENDER_CODE,
    "blender_render.splatter_files",
    "blender_render.splatter_worker",
    "geometry.gaussian_tensors",
    "geometry.gaussians",
    "geometry.ply",
    "geometry.rasterizer",
    "geometry.splatter",
)


def make_splatters(parameters: SplatterParameters, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Make the splatter images of a workspace's objects; the summary that is also written as metrics.

    Raises:
        StageFailedError: when more than `max_failure_rate` of the objects fail.
        InputError: when none succeeds.
    """
    rendered = rendered_fingerprints(workspace)
    chosen = [asset for asset in selected_rows(workspace) if asset.uid in rendered][: parameters.max_objects]
    assets = with_files(chosen, workspace)
    root = workspace.scratch / "splatters"
    jobs = _jobs(assets, parameters, seed, workspace)
    failed = Batch(root, _HANDLER, parameters.executor).run(jobs, "splatter")
    check_failure_rate("splatter", failed, len(assets), parameters.max_failure_rate)
    if parameters.refinement.steps:
        lost = {outcome.uid for outcome in failed}
        closed_forms = {job.uid: job.fingerprint for job in jobs if job.uid not in lost}
        failed += refine_splatters(closed_forms, parameters, seed, workspace)
        root = workspace.scratch / REFINED
        check_failure_rate("splatter", failed, len(assets), parameters.max_failure_rate)
    complete = sorted({asset.uid for asset in assets} - {outcome.uid for outcome in failed})
    if not complete:
        raise InputError("no object gave Gaussians", f"see {root / 'ledger.jsonl'}")
    write_packs(root, complete, workspace.splatters, parameters.packs)
    frame = _table(complete, failed, root)
    with replacing(workspace.splatters / "splatters.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    summary = {"objects": len(complete), "psnr": round(float(frame["rerender_psnr"].mean()), 4)}
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
    return {
        "check_cameras": _check_cameras(uid, parameters, seed),
        "supervision_cameras": _supervision_cameras(uid, parameters, seed),
        "footprint": parameters.footprint,
        "opacity": parameters.opacity,
    }


def _farm(parameters: SplatterParameters, seed: int, workspace: Workspace) -> Farm:
    """The six views; light and camera purposes are those of the render stage, so objects look alike."""
    views = RenderParameters(
        protocol="six_views",
        views=len(SIX_VIEW_AZIMUTHS),
        resolution=parameters.resolution,
        quality=parameters.quality,
        assets=parameters.assets,
        executor=parameters.executor,
    )
    return Farm(workspace.scratch / "splatters", views, seed, workspace)


def _check_cameras(uid: str, parameters: SplatterParameters, seed: int) -> list[list[list[float]]]:
    return _cameras(generator(seed, uid, "splatter check cameras"), parameters.check_views, parameters.resolution)


def _supervision_cameras(uid: str, parameters: SplatterParameters, seed: int) -> list[list[list[float]]]:
    count = parameters.refinement.views if parameters.refinement.steps else 0
    return _cameras(generator(seed, uid, "splatter supervision cameras"), count, parameters.resolution)


def _cameras(random: np.random.Generator, count: int, resolution: int) -> list[list[list[float]]]:
    return [view.c2w.tolist() for view in cameras("zero123", random, count, resolution)] if count else []


def _table(complete: list[str], failed: list[Outcome], root: Path) -> pd.DataFrame:
    rows = []
    for uid in complete:
        record = read_record(object_folder(root, uid))
        psnr = float(np.mean(record["rerender_psnr"]))
        rows.append(
            {"uid": uid, "gaussians": record["gaussians"], "rerender_psnr": psnr, "failure": "", "message": ""}
        )
    for outcome in failed:
        lost = {"gaussians": 0, "rerender_psnr": float("nan")}
        rows.append({"uid": outcome.uid, **lost, "failure": str(outcome.failure), "message": outcome.message})
    return pd.DataFrame(rows).sort_values("uid", ignore_index=True)
