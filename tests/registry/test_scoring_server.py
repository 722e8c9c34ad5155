"""`mlflow models serve` really started, on loopback, from the registry alone and where viewforge is not on the path."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from serving_support import BAD_REQUESTS, IMAGE, POSES, is_one_line, request

from registry.parameters import RegisterParameters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

URI = f"models:/{RegisterParameters().model_name}@champion"
START_SECONDS = 240


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def registry_uri(champion_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow whose first model is champion."""
    database = shutil.copy(champion_database, tmp_path_factory.mktemp("registry") / "mlflow.db")
    return f"sqlite:///{database}"


@pytest.fixture(scope="module")
def server(registry_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    folder, address = tmp_path_factory.mktemp("server"), f"http://127.0.0.1:{(port := free_port())}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Where it finds uvicorn.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = ["-m", "mlflow", "models", "serve", "-m", URI, "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", *command, "--env-manager", "local", "--timeout", "120"],
            cwd=folder,
            env={**environment, "MLFLOW_TRACKING_URI": registry_uri, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(f"{address}/health", process, folder / "log")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(log.read_text())


def post(server: str, body: dict[str, Any]) -> tuple[int, str]:
    """Status and text of an answer."""
    message = urllib.request.Request(
        f"{server}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(message, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_the_champion_as_it_is_loaded(server: str, registry_uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    mlflow.set_tracking_uri(registry_uri)
    loaded = mlflow.pyfunc.load_model(URI)
    mlflow.set_tracking_uri(None)
    given, params = {"image": IMAGE, "poses": np.tile(POSES, (8, 1))}, {"seed": 5, "num_inference_steps": 50}
    start = time.perf_counter()
    direct = loaded.predict(given, params=params)
    middle = time.perf_counter()
    status, body = post(server, request(**given, params=params))
    end = time.perf_counter()
    assert status == 200, body
    np.testing.assert_allclose(np.array(json.loads(body)["predictions"]), direct, atol=1e-5)
    print(f"16 poses of 16×16, 50 steps: direct {middle - start:.2f} s, served {end - middle:.2f} s")


def test_bad_requests_are_answered_in_one_line_and_leave_it_serving(server: str):
    for name, (changes, said) in BAD_REQUESTS.items():
        status, body = post(server, request(**changes))
        assert status == 400, name
        assert is_one_line(body, said), (name, body[:300])
    assert post(server, request())[0] == 200
