"""What the model answered, kept object by object: a killed evaluation goes on, and new figures need no new sampling.

A prediction lies in `scratch/evaluation/predictions/<subset>/`, the latest of each object alone, as exact as it was made: 4
bytes a channel, 12 MB for 15 pictures of 256². It counts as long as its key does: the hash of the model, of how it is
sampled, of the code that does it, and of what the model was shown.
"""

import importlib.metadata
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import safetensors
import torch
from jaxtyping import Float
from safetensors.numpy import save_file

import geometry
import systems
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import INPUT_VIEW, ObjectViews
from geometry.gaussians import Gaussians
from stage.code import source_fingerprint
from stage.files import json_sha256, replacing
from stage.packs import object_folder

FILE = "prediction.safetensors"
# What decides which pictures there are and what is done with the answers; all else decides the answers.
_INDIFFERENT = {
    "preset",
    "source",
    "path",
    "objects",
    "protocol",
    "views",
    "resolution",
    "max_objects",
    "score_input",
    "scene_targets",
    "training_objects",
    "quality",
    "metrics",
    "geometry",
    "reconstruct",
    "gallery_objects",
    "max_failure_rate",
    "executor",
}
_LIBRARIES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the model answers for one object."""

    pictures: Float[np.ndarray, "t h w 3"]
    """Of the target views, RGB in [0, 1]."""
    gaussians: Gaussians | None = None
    """What the pictures show, in the scene's frame; None of a model that makes pictures alone."""
    seconds: float | None = None
    """That sampling took, a picture."""


def sampling_recipe(model_sha256: str, parameters: EvaluateParameters, seed: int) -> str:
    """Hash of all that decides an answer but what the model is shown.

    Args:
        model_sha256: hash of the pipeline's folder.
        parameters: of the evaluation.
        seed: the run's seed.
    """
    code = [
        *modules_of(systems),
        *modules_of(geometry),
        "evaluation.sampler",
        "evaluation.sampling",
        "evaluation.scales",
    ]
    return json_sha256(
        {
            "model": model_sha256,
            "sampler": parameters.model_dump(mode="json", exclude=_INDIFFERENT),
            "seed": seed,
            "code": source_fingerprint(code),
            "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
    )


def modules_of(package: ModuleType) -> Iterator[str]:
    """Names of all modules in a package, for a fingerprint of its code."""
    return (module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


def prediction_key(recipe: str, group: Sequence[ObjectViews], scales: Sequence[float | None]) -> str:
    """The key of the predictions of objects that are sampled together.

    Args:
        recipe: of `sampling_recipe`.
        group: the objects, in order.
        scales: of each.
    """
    return json_sha256([recipe, *([*_shown(views), scale] for views, scale in zip(group, scales, strict=True))])


def _shown(views: ObjectViews) -> list[object]:
    """What of an object decides its answer: its uid by way of the noise, its input view and the cameras."""
    picture = sha256(np.ascontiguousarray(views.condition).tobytes()).hexdigest()
    cameras = [views.cameras[INPUT_VIEW], *views.target_cameras]
    lenses = [[camera.c2w.tolist(), asdict(camera.intrinsics)] for camera in cameras]
    return [views.asset.uid, picture, list(views.condition.shape), lenses]


@dataclass(frozen=True)
class PredictionStore:
    """The kept predictions of a subset.

    Args:
        root: folder of them.
    """

    root: Path

    def read(self, uid: str, key: str) -> Prediction | None:
        """The prediction of an object; None where there is none under this key, or a damaged one."""
        try:
            with safetensors.safe_open(self._path(uid), framework="np") as file:
                said = file.metadata()
                if said.get("key") != key:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        except (OSError, safetensors.SafetensorError):
            return None
        pictures = arrays.pop("pictures")
        seconds = float(said["seconds"]) if "seconds" in said else None
        return Prediction(pictures, Gaussians(**arrays) if arrays else None, seconds)

    def write(self, uid: str, key: str, prediction: Prediction) -> None:
        """Keep a prediction in place of the one before."""
        arrays = {"pictures": np.ascontiguousarray(prediction.pictures)}
        if prediction.gaussians is not None:
            arrays |= {each.name: getattr(prediction.gaussians, each.name) for each in fields(Gaussians)}
        metadata = {"key": key} | ({} if prediction.seconds is None else {"seconds": repr(prediction.seconds)})
        with replacing(self._path(uid)) as temporary:
            save_file(arrays, temporary, metadata)

    def _path(self, uid: str) -> Path:
        return object_folder(self.root, uid) / FILE
