"""The sources `procedural` and `scene`: seeded objects, or rooms with several of them, composed in Blender, exported as .glb.

Each is made by a worker process into `scratch/catalog/<uid[:2]>/<uid>/asset.glb` and published in packs.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from catalog.folder import file_asset, uid_of
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.changes import Changes
from stage.code import source_fingerprint
from stage.executor import Executor, Job
from stage.failures import Outcome, check_failure_rate
from stage.files import json_sha256, write_json
from stage.packs import object_folder, unpack_kept, write_packs
from stage.progress import Progress
from stage.seeds import derive_seed
from stage.workspace import Workspace

_HANDLER = "catalog.procedural_worker:compose"
# Everything that decides what an object looks like; this module only organises.
_CODE = sorted(f"catalog.{path.stem}" for path in Path(__file__).parent.glob("procedural_*.py"))


def procedural_assets(
    parameters: CatalogParameters,
    seed: int,
    workspace: Workspace,
    executor: Executor,
    changes: Changes | None = None,
) -> list[Asset]:
    """Compose the objects or scenes that are not there yet, publish all in packs, and return their rows.

    Args:
        parameters: of the stage.
        seed: the run's.
        workspace: the workspace.
        executor: of the workers.
        changes: is told what was composed and what kept.

    Raises:
        StageFailedError: when more objects than `max_failure_rate` cannot be composed.
    """
    root = workspace.scratch / "catalog"
    wanted = {uid_of(f"{parameters.source} {seed} {number}"): number for number in range(parameters.objects)}
    fingerprints = {uid: _fingerprint(derive_seed(seed, uid, "procedural")) for uid in wanted}
    unpack_kept(workspace.catalog, root, wanted)
    missing = [uid for uid in wanted if _known(object_folder(root, uid)).get("fingerprint") != fingerprints[uid]]
    failed: list[Outcome] = []
    done, cost = len(wanted) - len(missing), parameters.executor.cost()
    with Progress("catalog", len(wanted), "objects", done, cost) as progress:
        for outcome in executor.run(_HANDLER, [_job(uid, parameters.source, seed, root) for uid in missing]):
            if outcome.ok:
                description = {**outcome.result, "fingerprint": fingerprints[outcome.uid]}
                write_json(object_folder(root, outcome.uid) / "description.json", description)
            else:
                failed.append(outcome)
            progress.advance(failed=len(failed))
    check_failure_rate("catalog", failed, len(wanted), parameters.max_failure_rate)
    made = sorted(set(wanted) - {outcome.uid for outcome in failed})
    changes = changes or Changes()
    changes.made, changes.failed = len(missing) - len(failed), len(failed)
    changes.kept = len(wanted) - len(missing)
    write_packs(root, made, workspace.catalog, parameters.packs, changes=changes)
    return [_asset(uid, root, parameters, workspace) for uid in made]


def _fingerprint(object_seed: int) -> str:
    return json_sha256({"seed": object_seed, "code": source_fingerprint(_CODE)})


def _job(uid: str, source: str, seed: int, root: Path) -> Job:
    output = object_folder(root, uid) / "asset.glb"
    # What a killed worker left there would get into the packs.
    shutil.rmtree(output.parent, ignore_errors=True)
    output.parent.mkdir(parents=True)
    object_seed = derive_seed(seed, uid, "procedural")
    return Job(uid, {"uid": uid, "source": source, "seed": object_seed, "output": str(output)})


def _known(folder: Path) -> dict[str, Any]:
    """The description of an object that is already there; empty when it is not."""
    path = folder / "description.json"
    return json.loads(path.read_text()) if path.is_file() and (folder / "asset.glb").is_file() else {}


def _asset(uid: str, root: Path, parameters: CatalogParameters, workspace: Workspace) -> Asset:
    folder = object_folder(root, uid)
    description = _known(folder)
    return file_asset(
        uid,
        parameters.source,
        folder / "asset.glb",
        parameters,
        workspace,
        title=description["title"],
        file_type="glb",
        licence="CC0-1.0",
        author="viewforge",
        tags=tuple(description["tags"]),
    )
