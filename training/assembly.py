"""The parts of a training, put together from its parameters: system, settings of the machine, loader."""

import sys
from collections.abc import Mapping

from accelerate import Accelerator

from stage.seeds import derive_seed
from systems.cascade_zero123.training import CascadeTraining
from systems.trainable import TrainableSystem
from systems.zero123.training import Zero123Training
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

# A pair: the target, the condition last.
_VIEWS = ViewChoice(drawn=2)


SYSTEMS: Mapping[SystemName, type[Zero123Training]] = {
    "zero123": Zero123Training,
    "zeronvs": ZeroNvsTraining,
    "cascade_zero123": CascadeTraining,
}
"""What is trained under each name; all of them have Zero-1-to-3's network."""


def system_of(parameters: TrainParameters, seed: int, image_size: int) -> TrainableSystem:
    """What is trained, for pictures of so many pixels a side."""
    weights = derive_seed(seed, "training", "weights") % 2**32
    return SYSTEMS[parameters.system](parameters.chosen, weights, image_size)


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
        difference = check_compiled(system, accelerator, image_size, pairs_at_once(parameters), len(_VIEWS), tolerance)
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
    """This process' part of the plan: two views of an object, the condition last."""
    data = parameters.data
    return PlannedLoader(
        plan,
        sources_of(data, readers),
        _VIEWS,
        rank=accelerator.process_index,
        ranks=accelerator.num_processes,
        workers=data.workers,
        prefetch=data.prefetch,
        max_failure_rate=data.max_failure_rate,
        size=data.size,
        fetchers=data.fetchers,
        pin_memory=True,
    )
