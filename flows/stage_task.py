"""A stage as a Prefect task: attempts after a crash, slots, its output in the log, its progress as an artifact."""

import time
from pathlib import Path
from typing import Any

import httpx
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows import artifacts
from flows.flow_parameters import FlowParameters
from flows.messages import without_secrets
from flows.slots import slots
from flows.stage_groups import GPU, TRAIN
from flows.stage_run import StageCrashError, StageRun, run_stage
from stage.errors import ViewforgeError
from stage.pace import pace_text
from stage.parameters import load_section
from stage.workspace import Workspace

_PROGRESS_INTERVAL = 5.0


def run_stage_task(place: Workspace, stage: str, needs: list[str], limits: FlowParameters) -> StageRun:
    """Run one stage as a task of the present flow, as often as its crashes may be tried again.

    Called directly and not submitted: Prefect's signals reach the main thread alone.

    Args:
        place: the workspace.
        stage: name in dvc.yaml.
        needs: what it takes slots of (`flows.stage_groups`).
        limits: attempts and times.

    Raises:
        ViewforgeError: with the reason of the last attempt.
    """
    prepared = dvc_stage.with_options(
        name=f"dvc:{stage}",
        tags=set(needs),
        retries=limits.attempts - 1,
        retry_delay_seconds=limits.delays(),
        retry_jitter_factor=limits.delay_jitter,
    )
    return prepared(str(place.root), stage, {need: _amount(place, stage, need) for need in needs})


def _amount(place: Workspace, stage: str, need: str) -> int:
    """A GPU for each process that a training starts here; of anything else one."""
    from training.parameters import TrainParameters

    if (stage, need) != (TRAIN, GPU):
        return 1
    launch = load_section(place.parameters, "train", TrainParameters).launch
    return max(1, launch.processes // launch.machines)


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
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    # DVC knows what is done; a second memory of it would disagree some day.
    persist_result=False,
)
@without_secrets()
def dvc_stage(root: str, stage: str, needs: dict[str, int]) -> StageRun:
    """One stage under Prefect."""
    log = get_run_logger()
    watcher = _ProgressArtifact(stage)
    place = Workspace(Path(root))
    limits = load_section(place.parameters, "flow", FlowParameters)
    try:
        with slots(needs):
            run = run_stage(place.root, stage, log.info, watcher.update, limits)
    except ViewforgeError:
        # A stage that failed has the more to tell.
        _publish_renders(place, stage)
        raise
    _publish_renders(place, stage)
    return run


def _publish_renders(place: Workspace, stage: str) -> None:
    if stage != "render":
        return
    try:
        artifacts.publish_renders(place)
    except (ViewforgeError, httpx.HTTPError) as error:
        get_run_logger().info("nothing to show of the renderings: %s", error)


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
        try:
            self._artifact = artifacts.show_progress(self._artifact, share, text)
        except httpx.HTTPError as error:
            # A training does not end because the server is away for a while.
            get_run_logger().warning("the progress is not shown: %s", str(error) or type(error).__name__)
