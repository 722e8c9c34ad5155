"""What all flows share: a workspace to themselves, and the loop that runs what is stale among some stages."""

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import tenacity
from prefect import get_run_logger
from prefect.runtime import deployment

from flows import artifacts, lost_leases  # noqa: F401 - the latter for its effect
from flows.flow_parameters import FlowParameters
from flows.graph import dependents, stage_order, stale_stages
from flows.messages import without_secrets
from flows.stage_groups import stage_needs
from flows.stage_run import StageRun
from flows.stage_task import run_stage_task
from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive
from stage.parameters import load_section
from stage.workspace import Workspace
from upkeep.dvc_mending import mend
from upkeep.repository import DvcBusyError

# Of a command that a person waits for.
_DVC_SECONDS = 60.0
_PAUSE_SECONDS = 2.0


def refuse_recursion() -> None:
    """Refuse to run a flow inside one of its own stages.

    Raises:
        ViewforgeError: when DVC's stage variable is set.
    """
    if stage := os.environ.get("DVC_STAGE"):
        raise ViewforgeError(f"the pipeline cannot run inside its own stage {stage}", "call the stage's command there")


@contextmanager
def opened(workspace: str) -> Iterator[Workspace]:
    """A workspace that no other flow works in meanwhile; a deployment's run waits for the one that does.

    Args:
        workspace: its folder.

    Raises:
        InputError: when it is no workspace.
        ViewforgeError: when another flow does not leave it in time, or a command of DVC where one was killed before.
    """
    refuse_recursion()
    place = Workspace(Path(workspace))
    if not place.parameters.is_file():
        raise InputError(f"{place.root} is no workspace: it has no params.yaml", "viewforge run --workspace makes one")
    with without_secrets(), ExitStack() as held:
        for attempt in _attempts(place):
            with attempt:
                held.enter_context(exclusive(place, "pipeline"))
        for line in _while_dvc_is_busy(place)(mend, place.root):
            get_run_logger().warning(line)
        yield place


def _attempts(
    place: Workspace, passing: type[ViewforgeError] = ViewforgeError, least: float = 0.0, pause: float = 0.0
) -> tenacity.Retrying:
    """Attempts until nothing is raised that may pass: for `wait_hours` in a deployment's run, for `least` seconds in any."""
    hours = load_section(place.parameters, "flow", FlowParameters).wait_hours if deployment.id else 0.0
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(passing),
        stop=tenacity.stop_after_delay(max(least, hours * 3600)),
        wait=tenacity.wait_fixed(pause),
        before_sleep=lambda state: get_run_logger().info("waiting: %s", state.outcome and state.outcome.exception()),
        reraise=True,
    )


def _while_dvc_is_busy(place: Workspace) -> tenacity.Retrying:
    return _attempts(place, DvcBusyError, _DVC_SECONDS, _PAUSE_SECONDS)


def bring_up_to_date(place: Workspace, chosen: Collection[str]) -> list[StageRun]:
    """Run what is stale among some stages, and of them what depends on something that ran; show them as a table.

    The rest of the graph is left as it is: what of it is stale, the log says.

    Args:
        place: the workspace.
        chosen: names of stages.

    Returns:
        What became of each of them, in the order of the graph.

    Raises:
        ParameterError: when the parameters limit a stage that there is not.
        ViewforgeError: with the reason of the first stage that failed.
    """
    limits = load_section(place.parameters, "flow", FlowParameters)
    order = stage_order(place.root)
    limits.check_stages(order)
    stages, runs = [stage for stage in order if stage in chosen], list[StageRun]()
    try:
        for run in _run(place, stages, limits):
            runs.append(run)
    except Exception:
        _show(artifacts.publish_stages, [*runs, *(StageRun(stage, "not tried", 0.0) for stage in stages[len(runs) :])])
        raise
    _show(artifacts.publish_stages, runs)
    _show(artifacts.publish_lineage, place)
    return runs


def _show(publish: Callable[[Any], None], what: object) -> None:
    """Show something; a server that is away takes nothing from what is done, nor from why it failed."""
    try:
        publish(what)
    except httpx.HTTPError as error:
        get_run_logger().warning("not shown: %s", str(error) or type(error).__name__)


def _run(place: Workspace, stages: list[str], limits: FlowParameters) -> Iterator[StageRun]:
    """Run what is stale and what depends on something that ran; the rest is fresh without asking DVC again."""
    stale, downstream, needs = _stale(place), dependents(place.root), stage_needs(place.root)
    for stage in stale:
        if stage not in stages and any(below in stages for below in downstream[stage]):
            get_run_logger().warning("%s is stale and no part of this flow: its outputs are taken as they are", stage)
    for stage in stages:
        if stage not in stale:
            get_run_logger().info("%s is fresh", stage)
            yield StageRun(stage, "fresh", 0.0)
            continue
        get_run_logger().info("%s is stale: %s", stage, "; ".join(stale[stage]))
        started = time.monotonic()
        try:
            run = run_stage_task(place, stage, needs[stage], limits)
        except Exception:
            # Among what became of them, before it ends the run.
            yield StageRun(stage, "failed", round(time.monotonic() - started, 1))
            raise
        yield run
        if run.state != "fresh":
            stale.update({below: [f"upstream: {stage}"] for below in downstream[stage] - set(stale)})


def _stale(place: Workspace) -> dict[str, list[str]]:
    """What is stale, as soon as DVC tells: somebody may push, or check data out, in the same workspace."""
    return _while_dvc_is_busy(place)(stale_stages, place.root)


def as_result(runs: list[StageRun]) -> list[dict[str, Any]]:
    """What a flow keeps of its stages."""
    return [asdict(run) for run in runs]
