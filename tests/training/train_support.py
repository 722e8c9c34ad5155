"""What tests of the train stage share: how it is started, its processes and what they have written so far."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from stage.workspace import Workspace
from training.curve import CurvePoint, read_curve

PATIENCE = 240.0
PROJECT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def line_with(process: "subprocess.Popen[str]", text: str) -> str:
    """The next line of a program's standard error that holds the text."""
    assert process.stderr is not None
    said: list[str] = []
    while not said or text not in said[-1]:
        said.append(process.stderr.readline())
        assert said[-1], "".join(said)
    return said[-1]


def train_command(workspace: Workspace) -> list[str]:
    return [str(Path(sys.executable).parent / "viewforge"), "train", "-w", str(workspace.root)]


def train_alone(workspace: Workspace, environment: dict[str, str]) -> None:
    """`viewforge train` to the end, with nothing in its way."""
    process = subprocess.run(
        train_command(workspace),
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert process.returncode == 0, process.stderr


def processes_of(workspace: Workspace) -> list[psutil.Process]:
    """The processes that work in a workspace."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if str(workspace.root) in (process.info["cmdline"] or [])]


def trainers(workspace: Workspace) -> list[psutil.Process]:
    return [process for process in processes_of(workspace) if process.info["cmdline"][1:3] == ["-m", "training.run"]]


def checkpoints(workspace: Workspace) -> list[Path]:
    return list(workspace.scratch.glob("training/*/checkpoints/step-*"))


def curve(workspace: Workspace) -> list[CurvePoint]:
    return read_curve(workspace.training_report / "loss.csv")
