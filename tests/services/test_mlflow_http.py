"""What a request to MLflow's server may weigh; tests/registry/test_authenticated_server.py asks a real one."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from registry.body_limit import Message, Receive, Send
from services.mlflow_http import behind_limits

ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/1/weights"
taken: list[int] = []


def mlflow_like() -> FastAPI:
    """An application that takes uploads piece by piece and reads all else whole, as MLflow's does."""
    made = FastAPI()

    @made.put("/api/2.0/mlflow-artifacts/artifacts/{path:path}")
    async def upload(path: str, request: Request) -> int:
        async for piece in request.stream():
            taken.append(len(piece))  # noqa: PERF401 - what came before a break counts, too
        return sum(taken)

    @made.api_route("/{path:path}", methods=["POST", "PUT"])
    async def other(path: str, request: Request) -> int:
        return len(await request.body())

    return made


def asked(
    method: str, path: str, content: bytes | AsyncIterator[bytes], most_artifact: int | None = 1000
) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(behind_limits(mlflow_like(), 100, most_artifact), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, content=content)

    taken.clear()
    return asyncio.run(ask())


async def pieces(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield bytes(100)


def test_a_request_has_its_limit_and_an_artifact_its_own():
    assert asked("POST", "/api/2.0/mlflow/runs/create", bytes(100)).json() == 100
    refused = asked("POST", "/api/2.0/mlflow/runs/create", bytes(101))
    assert refused.status_code == 413
    assert "raise most_request_mib" in refused.json()["message"]
    assert asked("PUT", ARTIFACT, bytes(1000)).json() == 1000
    refused = asked("PUT", ARTIFACT, bytes(1001))
    assert refused.status_code == 413
    assert "raise most_artifact_gib" in refused.json()["message"]
    assert taken == []
    assert asked("PUT", ARTIFACT, bytes(5000), most_artifact=None).json() == 5000


def test_an_artifact_of_no_length_breaks_off_where_it_passes_the_limit_and_none_of_it_waits_here():
    assert asked("PUT", ARTIFACT, pieces(10)).json() == 1000
    assert taken[:10] == [100] * 10
    assert asked("PUT", ARTIFACT, pieces(50)).status_code == 413
    assert sum(taken) == 1000


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ARTIFACT), ("PUT", f"/other{ARTIFACT}"), ("PUT", "/api/2.0/mlflow-artifacts/artifacts")],
)
def test_what_only_looks_like_an_upload_has_the_limit_of_others(method: str, path: str):
    assert asked(method, path, pieces(2)).status_code == 413


def test_the_start_and_end_of_the_server_reach_the_application():
    seen = []

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def none(*_: object) -> Message:
        return {}

    asyncio.run(behind_limits(application, 1, 1)({"type": "websocket", "path": ARTIFACT}, none, none))
    assert seen == ["websocket"]
