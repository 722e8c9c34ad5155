"""Reconstructions of the evaluated objects, beside the assets: `evaluate.reconstruct`.

It works after all pictures are scored, from the answers that are kept, and outside of PyTorch's deterministic mode, which knows
no gradient of voxels on a GPU. On a CPU the same inputs give the same meshes; on a GPU the kept ones do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evaluation.mesh_figures import MeshFigures, mesh_figures, unavailable
from evaluation.meshes import TrueSurfaces
from evaluation.parameters import ReconstructionParameters
from evaluation.predictions import Prediction
from evaluation.protocol import ObjectViews, Subset
from evaluation.reconstruction_store import Reconstructed, ReconstructionStore
from evaluation.reconstruction_tasks import field_key, reconstruction_task
from evaluation.sampler import Failed, Sampler
from reconstruction.optimisation.loop import Watch, optimise
from reconstruction.reconstruct import FieldTask, coloured_mesh
from stage.code import source_fingerprint
from stage.errors import InputError, StageFailedError
from stage.files import json_sha256
from stage.progress import Progress
from stage.seeds import derive_seed

_MESH_CODE = tuple(
    f"reconstruction.{name}" for name in ("field_colours", "field_mesh", "fusion", "reconstruct", "surface")
)
# Of one object; any other reason, as a full disk, is one of the stage.
_OF_OBJECTS = {"not_finite": True, "gpu_memory": False, "host_memory": False}
"""Kinds of errors, and whether another attempt would end in the same way."""


@dataclass(frozen=True)
class Reconstructor:
    """Reconstructs and judges the objects of subsets.

    Args:
        sampler: gives the objects with the model's answers.
        chosen: of the reconstructions; its loop has the run's seed.
        surfaces: of the assets.
        model_sha256: hash of the pipeline's folder.
        root: folder of kept reconstructions, a folder a subset below.
    """

    sampler: Sampler
    chosen: ReconstructionParameters
    surfaces: TrueSurfaces
    model_sha256: str
    root: Path

    def figures(self, subset: Subset) -> dict[str, MeshFigures]:
        """Figures of the first objects of a subset by uid; of those that have none the reasons.

        Raises:
            StageFailedError: when the disk is full.
        """
        found: dict[str, MeshFigures] = {}
        answers = islice(self.sampler.answers(subset), self.chosen.max_objects)
        total = min(len(subset.assets), self.chosen.max_objects or len(subset.assets))
        with Progress(f"evaluate: reconstruct {subset.name}", total, "objects") as progress:
            for answer in answers:
                if isinstance(answer, Failed):
                    found[answer.outcome.uid] = self._without(f"the model has no answer: {answer.outcome.message}")
                else:
                    views, prediction = answer.views, answer.prediction
                    found[views.asset.uid] = self._judged(views, prediction, subset, self._told_by(progress))
                progress.advance(failed=sum(not figures.values for figures in found.values()))
        return found

    def _told_by(self, progress: Progress) -> Watch:
        """How far an object is, beside how many there are."""
        loop = self.chosen.loop

        def told(step: int, figures: Mapping[str, float]) -> None:
            if step % loop.report_every == 0:
                progress.advance(0, step=f"{step}/{loop.steps}", loss=f"{figures['loss']:.4g}")

        return told

    def _judged(self, views: ObjectViews, prediction: Prediction, subset: Subset, told: Watch) -> MeshFigures:
        if reason := self.surfaces.lacking(views.asset):
            return self._without(reason)
        made = self._reconstructed(views, prediction, ReconstructionStore(self.root / subset.name), told)
        if made.mesh is None:
            return self._without(made.reason)
        try:
            truth = self.surfaces.of(views.asset)
        except InputError as error:
            return self._without(str(error))
        seed = derive_seed(self.sampler.seed, views.asset.uid, "mesh samples")
        return mesh_figures(made.mesh, truth, self.chosen.figures, seed)

    def _reconstructed(
        self, views: ObjectViews, prediction: Prediction, store: ReconstructionStore, told: Watch
    ) -> Reconstructed:
        """What is kept, or made now."""
        uid = views.asset.uid
        try:
            field = field_key(views, prediction, self.sampler.parameters, self.chosen, self.model_sha256)
        except InputError as error:
            return Reconstructed(None, str(error))
        key = self._mesh_key(field)
        if kept := store.read(uid, key):
            return kept
        try:
            task = self._learnt(views, prediction, store.work(uid, field), told)
            return task if isinstance(task, Reconstructed) else self._meshed(task, store, key)
        except StageFailedError as error:
            if error.kind not in _OF_OBJECTS:
                raise
            # The remedy names folders of this machine.
            reason = str(error).removesuffix(f"; {error.remedy}")
            return store.keep_failure(uid, key, reason) if _OF_OBJECTS[error.kind] else Reconstructed(None, reason)

    def _learnt(
        self, views: ObjectViews, prediction: Prediction, folder: Path, told: Watch
    ) -> FieldTask | Reconstructed:
        """The task whose field has learnt, or why there is none; pictures and checkpoints may be others the next time."""
        try:
            task = reconstruction_task(self.sampler.pipeline, views, prediction, self.sampler.parameters, self.chosen)
            optimise(task, folder, self.chosen.loop, watch=told, progress=False)
        except InputError as error:
            return Reconstructed(None, str(error))
        return task

    def _meshed(self, task: FieldTask, store: ReconstructionStore, key: str) -> Reconstructed:
        try:
            mesh = coloured_mesh(task, self.chosen.mesh)
        except InputError as error:
            return store.keep_failure(task.subject, key, str(error))
        return store.keep_mesh(task.subject, key, mesh)

    def _mesh_key(self, field: str) -> str:
        """Of a field and of how it becomes a mesh."""
        return json_sha256([field, self.chosen.mesh.model_dump(mode="json"), source_fingerprint(_MESH_CODE)])

    def _without(self, reason: str) -> MeshFigures:
        return unavailable(self.chosen.figures, reason)


def with_seed(chosen: ReconstructionParameters, seed: int) -> ReconstructionParameters:
    """The parameters with the run's seed, unless they name one."""
    if "seed" in chosen.loop.model_fields_set:
        return chosen
    return chosen.model_copy(update={"loop": chosen.loop.model_copy(update={"seed": seed})})
