"""The `render` stage: every selected object of the catalogue, seen by the training cameras, published in packs.

Reads `data/catalog/`; works in `scratch/renders/` and the output root, if there is one; writes `data/renders/pack-*.tar` and
`data/renders/objects.parquet`.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from blender_render.cost import estimated_cost
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from blender_render.rendered_object import read_record
from catalog.table import Asset, selected_assets, selected_rows, with_files
from stage.changes import Changes
from stage.errors import InputError
from stage.failures import Outcome, check_failure_rate
from stage.files import replacing
from stage.packs import object_folder, pack_of, unpack_kept, write_packs
from stage.share import Share
from stage.workspace import Workspace


def render_share(parameters: RenderParameters, seed: int, workspace: Workspace, share: Share) -> list[Outcome]:
    """Render one share of the catalogue and publish no packs; the outcomes of its objects that failed.

    Who does what follows from the catalogue alone. A last `render` finds all of it complete.

    Raises:
        StageFailedError: when more than `max_failure_rate` of its objects fail.
    """
    assets = selected_rows(workspace)
    mine = share.of({asset.uid: estimated_cost(asset, parameters) for asset in assets})
    farm = Farm(workspace.scratch / "renders", parameters, seed, workspace, share)
    failed = farm.render(
        with_files([asset for asset in assets if asset.uid in mine], workspace), f"render {share.name}"
    )
    check_failure_rate("render", failed, len(mine), parameters.max_failure_rate)
    return failed


def render(
    parameters: RenderParameters, seed: int, workspace: Workspace, changes: Changes | None = None
) -> list[Outcome]:
    """Render the catalogue's training views; the outcomes of the objects that failed.

    What the packs of a former run have, made of the same, is not rendered again, also where scratch space is empty.

    Args:
        parameters: of the stage.
        seed: the run's.
        workspace: the workspace.
        changes: is told what was rendered and what kept.

    Raises:
        StageFailedError: when more than `max_failure_rate` of the objects fail, or none succeeds.
    """
    assets = selected_assets(workspace)
    changes = changes or Changes()
    farm = Farm(workspace.scratch / "renders", parameters, seed, workspace, changes=changes)
    _unpack_kept(farm, assets)
    failed = farm.render(assets)
    check_failure_rate("render", failed, len(assets), parameters.max_failure_rate)
    workspace.renders.mkdir(parents=True, exist_ok=True)
    complete = [asset for asset in assets if asset.uid not in {outcome.uid for outcome in failed}]
    if not complete:
        raise InputError("no object could be rendered", f"see {farm.root / 'ledger.jsonl'}")
    write_packs(farm.root, [asset.uid for asset in complete], workspace.renders, parameters.packs, changes=changes)
    _write_table(farm, complete, failed, assets)
    return failed


def _unpack_kept(farm: Farm, assets: Sequence[Asset]) -> None:
    """Bring back from the packs what is there as it would be rendered now."""
    try:
        known = rendered_fingerprints(farm.workspace)
    except (InputError, OSError, ValueError):
        # No former run, or a damaged table of it.
        return
    same = [asset.uid for asset in assets if known.get(asset.uid) == farm.fingerprint(asset)]
    unpack_kept(farm.workspace.renders, farm.root, same)


def rendered_fingerprints(workspace: Workspace) -> dict[str, str]:
    """The fingerprint of each object that the render stage completed, by uid.

    Raises:
        InputError: when it has not run.
    """
    path = workspace.renders / "objects.parquet"
    if not path.is_file():
        raise InputError(f"no rendered objects {path}", "run viewforge render first")
    table = pd.read_parquet(path)
    complete = table[table["complete"]]
    return dict(zip(complete["uid"], complete["fingerprint"], strict=True))


def _write_table(farm: Farm, complete: Sequence[Asset], failed: Sequence[Outcome], assets: Sequence[Asset]) -> None:
    by_uid = {asset.uid: asset for asset in assets}
    rows = [_row(farm, asset, None) for asset in complete]
    rows += [_row(farm, by_uid[outcome.uid], outcome) for outcome in failed]
    frame = pd.DataFrame(rows).sort_values("uid", ignore_index=True)
    with replacing(farm.workspace.renders / "objects.parquet") as temporary:
        frame.to_parquet(temporary, index=False)


def _row(farm: Farm, asset: Asset, outcome: Outcome | None) -> dict[str, Any]:
    """One object: what its record says, or the class of its failure. Times and memory are in the ledger alone."""
    record = {} if outcome else read_record(object_folder(farm.root, asset.uid))
    statistics = record.get("statistics", {})
    coverage = record.get("coverage", [])
    return {
        "uid": asset.uid,
        "title": asset.title,
        "split": asset.split,
        "licence": asset.licence,
        "complete": outcome is None,
        "failure": str(outcome.failure) if outcome else "",
        "message": outcome.message if outcome else "",
        "pack": pack_of(asset.uid, farm.parameters.packs) if outcome is None else -1,
        "fingerprint": farm.fingerprint(asset),
        "views": len(coverage),
        "mean_coverage": sum(coverage) / len(coverage) if coverage else 0.0,
        "vertices": statistics.get("vertices", 0),
        "faces": statistics.get("faces", 0),
        "warnings": "; ".join(record.get("warnings", [])),
    }
