"""The pipeline killed in the middle of one stage after another: run again, it ends with an undisturbed run's outputs.

One workspace is killed three times, each run going on where the one before it died: a whole run takes more than a minute.
The moment is no matter of luck: `standstill/sitecustomize.py` makes the process that finishes a stage's second piece stand
still before it does, then everything is killed.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stage.files import file_sha256

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(3.5)]

STANDSTILL = Path(__file__).parent / "standstill"
# Names that a stage gives to what it has finished, below the workspace; in the order in which the stages run.
PIECES = {
    "render": "scratch/renders/*/*",
    "shard": "scratch/shards/*.tar",
    "train": "scratch/training/*/checkpoints/step-*",
}
PUBLISHED = {"render": "renders", "shard": "shards/index.parquet", "train": "model"}


def outputs(workspace: Path) -> dict[str, str]:
    return {
        str(p.relative_to(workspace)): file_sha256(p) for p in sorted((workspace / "data").rglob("*")) if p.is_file()
    }


def command(workspace, parameters):
    options = [part for key, value in parameters.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "cli.main", "run", "--no-promote", "-w", str(workspace), *options]


@pytest.fixture(scope="module")
def plain_shell(program_environment):
    """An environment whose shell stays between DVC and a stage: unlike bash, Debian's sh does not become its command."""
    return {**program_environment, "SHELL": "/bin/sh"}


def kill_in_the_middle(workspace, parameters, environment, pieces, note):
    """Start a run, SIGKILL it where it stands still: before the second of the pieces gets its name."""
    standing = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(STANDSTILL), environment.get("PYTHONPATH")])),
        "STANDSTILL_PIECES": str(workspace / pieces),
        "STANDSTILL_NOTE": str(note),
    }
    process = subprocess.Popen(
        command(workspace, parameters),
        env={**environment, **standing},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while not note.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # Prefect's own server, which a killed flow leaves behind, is no part of the drill.
    servers = [child for child in family if "prefect" in " ".join(_command_line(child))]
    for server in servers:
        server.kill()
    _, alive = psutil.wait_procs([child for child in family if child not in servers], 20)
    assert not alive, f"still alive after the kill: {[_command_line(child) for child in alive]}"


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def parameters(tiny_parameters):
    """Several pieces in each stage: checkpoints, objects, and a shard for each of them."""
    return {**tiny_parameters, "train.steps": 20, "train.checkpoint_every": 5, "shard.max_bytes": 1024}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, parameters, program_environment):
    workspace = tmp_path_factory.mktemp("undisturbed") / "workspace"
    subprocess.run(command(workspace, parameters), env=program_environment, check=True, capture_output=True)
    return outputs(workspace)


def test_a_pipeline_killed_in_each_stage_continues_to_the_same_outputs(tmp_path, parameters, plain_shell, undisturbed):
    workspace = tmp_path / "workspace"
    for stage, pieces in PIECES.items():
        kill_in_the_middle(workspace, parameters, plain_shell, pieces, tmp_path / f"standing in {stage}")
        assert list(workspace.glob(pieces)), f"nothing of {stage} was finished before the kill"
        assert not (workspace / "data" / PUBLISHED[stage]).exists(), f"{stage} had ended before the kill"
    subprocess.run(command(workspace, parameters), env=plain_shell, check=True, capture_output=True)
    assert outputs(workspace) == undisturbed
