"""A Prefect server of a test's own on loopback, and how tests talk to it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 240.0


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(question: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first answer that is true; a server that does not answer, or not yet, is asked again."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if answer := question():
                return answer
        except httpx.HTTPError:
            pass
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)


@contextmanager
def prefect_server(home: Path) -> Iterator[dict[str, str]]:
    """The environment in which a new server with its database in `home` is known; it ends with the context."""
    port = free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(PROJECT),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    api = f"http://127.0.0.1:{port}/api"
    try:
        eventually(lambda: httpx.get(f"{api}/health", timeout=2, trust_env=False).status_code == 200)
        yield {**environment, "PREFECT_API_URL": api}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def request(server: dict[str, str], method: str, path: str, body: dict[str, Any]) -> Any:
    """What the server answers to a request of its API.

    Raises:
        httpx.HTTPError: when it refuses, or does not answer.
    """
    answer = httpx.request(method, f"{server['PREFECT_API_URL']}{path}", json=body, timeout=30, trust_env=False)
    answer.raise_for_status()
    return answer.json() if answer.content else None
