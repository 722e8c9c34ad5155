"""The Ray executor on a real cluster of two nodes on loopback: whatever is lost, each object has one outcome."""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stage.errors import InputError, StageFailedError
from stage.executor import Executor, ExecutorParameters, Job, executor_for
from stage.failures import FailureClass, Outcome

pytestmark = [
    pytest.mark.slow,
    # One cluster at a time: Ray looks for those that run already.
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed"),
]
HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]


class Cluster:
    """Nodes of one core each, started as an administrator does."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.start("--head", "--port", self.address.rpartition(":")[2], "--include-dashboard=false")

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a node and wait until it takes part."""
        path = os.pathsep.join([str(PROJECT), str(HERE)])
        settings = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": str(self.temporary)}
        ray = str(Path(sys.executable).with_name("ray"))
        sizes = ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
        node = subprocess.Popen(
            [ray, "start", *options, "--node-ip-address=127.0.0.1", *sizes],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.nodes.append(node)
        assert node.stdout is not None
        said = b""
        while b"will now block" not in said.lower() and b"--block" not in said:
            line = node.stdout.readline()
            said += line
            assert line, f"a node did not start: {said.decode()}"
        return node

    def join(self) -> "subprocess.Popen[bytes]":
        """Another node."""
        return self.start("--address", self.address)

    def close(self) -> None:
        """End all nodes with all they started."""
        for node in self.nodes:
            kill_family(node.pid)
            node.wait()


def kill_family(pid: int) -> None:
    """SIGKILL a process and all below it, as the loss of a machine does."""
    if not psutil.pid_exists(pid):
        return
    root = psutil.Process(pid)
    for process in [*root.children(recursive=True), root]:
        process.kill()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Sockets lie below it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-") as temporary, pytest.MonkeyPatch.context() as patch:
        # Else Ray leaves a token in the home folder.
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        cluster = Cluster(Path(temporary))
        try:
            yield cluster
        finally:
            cluster.close()


@pytest.fixture
def executor(cluster: Cluster) -> Callable[..., Executor]:
    def make(**limits: Any) -> Executor:
        return executor_for(ExecutorParameters(kind="ray", address=cluster.address, **limits))

    return make


def run(executor: Executor, payloads: list[dict[str, Any]]) -> dict[str, Outcome]:
    jobs = [Job(f"object {number}", {"value": number, **payload}) for number, payload in enumerate(payloads)]
    outcomes = list(executor.run("worker_handlers:act", jobs))
    assert sorted(o.uid for o in outcomes) == sorted(job.uid for job in jobs), "one outcome an object"
    return {outcome.uid: outcome for outcome in outcomes}


def test_a_lost_worker_and_a_lost_node_give_their_objects_back(
    cluster: Cluster, executor: Callable[..., Executor], tmp_path: Path
) -> None:
    node = cluster.join()
    marks = tmp_path / "attempts"
    jobs = [
        Job(f"object {number}", {"value": number, "do": "mark and wait", "marks": str(marks), "seconds": 0.7})
        for number in range(14)
    ]
    outcomes: list[Outcome] = []
    workers: set[int] = set()
    for outcome in executor().run("worker_handlers:act", jobs):
        outcomes.append(outcome)
        workers.add(outcome.result["pid"])
        if len(outcomes) == 4:
            (busy,) = workers - {outcome.result["pid"]}
            os.kill(psutil.Process(busy).ppid(), signal.SIGKILL)
        if len(outcomes) == 8:
            kill_family(node.pid)
    assert Counter(outcome.uid for outcome in outcomes) == Counter(job.uid for job in jobs)
    assert all(outcome.ok and outcome.attempt == 1 for outcome in outcomes), "what was lost is not charged"
    assert len(marks.read_text().splitlines()) > len(jobs), "nothing was in the works when its worker was lost"
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their run"
        time.sleep(0.1)


def test_limits_and_charges_are_those_of_one_machine(
    cluster: Cluster, executor: Callable[..., Executor], tmp_path: Path
) -> None:
    payloads = [
        {},
        {"do": "segfault"},
        {"do": "grow", "mebibytes": 200},
        {"do": "wait", "seconds": 60},
        {"do": "refuse", "failure": "EMPTY"},
        {"do": "raise"},
        {"do": "fail once", "marker": str(tmp_path / "marker")},
    ]
    limits = {"timeout_seconds": 2.0, "memory_limit_gib": 0.15, "retry_delay_seconds": 0.1}
    outcomes = run(executor(**limits), payloads)
    failures = [outcomes[f"object {number}"].failure for number in range(len(payloads))]
    assert failures == [None, "crash", "out-of-memory", "timeout", "empty", "error", None]
    assert [outcomes[f"object {number}"].attempt for number in range(len(payloads))] == [1, 2, 2, 2, 1, 2, 2]
    assert "KeyError" in outcomes["object 5"].stderr_tail
    assert not list(cluster.temporary.glob("viewforge-*")), "temporary files outlive the run"


def test_an_object_that_takes_its_supervisor_down_ends_as_a_crash(executor: Callable[..., Executor]) -> None:
    outcomes = run(executor(), [{"do": "kill the supervisor"}, {}])
    assert outcomes["object 0"].failure is FailureClass.CRASH
    assert "lost 3 times" in outcomes["object 0"].message
    assert outcomes["object 1"].ok


def test_a_full_disk_ends_the_stage(executor: Callable[..., Executor]) -> None:
    with pytest.raises(StageFailedError, match="no space left on the disk"):
        run(executor(), [{"do": "fill the disk", "errno": "ENOSPC"}])


def test_a_worker_that_cannot_start_ends_the_stage_with_its_reason(executor: Callable[..., Executor]) -> None:
    with pytest.raises(StageFailedError, match=r"could not start.*no_such_module") as caught:
        list(executor().run("no_such_module:function", [Job("object", {})]))
    assert "\n" not in str(caught.value)


def test_a_workspace_that_a_node_lacks_is_one_line(
    executor: Callable[..., Executor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "on the machine that asks alone"
    monkeypatch.setattr(Path, "cwd", lambda: elsewhere)
    with pytest.raises(InputError, match=f"has no folder {elsewhere}"):
        list(executor().run("worker_handlers:act", [Job("object", {})]))


def test_no_cluster_is_one_line() -> None:
    parameters = ExecutorParameters(kind="ray", address="127.0.0.1:1")
    with pytest.raises(InputError, match=r"no Ray cluster at 127.0.0.1:1") as caught:
        list(executor_for(parameters).run("worker_handlers:act", [Job("object", {})]))
    assert "\n" not in str(caught.value)


def test_a_kind_stands_for_its_defaults() -> None:
    assert ExecutorParameters.model_validate("ray") == ExecutorParameters(kind="ray")
