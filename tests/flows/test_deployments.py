"""The deployments on a server of their own with real workers: schedules, retries, cancellation, events, a stopped worker.

One small workspace gets its data by a cron run and its model by a run that loses its worker and then its trainer; the events of
that have it evaluated and promoted. What needs none of that is tested while the schedule is awaited.
"""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import Installation, gone, installation, processes_of, running, small_workspace, stop
from mlflow.tracking import MlflowClient
from prefect_server import eventually

from flows.events import resource_id
from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.minutes(4)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The workspace that goes through everything; its training lasts long enough to be interrupted twice."""
    root = tmp_path_factory.mktemp("deployed") / "workspace"
    return small_workspace(root, train__steps=24, train__checkpoint_every=20)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The deployments on a server, and a worker for each pool."""
    with installation(tmp_path_factory.mktemp("installation")) as made:
        assert (deployed := made.deploy()).returncode == 0, deployed.stderr
        for pool in ("cpu", "gpu"):
            made.start_worker(pool)
        yield made


def automations(installed: Installation) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in installed.ask("POST", "/automations/filter")}


def limits(installed: Installation) -> dict[str, int]:
    found = installed.ask("POST", "/v2/concurrency_limits/filter")
    return {limit["name"]: limit["limit"] for limit in found if not limit["name"].startswith("deployment:")}


def test_deploying_again_changes_nothing_but_what_is_asked_for(installed: Installation) -> None:
    before, there = automations(installed), installed.ask("POST", "/deployments/filter")
    switched_off = "viewforge promotes what was evaluated"
    installed.ask("PATCH", f"/automations/{before[switched_off]['id']}", {"enabled": False})
    result = installed.deploy("--blender-hosts", "2")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(there) == 7
    after = automations(installed)
    assert {name: found["enabled"] for name, found in after.items()} == {
        "viewforge evaluates what was trained": True,
        "viewforge gives up lost runs": True,
        switched_off: False,
    }
    installed.ask("PATCH", f"/automations/{after[switched_off]['id']}", {"enabled": True})
    assert limits(installed) == {"gpu": 1, "blender": 2}
    again = {found["id"]: found for found in installed.ask("POST", "/deployments/filter")}
    assert {found["id"] for found in there} == again.keys()
    for found in there:
        assert [s["slug"] for s in found["schedules"]] == [s["slug"] for s in again[found["id"]]["schedules"]]
    assert {pool["name"]: pool["type"] for pool in installed.ask("POST", "/work_pools/filter")} == {
        "cpu": "process",
        "gpu": "process",
    }


@pytest.fixture(scope="module")
def scheduled(installed: Installation, place: Workspace) -> None:
    """A run of `ingest` every minute, so that nobody waits for the night; what does not need its outputs goes on meanwhile."""
    schedule = {"schedule": {"cron": "* * * * *"}, "active": True, "parameters": {"workspace": str(place.root)}}
    installed.ask("POST", f"/deployments/{installed.deployment('ingest/nightly')['id']}/schedules", [schedule])


@pytest.mark.usefixtures("scheduled")
def test_a_stage_that_names_its_reason_is_not_tried_again(installed: Installation, tmp_path: Path) -> None:
    broken = small_workspace(tmp_path / "broken", catalog__objcts=3)
    run = installed.ended(installed.start("stage/on-demand", workspace=str(broken.root), stage="catalog"))
    assert run["state_type"] == "FAILED"
    assert "unknown parameter" in run["state"]["message"]
    (task,) = installed.tasks(run["id"])
    assert task["run_count"] == 1


def test_a_run_cancelled_in_mid_render_leaves_no_process(installed: Installation, tmp_path: Path) -> None:
    slow = small_workspace(tmp_path / "slow", render__resolution=512, render__quality__samples=4096, render__views=12)
    run = installed.start("pipeline/on-demand", workspace=str(slow.root))
    eventually(lambda: list(slow.scratch.glob("renders")) and running(run, "blender_render"))
    family = processes_of(run)
    assert any("dvc" in " ".join(process.cmdline()) for process in family)
    installed.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert installed.ended(run)["state_type"] == "CANCELLED"
    assert gone(family)
    assert not processes_of(run)


