"""The loop of all flows: which of the chosen stages run, and a workspace that one flow at a time works in."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from mini_pipeline import mini_workspace
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import deploying, slots, stage_loop
from flows.deploying import deploy
from flows.graph import stage_order, stale_stages
from flows.stage_run import StageRun
from stage.errors import InputError, ParameterError, ViewforgeError
from stage.workspace import Workspace
from upkeep.repository import DvcBusyError

BELOW = {"render": {"shard", "train"}, "splatter": {"train"}, "shard": {"train"}, "train": set()}
NOBODY = "http://127.0.0.1:9/api"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with a graph of four stages, whose logs go to pytest."""
    (tmp_path / "params.yaml").write_text("flow: {wait_hours: 0.01}\n")
    monkeypatch.setattr(stage_loop, "dependents", lambda _: BELOW)
    monkeypatch.setattr(stage_loop, "stage_order", lambda _: list(BELOW))
    monkeypatch.setattr(stage_loop, "stage_needs", lambda _: {stage: [] for stage in BELOW})
    monkeypatch.setattr(stage_loop, "get_run_logger", logging.getLogger)
    for shown in ("publish_stages", "publish_lineage"):
        monkeypatch.setattr(stage_loop.artifacts, shown, lambda _: None)
    return Workspace(tmp_path)


def run_all(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, chosen: list[str], stale: list[str], becomes: str = "ran"
) -> tuple[list[str], list[str]]:
    """What ran of the chosen stages, and what became of all of them."""
    ran: list[str] = []

    def run(_: Workspace, stage: str, *__: object) -> StageRun:
        ran.append(stage)
        return StageRun(stage, becomes, 1.0)

    monkeypatch.setattr(stage_loop, "stale_stages", lambda _: {stage: ["changed"] for stage in stale})
    monkeypatch.setattr(stage_loop, "run_stage_task", run)
    return ran, [found.state for found in stage_loop.bring_up_to_date(place, chosen)]


