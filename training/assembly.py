"""The parts of a training, put together from its parameters: system, settings of the machine, loader."""

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from accelerate import Accelerator

from stage.seeds import derive_seed
from systems.cascade_zero123.training import CascadeTraining
from systems.trainable import TrainableSystem
from systems.zero123.training import Zero123Training
from systems.zero_1_to_g.grid.layout import VIEWS
from systems.zero_1_to_g.grid.parameters import Zero1ToGGridParameters
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from systems.zero_1_to_g.training import zero_1_to_g_training
from systems.zeronvs.training import ZeroNvsTraining
from training.compiled import check_compiled
from training.data.batches import ViewChoice
from training.data.datasets import sources_of
from training.data.loader import PlannedLoader
from training.data.plan import Plan
from training.data.view_sources import ViewSet
from training.hardware import cpu_notice, use_hardware
from training.optimizer import is_fused
from training.parameters import SystemName, TrainParameters
from training.shares import pairs_at_once


class SystemMaker(Protocol):
    """Makes what is trained of a system's section, a seed of weights and the pictures' size."""

    def __call__(self, parameters: Any, seed: int, image_size: int, /) -> TrainableSystem:  # noqa: ANN401 - its own section
        """The trainable system."""


OF_PAIRS: Mapping[SystemName, type[Zero123Training]] = {
    "zero123": Zero123Training,
    "zeronvs": ZeroNvsTraining,
    "cascade_zero123": CascadeTraining,
}
"""The systems that learn from pairs of views; all of them have Zero-1-to-3's network."""
SYSTEMS: Mapping[SystemName, SystemMaker] = {
    **OF_PAIRS,
    "zero_1_to_g": zero_1_to_g_training,
    "zero_1_to_g_grid": Zero1ToGGridTraining,
}
"""What is trained under each name."""


def system_of(parameters: TrainParameters, seed: int, image_size: int) -> TrainableSystem:
    """What is trained, for pictures of so many pixels a side."""
    weights = derive_seed(seed, "training", "weights") % 2**32
    return SYSTEMS[parameters.system](parameters.chosen, weights, image_size)


def view_choice(parameters: TrainParameters, targets: int | None = None) -> ViewChoice:
    """The views of a sample, the condition last.

    Args:
        parameters: of the training.
        targets: how many there are beside the condition; as many as the system learns from when None.
    """
    chosen = parameters.chosen
    if isinstance(chosen, Zero1ToGGridParameters):
        drawn = chosen.supervision_views if targets is None else targets
        return ViewChoice(fixed=tuple(range(1, VIEWS + 1)), drawn=drawn, last=(0,))
    if not isinstance(chosen, Zero1ToGParameters):
        return ViewChoice(drawn=2)
    if targets is None:
        targets = chosen.supervision_views if chosen.stage == "decoder" else 1
    return ViewChoice(drawn=targets, last=(0,)) if chosen.condition == "first" else ViewChoice(drawn=targets + 1)


def put_on_hardware(
    parameters: TrainParameters, system: TrainableSystem, image_size: int, accelerator: Accelerator
) -> dict[str, object]:
    """Put `train.hardware` into force; what is in force by name.

    Raises:
        ParameterError: when something cannot be had on this machine.
        ViewforgeError: when a compiled denoiser computes something else.
    """
    settings, optimizer = parameters.hardware, parameters.optimizer
    if accelerator.is_main_process and (notice := cpu_notice(accelerator.device)):
        print(notice, file=sys.stderr, flush=True)
    facts = use_hardware(settings, system.denoiser, accelerator.device)
    if settings.compile:
        tolerance = settings.compile_tolerance
        views = len(view_choice(parameters))
        difference = check_compiled(system, accelerator, image_size, pairs_at_once(parameters), views, tolerance)
        facts |= {"compile_difference": difference.gradients}
    return {
        **facts,
        "mixed_precision": parameters.launch.mixed_precision,
        "optimizer": optimizer.kind,
        "fused": optimizer.kind == "adamw" and is_fused(optimizer, accelerator.device),
    }


def loader_of(
    parameters: TrainParameters, plan: Plan, readers: dict[str, ViewSet], accelerator: Accelerator
) -> PlannedLoader:
    """This process' part of the plan."""
    data = parameters.data
    return PlannedLoader(
        plan,
        sources_of(data, readers),
        view_choice(parameters),
        rank=accelerator.process_index,
        ranks=accelerator.num_processes,
        workers=data.workers,
        prefetch=data.prefetch,
        max_failure_rate=data.max_failure_rate,
        size=data.size,
        fetchers=data.fetchers,
        pin_memory=True,
    )
