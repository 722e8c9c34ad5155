"""`viewforge demo`: what it refuses before it serves anything."""

import importlib.util

import pytest

from cli import demo
from stage.errors import InputError, ParameterError


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Whether or not gradio is here: none of these comes so far."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.delenv(demo.AUTH, raising=False)
    monkeypatch.delenv(f"{demo.AUTH}_FILE", raising=False)


def test_it_does_not_listen_beyond_loopback_without_credentials(monkeypatch):
    with pytest.raises(
        InputError, match=r"0\.0\.0\.0, beyond this machine, without credentials; set VIEWFORGE_DEMO_AUTH"
    ):
        demo.demo(host="0.0.0.0")
    monkeypatch.setenv(demo.AUTH, "ann:short")
    with pytest.raises(ParameterError, match="fewer than 12 characters"):
        demo.demo(host="0.0.0.0")


def test_credentials_are_user_and_password(monkeypatch):
    assert demo._credentials() is None
    monkeypatch.setenv(demo.AUTH, "ann:a:long:password")
    assert demo._credentials() == ("ann", "a:long:password")
    monkeypatch.setenv(demo.AUTH, "nobody-knows-whose")
    with pytest.raises(InputError, match="no user:password"):
        demo._credentials()


def test_a_folder_without_a_pipeline_is_named(tmp_path):
    from services.ports import any_free

    with pytest.raises(InputError, match="holds no pipeline"):
        demo.demo(model=[tmp_path], port=any_free(), workspace=tmp_path)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"gradio is not installed; pip install 'viewforge\[demo\]'"):
        demo.demo()
