"""Telemetry: what is off by another word is off, and only what somebody turned on is told."""

import pytest

from stage.telemetry import speaking


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_HUB_DISABLE_TELEMETRY", "True"),  # what gradio writes
        ("HF_HUB_DISABLE_TELEMETRY", "YES"),
        ("MLFLOW_DISABLE_TELEMETRY", "1"),
        ("PREFECT_SERVER_ANALYTICS_ENABLED", "0"),
        ("GRADIO_ANALYTICS_ENABLED", "false"),
    ],
)
def test_other_words_for_off_are_off(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert not [heard for heard in speaking() if heard.startswith(name)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_HUB_DISABLE_TELEMETRY", "0"),
        ("DVC_NO_ANALYTICS", ""),
        ("PREFECT_SERVER_ANALYTICS_ENABLED", "TRUE"),
        ("GRADIO_ANALYTICS_ENABLED", "perhaps"),
    ],
)
def test_what_somebody_turned_on_is_told(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert f"{name}={value}" in speaking()
