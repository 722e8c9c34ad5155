"""The system of a training without its weights: tensors that have shapes, types and a device, and no bytes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from stage.errors import InputError, ParameterError, ViewforgeError
from systems.zero123.modules import Zero123Modules
from systems.zero123.outline import modules_of_folder, published_modules
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from training.dry_run.problems import Problem, problem_of

MODEL = "model"


@dataclass(frozen=True)
class Outline:
    """A system that takes no memory, and the mode in which it computes nothing but shapes."""

    system: Zero123Training
    mode: FakeTensorMode
    image_size: int
    """Width and height of the training pictures, pixels."""
    source: str
    """What it was made from."""
    problems: tuple[Problem, ...] = ()
    """Why it is not made from what the parameters name."""


@dataclass(frozen=True)
class ModuleCount:
    """Parameters of one module."""

    name: str
    total: int
    trained: int
    """Those that are trained; the others are frozen."""


def outlined(
    parameters: Zero123Parameters,
    image_size: int,
    kind: type[Zero123Training] = Zero123Training,
    name: str = "zero123",
) -> Outline:
    """The system that the parameters describe; the published one where their folder is not there.

    Args:
        parameters: of the system.
        image_size: width and height of the training pictures, pixels.
        kind: of system.
        name: of the section of `train` that has the parameters, for messages.

    Raises:
        ParameterError: when no such system can be made for such pictures.
    """
    # The mode lets real tensors in: the few of the schedule that numpy makes.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode, torch.random.fork_rng(devices=[]):
        modules, source, problems = _modules(parameters, kind, name)
        try:
            system = kind(parameters, 0, image_size, modules)
        except (RuntimeError, ValueError) as error:
            raise ParameterError(
                f"train.{name} does not fit pictures of {image_size} pixels: {str(error).splitlines()[0]}",
                "make them a multiple of the autoencoder's factor",
            ) from None
    return Outline(system, mode, image_size, source, problems)


def _modules(
    parameters: Zero123Parameters, kind: type[Zero123Training], name: str
) -> tuple[Zero123Modules, str, tuple[Problem, ...]]:
    try:
        if parameters.pretrained:
            return modules_of_folder(Path(parameters.pretrained)), parameters.pretrained, ()
        return kind.new_modules(parameters, 0), "params.yaml", ()
    except InputError as error:
        return published_modules(), "the published architecture", (problem_of(error, MODEL),)
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
