"""`viewforge up` and `viewforge down` where nothing is started: one line that says why, and what to do."""

import socket

import pytest
from prefect_server import free_port


@pytest.fixture
def run(viewforge, tmp_path, monkeypatch):
    for name in ("PREFECT_SERVER_API_AUTH_STRING", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)

    def here(*arguments):
        return viewforge(*arguments, "-w", tmp_path)

    return here


def refused(result):
    """The one line."""
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    return line


def test_where_nothing_runs_that_is_said(run):
    assert run("down").stdout == "nothing runs here\n"
    result = run("up", "--status")
    assert (result.returncode, result.stdout) == (1, "nothing runs here: viewforge up starts it\n")


def test_nothing_is_exposed_without_credentials(run, tmp_path):
    line = refused(run("up", "--host", "0.0.0.0"))
    assert "Prefect would listen on 0.0.0.0" in line
    assert "set PREFECT_SERVER_API_AUTH_STRING" in line
    assert not list(tmp_path.rglob("*.log"))


def test_a_taken_port_is_told(run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = refused(run("up", "--mlflow-port", str(taken.getsockname()[1]), "--prefect-port", str(free_port())))
    assert "for MLflow is taken by process" in line
    assert "choose another with --mlflow-port" in line
    assert not list(tmp_path.rglob("*.log"))


def test_a_broken_state_stops_up_and_not_down(run, tmp_path):
    (tmp_path / ".services").mkdir()
    file = tmp_path / ".services" / "state.json"
    file.write_text("{")
    assert "state.json is not a state of an installation; viewforge down" in refused(run("up"))
    result = run("down")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "nothing runs here"
    assert not file.exists()
