"""`viewforge status`: where a workspace stands, whatever was asked for, whatever is away."""

import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from promotion_drill import MODEL, registry_of_three
from typer.testing import CliRunner
from versioned_workspace import versioned_workspace

from cli.main import app
from cli.status_page import page
from flows.recent_runs import local_runs, server_runs
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.disk_use import disk_use

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace up to date, with no server and no registry."""
    place = versioned_workspace(tmp_path / "workspace")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(place.root / ".prefect"))
    return place


def lines(place: Workspace) -> list[str]:
    result = CliRunner().invoke(app, ["status", "-w", str(place.root)], catch_exceptions=False)
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def sections(place: Workspace) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["status", "--json", "-w", str(place.root)], catch_exceptions=False)
    return dict(json.loads(result.stdout))


def test_methods_without_psnr_cost_nobody_the_status(place: Workspace) -> None:
    figures = {
        "model": {"psnr": 20.0, "ssim": 0.9, "sift_matches": 11.0},
        "autoencoder": {"psnr": "not available", "ssim": "not available"},
        "truth": {"sift_matches": 12.0},
    }
    place.evaluation.mkdir(parents=True)
    (place.evaluation / "metrics.json").write_text(json.dumps({"unseen": figures}))
    shown = lines(place)
    assert "model PSNR 20.00 dB, SSIM 0.900, SIFT matches 11.00 on unseen objects" in shown
    assert "autoencoder not available on unseen objects" in shown
    assert "truth SIFT matches 12.00 on unseen objects" in shown


def test_stages_are_fresh_or_stale_with_the_reason(place: Workspace) -> None:
    assert sections(place)["stages"] == {"render": [], "train": []}
    place.parameters.write_text("seed: 1\n")
    shown = lines(place)
    assert any(line.startswith("render stale:") and "params.yaml" in line for line in shown)
    assert "train stale: upstream render" in shown


def test_lost_objects_are_counted_by_class(place: Workspace) -> None:
    failures = ["", "timeout", "timeout", "parse"]
    pd.DataFrame({"failure": failures}).to_parquet(place.renders / "objects.parquet")
    reasons = {
        "selected": [True, False, False],
        "reason": ["", "same bytes as shoe", "900 faces, over the limit of 500"],
    }
    place.catalog.mkdir(parents=True)
    pd.DataFrame(reasons).to_parquet(place.catalog / "catalog.parquet")
    work = place.scratch / "splatters"
    work.mkdir(parents=True)
    outcomes = [{"uid": "a", "failure": "crash"}, {"uid": "b", "failure": "crash"}, {"uid": "b", "failure": ""}]
    (work / "ledger.jsonl").write_text("\n".join(map(json.dumps, outcomes)) + "\n")
    assert sections(place)["quarantine"] == {
        "catalog": {"same bytes as …": 1, "… faces, over the limit of …": 1},
        "render": {"timeout": 2, "parse": 1},
        "splatter": {"crash": 1},
    }
    assert "lost render: 2 timeout, 1 parse" in lines(place)


def test_what_cannot_be_told_costs_the_rest_nothing(place: Workspace) -> None:
    (place.root / "dvc.yaml").write_text("stages: [")
    pd.DataFrame({"uid": ["a"]}).to_parquet(place.renders / "objects.parquet")
    found = sections(place)
    assert "dvc.yaml" in found["stages"]["not known"]
    assert list(found["quarantine"]) == ["not known"]
    assert found["disk"]["data"] > 0
    assert any(line.startswith("stages not known: DVC in") for line in lines(place))


@pytest.fixture
def three(place: Workspace, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A registry of three versions: the second champion, the third challenger."""
    place.mlflow.mkdir(parents=True)
    shutil.copy(PROJECT / "mlflow" / "promotion.yaml", place.mlflow)
    shutil.copy(empty_database, place.mlflow / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place.mlflow / 'mlflow.db'}")
    mlflow.set_tracking_uri(f"sqlite:///{place.mlflow / 'mlflow.db'}")
    registry_of_three(place)
    yield place
    mlflow.set_tracking_uri(None)


def test_champion_challenger_and_what_awaits_a_person(three: Workspace) -> None:
    client = MlflowClient()
    client.set_model_version_tag(MODEL, "3", "evaluation.unseen.model.psnr", "22.0")
    client.set_model_version_tag(MODEL, "3", "evaluation.unseen.model.lpips", "not available")
    client.set_model_version_tag(MODEL, "3", "promotion.decision", "awaiting approval")
    champion, challenger = sections(three)["models"]
    assert (champion["version"], champion["aliases"], champion["decision"]) == ("2", ["champion"], "promoted")
    assert (challenger["version"], challenger["figures"]) == ("3", {"psnr": 22.0})
    assert client.get_model_version(MODEL, "2").tags["champion.since"] == champion["since"]
    shown = lines(three)
    assert any(line.startswith(f"challenger {MODEL} version 3 since 20") and "PSNR 22.00 dB" in line for line in shown)
    assert "viewforge promote --version 3 --approve WHY, or --reject WHY" in shown


