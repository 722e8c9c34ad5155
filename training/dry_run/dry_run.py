"""A training gone through without taking a step: what it reads, holds, takes and costs, and what would stop it.

found = dry_run(parameters, seed, workspace, Questions(step_seconds=0.5, gpu_hour_price=2.0))
found.failed  # whether a training would fail
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from stage.workspace import Workspace
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from systems.zero_1_to_g.parameters import Zero1ToGParameters
from training.assembly import OF_PAIRS
from training.data.datasets import picture_size, plan_of
from training.data.view_sources import ViewSet
from training.dry_run.cost import Cost, StepTime, cost_of
from training.dry_run.devices import Device, device_here
from training.dry_run.fitting import largest_fitting
from training.dry_run.inspection import inspected
from training.dry_run.memory import GpuMemory, MemorySettings, checkpoint_bytes, gpu_memory, settings_of
from training.dry_run.outline import MODEL, ModuleCount, Outline, counted, outlined
from training.dry_run.problems import Problem, noting
from training.dry_run.questions import Questions
from training.dry_run.reading import Batch, Reading, batch_of, reading_of
from training.dry_run.surroundings import (
    short_of_disk,
    short_of_gpus,
    short_of_memory,
    unreachable_tracking,
    wrong_weights,
)
from training.dry_run.trace import traced
from training.parameters import TrainParameters


@dataclass(frozen=True)
class Memory:
    """What one GPU holds, and what it would hold if the setting of gradient checkpointing were another."""

    settings: MemorySettings
    parts: GpuMemory
    other_checkpointing: GpuMemory
    available: int | None
    """Bytes of the GPU; None where it is not known."""
    largest_at_once: int | None
    """Pairs at once that fit, of those that divide a process' share of a step; None where none does or it is not known."""


