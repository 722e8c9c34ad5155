"""The `evaluate` stage: render the protocol's views, sample the model, score it beside the baselines, show it.

Reads `data/catalog/`, `data/shards/`, `data/model/`; renders, and keeps what the model answers, in `scratch/evaluation/`, so
that a killed evaluation goes on where it was; writes `data/evaluation/`: `metrics.json`, `per_object.parquet`,
`per_view.parquet`, `details.json`, the pictures, and `report.html`. The same inputs give the same bytes. With
`evaluate.geometry` the meshes of a model that makes Gaussians are compared with the assets as well (`evaluation.meshes`), with
`evaluate.reconstruct` those that are optimised from its views or against it (`evaluation.reconstructor`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from evaluation.baselines import find_reencoding, mean_image
from evaluation.gallery import GalleryItem, contact_sheet, gallery, gallery_item
from evaluation.mesh_figures import MeshFigures, definitions
from evaluation.meshes import MeshJudge, TrueSurfaces, check_geometry
from evaluation.metrics.metric_set import MetricSet
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import sampling_recipe
from evaluation.preset_details import preset_details
from evaluation.problems import Problem, mesh_problems, subset_problems
from evaluation.protocol import Subset, SubsetName, select_training, select_unseen
from evaluation.reconstruction_figures import (
    reconstruction_details,
    reconstruction_problems,
    reconstruction_summary,
    with_reconstructions,
)
from evaluation.reconstruction_tasks import check_reconstruction
from evaluation.reconstructor import Reconstructor, with_seed
from evaluation.report import write_report
from evaluation.sampler import Failed, Sampler
from evaluation.sampling import deterministic_torch, load_for_sampling
from evaluation.scales import check_scale
from evaluation.scene_assets import SCENES
from evaluation.scene_subset import subset_of
from evaluation.scores import (
    ObjectScores,
    Scorer,
    intervals,
    mesh_summary,
    per_object_table,
    per_view_table,
    summary,
)
from evaluation.shards import TrainingShards
from evaluation.sizes import at_size, check_resolution
from evaluation.strips import STRIPS_FILE, StripKeeper, write_strips
from evaluation.timing import Timing
from evaluation.view_curves import ANGLES_FILE, write_angles
from stage.errors import StageFailedError
from stage.failures import Outcome, check_failure_rate
from stage.files import folder_sha256, replacing, write_json
from stage.progress import Progress
from stage.workspace import Workspace

_SAMPLER = {"inference_steps", "guidance_scale", "eta", "drop_first_step", "null_condition"}


@dataclass(frozen=True)
class SubsetResult:
    """What one subset came to."""

    subset: Subset
    scores: list[ObjectScores]
    shown: list[GalleryItem]
    failures: list[Outcome]
    """Of objects that the model has no answer for."""
    strips: StripKeeper = field(default_factory=StripKeeper)
    """Of the worst and the best objects."""

    @property
    def failed(self) -> int:
        """Objects without figures."""
        return len(self.subset.failures) + len(self.failures)


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation: what `metrics.json` and `details.json` say."""

    parameters: EvaluateParameters
    resolution: int
    scheduler: str
    """Class of the sampler's steps."""
    unseen: SubsetResult
    training: SubsetResult
    asked: MetricSet
    """The figures about pictures."""
    unavailable: dict[str, str]
    """Why metrics and methods have no figures, by name."""
    reconstructions: Mapping[SubsetName, Mapping[str, MeshFigures]] = field(default_factory=dict)
    """Figures about reconstructions by subset and uid, where these were asked for."""

    @property
    def subsets(self) -> tuple[SubsetResult, SubsetResult]:
        """What counts, and what tells memory from generalisation."""
        return self.unseen, self.training

    def metrics(self) -> dict[str, Any]:
        """Figures by subset and method; nothing in them depends on time or machine."""
        geometry = self.parameters.geometry
        return {
            **self._cameras(),
            "preset": self.parameters.preset,
            "source": self.parameters.source,
            "objects": len(self.unseen.scores) + len(self.training.scores),
            "data_sha256": self.unseen.subset.data_sha256(),
            **{result.subset.name: summary(result.scores, self.asked.names) for result in self.subsets},
            "intervals": {result.subset.name: intervals(result.scores, self.asked.names) for result in self.subsets},
            "unseen_objects": len(self.unseen.scores),
            "training_objects": len(self.training.scores),
            "failed": {result.subset.name: result.failed for result in self.subsets},
            "unavailable": self.unavailable,
            **({"geometry": self._geometry(tuple(definitions(geometry)))} if geometry else {}),
            **({"reconstruction": self._reconstruction()} if self.reconstructions else {}),
        }

    @property
    def reconstruction_figures(self) -> tuple[str, ...]:
        """Names of the figures about reconstructions."""
        chosen = self.parameters.reconstruct
        return tuple(definitions(chosen.figures)) if chosen else ()

    def _reconstruction(self) -> dict[str, Any]:
        """Figures about reconstructions by subset."""
        names = self.reconstruction_figures
        return {subset: reconstruction_summary(found, names) for subset, found in self.reconstructions.items()}

    def _reconstruction_problems(self) -> list[Problem]:
        titles = {asset.uid: asset.title for result in self.subsets for asset in result.subset.assets}
        return [
            problem
            for subset, found in self.reconstructions.items()
            for problem in reconstruction_problems(subset, found, titles)
        ]

    def _cameras(self) -> dict[str, Any]:
        """Name of the unseen objects' cameras and how many there are; photographs have their own, of each scene so many."""
        if self.parameters.source in SCENES:
            return {"protocol": "photographs"}
        return {"protocol": self.parameters.protocol, "views": self.parameters.views}

    def _geometry(self, names: Sequence[str]) -> dict[str, Any]:
        """Figures about meshes by subset."""
        return {result.subset.name: mesh_summary(result.scores, names) for result in self.subsets}

    def details(self) -> dict[str, Any]:
        """What the report says beside the figures: settings, and problems with objects."""
        sampler = self.parameters.model_dump(include=_SAMPLER)
        if self.parameters.scale is not None:
            sampler["scale"] = self.parameters.scale
        if self.parameters.view_fusion:
            sampler["view_fusion"] = self.parameters.view_fusion.model_dump()
        problems = [problem for result in self.subsets for problem in subset_problems(result.subset, result.failures)]
        problems += [problem for result in self.subsets for problem in mesh_problems(result.scores)]
        problems += self._reconstruction_problems()
        geometry, reconstruct = self.parameters.geometry, self.parameters.reconstruct
        return {
            "settings": {**sampler, "scheduler": self.scheduler, "resolution": self.resolution},
            "preset": preset_details(self.parameters),
            "metrics": [asdict(definition) for definition in self.asked.definitions],
            "problems": [problem.row() for problem in problems],
            "gallery_objects": {"unseen": len(self.unseen.shown), "training": len(self.training.shown)},
            **({"geometry": geometry.model_dump(mode="json")} if geometry else {}),
            **({"reconstruction": reconstruction_details(reconstruct)} if reconstruct else {}),
        }


