"""The task of a method on a prior, with the field that it is published with.

view = learning_view("sjc", InputView(picture, mask, camera), parameters)
prior = prior_of(pipeline, view.picture[None], view.camera)
task = prior_task("sjc", uid, prior, view, parameters)
optimise(task, folder, parameters.loop)
mesh = coloured_mesh(task, parameters.mesh)
"""

from dataclasses import replace
from typing import Literal, cast

import torch

from reconstruction.fields.encodings import GridEncoding
from reconstruction.fields.field import Field, box_about_origin
from reconstruction.fields.implicit_field import ImplicitField
from reconstruction.fields.latent_voxel_field import LatentVoxelField
from reconstruction.fields.voxel_field import VoxelField
from reconstruction.methods.anchored_sds import AnchoredSdsTask, SamplingPrior
from reconstruction.methods.input_view import InputView
from reconstruction.methods.parameters import SdsParameters, SjcParameters
from reconstruction.methods.prior_task import PriorTask
from reconstruction.methods.sds import SdsTask
from reconstruction.methods.sjc import SjcTask
from reconstruction.optimisation.parameters import ReconstructParameters
from reconstruction.priors.prior import Prior
from stage.seeds import derive_seed

PriorMethod = Literal["sjc", "sds", "anchored-sds"]


def learning_view(method: PriorMethod, view: InputView, parameters: ReconstructParameters) -> InputView:
    """The input view in the world that a method's field learns in: a scaled one of SJC, whose camera has its own distance."""
    return view.at_distance(parameters.sjc.input_distance if method == "sjc" else None)


def prior_task(
    method: PriorMethod, subject: str, prior: Prior, view: InputView, parameters: ReconstructParameters
) -> PriorTask:
    """A method's task with a new field, on the prior's device; it follows from run seed and subject alone.

    Args:
        method: which one.
        subject: the object, as its uid.
        prior: knows the input view; of `anchored-sds` one that samples views, too.
        view: the input view, in the prior's world; see `learning_view`.
        parameters: of run and method.

    Raises:
        InputError: when field, prior and method do not fit.
        ParameterError: when parameters contradict each other.
    """
    given = replace(view, picture=view.picture.to(prior.device), mask=view.mask.to(prior.device))
    seed = derive_seed(parameters.loop.seed, subject, "field")
    if method == "sjc":
        latents = _latent_field(parameters.sjc, prior.latent_shape[0], seed).to(prior.device)
        return SjcTask(subject, latents, prior, given, parameters.loop, parameters.sjc)
    chosen = parameters.sds if method == "sds" else parameters.anchored_sds
    colours = _colour_field(chosen, seed).to(prior.device)
    if method == "sds":
        return SdsTask(subject, colours, prior, given, parameters.loop, chosen)
    sampling = cast(SamplingPrior, prior)
    return AnchoredSdsTask(subject, colours, sampling, given, parameters.loop, parameters.anchored_sds)


def _latent_field(chosen: SjcParameters, channels: int, seed: int) -> Field:
    box = box_about_origin(chosen.half_side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LatentVoxelField(box, chosen.resolution, channels, chosen.density_shift)


def _colour_field(chosen: SdsParameters, seed: int) -> Field:
    box = box_about_origin(chosen.half_side)
    if chosen.field == "voxel":
        return VoxelField(box, chosen.resolution, shift=chosen.density_shift)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoding = GridEncoding(chosen.levels, table=chosen.table, finest=chosen.finest)
        return ImplicitField(box, width=chosen.width, encoding=encoding)