@dataclass(frozen=True)
class DryRun:
    """What was found; None is what could not be."""

    device: Device
    source: str
    """What the modules were counted from."""
    modules: tuple[ModuleCount, ...]
    batch: Batch | None
    reading: Reading | None
    picture_size: int | None
    memory: Memory | None
    checkpoint_bytes: int | None
    flops_per_pair: int | None
    """Of a forward and a backward pass, without what gradient checkpointing computes twice."""
    cost: Cost | None
    problems: tuple[Problem, ...]

    @property
    def failed(self) -> bool:
        """Whether a training would fail."""
        return any(problem.fatal for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        values = asdict(self) | {"failed": self.failed}
        if self.memory:
            values["memory"]["parts"]["total"] = self.memory.parts.total
            values["memory"]["other_checkpointing"]["total"] = self.memory.other_checkpointing.total
        return values


def dry_run(parameters: TrainParameters, seed: int, workspace: Workspace, questions: Questions) -> DryRun:
    """Look at a training before it is started. Nothing of the workspace is changed.

    Args:
        parameters: the run.
        seed: the run's.
        workspace: where it will work.
        questions: what else is asked.
    """
    device = device_here()
    readers, problems = inspected(parameters.data, workspace.root, parameters.scale, splatters=parameters.splatters)
    batch = reading = size = memory = flops = step = None
    with noting(problems, "batch"):
        batch = batch_of(parameters)
        problems += short_of_gpus(parameters, device)
    if len(readers) == len(parameters.data.datasets):
        with noting(problems, "data"):
            plan = plan_of(parameters.data, readers, parameters.batch_size, seed)
            reading, size = reading_of(parameters, plan, readers), picture_size(parameters.data, readers)
            problems += _few_objects(parameters, readers)
    outline = _outline(parameters, size, problems)
    checkpoint = checkpoint_bytes(outline.system, settings_of(parameters)) if outline else None
    problems += [*short_of_disk(parameters, workspace.scratch, checkpoint or 0), *unreachable_tracking()]
    if outline and batch and size:
        available = int(questions.gpu_memory * 1e9) if questions.gpu_memory else device.memory
        memory, flops = _memory(parameters, outline, batch, available)
        remedy = _remedy(memory, batch)
        problems += short_of_memory(memory.parts.total, available, remedy, here=not questions.gpu_memory)
    with noting(problems, "measure"):
        possible = not any(problem.fatal for problem in problems)
        step = _step(parameters, workspace, device, questions, possible=possible)
    per_step = flops * batch.at_once * batch.accumulate if flops and batch else None
    return DryRun(
        device=device,
        source=outline.source if outline else "",
        modules=tuple(counted(outline)) if outline else (),
        batch=batch,
        reading=reading,
        picture_size=size,
        memory=memory,
        checkpoint_bytes=checkpoint,
        flops_per_pair=flops,
        cost=cost_of(parameters, step, per_step, questions.gpu_hour_price, device.name) if step else None,
        problems=tuple(problems),
    )


def _outline(parameters: TrainParameters, size: int | None, problems: list[Problem]) -> Outline | None:
    """The system, unless its parameters describe none."""
    with noting(problems, MODEL):
        # Parameters do not depend on the pictures' size: where there are no pictures, any will do.
        if (chosen := _counted(parameters)) is None:
            problems.append(_uncounted(parameters))
            return None
        kind = OF_PAIRS.get(parameters.system, Zero123Training)
        outline = outlined(chosen, size or _any_size(parameters), kind, parameters.system)
        problems += [*outline.problems, *wrong_weights(outline, chosen.pretrained)]
        return outline
    return None


def _counted(parameters: TrainParameters) -> Zero123Parameters | Zero1ToGParameters | None:
    """The section of a system whose passes can be gone through by shapes alone; None of those that rasterise."""
    chosen = parameters.chosen
    if isinstance(chosen, Zero1ToGParameters):
        return chosen if chosen.stage in ("attributes", "joint") else None
    return chosen if isinstance(chosen, Zero123Parameters) else None


def _uncounted(parameters: TrainParameters) -> Problem:
    stage = getattr(parameters.chosen, "stage", "")
    what = f"the plan counts neither weights nor memory of the stage {stage} of {parameters.system}"
    return Problem(MODEL, what, "its steps can be measured: --measure", fatal=False)


def _any_size(parameters: TrainParameters) -> int:
    """A width of pictures that every autoencoder takes."""
    return parameters.data.size or 32 * parameters.chosen.autoencoder.factor


def _few_objects(parameters: TrainParameters, readers: dict[str, ViewSet]) -> Iterator[Problem]:
    """A step that takes the same objects more than once."""
    for dataset in parameters.data.datasets:
        objects, wanted = len(readers[dataset.name]), math.ceil(parameters.batch_size * dataset.probability)
        if objects < wanted:
            what = (
                f"{objects} objects for about {wanted} pairs of each step: every step has some of them more than once"
            )
            yield Problem(f"data {dataset.name}", what, "add objects, or lower train.batch_size", fatal=False)


def _memory(parameters: TrainParameters, outline: Outline, batch: Batch, available: int | None) -> tuple[Memory, int]:
    """What one GPU holds, and the operations of one pair."""
    settings = settings_of(parameters)
    plain = traced(outline, batch.at_once, settings.precision, counting=True)
    again = traced(outline, batch.at_once, settings.precision, checkpointing=True)
    chosen, other = (again, plain) if settings.checkpointing else (plain, again)
    parts = gpu_memory(outline.system, settings, chosen.activations)
    largest = largest_fitting(outline, settings, chosen, batch.at_once * batch.accumulate, available)
    memory = Memory(settings, parts, gpu_memory(outline.system, settings, other.activations), available, largest)
    return memory, (plain.flops or 0) // batch.at_once


def _remedy(memory: Memory, batch: Batch) -> str:
    share = batch.at_once * batch.accumulate
    if memory.largest_at_once:
        return f"set train.launch.accumulate to {share // memory.largest_at_once}: {memory.largest_at_once} pairs at once fit"
    return "not even one pair at once fits: take a larger GPU, or a smaller network"


def _step(
    parameters: TrainParameters, workspace: Workspace, device: Device, questions: Questions, *, possible: bool
) -> StepTime | None:
    if questions.step_seconds is not None:
        return StepTime(questions.step_seconds, "as given", device.name)
    if not questions.measure or not possible:
        return None
    from training.dry_run.measure import measured

    return measured(parameters, workspace, device, questions.measure)