def evaluate(parameters: EvaluateParameters, seed: int, workspace: Workspace) -> dict[str, Any]:
    """Score a workspace's model on unseen and on training objects; the content of `metrics.json`.

    Raises:
        InputError: when model, shards or catalogue are missing, no object is held out, or `evaluate.scale`,
            `evaluate.resolution` or `evaluate.reconstruct` does not fit the model.
        StageFailedError: when too many objects cannot be rendered or sampled.
    """
    asked = MetricSet.of(parameters.metrics)
    shards = TrainingShards(workspace.shards)
    selections = [
        select_unseen(parameters, shards.uids, workspace),
        select_training(parameters, shards.uids, workspace),
    ]
    pipeline = load_for_sampling(workspace.model, parameters.scheduler, parameters.view_fusion)
    check_scale(pipeline, parameters.scale)
    check_geometry(pipeline, parameters.geometry)
    check_reconstruction(pipeline, parameters)
    check_resolution(pipeline, parameters.resolution)
    resolution = parameters.resolution or shards.resolution()
    subsets = [subset_of(s, parameters, resolution, seed, workspace) for s in selections]
    judge = None
    if parameters.geometry:
        judge = MeshJudge.of(parameters.geometry, subsets, parameters.executor, seed, workspace)
    asked = asked.seen_from(subsets[0].cameras(subsets[0].assets[0]))
    mean = at_size(mean_image(shards.all_views()), resolution)
    scorer = Scorer(mean, asked, find_reencoding(pipeline, parameters.batch_size))
    model = folder_sha256(workspace.model)
    recipe = sampling_recipe(model, parameters, seed)
    sampler = Sampler(pipeline, parameters, seed, recipe, workspace.scratch / "evaluation" / "predictions")
    timing = Timing.of(workspace.model, model)
    with Progress("evaluate", sum(len(s.assets) for s in subsets), "objects") as progress, deterministic_torch():
        unseen, training = (_run(s, sampler, scorer, judge, timing, progress) for s in subsets)
    reconstructions = _reconstructed(sampler, subsets, model, workspace)
    steps = type(pipeline.scheduler).__name__
    evaluation = Evaluation(
        parameters, resolution, steps, unseen, training, asked, scorer.unavailable, reconstructions
    )
    timing.write(workspace)
    # Once: figures of whole sets and intervals take seconds.
    metrics = evaluation.metrics()
    _publish(evaluation, metrics, shards, workspace)
    return metrics