@pytest.mark.usefixtures("scheduled")
def test_a_cron_schedule_fires_and_its_run_makes_the_training_data(installed: Installation, place: Workspace) -> None:
    def done() -> list[dict[str, Any]]:
        return [run for run in installed.runs("ingest/nightly") if run["state_type"] in {"COMPLETED", "FAILED"}]

    first = eventually(done)[-1]
    assert (first["auto_scheduled"], first["state_type"]) == (True, "COMPLETED")
    assert (place.shards / "index.parquet").is_file()
    nightly = installed.deployment("ingest/nightly")
    for schedule in nightly["schedules"]:
        installed.ask("DELETE", f"/deployments/{nightly['id']}/schedules/{schedule['id']}")


@pytest.fixture(scope="module")
def trained(installed: Installation, place: Workspace) -> str:
    """A training whose worker was stopped once, and whose trainer was killed once after that."""
    run = installed.start("train/weekly", workspace=str(place.root))
    eventually(lambda: list(place.scratch.glob("training/*")) and running(run, "training.run"))
    eventually(lambda: " of 24 steps" in (installed.folder / "worker-gpu.log").read_text())
    family = processes_of(run)
    stop(installed.workers["gpu"])
    assert gone(family)
    state = installed.run(run)
    assert (state["state_type"], state["state_name"]) == ("SCHEDULED", "AwaitingRetry")
    saved = sorted(path.name for path in place.scratch.glob("training/*/checkpoints/step-*"))
    assert saved, "the training saved no checkpoint when its worker was stopped"
    installed.start_worker("gpu")
    (trainer, *_) = eventually(lambda: running(run, "viewforge train") or running(run, "cli.main train"))
    trainer.send_signal(signal.SIGKILL)
    assert installed.ended(run)["state_type"] == "COMPLETED"
    return run


def test_a_stage_that_is_killed_is_tried_again(installed: Installation, place: Workspace, trained: str) -> None:
    # The one whose worker was stopped, and the one whose trainer was killed.
    ends = [(task["name"], task["state_name"], task["run_count"]) for task in installed.tasks(trained)]
    assert ends == [("dvc:train", "Crashed", 1), ("dvc:train", "Completed", 2)]
    assert (place.model / "model_index.json").is_file()


def test_events_start_evaluation_and_promotion_and_the_same_event_promotes_once(
    installed: Installation, place: Workspace, trained: str
) -> None:
    for deployment in ("evaluate/after-training", "promote/after-evaluation"):
        (run,) = eventually(lambda name=deployment: installed.runs(name))
        assert run["parameters"] == {"workspace": str(place.root)}
        assert installed.ended(run["id"])["state_type"] == "COMPLETED"
    event = {
        "id": str(uuid.uuid4()),
        "occurred": run["end_time"] or run["created"],
        "event": "viewforge.evaluated",
        "resource": {"prefect.resource.id": resource_id(place.root)},
        "payload": {"workspace": str(place.root)},
    }
    installed.ask("POST", "/events", [event])
    second = eventually(lambda: [r for r in installed.runs("promote/after-evaluation") if r["id"] != run["id"]])[0]
    assert installed.ended(second["id"])["state_type"] == "COMPLETED"
    client = MlflowClient(f"sqlite:///{place.mlflow / 'mlflow.db'}")
    assert [version.version for version in client.search_model_versions("")] in (["1"], [1])


def test_a_run_that_gives_no_signs_of_life_counts_as_crashed(installed: Installation) -> None:
    # The last of all: what is silent for ten seconds counts as lost from here on.
    lost = automations(installed)["viewforge gives up lost runs"]
    soon = {key: lost[key] for key in ("name", "description", "enabled", "actions")}
    installed.ask("PUT", f"/automations/{lost['id']}", {**soon, "trigger": {**lost["trigger"], "within": 10}})
    flow = installed.ask("POST", "/flows/", {"name": "lost"})
    run = installed.ask("POST", "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})
    beat = {
        "id": str(uuid.uuid4()),
        "occurred": run["created"],
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run['id']}"},
    }
    installed.ask("POST", "/events", [beat])
    assert installed.ended(run["id"])["state_type"] == "CRASHED"
