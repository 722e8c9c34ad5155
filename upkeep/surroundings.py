"""What a workspace needs around it: room on the disk, Blender's libraries, the remote of its data, servers that answer."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from blender_render.installation import check_system_libraries
from catalog.http_errors import shown
from catalog.stats import size_text
from stage.errors import InputError
from stage.lifeline import tied
from stage.secrets import redacted
from stage.telemetry import speaking
from stage.workspace import Workspace
from upkeep.repository import locked_stages

_PATIENCE_SECONDS = 5.0
# A remote of many files is asked for long lists.
_REMOTE_SECONDS = 60.0
# Less than this is too little for any stage.
_LEAST_ROOM = 2 * 2**30


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    sound: bool
    text: str


def checks(workspace: Workspace) -> Iterator[Check]:
    """Look at everything, one after the other; nothing is changed."""
    looks: dict[str, Callable[[Workspace], tuple[bool, str]]] = {
        "Blender": _blender,
        "GPU": _gpu,
        "disk": _disk,
        "data": _data,
        "telemetry": _telemetry,
        "Prefect": lambda _: _server("PREFECT_API_URL", "/health"),
        "MLflow": lambda _: _server("MLFLOW_TRACKING_URI", "/health"),
    }
    for name, look in looks.items():
        try:
            sound, text = look(workspace)
        except InputError as error:
            sound, text = False, str(error)
        yield Check(name, sound, text)


def _blender(_: Workspace) -> tuple[bool, str]:
    check_system_libraries()
    return True, "its system libraries are there"


def _gpu(_: Workspace) -> tuple[bool, str]:
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return True, ", ".join(names) or "none: training and rendering take the CPU"


def _disk(workspace: Workspace) -> tuple[bool, str]:
    """Whether the outputs could be written once more beside those that are there, as a stage that makes a set anew does."""
    free = shutil.disk_usage(workspace.root).free
    stages = locked_stages(workspace.root).values()
    size = sum(int(out.get("size", 0)) for stage in stages for out in stage.get("outs", ()))
    return free > max(size, _LEAST_ROOM), f"{size_text(free)} are free, the outputs of dvc.lock have {size_text(size)}"


def _data(workspace: Workspace) -> tuple[bool, str]:
    """Whether others can get the data; that some are not pushed yet is no fault of the installation.

    Asked in a process that can be ended: the libraries of remotes wait for minutes, in threads that nobody stops.
    """
    if not locked_stages(workspace.root):
        return True, "no stage has run yet"
    command = tied([sys.executable, "-m", "upkeep.remote_data", str(workspace.root.resolve())])
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_REMOTE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        remedy = "check its address (dvc remote list), the network and its server"
        return False, f"the DVC remote has not answered within {_REMOTE_SECONDS:g} s; {remedy}"
    lines = (told.stderr if told.returncode else told.stdout).strip().splitlines()
    return not told.returncode, redacted(lines[-1]) if lines else "what the DVC remote lacks is not known"


def _telemetry(_: Workspace) -> tuple[bool, str]:
    heard = speaking()
    return not heard, f"on by {', '.join(heard)}; unset it" if heard else "off in every library"


def _server(variable: str, path: str) -> tuple[bool, str]:
    """Whether the server that a variable of the environment names answers."""
    url = os.environ.get(variable, "")
    if not url.startswith("http"):
        return True, f"no server: {variable} names none"
    try:
        answer = httpx.get(url.rstrip("/") + path, timeout=_PATIENCE_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return False, f"{shown(url)} does not answer ({type(error).__name__}); start it, or unset {variable}"
    return answer.is_success, f"{shown(url)} answers with status {answer.status_code}"
