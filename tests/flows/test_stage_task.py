"""What a stage's task shows: a server that is away ends no training."""

import logging

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import stage_task

RECORD = {"event": "progress", "done": 3, "total": 12, "unit": "steps", "seconds": 4.0}


def test_a_server_that_is_away_ends_no_stage(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage_task, "get_run_logger", logging.getLogger)
    watcher = stage_task._ProgressArtifact("train")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), caplog.at_level(logging.INFO):
        watcher.update(RECORD)
    assert "train: 3 of 12 steps in 4 s" in caplog.text
    assert "the progress is not shown: " in caplog.text
