"""What tests that download share: a server with faults, time that passes at will, and clients that use both."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import MakeClient, PassingTime

from catalog.download_parameters import DownloadParameters
from catalog.http_client import HttpClient
from stage.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's environment reaches a client."""
    for name in ("HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace that is not there yet."""
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def passing_time() -> PassingTime:
    """Time in which waits take no time."""
    return PassingTime()


@pytest.fixture
def client(passing_time: PassingTime) -> Iterator[MakeClient]:
    """Makes clients: `client(token=…, **parameters)`."""
    made: list[HttpClient] = []

    def make(token: str | None = None, **parameters: object) -> HttpClient:
        values = {"attempts": 4, "read_timeout_seconds": 5.0, **parameters}
        made.append(HttpClient(DownloadParameters.model_validate(values), token=token, timing=passing_time.timing()))
        return made[-1]

    yield make
    for one in made:
        one.__exit__(None, None, None)
