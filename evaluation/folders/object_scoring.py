"""The worker function: one object of two folders scored, unless its result is there and nothing that it rests on has changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float

from evaluation.baselines import copy_input
from evaluation.folders.cameras import read_cameras
from evaluation.folders.consistency import object_figures, view_cameras
from evaluation.folders.layout import ObjectFiles
from evaluation.folders.meshes import compare_meshes, read_mesh
from evaluation.folders.parameters import FolderParameters
from evaluation.folders.poses import poses_of
from evaluation.folders.result import FolderResult, features_path, read_result, write_features
from evaluation.folders.views import Side, predicted_pictures, read_bytes, require_views, scored_views, true_pictures
from evaluation.mesh_figures import MeshFigures, unavailable
from evaluation.methods import TRUTH
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.parameters import MetricParameters
from stage.code import source_fingerprint
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from stage.files import json_sha256
from stage.seeds import derive_seed

HANDLER = "evaluation.folders.object_scoring:score_object"
_DIGITS = 4
_CAMERAS, _MESH = "transforms.json", "mesh"
_CODE = (
    *("evaluation.baselines", "evaluation.mesh_figures", "evaluation.scores", "blender_render.rendered_object"),
    *(
        f"geometry.{name}"
        for name in ("cameras", "perceptual", "picture_metrics", "surface_metrics", "surfaces", "triangle_mesh")
    ),
)


def _code() -> str:
    """Fingerprint of what decides figures; whole packages, so that no new module of theirs is forgotten."""
    packages = ("evaluation.folders", "evaluation.metrics")
    found = (f"{name}.{module.name}" for name in packages for module in iter_modules(import_module(name).__path__))
    return source_fingerprint((*found, *_CODE))


def recipe(parameters: FolderParameters, metrics: MetricSet) -> str:
    """Hash of all that decides an object's figures beside its files: definitions, what is available, settings, code."""
    return json_sha256(
        {
            "metrics": [asdict(definition) for definition in metrics.definitions],
            "unavailable": metrics.unavailable,
            "settings": parameters.decisive(),
            "code": _code(),
        }
    )


@dataclass(frozen=True)
class FolderJob:
    """One object's work."""

    uid: str
    truth: ObjectFiles
    prediction: ObjectFiles
    output: Path
    """The result's file."""
    recipe: str
    parameters: FolderParameters
    pictures: bool
    """Whether pictures are scored."""
    meshes: bool
    """Whether meshes are."""

    def payload(self) -> dict[str, Any]:
        """The job as JSON."""
        return {
            **vars(self),
            "truth": self.truth.as_json(),
            "prediction": self.prediction.as_json(),
            "output": str(self.output),
            "parameters": self.parameters.model_dump(mode="json"),
        }

    @classmethod
    def of(cls, payload: dict[str, Any]) -> "FolderJob":
        """The job that `payload` gave."""
        read = {
            "truth": ObjectFiles.of(payload["truth"]),
            "prediction": ObjectFiles.of(payload["prediction"]),
            "output": Path(payload["output"]),
            "parameters": FolderParameters.model_validate(payload["parameters"]),
        }
        return cls(**payload | read)


def score_object(payload: dict[str, Any]) -> dict[str, Any]:
    """Score one object, or keep what is there; whether it was kept.

    Raises:
        ObjectFailedError: missing, empty, parse, degenerate or mismatch.
    """
    job = FolderJob.of(payload)
    try:
        return {"kept": _score(job)}
    except InputError as error:
        # A picture too small for a window, for example: no other attempt would end differently.
        raise ObjectFailedError(FailureClass.MISMATCH, str(error)) from None


def _score(job: FolderJob) -> bool:
    truth, prediction = _sides(job)
    key = _key(job, truth, prediction)
    before = read_result(job.output)
    if before and before.key == key and _features_there(job):
        return True
    result = FolderResult(key, truth.sha256(), prediction.sha256())
    if job.pictures:
        result = _with_pictures(result, job, truth, prediction)
    if job.meshes:
        result = replace(result, mesh=_mesh(job, truth, prediction))
    result.write(job.output)
    return False


