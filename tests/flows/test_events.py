"""The name of a workspace among Prefect's resources."""

import hashlib
from pathlib import Path

import pytest

from flows import events


def test_a_workspace_has_one_name_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f"viewforge.workspace.{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    monkeypatch.chdir(tmp_path)
    assert events.resource_id(tmp_path) == events.resource_id(Path()) == expected


def test_an_event_carries_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setattr(events, "emit_event", lambda **given: told.append(given))
    events.announce(events.TRAINED, tmp_path, stages=[])
    (event,) = told
    assert event["event"] == "viewforge.trained"
    assert event["payload"] == {"workspace": str(tmp_path), "stages": []}
