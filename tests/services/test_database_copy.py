"""Databases that the real tools filled under SQLite are the same under a real PostgreSQL, and work on."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from postgres_cluster import PASSWORD, Cluster, postgres_cluster
from prefect_server import eventually, prefect_server, request

from services.databases import copy
from stage.errors import InputError, StageFailedError

pytestmark = pytest.mark.slow
RUNS = 5


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as environment, postgres_cluster() as cluster:
        environment.setenv("PGPASSWORD", PASSWORD)
        environment.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        yield cluster


@pytest.fixture(scope="module")
def prefect_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that Prefect's API filled."""
    folder = tmp_path_factory.mktemp("prefect")
    place = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}"}
    subprocess.run(
        [sys.executable, Path(__file__).with_name("prefect_records.py"), str(RUNS)],
        env={**os.environ, **place, "PREFECT_HOME": str(folder)},
        check=True,
        timeout=240,
    )
    return folder / "prefect.db"


@pytest.fixture(scope="module")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database that MLflow filled: runs with figures, a registered model with a champion, a logged model."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}")
    experiment = client.create_experiment("training", artifact_location=f"file://{path.parent}/artifacts")
    client.create_registered_model("viewforge", description="sees\nfrom every 'side'")
    for number in range(3):
        run = client.create_run(experiment, tags={"number": f"{number}", "ünïcode": "ß"})
        for step in range(20):
            client.log_metric(run.info.run_id, "loss", 1 / (3 + step), step=step)
        client.log_metric(run.info.run_id, "psnr", float("nan"))
        client.log_param(run.info.run_id, "steps", 20)
        version = client.create_model_version("viewforge", f"file://{path.parent}/{number}", run.info.run_id)
        client.set_terminated(run.info.run_id)
    client.set_registered_model_alias("viewforge", "champion", version.version)
    client.create_logged_model(experiment, name="network", tags={"sha256": "0" * 64})
    return path


def seen(uri: str) -> dict[str, object]:
    """What people see in MLflow."""
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("training")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    return {
        "experiment": dict(experiment),
        "runs": [run.to_dictionary() for run in runs],
        "losses": [[dict(figure) for figure in client.get_metric_history(run.info.run_id, "loss")] for run in runs],
        "model": dict(client.get_registered_model("viewforge")),
        "champion": dict(client.get_model_version_by_alias("viewforge", "champion")),
        "networks": [model.to_dictionary() for model in client.search_logged_models([experiment.experiment_id])],
    }


def without_versions(view: dict[str, object]) -> str:
    return repr({**view, "model": {key: f"{value}" for key, value in view["model"].items()}})  # type: ignore[attr-defined]


def test_mlflow_shows_the_same_and_works_on(cluster: Cluster, mlflow_file: Path) -> None:
    target = cluster.database("tracking")
    copied = copy(mlflow_file, target)
    assert copied.kinds == ["mlflow"]
    assert (copied.tables["runs"].rows, copied.tables["metrics"].rows) == (3, 63)
    assert without_versions(seen(target)) == without_versions(seen(f"sqlite:///{mlflow_file}"))
    client = MlflowClient(target, target)
    assert client.create_experiment("next") not in {
        experiment.experiment_id for experiment in MlflowClient(f"sqlite:///{mlflow_file}").search_experiments()
    }
    assert client.create_model_version("viewforge", "file:///elsewhere").version == 4


def test_prefect_shows_the_same_and_schedules(
    cluster: Cluster, prefect_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = cluster.database("orchestration")
    copied = copy(prefect_file, target)
    assert copied.tables["flow_run"].rows == RUNS
    before = sqlite3.connect(prefect_file).execute("SELECT id, state_id, parameters FROM flow_run").fetchall()
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", target.replace("postgresql:", "postgresql+asyncpg:"))
    with prefect_server(tmp_path) as server:
        runs = request(server, "POST", "/flow_runs/filter", {})
        told = {run["id"]: run for run in runs if not run["auto_scheduled"]}
        assert {(name, run["state_id"]) for name, run in told.items()} == {(name, state) for name, state, _ in before}
        assert sorted(run["state_type"] for run in told.values()) == ["COMPLETED"] * 3 + ["FAILED"] * 2
        [deployment] = request(server, "POST", "/deployments/filter", {})
        assert deployment["parameters"]["z"] == {"ä": [True, 0.0]}
        assert [limit["name"] for limit in request(server, "POST", "/v2/concurrency_limits/filter", {})] == ["gpu"]
        assert [found["name"] for found in request(server, "POST", "/automations/filter", {})] == ["after training"]
        [secret] = request(server, "POST", "/block_documents/filter", {"include_secrets": True})
        assert secret["data"] == {"value": "a word"}
        scheduled = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        eventually(lambda: request(server, "POST", "/flow_runs/filter", scheduled))


def test_a_copy_that_fails_leaves_nothing_and_can_be_repeated(
    cluster: Cluster, mlflow_file: Path, tmp_path: Path
) -> None:
    target = cluster.database("halves")
    broken = tmp_path / "mlflow.db"
    broken.write_bytes(mlflow_file.read_bytes())
    connection = sqlite3.connect(broken)
    # Longer than PostgreSQL's column, which SQLite does not mind.
    connection.execute("UPDATE tags SET key = ? WHERE key = 'number'", ("k" * 300,))
    connection.commit()
    connection.close()
    with pytest.raises(StageFailedError, match=r"table tags: value too long .*nothing was copied") as refusal:
        copy(broken, target)
    assert "kkkk" not in f"{refusal.value}"
    assert cluster.run("halves", "SELECT count(*) FROM experiments") == [(0,)]
    assert copy(mlflow_file, target).tables["runs"].rows == 3
    keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f'"
    assert cluster.run("halves", keys) == cluster.run("tracking", keys)
    with pytest.raises(InputError, match=r"halves is not empty: table \w+ has \d+ rows"):
        copy(mlflow_file, target)


def test_what_does_not_fit_together_is_refused(cluster: Cluster, mlflow_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(mlflow_file.read_bytes())
    connection = sqlite3.connect(other)
    connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    connection.commit()
    connection.close()
    target = cluster.database("refusals")
    with pytest.raises(InputError, match=r"revision 0123456789ab.*mlflow db upgrade"):
        copy(other, target)
    taken = cluster.database("taken")
    cluster.run("taken", "CREATE TABLE flow_run (id integer)")
    with pytest.raises(InputError, match="taken is prefect's"):
        copy(mlflow_file, taken)
    with pytest.raises(StageFailedError, match="does not exist"):
        copy(mlflow_file, target.replace("/refusals", "/absent"))
    assert cluster.run("refusals", "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_a_target_in_use_is_refused(cluster: Cluster, mlflow_file: Path) -> None:
    import psycopg2

    target = cluster.database("busy")
    connection = psycopg2.connect(target)
    try:
        with pytest.raises(InputError, match="in use by viewforge"):
            copy(mlflow_file, target)
    finally:
        connection.close()


def test_users_of_basic_authentication_come_along(cluster: Cluster, tmp_path: Path) -> None:
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(f"sqlite:///{tmp_path / 'basic_auth.db'}")
    store.create_user("curator", "a long password", is_admin=True)
    store.engine.dispose()
    target = cluster.database("users")
    assert copy(tmp_path / "basic_auth.db", target).kinds == ["mlflow-auth"]
    copied = SqlAlchemyStore()
    copied.init_db(target)
    assert copied.authenticate_user("curator", "a long password")
    copied.create_user("second", "another long password")
    copied.engine.dispose()
