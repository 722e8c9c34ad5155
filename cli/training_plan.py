"""`viewforge train --plan`: what a training will take, as a table for a person or as JSON for a program."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

from stage.parameters import load_seed
from stage.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from training.dry_run.dry_run import DryRun
    from training.dry_run.memory import GpuMemory
    from training.dry_run.questions import Questions

_GB = 1e9


def show_plan(workspace: Workspace, questions: "Questions", *, as_json: bool) -> None:
    """Go through the training of a workspace and print what was found; exit status 1 where it would fail."""
    from training.dry_run.dry_run import dry_run
    from training.parameters import load_training

    parameters = load_training(workspace)
    found = dry_run(parameters, load_seed(workspace.parameters), workspace, questions)
    if as_json:
        print(json.dumps(found.as_json(), indent=2, sort_keys=True))
    else:
        _print(found, measuring=questions.measure > 0)
    if found.failed:
        raise typer.Exit(1)


def _print(found: "DryRun", *, measuring: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for part in (_modules(found), _memory(found), _reading(found)):
        console.print(part)
        console.print()
    for line in (*_batch(found), *_cost(found, measuring)):
        console.print(line, markup=False, soft_wrap=True)
    _problems(found, console)


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(title, header_style="bold", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _modules(found: "DryRun") -> "Table":
    table = _table(f"parameters of {found.source}" if found.source else "parameters", "all", "trained", "frozen")
    for module in found.modules:
        table.add_row(module.name, *_counts((module.total, module.trained, module.total - module.trained)))
    total, trained = (sum(getattr(module, name) for module in found.modules) for name in ("total", "trained"))
    table.add_row("total", *(_counts((total, trained, total - trained)) if found.modules else ["not available"]))
    return table


def _memory(found: "DryRun") -> "Table":
    if found.memory is None:
        table = _table("memory of one GPU", "GB")
        table.add_row("total", "not available")
        return table
    memory, other = found.memory.parts, found.memory.other_checkpointing
    settings = found.memory.settings
    columns = ("GB", f"{'without' if settings.checkpointing else 'with'} gradient checkpointing")
    named = "32 bits" if settings.precision == "no" else settings.precision
    table = _table(f"memory of one GPU ({named}, sharding {settings.sharding})", *columns)
    names = ("trained", "frozen", "moving_average", "optimizer", "gradients", "exchange", "activations", "total")
    for name in names if settings.sharding != "none" else (name for name in names if name != "exchange"):
        table.add_row(name.replace("_", " "), *(_gigabytes(part, name) for part in (memory, other)))
    return table


def _gigabytes(memory: "GpuMemory", name: str) -> str:
    return f"{getattr(memory, name) / _GB:,.3f}"


def _reading(found: "DryRun") -> "Table":
    table = _table("training data", "objects", "views", "shards", "pairs per epoch", "pairs", "passes")
    if found.reading is None:
        table.add_row("not available: see the problems below")
        return table
    from rich.text import Text

    for dataset in found.reading.datasets:
        numbers = (dataset.objects, dataset.views, dataset.shards, dataset.pairs_per_epoch, dataset.pairs)
        table.add_row(Text(f"{dataset.name} ({dataset.place})"), *_counts(numbers), f"{dataset.passes:,.2f}")
    return table


def _batch(found: "DryRun") -> Iterable[str]:
    if (batch := found.batch) is not None:
        machines = f" on {batch.machines} machines" if batch.machines > 1 else ""
        parts = f"{batch.at_once} at once × {batch.accumulate} accumulated × {batch.processes} processes{machines}"
        yield f"batch: {batch.effective:,} pairs a step: {parts}"
    if (reading := found.reading) is not None:
        yield (
            f"run: {reading.steps:,} steps, {reading.steps_per_epoch:,} an epoch: "
            f"{reading.epochs:,.2f} epochs, {reading.pairs:,} pairs of {found.picture_size} pixels"
        )
    if found.checkpoint_bytes:
        yield f"checkpoints: {found.checkpoint_bytes / _GB:,.3f} GB each"
    yield f"gpu: {_device(found)}"


def _device(found: "DryRun") -> str:
    device = found.device
    if device.memory is None:
        here = "no CUDA GPU on this machine"
    else:
        here = f"{device.count} × {device.name} with {device.memory / _GB:,.1f} GB each"
    memory = found.memory
    if memory is None or memory.available is None:
        return f"{here}; whether the training fits is not known"
    largest = f"up to {memory.largest_at_once} pairs at once fit" if memory.largest_at_once else "not one pair fits"
    return f"{here}; {largest} into {memory.available / _GB:,.1f} GB"


def _cost(found: "DryRun", measuring: bool) -> Iterable[str]:
    if (cost := found.cost) is None:
        why = (
            "not measured: solve the problems first"
            if measuring
            else "step time unknown: pass --measure or --step-seconds"
        )
        yield f"time: {why}"
        return
    yield (
        f"time: {cost.step.seconds:,.4g} s a step ({cost.step.source}), {cost.pairs_per_second:,.4g} pairs/s, "
        f"{cost.hours:,.4g} hours, {cost.gpu_hours:,.4g} GPU hours"
    )
    if cost.step.peak_memory:
        yield f"measured memory: {cost.step.peak_memory / _GB:,.3f} GB reserved on a GPU"
    if cost.utilisation:
        yield f"utilisation: {cost.utilisation:.1%} of the GPU's 16-bit peak (model FLOPs)"
    yield f"cost: {cost.price:,.2f}" if cost.price is not None else "cost: pass --gpu-hour-price"


def _problems(found: "DryRun", console: "Console") -> None:
    if not found.problems:
        console.print("problems: none found")
        return
    for problem in found.problems:
        kind = "problem" if problem.fatal else "warning"
        line = f"{kind}: {problem.place}: {problem.what}" + (f"; {problem.remedy}" if problem.remedy else "")
        console.print(line, markup=False, soft_wrap=True)


def _counts(numbers: Iterable[int]) -> list[str]:
    return [f"{number:,}" for number in numbers]
