"""What an evaluated object is reconstructed from: the task of a method, and what its field depends on.

NeuS is fitted to the input view and to what the model answered for the other cameras of the protocol, which is what SyncDreamer
and ViewFusion do with their 16 and 36 views; or to the true views. The methods on a prior are shown the input view, whose camera
is known. All is in the frame that the object was rendered in.
"""

from dataclasses import asdict
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import geometry
import systems
from blender_render.rendered_object import read_rgba
from evaluation.parameters import EvaluateParameters, ReconstructionParameters
from evaluation.predictions import Prediction, modules_of
from evaluation.protocol import INPUT_VIEW, ObjectViews
from evaluation.scales import object_scale
from evaluation.scene_assets import SCENES
from reconstruction.methods.input_view import InputView
from reconstruction.methods.neus import NeusTask
from reconstruction.methods.prior_methods import PriorMethod, learning_view, prior_task
from reconstruction.optimisation.section import field_values
from reconstruction.posed_views import PosedViews, views_on_white
from reconstruction.priors.latent_prior import prior_of
from reconstruction.reconstruct import FieldTask
from stage.code import source_fingerprint
from stage.errors import InputError
from stage.files import json_sha256
from systems.gaussian_pipeline import GaussianPipeline
from systems.object_pipeline import Camera, ObjectPipeline
from systems.viewfusion.pipeline import ViewFusionPipeline

_NEUS = "neus"
_ROOMS = ("fields", "marching", "methods", "optimisation", "priors")


def check_reconstruction(pipeline: ObjectPipeline, parameters: EvaluateParameters) -> None:
    """Refuse reconstructions of what has no true mesh, and methods that the model cannot serve.

    Raises:
        InputError: in either case.
    """
    chosen = parameters.reconstruct
    if chosen is None:
        return
    if parameters.source in SCENES:
        raise InputError(
            f"{parameters.source} is photographs and has no true meshes", "set evaluate.reconstruct to null"
        )
    if chosen.method != _NEUS and isinstance(pipeline, GaussianPipeline):
        raise InputError(
            f"the trained {type(pipeline).__name__} is no prior that {chosen.method} could ask",
            "set evaluate.reconstruct.method to neus, or to null for the meshes of its Gaussians in evaluate.geometry",
        )


def posed_views(views: ObjectViews, prediction: Prediction, parameters: ReconstructionParameters) -> PosedViews:
    """The views that NeuS is fitted to: the input view with its alpha, and the others by the model or the true ones.

    Raises:
        InputError: when no view shows anything.
    """
    if parameters.views == "truth":
        masks = torch.stack([_alpha(views, number) for number in range(len(views.cameras))])
        return PosedViews(torch.from_numpy(views.views), masks, views.cameras)
    others = prediction.pictures[INPUT_VIEW + 1 - views.first_target :]
    pictures = torch.from_numpy(np.concatenate([views.condition[None], others])).permute(0, 3, 1, 2)
    seen = views_on_white(pictures, views.cameras)
    return PosedViews(seen.images, torch.cat([_alpha(views, INPUT_VIEW)[None], seen.masks[1:]]), views.cameras)


def input_view(views: ObjectViews) -> InputView:
    """What the methods on a prior are shown."""
    picture = torch.from_numpy(views.condition).permute(2, 0, 1) * 2.0 - 1.0
    return InputView(picture, _alpha(views, INPUT_VIEW), views.cameras[INPUT_VIEW])


def field_key(
    views: ObjectViews,
    prediction: Prediction,
    parameters: EvaluateParameters,
    chosen: ReconstructionParameters,
    model_sha256: str,
) -> str:
    """Hash of all that decides an object's field: what is shown, method, seed, code, libraries, and of a prior its weights.

    Args:
        views: the object.
        prediction: the model's answer.
        parameters: of the evaluation.
        chosen: of its reconstructions.
        model_sha256: hash of the pipeline's folder.
    """
    of_prior = chosen.method != _NEUS
    rooms = [import_module(f"reconstruction.{room}") for room in _ROOMS]
    code = [name for room in (*rooms, geometry, *([systems] if of_prior else [])) for name in modules_of(room)]
    shown = (
        _shown_to_prior(views, parameters, model_sha256)
        if of_prior
        else _shown(posed_views(views, prediction, chosen))
    )
    return json_sha256(
        {
            "uid": views.asset.uid,
            "shown": shown,
            "method": field_values(chosen),
            "seed": chosen.loop.seed,
            "code": source_fingerprint([*code, "reconstruction.posed_views", __name__]),
            "torch": version("torch"),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
        }
    )


def reconstruction_task(
    pipeline: ObjectPipeline,
    views: ObjectViews,
    prediction: Prediction,
    parameters: EvaluateParameters,
    chosen: ReconstructionParameters,
) -> FieldTask:
    """The task of an object, on the pipeline's device.

    Raises:
        InputError: when pictures, model and method do not fit.
    """
    if chosen.method == _NEUS:
        posed = posed_views(views, prediction, chosen)
        return NeusTask(posed, chosen.neus, chosen.loop, views.asset.uid, pipeline.device)
    base = pipeline.base if isinstance(pipeline, ViewFusionPipeline) else pipeline
    method, scale = cast(PriorMethod, chosen.method), object_scale(base, views, parameters.scale)
    # SJC learns in a larger world, where the input's camera is as far as published.
    shown = learning_view(method, input_view(views), chosen)
    prior = prior_of(base, shown.picture[None], shown.camera, None if scale is None else scale * shown.scale)
    return prior_task(method, views.asset.uid, prior, shown, chosen)


def _alpha(views: ObjectViews, number: int) -> Float[Tensor, "h w"]:
    """Coverage of a rendered view, in [0, 1]."""
    assert views.folder is not None  # noqa: S101 - photographs are refused
    return torch.from_numpy(read_rgba(views.folder, number)[..., 3].astype(np.float32) / 255.0)


def _shown(posed: PosedViews) -> list[Any]:
    return [_digest(posed.images), _digest(posed.masks), [_camera(camera) for camera in posed.cameras]]


def _shown_to_prior(views: ObjectViews, parameters: EvaluateParameters, model_sha256: str) -> list[Any]:
    shown = input_view(views)
    return [_digest(shown.picture), _digest(shown.mask), _camera(shown.camera), parameters.scale, model_sha256]


def _digest(values: Tensor) -> str:
    return sha256(np.ascontiguousarray(values.numpy()).tobytes()).hexdigest()


def _camera(camera: Camera) -> list[Any]:
    return [camera.c2w.tolist(), asdict(camera.intrinsics)]
