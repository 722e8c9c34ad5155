"""A system small enough to train in a blink, and engines on it: in this process, or in two that speak with one another."""

import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from systems.trainable import StepLoss, TrainableSystem, Views
from training.data.batches import ViewChoice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.engine import Engine
from training.feed import Feed
from training.parameters import TrainParameters
from training.preemption import Notice
from training.tracking.tracker import Silence

OBJECTS, BATCH, PATIENCE = 6, 4, 120.0


@dataclass
class Numbers:
    """A system's draws."""

    values: Tensor

    def to(self, device: torch.device) -> "Numbers":
        """The same on a device."""
        return Numbers(self.values.to(device))


class Denoiser(nn.Module):
    """Two blocks, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(12, 10), nn.Linear(10, 3)])

    def forward(self, values: Tensor) -> Tensor:  # noqa: D102
        return self.blocks[1](torch.tanh(self.blocks[0](values)))


class SmallSystem(TrainableSystem):
    """Learns the mean colour of a view from that of another, 4 by 4 pixels of it, and noise; a part of it is frozen.

    `dropout` draws from the framework's own generator. Forward passes whose number, counted from 0, is among `broken` give no
    finite loss.
    """

    def __init__(self, dropout: float = 0.0, broken: Sequence[int] = ()) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.unet, self.cc_projection = Denoiser(), nn.Linear(3, 3)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.broken, self.calls = broken, 0

    @property
    def timesteps_total(self) -> int:  # noqa: D102
        return 1000

    @property
    def denoiser(self) -> nn.Module:  # noqa: D102
        return self.unet

    def forward(self, batch: Tensor, draws: Numbers) -> StepLoss:  # noqa: D102
        goal = batch[:, 0].mean((1, 2))
        inputs = batch[:, 1, ::8, ::8].flatten(1) + 0.1 * draws.values
        errors = (self.cc_projection(self.dropout(self.unet(inputs))) - self.frozen(goal)).square().mean(1)
        loss = errors.mean()
        self.calls += 1
        if self.calls - 1 in self.broken:
            loss = loss * torch.inf
        return StepLoss(loss, errors.detach(), torch.zeros(len(errors), dtype=torch.long))

    def batch(self, views: Views) -> Tensor:  # noqa: D102
        return views.rgba[..., :3].float() / 255.0

    def draw(self, seeds: Sequence[int]) -> Numbers:  # noqa: D102
        return Numbers(torch.stack([torch.randn(12, generator=torch.Generator().manual_seed(seed)) for seed in seeds]))

    def predict(self, batch: Tensor, seeds: Sequence[int], steps: int, guidance_scale: float) -> Tensor:  # noqa: ARG002, D102
        with torch.no_grad():
            colours = self.cc_projection(self.unet(batch[:, 1, ::8, ::8].flatten(1)))
        return colours.clamp(0, 1)[:, :, None, None].expand(-1, -1, *batch.shape[2:4])

    def parameter_groups(self) -> Mapping[str, Sequence[nn.Parameter]]:  # noqa: D102
        return {
            "denoiser": list(self.unet.parameters()),
            "cc_projection": list(self.cc_projection.parameters()),
        }

    def save(self, folder: Path) -> None:
        """It is never saved."""


@dataclass
class Told:
    """What became of an engine."""

    losses: list[float] = field(default_factory=list)
    averages: dict[str, Tensor] = field(default_factory=dict)
    failure: str = ""
    done: int = 0


def parameters(**changes: Any) -> TrainParameters:
    """A short run."""
    section = {
        "steps": 6,
        "batch_size": BATCH,
        "checkpoint_every": 3,
        "ema_decay": 0.9,
        "optimizer": {"warmup_steps": 2},
    }
    return TrainParameters.model_validate({**section, **changes})


def engine(
    run: TrainParameters,
    shards: Path,
    folder: Path,
    system: SmallSystem | None = None,
    accelerator: Accelerator | None = None,
    *,
    splatters: bool = False,
) -> Engine:
    """An engine of this process, on the CPU unless an accelerator is given; with splatter images, view 0 comes last."""
    if accelerator is None:
        AcceleratorState._reset_state(reset_partial_state=True)
    processes = accelerator or Accelerator(cpu=True, mixed_precision=run.launch.mixed_precision)
    plan = Plan((Mixed("objects", OBJECTS),), batch_size=BATCH, seed=1)
    loader = PlannedLoader(
        plan,
        {"objects": ShardReader(shards, "train", splatters=splatters)},
        ViewChoice(drawn=1, last=(0,)) if splatters else ViewChoice(drawn=2),
        rank=processes.process_index,
        ranks=processes.num_processes,
    )
    folder.mkdir(parents=True, exist_ok=True)
    return Engine(run, 7, system or SmallSystem(), Feed(loader, processes), folder, processes, Silence(), Notice())


def losses(folder: Path) -> list[float]:
    """The curve that an engine wrote."""
    return [float(line.split(",")[1]) for line in (folder / "loss.csv").read_text().splitlines()[1:]]


def trained(made: Engine, folder: Path) -> Told:
    """Run an engine to its end."""
    made.run()
    return Told(losses(folder), dict(made.averages()), done=made.done)


def killed_after(step: int, source: Path, target: Path) -> None:
    """A run as it lies after a kill: its checkpoints up to a step, and a curve that goes on."""
    shutil.copytree(source, target)
    for later in (target / "checkpoints").iterdir():
        if int(later.name.removeprefix("step-")) > step:
            shutil.rmtree(later)


Work = Callable[[int, Path], Told]


def _process(rank: int, port: int, work: Work, folder: Path, answers: "Queue[tuple[Any, ...]]") -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": str(port)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    try:
        told = work(rank, folder)
    except Exception as error:  # noqa: BLE001 - the test wants to know
        told = Told(failure=f"{type(error).__name__}: {error}")
    # As arrays: torch would send handles of tensors, which are gone with this process.
    answers.put(
        (rank, told.losses, {name: value.numpy() for name, value in told.averages.items()}, told.failure, told.done)
    )
    answers.close()  # type: ignore[attr-defined]
    answers.join_thread()  # type: ignore[attr-defined]


def both(work: Work, folder: Path) -> list[Told]:
    """What two processes have to say that run `work(rank, folder)`, in order of rank.

    They are forked from a process that has done nothing yet: from this one they would inherit locks of threads that a fork leaves
    behind, and wait for them.
    """
    context = multiprocessing.get_context("forkserver")
    # The systems, too: their imports take seconds, which each process would take anew.
    systems = ["systems.zeronvs.training", "systems.cascade_zero123.training"]
    context.set_forkserver_preload(["training.engine", "training.data.loader", *systems])
    answers: Queue[tuple[Any, ...]] = context.Queue()  # type: ignore[assignment]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes = [context.Process(target=_process, args=(rank, port, work, folder, answers)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        told = sorted((answers.get(timeout=PATIENCE) for _ in processes), key=lambda answer: answer[0])
        return [
            Told(losses, {name: torch.from_numpy(value) for name, value in averages.items()}, failure, done)
            for _, losses, averages, failure, done in told
        ]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
            process.join()
