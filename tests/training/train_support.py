"""What tests of the train stage share: its processes and what they have written so far."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from stage.workspace import Workspace
from training.curve import CurvePoint, read_curve

PATIENCE = 120.0


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


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
