"""`viewforge ui`: both pages answer on loopback, and nothing is left when it is interrupted."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(1)
    return False


def test_both_pages_answer_and_end_together(tmp_path, program_environment):
    prefect, mlflow = free_port(), free_port()
    ports = [f"--prefect-port={prefect}", f"--mlflow-port={mlflow}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "ui", "-w", str(tmp_path), *ports],
        env=program_environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert answers(f"http://127.0.0.1:{prefect}/api/health", 120)
        assert answers(f"http://127.0.0.1:{mlflow}/health", 120)
        family = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    _, alive = psutil.wait_procs(family, 20)
    assert not alive
