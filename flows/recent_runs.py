"""The last flow runs, asked of Prefect's server or read in its local database; without Prefect's library, which costs seconds.

A server that is away, or a database that somebody has locked, is given two seconds. The local database is that of runs without
a server.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from catalog.http_errors import shown
from stage.errors import InputError
from upkeep.databases import tells_damage, tells_lock

_PATIENCE_SECONDS = 2.0
_UNSTARTED = ["SCHEDULED"]
_QUERY = """
SELECT flow.name, deployment.name, flow_run.state_name, flow_run.start_time, flow_run.end_time, flow_run.auto_scheduled
FROM flow_run JOIN flow ON flow.id = flow_run.flow_id LEFT JOIN deployment ON deployment.id = flow_run.deployment_id
WHERE flow_run.start_time IS NOT NULL ORDER BY flow_run.start_time DESC LIMIT ?
"""


@dataclass(frozen=True)
class FlowRun:
    """One run."""

    flow: str
    deployment: str | None
    state: str
    """As Prefect names it: Completed, Failed, Crashed, Running, …"""
    started: str
    """UTC, ISO 8601 to the second."""
    seconds: float | None
    """That it took; None while it runs."""
    scheduled: bool
    """Whether a schedule started it."""


@dataclass(frozen=True)
class Runs:
    """What Prefect knows of runs."""

    source: str
    """Address of the server, or path of the database."""
    last: tuple[FlowRun, ...]
    """Newest first."""
    late: int = 0
    """Runs that should have started and wait for a worker."""
    planned: int = 0
    """Runs that schedules will start; none while schedules are active means a dead scheduler."""
    pools: tuple[tuple[str, str], ...] = ()
    """Work pools with their state: READY where a worker asks for work."""


def server_runs(api: str, number: int) -> Runs:
    """The last runs that a server knows, with what waits and the state of its pools.

    Args:
        api: its address, as PREFECT_API_URL; PREFECT_API_AUTH_STRING is its password.
        number: how many runs at the most.

    Raises:
        InputError: when it does not answer in time, or refuses.
    """
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    try:
        with httpx.Client(timeout=_PATIENCE_SECONDS, auth=(user, password) if user else None) as client:
            return _asked(client, api.rstrip("/"), number)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"Prefect at {shown(api)} does not answer ({reason})", "viewforge up, or see its log"
        ) from None


def local_runs(database: Path, number: int) -> Runs:
    """The last runs in a database that flows without a server wrote.

    Raises:
        InputError: when it cannot be read.
    """
    if not database.is_file():
        return Runs(str(database), ())
    try:
        address = f"{database.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE_SECONDS)) as connection:
            rows = connection.execute(_QUERY, (number,)).fetchall()
    except sqlite3.Error as error:
        raise InputError(f"the database {database} cannot be read ({error})", _remedy(error)) from None
    return Runs(str(database), tuple(_run(*row) for row in rows))


def _remedy(error: sqlite3.Error) -> str:
    if tells_damage(error):
        return "viewforge recover DIR"
    if tells_lock(error):
        return "wait for the run that writes it, and ask again"
    return "start the server of its version, which brings it up to date, or see who may read it"


def _asked(client: httpx.Client, api: str, number: int) -> Runs:
    def answer(path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        response = client.post(f"{api}{path}", json=body)
        response.raise_for_status()
        return response.json()

    def count(**state: Any) -> int:  # noqa: ANN401 - JSON
        return int(answer("/flow_runs/count", flow_runs={"state": state}))

    started = {"state": {"type": {"not_any_": _UNSTARTED}}, "start_time": {"is_null_": False}}
    found = answer("/flow_runs/filter", sort="START_TIME_DESC", limit=number, flow_runs=started)
    names = {row["id"]: row["name"] for kind in ("/flows/filter", "/deployments/filter") for row in answer(kind)}
    runs = tuple(
        _run(
            names.get(row["flow_id"], "?"),
            names.get(row["deployment_id"]),
            row["state_name"],
            row["start_time"],
            row["end_time"],
            row["auto_scheduled"],
        )
        for row in found
    )
    pools = tuple((pool["name"], pool["status"] or "unknown") for pool in answer("/work_pools/filter"))
    planned = count(type={"any_": _UNSTARTED}, name={"any_": ["Scheduled"]})
    return Runs(api, runs, count(name={"any_": ["Late"]}), planned, pools)


def _run(flow: str, deployment: str | None, state: str, start: str, end: str | None, scheduled: bool) -> FlowRun:
    began = datetime.fromisoformat(start)
    seconds = (datetime.fromisoformat(end) - began).total_seconds() if end else None
    return FlowRun(flow, deployment, state, began.isoformat(timespec="seconds"), seconds, bool(scheduled))