def test_what_depends_on_a_stage_that_ran_runs(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = list(BELOW)
    assert run_all(place, monkeypatch, everything, ["render"]) == (
        ["render", "shard", "train"],
        ["ran", "fresh", "ran", "ran"],
    )
    assert run_all(place, monkeypatch, everything, ["render"], becomes="fresh")[0] == ["render"]
    assert run_all(place, monkeypatch, everything, []) == ([], ["fresh"] * 4)


def test_a_run_that_failed_shows_what_was_done_what_failed_and_what_was_not_tried(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[StageRun] = []

    def run(_: Workspace, stage: str, *__: object) -> StageRun:
        if stage == "shard":
            raise ViewforgeError("no space left on device", "free some")
        return StageRun(stage, "ran", 1.0)

    monkeypatch.setattr(stage_loop, "stale_stages", lambda _: {stage: ["changed"] for stage in ("render", "shard")})
    monkeypatch.setattr(stage_loop, "run_stage_task", run)
    monkeypatch.setattr(stage_loop.artifacts, "publish_stages", shown.extend)
    with pytest.raises(ViewforgeError, match="no space left"):
        stage_loop.bring_up_to_date(place, list(BELOW))
    states = {found.stage: found.state for found in shown}
    assert states == {"render": "ran", "splatter": "fresh", "shard": "failed", "train": "not tried"}

    def away(_: object) -> None:
        raise httpx.ConnectError("All connection attempts failed")

    monkeypatch.setattr(stage_loop.artifacts, "publish_stages", away)
    with pytest.raises(ViewforgeError, match="no space left"):
        stage_loop.bring_up_to_date(place, list(BELOW))
    assert "not shown: All connection attempts failed" in caplog.text


def test_stages_outside_of_the_group_stay_as_they_are_and_the_log_says_so(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_all(place, monkeypatch, ["train"], ["splatter", "train"])[0] == ["train"]
    assert "splatter is stale and no part of this flow" in caplog.text


def test_limits_of_unknown_stages_are_refused_before_anything_runs(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parameters.write_text("flow: {stage_hours: {rendr: 1}}\n")
    with pytest.raises(ParameterError, match="did you mean render"):
        run_all(place, monkeypatch, ["render"], ["render"])


def test_a_folder_that_is_no_workspace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no workspace"), stage_loop.opened(str(tmp_path)):
        pass


@pytest.mark.parametrize(("deployed", "tries"), [("an id", 3), (None, 1)])
def test_a_deployments_run_waits_for_the_one_before_and_any_other_does_not(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, deployed: str | None, tries: int
) -> None:
    tried: list[int] = []

    @contextmanager
    def busy_twice(*_: object) -> Iterator[None]:
        tried.append(1)
        if len(tried) < 3:
            raise ViewforgeError("the stage pipeline is already running", "wait for it or end it")
        yield

    monkeypatch.setattr(stage_loop, "exclusive", busy_twice)
    monkeypatch.setattr(stage_loop, "deployment", SimpleNamespace(id=deployed))
    if deployed:
        with stage_loop.opened(str(place.root)) as opened:
            assert opened == place
    else:
        with pytest.raises(ViewforgeError, match="already running"), stage_loop.opened(str(place.root)):
            pass
    assert len(tried) == tries


def test_what_a_killed_dvc_left_is_put_right_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = mini_workspace(tmp_path / "workspace")
    (place.root / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = false\n")
    (place.root / "dvc.lock").write_text("")
    (place.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    (place.root / ".dvc" / "tmp" / "rwlock").write_text("")
    monkeypatch.setattr(stage_loop, "get_run_logger", logging.getLogger)
    with stage_loop.opened(str(place.root)):
        assert stage_order(place.root) == ["catalog", "train"]
        assert list(stale_stages(place.root)) == ["catalog", "train"]
    assert "list of locks was damaged" in caplog.text
    assert "dvc.lock was cut off" in caplog.text


@pytest.mark.parametrize(("tries", "seconds"), [(3, 60.0), (1, 0.0)])
def test_a_run_waits_for_who_holds_dvcs_lock_and_not_for_ever(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, tries: int, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def busy_twice(_: Path) -> dict[str, list[str]]:
        asked.append(1)
        if len(asked) < 3:
            raise DvcBusyError("DVC is at work in w: process 7 holds its lock", "wait for it or end it")
        return {}

    monkeypatch.setattr(stage_loop, "_DVC_SECONDS", seconds)
    monkeypatch.setattr(stage_loop, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(stage_loop, "stale_stages", busy_twice)
    caplog.set_level(logging.INFO)
    if seconds:
        assert [run.state for run in stage_loop.bring_up_to_date(place, ["train"])] == ["fresh"]
        assert "waiting: DVC is at work in w: process 7 holds its lock" in caplog.text
    else:
        with pytest.raises(DvcBusyError, match="process 7"):
            stage_loop.bring_up_to_date(place, ["train"])
    assert len(asked) == tries


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    """The value of a secret variable."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "canary-4711-canary")
    return "canary-4711-canary"


@pytest.mark.parametrize("logger", ["prefect.flow_runs", "prefect.task_runs"])
def test_what_a_library_raises_is_logged_without_secrets(canary: str, logger: str) -> None:
    """Traceback, causes and message, as Prefect's handlers format them."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log = logging.getLogger(logger)
    log.addHandler(handler)
    try:
        try:
            raise_from(canary)
        except OSError as error:
            log.exception("Encountered exception: %r, 100 %%", error)  # noqa: TRY401 - as Prefect does
    finally:
        log.removeHandler(handler)
    said = stream.getvalue()
    assert canary not in said
    assert "OSError('https://server.example/api refused ***'), 100 %" in said
    assert "KeyError: '***'" in said
    assert "raise_from" in said, "the traceback is there"


def raise_from(secret: str) -> None:
    try:
        dict[str, str]()[secret]
    except KeyError as error:
        raise OSError(f"https://user:{secret}@server.example/api refused {secret}") from error


def test_what_a_library_raises_reaches_prefects_states_without_secrets(canary: str, place: Workspace) -> None:
    said = r"OSError: https://server\.example/api refused \*\*\*"
    with pytest.raises(ViewforgeError, match=said) as caught, stage_loop.opened(str(place.root)):
        raise_from(canary)
    assert caught.value.__suppress_context__
    with pytest.raises(ZeroDivisionError), stage_loop.opened(str(place.root)):
        raise ZeroDivisionError("no secret in it")


def test_a_server_without_limits_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def client(**_: object) -> Iterator[SimpleNamespace]:
        def missing(name: str) -> None:
            raise ObjectNotFound(http_exc=Exception(name))

        yield SimpleNamespace(read_global_concurrency_limit_by_name=missing)

    monkeypatch.setattr(slots, "get_client", client)
    with (
        temporary_settings({PREFECT_API_URL: NOBODY}),
        pytest.raises(InputError, match="no concurrency limit gpu; run viewforge deploy"),
        slots.slots({"gpu": 1}),
    ):
        pass


def test_a_server_that_is_away_is_waited_for_and_fails_nothing_that_is_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def limit(name: str) -> int:
        asked.append(name)
        if len(asked) < 3:
            raise httpx.ConnectError("All connection attempts failed")
        return 1

    @contextmanager
    def held(*_: object, **__: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise httpx.ConnectError("away again")

    monkeypatch.setattr(slots, "_limit", limit)
    monkeypatch.setattr(slots, "concurrency", held)
    monkeypatch.setattr(slots, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(slots, "get_run_logger", logging.getLogger)
    with temporary_settings({PREFECT_API_URL: NOBODY}):
        with slots.slots({"gpu": 1}):
            pass
        with pytest.raises(ViewforgeError, match="the stage's own"), slots.slots({"gpu": 1}):
            raise ViewforgeError("the stage's own error")
    assert asked == ["gpu"] * 4
    assert "come free by themselves: away again" in caplog.text


def test_without_a_server_nothing_is_held_and_nothing_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        with slots.slots({"gpu": 1}):
            pass
        with pytest.raises(InputError, match="no Prefect server is known; start one by viewforge up"):
            deploy()


def test_what_prefect_refuses_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = tmp_path / "prefect.yaml"
    definition.write_text(deploying.DEFINITION.read_text().replace("flows.ingest.ingest", "flows.ingest.nothing"))
    monkeypatch.setattr(deploying, "DEFINITION", definition)
    monkeypatch.setenv("PREFECT_API_URL", NOBODY)
    with pytest.raises(ViewforgeError, match=r"refused .*: .*'nothing' not found in 'flows.ingest'"):
        deploying._apply(tmp_path)


def test_a_server_that_does_not_answer_is_named() -> None:
    with temporary_settings({PREFECT_API_URL: NOBODY}), pytest.raises(InputError, match="does not answer"):
        deploy()
