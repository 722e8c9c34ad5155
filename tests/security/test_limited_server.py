"""Requests that are too long are answered before they have come; others are MLflow's to answer."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from typer.testing import CliRunner

from cli.main import app
from registry.body_limit import BodyLimit, Message
from registry.limited_server import limited_server
from stage.errors import InputError

MOST = 4096
SECONDS = 7
CODE = """
import os

import mlflow
from mlflow.pyfunc import PythonModel

class Twice(PythonModel):
    def load_context(self, context):
        # As mlflow/served_model.py takes its time; without it there is no end.
        assert os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] == "7"

    def predict(self, context, model_input, params=None):
        return model_input * 2

mlflow.models.set_model(Twice())
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> BodyLimit:
    """Of a model that refuses to load where it is not told how long a request may take."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "code.py").write_text(CODE)
    values = Schema([TensorSpec(np.dtype(np.float32), (-1, 2))])
    signature = ModelSignature(inputs=values, outputs=values)
    model = folder / "model"
    mlflow.pyfunc.save_model(model, python_model=str(folder / "code.py"), signature=signature, pip_requirements=[])
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "of before")
        return limited_server(str(model), MOST, SECONDS)


def answered(server: BodyLimit, content: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(
                "/invocations", content=content, headers={"Content-Type": "application/json", **headers}
            )

    return asyncio.run(ask())


def request(rows: int) -> bytes:
    return json.dumps({"inputs": [[1.0, 2.0]] * rows}).encode()


def test_a_request_within_the_limit_is_the_models(server: BodyLimit) -> None:
    answer = answered(server, request(2))
    assert answer.status_code == 200
    assert answer.json() == {"predictions": [[2.0, 4.0], [2.0, 4.0]]}


def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(server: BodyLimit) -> None:
    assert answered(server, request(2).ljust(MOST)).status_code == 200
    answer = answered(server, request(2).ljust(MOST + 1))
    assert answer.status_code == 413
    assert answer.json()["message"] == "the request is longer than 4,096 bytes: send fewer or smaller pictures"


def test_a_stream_without_a_length_is_cut_where_it_passes_the_limit(server: BodyLimit) -> None:
    sent: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1000)
            yield bytes(1000)

    assert answered(server, endless()).status_code == 413
    assert sum(sent) <= MOST + 2000


@pytest.mark.parametrize("length", ["9" * 30, "-1", "none"])
def test_a_length_that_is_none_is_refused_unread(server: BodyLimit, length: str) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was asked for")
        yield b""

    assert answered(server, unread(), **{"Content-Length": length}).status_code == 413


def test_a_client_that_goes_before_its_request_has_come_is_not_answered() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"[1, 2", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def never(*_: object) -> None:
        raise AssertionError("half a request is handed on, or answered")

    asyncio.run(BodyLimit(never, MOST, "")({"type": "http", "headers": []}, receive, never))
    assert not messages


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no model .*absent") as error:
        limited_server(str(tmp_path / "absent"), MOST, SECONDS)
    assert "\n" not in str(error.value)


def test_a_port_that_is_taken_is_named_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        answer = CliRunner().invoke(app, ["serve", "models:/absent@champion", "--port", port, "-w", str(tmp_path)])
    assert isinstance(answer.exception, InputError)
    assert f"port {port} for the model's server is taken" in str(answer.exception)
