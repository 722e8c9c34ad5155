"""Score a folder of predictions against a folder of truth, object by object in worker processes.

Reads both folders; writes into the output `metrics.json`, `per_object.parquet`, `per_view.parquet`, `details.json`,
`strips.parquet` and `report.html`, and `.cache/<object>.json` as soon as an object is done. A run that was killed goes on where
it was and ends with an undisturbed run's bytes. An object that cannot be scored is a row with its reason; the others keep their
figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.folders.layout import ObjectFiles, find_objects
from evaluation.folders.object_scoring import HANDLER, FolderJob, recipe
from evaluation.folders.parameters import FolderParameters
from evaluation.folders.publication import FolderEvaluation, publish
from evaluation.folders.result import FolderResult, read_features, read_result
from evaluation.methods import TRUTH
from evaluation.metrics.metric_set import MetricSet
from stage.errors import InputError
from stage.executor import Job, executor_for
from stage.files import remove_leftovers
from stage.lifeline import exclusive_folder
from stage.progress import Progress

CACHE = ".cache"


@dataclass(frozen=True)
class Pair:
    """Both folders, and what of them is compared."""

    truth: Mapping[str, ObjectFiles]
    predictions: Mapping[str, ObjectFiles]
    pictures: bool
    meshes: bool

    @property
    def uids(self) -> list[str]:
        """The truth's objects that ought to have figures, sorted."""
        return [
            uid for uid, files in self.truth.items() if files.trouble or (files.views if self.pictures else files.mesh)
        ]

    @property
    def unknown(self) -> list[str]:
        """Predicted objects that the truth does not have."""
        return sorted(set(self.predictions) - set(self.truth))


def pair_of(predictions: Path, truth: Path) -> Pair:
    """Look at both folders' names.

    Raises:
        InputError: when one is missing or empty, or they have neither pictures nor meshes in common.
    """
    predicted, true = find_objects(predictions), find_objects(truth)
    pictures, meshes = (
        all(any(getattr(files, kind) for files in side.values()) for side in (predicted, true))
        for kind in ("views", "mesh")
    )
    if not pictures and not meshes:
        raise InputError(
            f"{predictions} and {truth} have neither pictures nor meshes in common",
            "expected on both sides is OBJECT/000.png, or OBJECT.obj",
        )
    return Pair(true, predicted, pictures, meshes)


def evaluate_folders(predictions: Path, truth: Path, output: Path, parameters: FolderParameters) -> FolderEvaluation:
    """Score the predictions and write all outputs; what they came to.

    Args:
        predictions: folder of what a system made (`evaluation.folders.layout`).
        truth: folder of what it should have made; which objects and views there are it says.
        output: folder to write; its other files are left alone.
        parameters: settings.

    Raises:
        InputError: when a folder is missing, or not one object can be scored.
        ParameterError: when a metric's name is unknown.
        StageFailedError: when workers cannot start or the disk is full.
        ViewforgeError: when another process writes into the output.
    """
    pair = pair_of(predictions, truth)
    metrics = MetricSet.of(parameters.metrics)
    with exclusive_folder(output):
        cache = output / CACHE
        cache.mkdir(exist_ok=True)
        remove_leftovers(cache)
        failures, kept = _score_all(pair, cache, parameters, recipe(parameters, metrics))
        results = dict(_results(pair.uids, failures, cache))
        if not results:
            raise InputError(f"none of {len(pair.uids)} objects could be scored: {_some(failures)}", "mend them")
        evaluation = FolderEvaluation(
            predictions,
            truth,
            parameters,
            metrics,
            results,
            failures,
            pair.unknown,
            pair.pictures,
            pair.meshes,
            _of_set(metrics, list(results), cache) if pair.pictures else {},
            kept,
        )
        publish(evaluation, pair.truth, pair.predictions, output)
    return evaluation


def _score_all(pair: Pair, cache: Path, parameters: FolderParameters, code: str) -> tuple[dict[str, str], int]:
    """Have every object scored that has no valid result yet; why objects failed, and how many results were kept."""
    failures: dict[str, str] = {}
    kept = 0
    executor = parameters.executor
    with Progress("evaluate", len(pair.uids), "objects", cost=executor.cost()) as progress:
        for outcome in executor_for(executor).run(HANDLER, _jobs(pair, cache, parameters, code)):
            if not outcome.ok:
                failures[outcome.uid] = f"{outcome.failure}: {outcome.message}"
            kept += bool(outcome.result.get("kept"))
            progress.advance(kept=kept, failed=len(failures))
    return dict(sorted(failures.items())), kept


def _jobs(pair: Pair, cache: Path, parameters: FolderParameters, code: str) -> Iterator[Job]:
    for uid in pair.uids:
        job = FolderJob(
            uid,
            pair.truth[uid],
            pair.predictions.get(uid, ObjectFiles()),
            result_path(cache, uid),
            code,
            parameters,
            pair.pictures,
            pair.meshes and pair.truth[uid].mesh is not None,
        )
        yield Job(uid, job.payload)


def result_path(cache: Path, uid: str) -> Path:
    """Where an object's result lies."""
    return cache / f"{uid}.json"


def _results(uids: Sequence[str], failures: Mapping[str, str], cache: Path) -> Iterator[tuple[str, FolderResult]]:
    """The results of the objects that did not fail, in order.

    Raises:
        InputError: when one has gone since it was written.
    """
    for uid in uids:
        if uid in failures:
            continue
        result = read_result(result_path(cache, uid))
        if result is None:
            raise InputError(f"{result_path(cache, uid)} is gone or damaged", "run again")
        yield uid, result


def _of_set(metrics: MetricSet, uids: Sequence[str], cache: Path) -> dict[str, dict[str, float]]:
    """Figures of all objects at once by method, from the features that each left."""
    if metrics.inception is None:
        return {}
    features = [read_features(result_path(cache, uid)) for uid in uids]
    truth = [found.pop(TRUTH) for found in features]
    return {method: metrics.set([found[method] for found in features], truth) for method in features[0]}


def _some(failures: Mapping[str, str]) -> str:
    shown = "; ".join(f"{uid}: {reason}" for uid, reason in list(failures.items())[:3])
    return shown + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "")
