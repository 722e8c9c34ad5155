"""The system of a training without its weights: tensors that have shapes, types and a device, and no bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stage.errors import InputError, ParameterError, ViewforgeError
from systems.trainable import TrainableSystem
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from training.dry_run.blueprints import Blueprint, OfAttributes, OfPairs
from training.dry_run.problems import Problem, problem_of

MODEL = "model"


@dataclass(frozen=True)
class Outline:
    """A system that takes no memory, and the mode in which it computes nothing but shapes."""

    system: TrainableSystem
    mode: FakeTensorMode
    image_size: int
    """Width and height of the training pictures, pixels."""
    source: str
    """What it was made from."""
    problems: tuple[Problem, ...] = ()
    """Why it is not made from what the parameters name."""
    stored: Mapping[str, nn.Module] = field(default_factory=dict)
    """The networks whose weights the folder that it is made from has to hold, by the name of their own folder in it."""


@dataclass(frozen=True)
class ModuleCount:
    """Parameters of one module."""

    name: str
    total: int
    trained: int
    """Those that are trained; the others are frozen."""


def outlined(
    parameters: Zero123Parameters | Zero1ToGParameters,
    image_size: int,
    kind: type[Zero123Training] = Zero123Training,
    name: str = "zero123",
) -> Outline:
    """The system that the parameters describe; the published one where their folder is not there.

    Args:
        parameters: of the system; of Zero-1-to-G those of a stage that trains the denoiser.
        image_size: width and height of the training pictures, pixels.
        kind: of system, of those that learn from pairs.
        name: of the section of `train` that has the parameters, for messages.

    Raises:
        ParameterError: when no such system can be made for such pictures.
    """
    blueprint = _blueprint(parameters, kind)
    # The mode lets real tensors in: the few of the schedule that numpy makes.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.random.fork_rng(devices=[]):
        modules, source, problems = _modules(blueprint, parameters.pretrained, name)
        try:
            system = blueprint.system(modules, image_size)
        except (RuntimeError, ValueError) as error:
            raise ParameterError(
                f"train.{name} does not fit pictures of {image_size} pixels: {str(error).splitlines()[0]}",
                "make them a multiple of the autoencoder's factor",
            ) from None
        stored = blueprint.stored(Path(parameters.pretrained)) if parameters.pretrained and not problems else {}
    return Outline(system, mode, image_size, source, problems, stored)


def _blueprint(parameters: Zero123Parameters | Zero1ToGParameters, kind: type[Zero123Training]) -> Blueprint:
    if isinstance(parameters, Zero1ToGParameters):
        return OfAttributes(parameters)
    return OfPairs(parameters, kind)


def _modules(blueprint: Blueprint, folder: str | None, name: str) -> tuple[Any, str, tuple[Problem, ...]]:
    try:
        return blueprint.first(), folder or "params.yaml", ()
    except InputError as error:
        return blueprint.published(), "the published architecture", (problem_of(error, MODEL),)
    except (ViewforgeError, RuntimeError, ValueError, TypeError) as error:
        # Channels that the groups of a normalisation do not divide, and the like.
        raise ParameterError(
            f"train.{name} describes no network: {str(error).splitlines()[0]}", "mend its values"
        ) from None


def counted(outline: Outline) -> list[ModuleCount]:
    """The parameters of each module of a system."""
    return [
        ModuleCount(
            name,
            sum(parameter.numel() for parameter in module.parameters()),
            sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        )
        for name, module in outline.system.named_children()
    ]
