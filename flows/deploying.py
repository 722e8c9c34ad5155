"""What a Prefect server is told once: work pools, limits, the deployments of `prefect.yaml`, what becomes of lost runs.

    viewforge deploy

Telling it again changes what differs and nothing else: a pool keeps its type, a limit its number unless another one is asked for,
an automation that somebody switched off stays so.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

from flows.stage_groups import BLENDER, GPU
from flows.workspaces import PROJECT
from stage.errors import InputError, ViewforgeError

DEFINITION = PROJECT / "prefect.yaml"
POOLS = ("cpu", "gpu")
SILENCE = timedelta(seconds=300)
"""After so long without a sign of life a run counts as crashed; five of the beats that prefect.yaml asks for."""
_ZOMBIES = "viewforge gives up lost runs"
_BLENDER_HOSTS = 1
_MOST = 200


def deploy(
    workspace: Path | None = None,
    gpus: int | None = None,
    blender_hosts: int | None = None,
    silence: timedelta = SILENCE,
) -> list[str]:
    """Make or renew pools, limits, deployments and automations on the server of PREFECT_API_URL.

    Args:
        workspace: that of scheduled runs; VIEWFORGE_WORKSPACE or the present folder when None.
        gpus: how many GPU jobs run at once; an existing limit stays when None, and a new one is the number of GPUs here or 1.
        blender_hosts: how many stages render at once; an existing limit stays when None, and a new one is 1.
        silence: how long a run without a sign of life counts as running.

    Returns:
        The deployments, as `flow/deployment`.

    Raises:
        InputError: when there is no server, or it does not answer.
        ViewforgeError: when Prefect refuses a deployment.
    """
    if not (address := get_current_settings().api.url):
        raise InputError("no Prefect server is known", "start one by viewforge up, or set PREFECT_API_URL")
    try:
        with get_client(sync_client=True) as client:
            for pool in POOLS:
                _ensure_pool(client, pool)
            _ensure_limit(client, GPU, gpus, _gpus_here)
            _ensure_limit(client, BLENDER, blender_hosts, lambda: _BLENDER_HOSTS)
            with _switched_off_stays(client):
                _apply(workspace or Path(os.environ.get("VIEWFORGE_WORKSPACE", "")))
                _give_up_lost_runs(client, silence)
            return _deployed(client)
    except httpx.TransportError as error:
        raise InputError(f"the Prefect server {address} does not answer: {error}", "start it: viewforge up") from None


def _ensure_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template))


def _ensure_limit(client: SyncPrefectClient, name: str, asked: int | None, default: Callable[[], int]) -> None:
    try:
        client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound:
        limit = asked if asked is not None else default()
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit))
    else:
        if asked is not None:
            client.upsert_global_concurrency_limit_by_name(name, asked)


def _gpus_here() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _apply(workspace: Path) -> None:
    """prefect.yaml by Prefect's own command, which knows its templates, schedules and triggers."""
    environment = {
        "VIEWFORGE_TIMEZONE": "UTC",
        "VIEWFORGE_PROJECT": str(PROJECT),
        **os.environ,
        "VIEWFORGE_WORKSPACE": str(workspace.resolve()),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEFINITION)]
    # Entrypoints are relative to it.
    result = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        reason = _last_words(result.stderr) or _last_words(result.stdout) or "no output"
        raise ViewforgeError(f"prefect deploy refused {DEFINITION}: {reason}", "see prefect deploy --all there")


def _last_words(output: str) -> str:
    """The line that says why; Prefect closes a traceback with one that says nothing."""
    said = [line.strip() for line in output.splitlines()]
    return next((line for line in reversed(said) if line and line != "An exception occurred."), "")


@contextmanager
def _switched_off_stays(client: SyncPrefectClient) -> Iterator[None]:
    """Applying makes the automations anew, switched on."""
    off = {automation.name for automation in _automations(client) if not automation.enabled}
    try:
        yield
    finally:
        # Also where applying failed half-way.
        for automation in _automations(client):
            if automation.name in off:
                client.pause_automation(automation.id)


def _automations(client: SyncPrefectClient) -> list[Any]:
    # Without limit and order the client sends nulls, which the server of 3.8 refuses.
    return list(client.read_automations(sort=AutomationSort.NAME_ASC, limit=_MOST))


def _give_up_lost_runs(client: SyncPrefectClient, silence: timedelta) -> None:
    """Runs whose machine died stay Running for ever otherwise, and hold the slots of their deployment."""
    wanted = AutomationCore(
        name=_ZOMBIES,
        description="A run that gave signs of life and gives none any more counts as crashed.",
        trigger=EventTrigger(
            # One that waits for a person or for its next attempt says so, and is no more expected to give signs.
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None, state=StateType.CRASHED, message=f"No sign of life for {silence}.", force=False
            )
        ],
    )
    found = client.read_automations_by_name(_ZOMBIES)
    if found:
        client.update_automation(found[0].id, wanted)
    else:
        client.create_automation(wanted)


def _deployed(client: SyncPrefectClient) -> list[str]:
    """The deployments that prefect.yaml names and the server has.

    Raises:
        ViewforgeError: when one of them is missing.
    """
    flows = {flow.id: flow.name for flow in client.read_flows()}
    entries = {(entry["entrypoint"], entry["name"]) for entry in yaml.safe_load(DEFINITION.read_text())["deployments"]}
    found = [
        deployment for deployment in client.read_deployments() if (deployment.entrypoint, deployment.name) in entries
    ]
    if len(found) < len(entries):
        raise ViewforgeError(f"the server has {len(found)} of {len(entries)} deployments", f"see {DEFINITION}")
    return sorted(f"{flows[deployment.flow_id]}/{deployment.name}" for deployment in found)
