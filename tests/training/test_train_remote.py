"""The train stage on shards that lie on servers: a mixture over HTTP and S3, a kill in mid-epoch, and a server that gives up."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_server import Fault, FaultServer, answer, status
from shard_support import SMALL
from train_support import PATIENCE, checkpoints, curve, processes_of, train_alone, trainers, wait_until

from stage.files import file_sha256, folder_sha256
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.writer import write_shards

OPEN = {"NO_PROXY": "127.0.0.1,localhost"}
CLIENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}

Trainable = Callable[..., Workspace]
Train = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def published(render_boxes: Any, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Six training objects in three shards. Read only."""
    workspace: Workspace = render_boxes(tmp_path_factory.mktemp("published") / "workspace", train=6)
    write_shards(SMALL, workspace)
    return workspace


@pytest.fixture
def server(published: Workspace) -> Iterator[FaultServer]:
    """Serves the set at /set."""
    server = FaultServer()
    for path in published.shards.iterdir():
        server.serve(f"/set/{path.name}", path.read_bytes())
    yield server
    server.close()


@pytest.fixture
def bucket(published: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on loopback that holds the set; its address."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for key, value in {**OPEN, **CLIENT}.items():
        monkeypatch.setenv(key, value)
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="sets")
    for path in published.shards.iterdir():
        client.put_object(Bucket="sets", Key=f"boxes/{path.name}", Body=path.read_bytes())
    yield address
    server.stop()


@pytest.fixture(scope="module")
def local(
    published: Workspace,
    trainable_in: Trainable,
    program_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Workspace:
    """An undisturbed training on the same set in its own folder. Read only."""
    workspace = trainable_in(tmp_path_factory.mktemp("local") / "workspace", checkpoint_every=3)
    shutil.rmtree(workspace.shards)
    shutil.copytree(published.shards, workspace.shards)
    train_alone(workspace, program_environment)
    return workspace


def shard_paths(published: Workspace) -> list[Path]:
    return sorted(published.shards.glob("train-*.tar"))


def room_for_two(published: Workspace) -> dict[str, int]:
    """A cache that does not hold the set."""
    sizes = sorted(path.stat().st_size for path in shard_paths(published))
    return {"max_bytes": sum(sizes[-2:])}


def test_a_mixture_of_two_servers_is_trained_on(
    published: Workspace, server: FaultServer, bucket: str, trainable: Trainable, finish: Callable[..., str]
) -> None:
    datasets = [
        {"name": "near", "place": server.url("/set?${SHARDS_SIGNATURE}"), "probability": 0.75},
        {"name": "far", "place": "s3://sets/boxes", "probability": 0.25, "draws": 2},
    ]
    copies = room_for_two(published)
    workspace = trainable(data={"datasets": datasets, "workers": 1, "cache": copies})
    (workspace.shards / INDEX).unlink()
    errors = finish(workspace, **OPEN, **CLIENT, AWS_ENDPOINT_URL=bucket, SHARDS_SIGNATURE="signature=secret")
    assert "secret" not in errors
    assert "secret" not in (workspace.model / "provenance.json").read_text()
    assert [point.step for point in curve(workspace)] == list(range(1, 13))
    provenance = json.loads((workspace.model / "provenance.json").read_text())
    assert provenance["shards_sha256"] == dict.fromkeys(["near", "far"], file_sha256(published.shards / INDEX))
    assert [part["probability"] for part in provenance["data"]["datasets"]] == [0.75, 0.25]
    kept = list((workspace.scratch / "shard_cache").glob("*/*.tar"))
    assert kept
    assert sum(path.stat().st_size for path in kept) <= copies["max_bytes"]
    assert any(server.asked(f"/set/{path.name}") for path in shard_paths(published))


@dataclass
class Gate:
    """A server's answers, which wait from some moment on until the test ends."""

    closed: Callable[[], object]
    waiting: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def fault(self) -> Fault:
        """An answer, given at once or never."""

        def answered(handler: Any, file: Any) -> None:
            if not self.opened.is_set() and self.closed():
                self.waiting.set()
                self.opened.wait(PATIENCE)
                handler.close_connection = True
            else:
                answer(handler, file)

        return answered


@pytest.mark.slow
@pytest.mark.xdist_group("one local training")
@pytest.mark.parametrize("workers", [(1, 0), (0, 2)])
def test_a_kill_in_mid_epoch_goes_on_to_the_weights_of_an_undisturbed_local_run(
    published: Workspace,
    local: Workspace,
    server: FaultServer,
    trainable: Trainable,
    start: Train,
    finish: Callable[..., str],
    workers: tuple[int, int],
) -> None:
    remote = {
        "datasets": [{"name": "objects", "place": server.url("/set")}],
        "cache": room_for_two(published),
        "workers": workers[0],
    }
    killed = trainable("killed", checkpoint_every=3, data=remote)
    # The first step after a checkpoint that finds a shard evicted: it waits for the server, which is when the kill comes.
    gate = Gate(lambda: checkpoints(killed))
    for path in shard_paths(published):
        server.fail(f"/set/{path.name}", *[gate.fault()] * 1000)
    process = start(killed, **OPEN)
    assert gate.waiting.wait(PATIENCE)
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_of(killed))
    gate.opened.set()
    (checkpoint, *_) = checkpoints(killed)
    place = torch.load(checkpoint / "training_state" / "data.pt", weights_only=True)
    assert (place["epoch"], place["batch"]) == (1, 1), "in the middle of an epoch of two batches"
    killed.parameters.write_text(
        killed.parameters.read_text().replace(f"workers: {workers[0]}", f"workers: {workers[1]}")
    )
    finish(killed, **OPEN)
    for name in ("model", "training_report"):
        assert folder_sha256(getattr(killed, name)) == folder_sha256(getattr(local, name))


@pytest.mark.slow
def test_a_server_that_gives_up_ends_two_processes_in_one_line(
    published: Workspace, server: FaultServer, trainable: Trainable, start: Train
) -> None:
    patience = {"attempts": 2, "first_wait_seconds": 0.01}
    data = {"datasets": [{"name": "objects", "place": server.url("/set")}], "workers": 1, "streams": patience}
    workspace = trainable(launch={"processes": 2}, data={**data, "cache": {"max_bytes": 0}}, checkpoint_every=3)
    away: Fault = lambda handler, file: (status(503) if checkpoints(workspace) else answer)(handler, file)  # type: ignore[operator] # noqa: E731
    for path in shard_paths(published):
        server.fail(f"/set/{path.name}", *[away] * 2000)
    process = start(workspace, **OPEN)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert "answers 503 Service Unavailable" in last
    assert last.startswith("viewforge: training failed: http")
    assert trainers(workspace) == []
    assert [path.name for path in checkpoints(workspace)] == ["step-00000003"]


@pytest.mark.slow
def test_a_killed_worker_is_a_killed_stage(trainable: Trainable, start: Train) -> None:
    workspace = trainable(steps=5000, checkpoint_every=3, data={"workers": 1}, launch={"restarts": 0})
    process = start(workspace)
    wait_until(lambda: checkpoints(workspace))
    (trainer,) = [one for one in trainers(workspace) if one.parent() not in trainers(workspace)]
    worker = next(child for child in trainer.children() if child in trainers(workspace))
    os.kill(worker.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("viewforge: killed: ")
