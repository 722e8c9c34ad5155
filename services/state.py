"""The state of an installation, `.services/state.json`: what its supervisor keeps up, and the processes that it started.

The supervisor alone writes it. A process is named by its id and when it started. No secret is in it.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from services.processes import Process
from stage.errors import InputError
from stage.files import write_text
from stage.workspace import Workspace

Condition = Literal["runs", "waits", "given up"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Options(_Strict):
    """What an installation consists of."""

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000
    store_port: int | None = None
    """None without a store."""
    cpu_workers: int = 2
    """Flow runs at once of the work pool `cpu`; 0 for no worker."""
    gpu_workers: int = 1
    """The same of the work pool `gpu`."""


class Known(_Strict):
    """What the supervisor knows of one service."""

    name: str
    process: Process | None
    """None while it does not run."""
    address: str | None
    health: str | None
    condition: Condition
    """`waits` before it is started again; `given up` when it never lives long."""
    deaths: int
    """Since the supervisor started it."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.alive


class State(_Strict):
    """The content of the file."""

    options: Options
    supervisor: Process | None
    """None when it was let go."""
    services: tuple[Known, ...] = ()

    @property
    def supervised(self) -> bool:
        """Whether somebody would start again what dies."""
        return self.supervisor is not None and self.supervisor.alive

    def service(self, name: str) -> Known | None:
        """One of the services."""
        return next((known for known in self.services if known.name == name), None)


def path(place: Workspace) -> Path:
    """Where the state is written."""
    return place.services / "state.json"


def read(place: Workspace) -> State | None:
    """The state of the workspace's installation; None when nothing was started.

    Raises:
        InputError: when the file is no state.
    """
    try:
        return State.model_validate_json(path(place).read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError):
        raise InputError(
            f"{path(place)} is not a state of an installation",
            "viewforge down ends what bears the installation's mark and removes it",
        ) from None


def write(place: Workspace, state: State) -> None:
    """Replace the state."""
    write_text(path(place), state.model_dump_json(indent=2) + "\n")
