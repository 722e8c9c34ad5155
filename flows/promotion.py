"""Promotion in a flow: register, ask the gate, and where a person must agree, wait for the person.

With a Prefect server a run of a deployment is suspended: its process ends, and the run is started again when it is resumed. Any
other run waits where it is. The form (approve, reason, by) stands in Prefect's page of the run. Without a server nobody could
answer, so the flow ends and says how `viewforge promote --approve` does it. The flow `promote` does this after an evaluation.
"""

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FlowPauseTimeout, Pause
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.settings import get_current_settings

from flows import artifacts
from flows.events import PROMOTED, announce, tell_of_waiting
from flows.messages import without_secrets
from flows.stage_loop import opened
from registry.approval import Approval
from registry.parameters import RegisterParameters
from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive
from stage.parameters import load_section
from stage.workspace import Workspace

AWAITING = "awaiting approval"
# One question a flow run: a run that is started again finds the answer under it.
_KEY = "approval"
_POLL_SECONDS = 5


class ApprovalInput(RunInput):
    """What a person fills in."""

    approve: bool
    """Whether the model may become champion."""
    reason: str
    """Why."""
    by: str
    """Who says so."""


@flow(
    name="promote",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def promotion(workspace: str) -> dict[str, Any] | None:
    """Register the evaluated pipeline of a workspace and decide on it. Twice the same pipeline is one version and one decision.

    Args:
        workspace: its folder.

    Returns:
        The decision; None for a system that is not served.

    Raises:
        ViewforgeError: when there is nothing to register, MLflow refuses, or nobody answers in time.
    """
    with opened(workspace) as place:
        decision = register_and_promote(str(place.root)) if is_served(place) else None
    return after_approval(str(place.root), decision) if decision else None


@task(name="register-and-promote", cache_policy=NO_CACHE, persist_result=False)
@without_secrets()
def register_and_promote(root: str) -> dict[str, Any]:
    """Register the trained pipeline, put it before the gate, write the report with the decision."""
    from registry.promote import promote
    from registry.register import register
    from upkeep.remote_data import secure

    place, parameters = _registry_of(root)
    with exclusive(place, "promotion"):
        version = str(register(parameters, place).version)
        if said := secure(place, parameters.model_name, version, parameters.data):
            get_run_logger().info(said)
        decision = promote(parameters, place, version=version).to_json()
    return _published(place, decision)


@task(name="conclude-promotion", cache_policy=NO_CACHE, persist_result=False)
@without_secrets()
def conclude(root: str, version: str, approval: Approval) -> dict[str, Any]:
    """Put a version before the gate again, with what a person said of it: champion and figures may have changed."""
    from registry.promote import promote

    place, parameters = _registry_of(root)
    with exclusive(place, "promotion"):
        decision = promote(parameters, place, version=version, approval=approval).to_json()
    return _published(place, decision)


def is_served(place: Workspace) -> bool:
    """Whether what was trained and evaluated is what would be served; the log says why not."""
    from registry.served_pipeline import refuse_unserved

    try:
        refuse_unserved(place)
    except InputError as error:
        get_run_logger().warning("not registered: %s", error)
        return False
    return True


def after_approval(root: str, decision: dict[str, Any]) -> dict[str, Any]:
    """The decision, once a person has spoken where one must. To be called in a flow, outside of tasks.

    Raises:
        ViewforgeError: when nobody answers in time.
    """
    if decision["outcome"] != AWAITING:
        return decision
    if not get_current_settings().api.url:
        get_run_logger().warning("not promoted: %s", decision["reasons"][0])
        return decision
    _, parameters = _registry_of(root)
    answer = _answer(decision, parameters.approval_seconds)
    return conclude(root, decision["version"], Approval(answer.approve, answer.reason, answer.by))


def _answer(decision: dict[str, Any], seconds: int) -> ApprovalInput:
    what = f"{decision['model']} version {decision['version']}"
    description = f"{what} passed the gate `{decision['gate']}`. May it become champion?\n\n" + "\n".join(
        f"- {reason}" for reason in decision["reasons"]
    )
    form = ApprovalInput.with_initial_data(description=description)
    try:
        if deployment.id:
            return _suspended(form, seconds)
        return pause_flow_run(wait_for_input=form, timeout=seconds, poll_interval=_POLL_SECONDS, key=_KEY)
    except FlowPauseTimeout:
        raise ViewforgeError(f"nobody approved {what} in {seconds} s", decision["reasons"][0]) from None


def _suspended(form: type[ApprovalInput], seconds: int) -> ApprovalInput:
    """The answer, once this run was started again with it; before that it ends this run's process."""
    try:
        return suspend_flow_run(wait_for_input=form, timeout=seconds, key=_KEY)
    except Pause:
        # A sign of life that reached the server just after it suspended the run would make the silence now look like a death.
        tell_of_waiting(str(flow_run.id))
        raise


def _registry_of(root: str) -> tuple[Workspace, RegisterParameters]:
    place = Workspace(Path(root))
    return place, load_section(place.parameters, "register", RegisterParameters)


def _published(place: Workspace, decision: dict[str, Any]) -> dict[str, Any]:
    from evaluation.report import write_report

    if (place.evaluation / "metrics.json").is_file():
        write_report(place, place.report, decision)
    artifacts.publish_decision(place, decision)
    if decision["promoted"]:
        announce(PROMOTED, place.root, model=decision["model"], version=decision["version"])
    return decision
