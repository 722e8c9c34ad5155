"""The pipeline killed in the middle of a stage: run again, it continues, and the outputs equal an undisturbed run's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stage.files import file_sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def outputs(workspace: Path) -> dict[str, str]:
    return {
        str(p.relative_to(workspace)): file_sha256(p) for p in sorted((workspace / "data").rglob("*")) if p.is_file()
    }


def command(workspace, parameters):
    options = [part for key, value in parameters.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "cli.main", "run", "--no-promote", "-w", str(workspace), *options]


def progress_of(workspace: Path, stage: str) -> int:
    """How far a stage has come, from what it leaves on disk while it works."""
    scratch = workspace / "scratch"
    if stage == "render":
        return len(list((scratch / "renders").glob("*/*/transforms.json")))
    if stage == "shard":
        return len(list((scratch / "shards").glob("*.tar")))
    return len(list((scratch / "training").glob("*/checkpoints/step-*")))


@pytest.fixture(scope="module")
def plain_shell(program_environment):
    """An environment whose shell stays between DVC and a stage: unlike bash, Debian's sh does not become its command."""
    return {**program_environment, "SHELL": "/bin/sh"}


def kill_in_the_middle(workspace, parameters, environment, stage):
    """Start a run, SIGKILL it once the stage has done some of its work; how much it had done."""
    process = subprocess.Popen(
        command(workspace, parameters), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while not (done := progress_of(workspace, stage)):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs([child for child in family if "prefect" not in " ".join(_command_line(child))], 20)
    assert not alive, f"still alive after the kill: {[_command_line(child) for child in alive]}"
    return done


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def parameters(tiny_parameters):
    """Enough work in each stage to be caught in the middle of it."""
    longer = {"train.steps": 60, "train.checkpoint_every": 5, "render.views": 12}
    # Pictures that are encoded anew keep the stage busy, and each object is a shard.
    shards = {"shard.max_bytes": 1024, "shard.encoding": "webp", "shard.workers": 1}
    return {**tiny_parameters, **longer, **shards}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, parameters, program_environment):
    workspace = tmp_path_factory.mktemp("undisturbed") / "workspace"
    subprocess.run(command(workspace, parameters), env=program_environment, check=True, capture_output=True)
    return outputs(workspace)


@pytest.mark.parametrize("stage", ["render", "shard", "train"])
def test_killed_pipeline_continues_to_the_same_outputs(stage, tmp_path, parameters, plain_shell, undisturbed):
    workspace = tmp_path / "workspace"
    assert kill_in_the_middle(workspace, parameters, plain_shell, stage) > 0
    published = {"render": "renders", "shard": "shards/index.parquet", "train": "model"}[stage]
    assert not (workspace / "data" / published).exists(), "the stage had ended before the kill"
    subprocess.run(command(workspace, parameters), env=plain_shell, check=True, capture_output=True)
    assert outputs(workspace) == undisturbed