def _sides(job: FolderJob) -> tuple[Side, Side]:
    """Both sides' bytes, each file read once: of the prediction what is scored, of the truth all.

    The truth's hash tells whether figures of two predictions are of the same object; what a prediction lacks must not change it.
    """
    for files in (job.truth, job.prediction):
        if files.trouble:
            raise ObjectFailedError(FailureClass.PARSE, files.trouble)
    if job.pictures:
        require_views(job.truth, job.prediction, job.parameters.input_view)
    # What is not scored may be empty.
    read_pictures, read_mesh_file = (
        read_bytes if scored else Path.read_bytes for scored in (job.pictures, job.meshes)
    )
    truth = {view: read_pictures(path) for view, path in job.truth.views.items()}
    if job.truth.cameras:
        truth[_CAMERAS] = read_pictures(job.truth.cameras)
    if job.truth.mesh:
        truth[_MESH] = read_mesh_file(job.truth.mesh)
    prediction = {view: read_bytes(path) for view, path in job.prediction.views.items()} if job.pictures else {}
    if job.meshes and job.prediction.mesh:
        prediction[_MESH] = read_bytes(job.prediction.mesh)
    return Side(job.truth, truth), Side(job.prediction, prediction)


def _key(job: FolderJob, truth: Side, prediction: Side) -> str:
    parts = {
        "uid": job.uid,
        "recipe": job.recipe,
        "truth": truth.sha256(),
        "prediction": prediction.sha256(),
        # The suffix tells how a file is read.
        "formats": [sorted(path.suffix for path in side.files.views.values()) for side in (truth, prediction)],
        "scored": [job.pictures, job.meshes],
        "yaw_deg": job.parameters.yaw_deg.get(job.uid, 0.0),
    }
    return json_sha256(parts)


def _features_there(job: FolderJob) -> bool:
    wanted = job.pictures and _metrics(job.parameters.metrics).inception is not None
    return not wanted or features_path(job.output).is_file()


def _with_pictures(result: FolderResult, job: FolderJob, truth: Side, prediction: Side) -> FolderResult:
    settings = job.parameters
    views = scored_views(job.truth, settings.input_view)
    pictures = true_pictures(truth)
    height, width = next(iter(pictures.values())).shape[:2]
    targets = np.stack([pictures[view] for view in views])
    answers = {"model": predicted_pictures(prediction, views, pictures, settings.resize, settings.sample)}
    condition = None if settings.input_view is None else pictures[settings.input_view]
    if condition is not None:
        answers["copy_input"] = copy_input(condition, len(views))
    metrics = _metrics(settings.metrics)
    cameras = read_cameras(truth.content[_CAMERAS], height, width) if _CAMERAS in truth.content else {}
    around = view_cameras(cameras, views if settings.input_view is None else [settings.input_view, *views])
    whole, unavailable = object_figures(metrics, {**answers, TRUTH: targets}, condition, around)
    # Before the result, whose presence means complete; the one of before goes, since these are not its features.
    if metrics.inception:
        job.output.unlink(missing_ok=True)
        write_features(job.output, {name: metrics.inception(of) for name, of in {**answers, TRUTH: targets}.items()})
    return replace(
        result,
        views=tuple(views),
        size=(height, width),
        poses=poses_of(cameras, views, settings.input_view),
        figures={method: _rounded(metrics.views(answer, targets)) for method, answer in answers.items()},
        object_figures=whole,
        unavailable=unavailable,
    )


@cache
def _metrics(parameters: MetricParameters) -> MetricSet:
    """The figures; networks are loaded once a process."""
    # OpenCV would start a thread for each core of the machine, and its other workers have those.
    cv2.setNumThreads(torch.get_num_threads())
    return MetricSet.of(parameters)


def _rounded(figures: Mapping[str, Float[np.ndarray, " t"]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(round(float(value), _DIGITS) for value in values) for name, values in figures.items()}


def _mesh(job: FolderJob, truth: Side, prediction: Side) -> MeshFigures:
    """Figures about the mesh; what is wrong with either is a reason."""
    settings = job.parameters
    if job.prediction.mesh is None:
        return unavailable(settings.geometry, "there is no predicted mesh")
    if job.truth.mesh is None:
        return unavailable(settings.geometry, "there is no true mesh")
    try:
        return compare_meshes(
            read_mesh(job.prediction.mesh, prediction.content[_MESH]),
            read_mesh(job.truth.mesh, truth.content[_MESH]),
            settings.align,
            settings.yaw_deg.get(job.uid, 0.0),
            settings.geometry,
            derive_seed(0, job.uid, "mesh samples"),
        )
    except InputError as error:
        return unavailable(settings.geometry, str(error))
