"""A worker ends when it is asked to, also where its server is away and nobody can be told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_server import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_worker_whose_server_is_away_ends_all_the_same(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.worker", "--pool", "cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        # It is up, and says that it cannot reach the server.
        assert any("start" in line or "API" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
