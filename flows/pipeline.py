"""The `pipeline` flow: every stale stage of a workspace, then registration, promotion and the report.

    viewforge run

The stages come from DVC (`flows.graph`); each runs as `dvc repro --single-item` in a directly called task, because only
such a task's processes die with a cancelled run. Prefect is ephemeral by default and a server's client when
`PREFECT_API_URL` is set.
"""

import logging
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import artifacts
from flows.graph import dependents, stage_order, stale_stages
from flows.promotion import after_approval, register_and_promote
from flows.stage_run import StageCrashError, StageRun, run_stage
from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive
from stage.pace import pace_text
from stage.workspace import Workspace

_PROGRESS_INTERVAL = 5.0


def refuse_recursion() -> None:
    """Refuse to run the pipeline inside one of its own stages.

    Raises:
        ViewforgeError: when DVC's stage variable is set.
    """
    if stage := os.environ.get("DVC_STAGE"):
        raise ViewforgeError(f"the pipeline cannot run inside its own stage {stage}", "call the stage's command there")


class _OneLine(logging.Filter):
    """Drops the traceback of an error that is meant for the user: the command line says it in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, without its traceback."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ViewforgeError) and "VIEWFORGE_VERBOSE" not in os.environ:
            record.exc_info = None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OneLine())


@flow(name="pipeline", flow_run_name="{workspace}", validate_parameters=False)
def pipeline(workspace: str, promote: bool = True) -> dict[str, Any] | None:
    """Bring a workspace up to date.

    Args:
        workspace: its folder.
        promote: whether the result is registered and put before the gate, if its system is one that is served.

    Returns:
        The promotion decision, or None without one.

    Raises:
        ViewforgeError: with the reason of the first stage that failed.
    """
    refuse_recursion()
    place = Workspace(Path(workspace))
    with exclusive(place, "pipeline"):
        runs = _run_stages(place)
        artifacts.publish_stages(runs)
        artifacts.publish_results(place)
        decision = register_and_promote(str(place.root)) if promote and _is_served(place) else None
    # A person may take a day: nobody else is kept from the workspace meanwhile.
    return after_approval(str(place.root), decision) if decision else None


def _run_stages(place: Workspace) -> list[StageRun]:
    """Run what is stale and what depends on something that ran; the rest is fresh without asking DVC again."""
    stale, downstream = stale_stages(place.root), dependents(place.root)
    runs: list[StageRun] = []
    for stage in stage_order(place.root):
        if stage in stale:
            get_run_logger().info("%s is stale: %s", stage, "; ".join(stale[stage]))
            runs.append(dvc_stage.with_options(name=f"dvc:{stage}")(str(place.root), stage))
            if runs[-1].state != "fresh":
                stale.update({below: [f"upstream: {stage}"] for below in downstream[stage] - set(stale)})
        else:
            get_run_logger().info("%s is fresh", stage)
            runs.append(StageRun(stage, "fresh", 0.0))
    return runs


def _may_pass(task: Any, run: Any, state: Any) -> bool:  # noqa: ANN401, ARG001 - Prefect's signature
    """Only crashes are tried again: a stage that named its reason would name it again."""
    try:
        state.result()
    except StageCrashError:
        return True
    except Exception:  # noqa: BLE001 - any other ending is final
        return False
    return False


@task(
    task_run_name="dvc:{stage}",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
)
def dvc_stage(root: str, stage: str) -> StageRun:
    """One stage under Prefect: its output in the log, its progress as an artifact."""
    log = get_run_logger()
    watcher = _ProgressArtifact(stage)
    try:
        return run_stage(Path(root), stage, log.info, watcher.update)
    finally:
        # A stage that failed has the more to tell.
        if stage == "render":
            _publish_renders(Workspace(Path(root)))


def _publish_renders(place: Workspace) -> None:
    try:
        artifacts.publish_renders(place)
    except ViewforgeError as error:
        get_run_logger().info("nothing to show of the renderings: %s", error)


def _is_served(place: Workspace) -> bool:
    """Whether what was trained and evaluated is what would be served; the log says why not."""
    from registry.served_pipeline import refuse_unserved

    try:
        refuse_unserved(place)
    except InputError as error:
        get_run_logger().warning("not registered: %s", error)
        return False
    return True


class _ProgressArtifact:
    """A stage's progress as a Prefect artifact, updated now and then."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._artifact: Any = None
        self._last = 0.0

    def update(self, record: dict[str, Any]) -> None:
        """Take over a progress record of `stage.progress`."""
        now = time.monotonic()
        if record["event"] != "end" and now - self._last < _PROGRESS_INTERVAL:
            return
        self._last = now
        share = 100.0 * record["done"] / max(1, record["total"])
        counted = f"{self._stage}: {record['done']} of {record['total']} {record['unit']} in {record['seconds']:.0f} s"
        text = ", ".join(filter(None, (counted, pace_text(record))))
        get_run_logger().info(text)
        self._artifact = artifacts.show_progress(self._artifact, share, text)