def _run(
    subset: Subset, sampler: Sampler, scorer: Scorer, judge: MeshJudge | None, timing: Timing, progress: Progress
) -> SubsetResult:
    result = SubsetResult(subset, [], [], [])
    parameters = sampler.parameters
    for answer in sampler.answers(subset):
        if isinstance(answer, Failed):
            result.failures.append(answer.outcome)
            progress.advance(failed=len(result.failures))
            continue
        views, prediction = answer.views, answer.prediction
        timing.note(prediction)
        scores = scorer.score(views, prediction.pictures, subset.name)
        if judge and prediction.gaussians is not None:
            scores = replace(scores, mesh=judge.judge(views.asset, subset.name, prediction.gaussians))
        result.scores.append(scores)
        result.strips.offer(views, prediction.pictures, scores)
        if len(result.shown) < parameters.gallery_objects:
            result.shown.append(gallery_item(views, prediction.pictures, scores))
        told = {"psnr": f"{psnr:.2f}"} if (psnr := scores.methods["model"].get("psnr")) is not None else {}
        progress.advance(1, **told)
    failed = [*subset.failures, *result.failures]
    check_failure_rate("evaluate", failed, len(subset.selection.assets), parameters.max_failure_rate)
    if not result.scores:
        raise StageFailedError(f"no {subset.name} object has figures: {failed[0].message}", "see the objects named")
    return result


def _reconstructed(
    sampler: Sampler, subsets: Sequence[Subset], model_sha256: str, workspace: Workspace
) -> dict[SubsetName, dict[str, MeshFigures]]:
    """Figures about reconstructions by subset and uid; nothing where none were asked for."""
    chosen = sampler.parameters.reconstruct
    if chosen is None:
        return {}
    asked = [subset for subset in subsets if subset.name in chosen.subsets]
    surfaces = TrueSurfaces.exported(asked, sampler.parameters.executor, workspace)
    root = workspace.scratch / "evaluation" / "reconstructions"
    reconstructor = Reconstructor(sampler, with_seed(chosen, sampler.seed), surfaces, model_sha256, root)
    return {subset.name: reconstructor.figures(subset) for subset in asked}


def _publish(evaluation: Evaluation, metrics: dict[str, Any], shards: TrainingShards, workspace: Workspace) -> None:
    """Write all outputs, the report last."""
    folder = workspace.evaluation
    pictures = {
        "contact_sheet.png": contact_sheet(shards),
        "gallery_unseen.png": gallery(evaluation.unseen.shown),
        "gallery_training.png": gallery(evaluation.training.shown),
    }
    for name, picture in pictures.items():
        with replacing(folder / name) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
    scores = [score for result in evaluation.subsets for score in result.scores]
    objects = per_object_table(scores)
    if evaluation.reconstructions:
        objects = with_reconstructions(objects, evaluation.reconstructions, evaluation.reconstruction_figures)
    for name, table in (("per_object", objects), ("per_view", per_view_table(scores))):
        with replacing(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False)
    write_strips(folder / STRIPS_FILE, [strip for result in evaluation.subsets for strip in result.strips.strips()])
    write_angles(folder / ANGLES_FILE, per_view_table(evaluation.unseen.scores))
    write_json(folder / "details.json", evaluation.details())
    write_json(folder / "metrics.json", metrics)
    write_report(workspace, folder / "report.html", decision=None)