@pytest.mark.slow
def test_with_a_registry_it_takes_less_than_three_seconds_of_a_processor(three: Workspace) -> None:
    command = [sys.executable, "-m", "cli.main", "status", "-w", str(three.root)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert f"{MODEL} version 2 since" in told
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3.0


def test_a_server_that_hangs_costs_seconds_and_the_rest_is_shown(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.recent_runs._PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PREFECT_API_URL", f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}/api")
        started = time.monotonic()
        shown = lines(place)
    assert time.monotonic() - started < 20
    (runs,) = [line for line in shown if line.startswith("runs")]
    assert "not known: Prefect at http://127.0.0.1" in runs
    assert "secret" not in "\n".join(shown)
    assert "render fresh" in shown


def test_a_damaged_registry_is_said_in_one_line(place: Workspace) -> None:
    database = place.mlflow / "mlflow.db"
    database.parent.mkdir()
    database.write_bytes(b"\xa5" * 8192)
    (line,) = [line for line in lines(place) if line.startswith("models")]
    assert str(database) in line
    assert "viewforge recover DIR" in line


def test_runs_without_a_server_are_those_of_the_local_database(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    assert local_runs(database, 5).last == ()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript("""
            CREATE TABLE flow (id TEXT, name TEXT);
            CREATE TABLE deployment (id TEXT, name TEXT);
            CREATE TABLE flow_run (flow_id TEXT, deployment_id TEXT, state_name TEXT, start_time TEXT, end_time TEXT,
                auto_scheduled INTEGER);
            INSERT INTO flow VALUES ('f', 'pipeline');
            INSERT INTO flow_run VALUES ('f', NULL, 'Failed', '2026-11-21 10:00:00.5', '2026-11-21 10:01:00.5', 0);
            INSERT INTO flow_run VALUES ('f', NULL, 'Running', '2026-11-22 10:00:00.5', NULL, 0);
        """)
    newest, before = local_runs(database, 5).last
    assert (newest.state, newest.seconds, newest.started) == ("Running", None, "2026-11-22T10:00:00")
    assert (before.flow, before.state, before.seconds) == ("pipeline", "Failed", 60.0)
    database.write_bytes(b"\xa5" * 8192)
    with pytest.raises(InputError, match=r"prefect\.db cannot be read .*viewforge recover DIR"):
        local_runs(database, 5)


def test_a_database_that_somebody_has_locked_is_not_called_damaged(tmp_path: Path) -> None:
    """Who then put back a backup would lose what came after it."""
    database = tmp_path / "prefect.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE flow (id TEXT, name TEXT)")
        connection.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"prefect\.db cannot be read \(database is locked\); wait") as caught:
            local_runs(database, 5)
        assert time.monotonic() - started < 4
        assert "recover" not in str(caught.value)
    with pytest.raises(InputError, match=r"no such table.*; start the server of its version"):
        local_runs(database, 5)


def test_an_address_that_is_none_is_an_error_of_one_line() -> None:
    with pytest.raises(InputError, match="does not answer"):
        server_runs("http://127.0.0.1:1/api", 5)


def test_a_file_with_two_names_takes_its_room_once(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    cached = tmp_path / ".dvc" / "cache" / "object"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * 100_000)
    place.renders.mkdir(parents=True)
    (place.renders / "pack.tar").hardlink_to(cached)
    used = disk_use(place)
    assert used["DVC cache"] >= 100_000
    assert used["data"] == 0
    assert used["free"] > 0


def test_services_runs_and_pools_are_lines_for_people() -> None:
    service = {
        "address": "http://127.0.0.1:4200",
        "healthy": True,
        "pid": 7,
        "since": 1.0,
        "condition": "runs",
        "deaths": 2,
    }
    run = {"flow": "verify", "deployment": "weekly", "state": "Completed", "started": "2026-11-22T10:00:00+00:00"}
    found = {
        "workspace": "/w",
        "stages": {},
        "evaluation": {},
        "quarantine": {},
        "disk": {},
        "models": {"not known": "MLflow is away"},
        "services": [
            {"name": "prefect", **service},
            {**service, "name": "worker-gpu", "address": None, "healthy": False, "condition": "given up", "deaths": 0},
        ],
        "runs": {
            "source": "http://127.0.0.1:4200/api",
            "last": [{**run, "seconds": 75.0, "scheduled": True}],
            "late": 3,
            "planned": 0,
            "pools": [("cpu", "READY"), ("gpu", "NOT_READY")],
        },
    }
    shown = [" ".join(line.split()) for line in page(found).splitlines()]
    assert "prefect up at http://127.0.0.1:4200 since 1970-01-01T00:00:01+00:00, restarted 2 times" in shown
    assert "worker-gpu DOWN (given up)" in shown
    assert any(
        line.startswith("run 2026-11-22T10:00:00+00:00 verify/weekly: Completed in 75 s, by its schedule")
        for line in shown
    )
    assert "late 3 runs wait for a worker: see docs/runbook.md" in shown
    assert "pools cpu READY, gpu NOT_READY; 0 runs planned" in shown
    assert "models not known: MLflow is away" in shown
