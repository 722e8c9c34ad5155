"""The page behind HTTP: what it answers to whom, and that it knows of nobody outside."""

import json
import re

import httpx
import pytest
from demo_support import serving

from demo.limits import Limits
from demo.studio import Studio
from stage.workspace import Workspace
from systems.pictures.opening import PictureLimits

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The addresses of a page with a limit of 10 kB, and of one with a password."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demo.models.ModelCatalogue._registered", lambda _: [])
        place = Workspace(tmp_path_factory.mktemp("served"))
        studio = Studio(place, (model,), Limits(PictureLimits(most_bytes=10_000)), ["cpu"])
        with serving(studio) as free, serving(studio, ("ann", "a-long-password")) as locked:
            yield free, locked
        studio.close()


def test_the_page_names_no_address_outside_that_a_browser_asks(served):
    page = httpx.get(served[0]).text
    asked = re.findall(r'<(?:script|link|img|iframe|source)[^>]+(?:src|href)="([^"]+)"', page)
    assert asked
    assert not [address for address in asked if re.match(r"(?:https?:)?//", address)]
    theme = httpx.get(f"{served[0]}theme.css").text
    assert not re.findall(r"url\(['\"]?(?:https?:)?//", theme)
    config = httpx.get(f"{served[0]}config").json()
    assert config["analytics_enabled"] is False


def test_the_browser_is_told_to_ask_nobody_else(served):
    answer = httpx.get(served[0])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert not re.search(r"https?:|\*", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_function_is_offered_to_programs(served):
    info = httpx.get(f"{served[0]}gradio_api/info").json()
    assert info["named_endpoints"] == info["unnamed_endpoints"] == {}


def test_an_upload_that_is_too_large_is_refused(served):
    address = f"{served[0]}gradio_api/upload"
    assert httpx.post(address, files={"files": ("small.png", bytes(1000))}).status_code == 200
    assert httpx.post(address, files={"files": ("large.png", bytes(20_000))}).status_code == 413
    assert httpx.post(address, files={"files": ("huge.png", bytes(2_000_000))}).status_code == 413


def test_a_body_that_tells_no_length_ends_where_it_is_too_long(served):
    sent = []

    def endless():
        while len(sent) < 10_000:
            sent.append(1)
            yield bytes(10_000)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = httpx.post(f"{served[0]}gradio_api/upload", content=endless(), headers=kind)
    assert answer.status_code == 413
    assert "send a smaller picture" in answer.json()["message"]
    # Of an upload of 10 kB and what surrounds it; the rest was not waited for.
    assert len(sent) < 1000


def test_a_question_that_is_too_long_is_refused(served):
    body = json.dumps({"data": ["x" * 2_000_000], "fn_index": 0, "session_hash": "x"})
    assert httpx.post(f"{served[0]}gradio_api/queue/join", content=body).status_code == 413


@pytest.mark.parametrize("path", ["/etc/hostname", "pyproject.toml", "demo/page.py", "../../etc/hostname"])
def test_files_of_the_machine_are_not_served(served, path):
    assert httpx.get(f"{served[0]}gradio_api/file={path}").status_code in (403, 404)


def test_a_name_that_only_leads_here_is_refused(served):
    assert httpx.get(served[0], headers={"host": "evil.example"}).status_code == 400


def test_with_credentials_nothing_is_had_without_them(served):
    locked = served[1]
    assert httpx.get(f"{locked}config").status_code == 401
    assert httpx.post(f"{locked}gradio_api/upload", files={"files": ("a.png", b"a")}).status_code == 401
    join = json.dumps({"data": [], "fn_index": 0, "session_hash": "x"})
    assert httpx.post(f"{locked}gradio_api/queue/join", content=join).status_code == 401
    with httpx.Client() as client:
        assert client.post(f"{locked}login", data={"username": "ann", "password": "wrong"}).status_code == 400
        assert client.post(f"{locked}login", data={"username": "ann", "password": "a-long-password"}).is_success
        assert client.get(f"{locked}config").status_code == 200
