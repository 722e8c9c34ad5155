"""Batches of two real processes that speak with one another: what one of them meets, both know before the next step."""

import multiprocessing
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from shard_support import SMALL, damage

from stage.errors import ViewforgeError
from stage.workspace import Workspace
from training.data.batches import ViewChoice
from training.data.index import read_index
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader
from training.data.shard_store import StreamError
from training.data.views import ReadViews
from training.data.writer import write_shards
from training.feed import Feed

RANKS, OBJECTS, PATIENCE = 2, 8, 60.0
PLAN = Plan((Mixed("objects", OBJECTS),), batch_size=4, seed=1)
Told = tuple[int, list[tuple[str, ...]], list[int], str]


@pytest.fixture(scope="module")
def shards(render_boxes: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    workspace: Workspace = render_boxes(tmp_path_factory.mktemp("feed") / "workspace", train=OBJECTS)
    write_shards(SMALL, workspace)
    return workspace.shards


@pytest.fixture
def damaged(shards: Path, tmp_path: Path) -> Callable[..., Path]:
    """The set with damaged cameras of some objects."""

    def copied(*numbers: int) -> Path:
        folder = Path(shutil.copytree(shards, tmp_path / "shards"))
        rows = read_index(folder)
        for number in numbers:
            damage(folder, rows[number])
        return folder

    return copied


class Unreachable(ShardReader):
    """Objects on a server that goes away for the process of one rank."""

    def __init__(self, folder: Path, alone: int, at: int) -> None:
        super().__init__(folder, "train")
        self.alone, self.at = alone, at

    def read_views(self, number: int, chosen: Any) -> ReadViews:  # noqa: D102
        if number == self.at and int(os.environ["RANK"]) == self.alone:
            raise StreamError("http://host/train-000000.tar does not answer", "check the network and run again")
        return super().read_views(number, chosen)


def read(rank: int, port: int, reader: ShardReader, limit: float, steps: int, answers: "Queue[Told]") -> None:
    """One process: its batches, the damage that it knows of at the end, and why it ended before all of them."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "MASTER_PORT": str(port)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    AcceleratorState._reset_state(reset_partial_state=True)
    loader = PlannedLoader(
        PLAN, {"objects": reader}, ViewChoice(drawn=2), rank=rank, ranks=RANKS, max_failure_rate=limit
    )
    uids: list[tuple[str, ...]] = []
    reason = ""
    try:
        for _, batch in zip(range(steps), Feed(loader, Accelerator(cpu=True)), strict=False):
            uids.append(batch.uids)
    except ViewforgeError as error:
        reason = str(error)
    answers.put((rank, uids, sorted(damage.sample for damage in loader.damaged), reason))


def both(reader: ShardReader, limit: float = 0.5, steps: int = 6) -> list[Told]:
    """What the two processes have to say, in order of rank; forked from one without threads, which a fork would leave behind."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.feed"])
    answers: Queue[Told] = context.Queue()  # type: ignore[assignment]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes = [
        context.Process(target=read, args=(rank, port, reader, limit, steps, answers)) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    try:
        return sorted(answers.get(timeout=PATIENCE) for _ in processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def test_two_processes_share_the_global_batches(shards: Path) -> None:
    alone = PlannedLoader(PLAN, {"objects": ShardReader(shards, "train")}, ViewChoice(drawn=2))
    expected = [batch.uids for _, batch in zip(range(6), alone, strict=False)]
    (_, first, none, fine), (_, second, _, also_fine) = both(ShardReader(shards, "train"))
    assert [one + other for one, other in zip(first, second, strict=True)] == expected
    assert none == []
    assert fine == also_fine == ""


def met_by(rank: int, steps: int) -> set[int]:
    """Samples that the plan gives to one process."""
    return {int(s) for n in range(steps) for s in PLAN.epoch(n // 2).batch(n % 2).share(rank, RANKS).sample}


def test_damage_that_one_process_meets_counts_for_both(damaged: Callable[..., Path]) -> None:
    only_first = min(met_by(0, 2) - met_by(1, 2))
    reader = ShardReader(damaged(only_first), "train")
    told = both(reader, limit=0.2, steps=2)
    assert [(found, reason) for _, _, found, reason in told] == [([only_first], "")] * RANKS


def test_the_damage_of_both_ends_both_at_the_same_step(damaged: Callable[..., Path]) -> None:
    """Neither alone is past the limit of one in eight."""
    first, second = min(met_by(0, 2) - met_by(1, 2)), min(met_by(1, 2) - met_by(0, 2))
    told = both(ShardReader(damaged(first, second), "train"), limit=0.2, steps=6)
    assert {len(uids) for _, uids, _, _ in told} in ({0}, {1}), "both are met in the first two batches"
    for _, _, found, reason in told:
        assert found == sorted([first, second])
        assert "2 of 8 objects failed, over the limit of 20%" in reason
        assert reason.endswith("raise train.data.max_failure_rate")


@pytest.mark.parametrize("alone", [0, 1])
def test_one_process_without_data_ends_both_with_its_reason(shards: Path, alone: int) -> None:
    at = min(met_by(alone, 1))
    told = both(Unreachable(shards, alone, at))
    assert [reason for *_, reason in told] == [
        "http://host/train-000000.tar does not answer; check the network and run again"
    ] * RANKS
