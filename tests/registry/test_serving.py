"""MLflow's scoring server around the served model, in this process: what comes back under which status."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.pyfunc import scoring_server
from serving_support import BAD_REQUESTS, IMAGE, POSES, SIDE, is_one_line, request
from starlette.testclient import TestClient

from registry.parameters import RegisterParameters
from registry.served_pipeline import LIMITS
from stage.workspace import Workspace

JSON = {"content-type": "application/json"}
URI = f"models:/{RegisterParameters().model_name}@champion"


@pytest.fixture
def loaded(champion: Workspace) -> Any:
    return mlflow.pyfunc.load_model(URI)


@pytest.fixture
def server(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The application that `mlflow models serve` runs."""
    # It sets this for good.
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")
    with TestClient(scoring_server.init(loaded), raise_server_exceptions=False) as client:
        yield client


def sampled(server: TestClient, **changes: Any) -> np.ndarray:
    answer = server.post("/invocations", json=request(**changes))
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["predictions"], np.float32)


def test_a_request_gives_the_pictures_of_a_direct_call(server: TestClient, loaded: Any):
    assert server.get("/ping").status_code == server.get("/health").status_code == 200
    made = sampled(server, params={"seed": 5})
    np.testing.assert_array_equal(made, loaded.predict({"image": IMAGE, "poses": POSES}, params={"seed": 5}))


def test_whatever_is_wrong_is_answered_in_one_line(server: TestClient):
    for name, (changes, said) in BAD_REQUESTS.items():
        answer = server.post("/invocations", content=json.dumps(request(**changes)), headers=JSON)
        assert answer.status_code == 400, name
        assert is_one_line(answer.text, said), (name, answer.text[:300])
    assert sampled(server).shape == (2, SIDE, SIDE, 3)


FIRST_LOOKED_AT = [
    (b"{not json", "valid JSON"),
    (b"\xff\xfe", "valid JSON"),
    (b"[1]", "must be a JSON dictionary"),
    (b"{}", "exactly one of the input fields"),
    (b'{"inputs": {"image": "chair.png", "poses": [[0, 0, 1, 0]]}}', "chair.png"),
    (b'{"inputs": {"poses": [[0, 0, 1, 0]]}}', "missing inputs ['image']"),
    (b'{"inputs": {"image": [[[0, 0, 0]]], "poses": [[0, 0, 1, 0]]}}', "Shape of input"),
    (b'{"inputs": {"image": [[1], [1, 2]], "poses": []}}', "inhomogeneous shape"),
    (b'{"inputs": {"image": [[[[0]]]], "poses": [[0]]}, "params": {"seed": "x"}}', "seed"),
]


def test_what_mlflow_looks_at_first_is_a_fault_of_the_request(server: TestClient):
    for body, said in FIRST_LOOKED_AT:
        answer = server.post("/invocations", content=body, headers=JSON)
        assert answer.status_code == 400, body
        assert said in answer.text
    answer = server.post("/invocations", content=b"\x89PNG\r\n", headers={"content-type": "image/png"})
    assert answer.status_code == 415
    assert "only supports the following content types" in answer.text


def test_requests_at_once_do_not_disturb_each_other(server: TestClient):
    """The server has a thread a request, and a pipeline one scheduler with a state."""
    wanted: list[dict[str, Any]] = [
        {"params": {"seed": seed, "scheduler": name, "num_inference_steps": steps}}
        for seed, (name, steps) in enumerate([("ddim", 12), ("dpm", 7), ("euler_ancestral", 9), ("unipc", 5)])
    ]
    alone = [sampled(server, **each) for each in wanted]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda each: sampled(server, **each), wanted))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_server_bounds_the_cost_of_a_request(champion: Workspace):
    loaded = mlflow.pyfunc.load_model(URI, model_config={"most_poses": 1, "most_pixels": SIDE * SIDE - 1})
    with TestClient(scoring_server.init(loaded)) as server:
        answer = server.post("/invocations", json=request())
        assert answer.status_code == 400
        assert is_one_line(answer.text, "2 poses: give 1 to 1 in a request")
        answer = server.post("/invocations", json=request(poses=POSES[:1]))
        assert is_one_line(answer.text, "1 poses of 16×16 pixels: give at most 0 in a request")


def test_large_requests_are_sampled_in_bounded_batches(loaded: Any, monkeypatch: pytest.MonkeyPatch):
    pipeline = loaded.unwrap_python_model().pipeline
    seen: list[int] = []
    forward = pipeline.unet.forward

    def watched(sample: Any, *rest: Any, **named: Any) -> Any:
        seen.append(len(sample))
        return forward(sample, *rest, **named)

    monkeypatch.setattr(pipeline.unet, "forward", watched)
    poses = np.tile(POSES[:1], (LIMITS["batch_size"] + 3, 1))
    loaded.predict({"image": IMAGE, "poses": poses}, params={"num_inference_steps": 1, "guidance_scale": 1.0})
    assert seen == [LIMITS["batch_size"], 3]


def test_what_nobody_waits_for_is_ended(champion: Workspace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    loaded = mlflow.pyfunc.load_model(URI)
    with pytest.raises(mlflow.MlflowException, match="took more than 0 s: send fewer poses or steps") as caught:
        loaded.predict({"image": IMAGE, "poses": POSES})
    assert caught.value.get_http_status_code() == 504
    served = loaded.unwrap_python_model()
    with served._turn, pytest.raises(mlflow.MlflowException, match="send it again later") as caught:
        loaded.predict({"image": IMAGE, "poses": POSES})
    assert caught.value.get_http_status_code() == 429
    # Neither keeps the model from the next one.
    served.seconds = threading.TIMEOUT_MAX
    assert loaded.predict({"image": IMAGE, "poses": POSES}).shape == (2, SIDE, SIDE, 3)


@pytest.mark.parametrize("way", ["an error", "NaN"])
def test_a_failure_of_the_model_is_not_the_requests(
    server: TestClient, loaded: Any, monkeypatch: pytest.MonkeyPatch, way: str
):
    pipeline = loaded.unwrap_python_model().pipeline

    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory\nand a long trace")

    decode = pipeline.vae.decode

    def broken(*given: Any, **named: Any) -> Any:
        made = decode(*given, **named)
        made.sample = made.sample * float("nan")
        return made

    monkeypatch.setattr(pipeline.vae, "decode", failing if way == "an error" else broken)
    answer = server.post("/invocations", json=request())
    assert answer.status_code == 500
    assert is_one_line(answer.text, "RuntimeError: out of memory" if way == "an error" else "not finite")
