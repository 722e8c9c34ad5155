"""Refinement of the splatter stage: which objects are optimised, in batches, by which workers.

Starts from the closed forms in `scratch/splatters/`, with the pictures beside them, and works in `scratch/splatters_refined/`, so
that other settings neither render again nor lose the start. A batch is one job of a worker; what it leaves undone, because one of
its objects crashed or took too long, is done again object by object.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from blender_render.ledger import ledger_path
from blender_render.parameters import SplatterParameters
from blender_render.rendered_object import is_complete
from stage.code import source_fingerprint
from stage.executor import Job, executor_for
from stage.failures import FailureClass, Outcome
from stage.files import json_sha256, remove_leftovers
from stage.packs import object_folder
from stage.progress import Progress
from stage.workspace import Workspace

REFINED = "splatters_refined"
"""Folder of refined objects in scratch space."""
_HANDLER = "blender_render.splatter_refinement_worker:refine_objects"
_CODE = (
    "blender_render.camera_sets",
    "blender_render.closed_form",
    "blender_render.passes",
    "blender_render.rendered_object",
    "blender_render.splatter_files",
    "blender_render.splatter_quality",
    "blender_render.splatter_refinement_worker",
    "geometry.cameras",
    "geometry.compositing",
    "geometry.gaussian_tensors",
    "geometry.gaussians",
    "geometry.inset",
    "geometry.perceptual",
    "geometry.picture_losses",
    "geometry.picture_metrics",
    "geometry.pixel_grid",
    "geometry.ply",
    "geometry.projection",
    "geometry.rasterizer",
    "geometry.rasterizer_cpu",
    "geometry.rasterizer_gsplat",
    "geometry.refinement",
    "geometry.rendered_quality",
    "geometry.spherical_harmonics",
    "geometry.splatter",
    "geometry.splatter_tensor",
    "geometry.tiles",
    "geometry.unavailable",
    "geometry.view_features",
)
# How the work is shared out and saved does not change a Gaussian.
_INDIFFERENT = {"views", "objects_per_batch", "checkpoint_every", "timeout_seconds"}


@dataclass(frozen=True)
class _Farm:
    """What all objects have in common."""

    parameters: SplatterParameters
    seed: int
    workspace: Workspace
    lpips: str
    """Why LPIPS takes no part; empty when it does, or when none was asked for."""

    def fingerprints(self, closed_forms: Mapping[str, str]) -> dict[str, str]:
        """Hash of all that decides each object's result, by uid."""
        settings = self.parameters.refinement.model_dump(exclude=_INDIFFERENT)
        versions = {"code": source_fingerprint(_CODE), "torch": version("torch")}
        recipe = json_sha256([settings, self.seed, self.lpips, versions])
        return {uid: json_sha256([recipe, uid, closed_form]) for uid, closed_form in closed_forms.items()}

    def job(self, uids: Sequence[str], fingerprints: Mapping[str, str]) -> Job:
        """A batch as a worker takes it."""
        root = self.workspace.scratch
        objects = [
            {
                "uid": uid,
                "fingerprint": fingerprints[uid],
                "closed_form": str(object_folder(root / "splatters", uid)),
                "output": str(object_folder(root / REFINED, uid)),
            }
            for uid in uids
        ]
        refinement = self.parameters.refinement.model_dump()
        # The host looks at `output` to tell a full disk from other failures.
        common = {"refinement": refinement, "seed": self.seed, "lpips": self.lpips, "output": objects[0]["output"]}
        return Job(uids[0], {"objects": objects, **common})


def refine_splatters(
    closed_forms: Mapping[str, str], parameters: SplatterParameters, seed: int, workspace: Workspace
) -> list[Outcome]:
    """Refine what is missing or stale; the failures, sorted by uid.

    Args:
        closed_forms: the fingerprint of each object's closed form, by uid.
        parameters: of the whole stage.
        seed: the run's.
        workspace: where scratch space lies.

    Raises:
        StageFailedError: when the disk is full or workers cannot start.
    """
    root = workspace.scratch / REFINED
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root)
    farm = _Farm(parameters, seed, workspace, _missing_lpips(parameters))
    fingerprints = farm.fingerprints(closed_forms)
    todo = _unfinished(sorted(fingerprints), fingerprints, root)
    failed: dict[str, Outcome] = {}
    done, cost = len(fingerprints) - len(todo), parameters.executor.cost()
    with Progress("refine", len(fingerprints), "objects", done, cost) as progress:
        for size in sorted({parameters.refinement.objects_per_batch, 1}, reverse=True):
            for outcome in _refine_in_batches(farm, todo, fingerprints, size):
                _note(outcome, fingerprints[outcome.uid], root)
                if not outcome.ok:
                    failed[outcome.uid] = outcome
                if outcome.ok or size == 1:
                    progress.advance(failed=len(failed))
            todo = _unfinished(todo, fingerprints, root)
    # A batch that broke off may have finished some of its objects before.
    return [failed[uid] for uid in todo]


def _unfinished(uids: Sequence[str], fingerprints: Mapping[str, str], root: Path) -> list[str]:
    return [uid for uid in uids if not is_complete(object_folder(root, uid), fingerprints[uid])]


def _refine_in_batches(
    farm: _Farm, uids: Sequence[str], fingerprints: Mapping[str, str], size: int
) -> Iterator[Outcome]:
    """The outcome of every object, as the batches are done."""
    batches = {uids[start]: uids[start : start + size] for start in range(0, len(uids), size)}
    limit = {"timeout_seconds": farm.parameters.refinement.timeout_seconds * size}
    executor = executor_for(farm.parameters.executor.model_copy(update=limit))
    for outcome in executor.run(_HANDLER, (farm.job(batch, fingerprints) for batch in batches.values())):
        yield from _of_each(outcome, batches[outcome.uid])


def _of_each(outcome: Outcome, uids: Sequence[str]) -> Iterator[Outcome]:
    """A batch's outcome as one for each of its objects; a batch that failed as a whole says the same of all."""
    common = (outcome.stderr_tail, outcome.attempt, outcome.seconds, outcome.peak_memory_bytes)
    for uid in uids:
        if not outcome.ok:
            yield Outcome(uid, outcome.failure, outcome.message, *common, {})
            continue
        answer = outcome.result[uid]
        failure = FailureClass(answer["failure"]) if answer["failure"] else None
        yield Outcome(uid, failure, answer["message"], *common, answer)


def _note(outcome: Outcome, fingerprint: str, root: Path) -> None:
    row = {**outcome.row(), "phases": outcome.result.get("seconds", {}), "fingerprint": fingerprint}
    with ledger_path(root).open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def _missing_lpips(parameters: SplatterParameters) -> str:
    """Why LPIPS takes no part although it should, said once for all objects."""
    if not parameters.refinement.weights.lpips:
        return ""
    from geometry.perceptual import Unavailable, find_lpips_network

    found = find_lpips_network()
    if not isinstance(found, Unavailable):
        return ""
    print(f"splatter: LPIPS is {found}; refinement goes on without it", file=sys.stderr)
    return str(found)
