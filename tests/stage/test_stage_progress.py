"""Progress: one JSON line per change where a sink is named, and silence where none is."""

import json
from pathlib import Path
from typing import Any

import pytest

from stage.progress import PROGRESS_VARIABLE, Progress


@pytest.fixture
def sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that progress goes to."""
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv(PROGRESS_VARIABLE, str(path))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_change_is_a_line_of_json(sink: Path) -> None:
    with Progress("render", 3, "objects", done=1) as progress:
        progress.advance(failed=0)
        progress.advance(failed=1)
    written = lines(sink)
    assert [line["event"] for line in written] == ["start", "advance", "advance", "end"]
    assert [line["done"] for line in written] == [1, 2, 3, 3]
    assert written[2]["failed"] == 1
    assert all((line["stage"], line["total"], line["unit"]) == ("render", 3, "objects") for line in written)
    seconds = [line["seconds"] for line in written]
    assert seconds == sorted(seconds)


def test_a_stage_that_fails_says_so_and_its_error_goes_on(sink: Path) -> None:
    with pytest.raises(RuntimeError), Progress("render", 1, "objects"):
        raise RuntimeError
    assert lines(sink)[-1]["event"] == "fail"


def test_stages_one_after_another_share_a_sink(sink: Path) -> None:
    for stage in ("render", "shard"):
        with Progress(stage, 0, "objects"):
            pass
    assert [line["stage"] for line in lines(sink)] == ["render", "render", "shard", "shard"]


def test_without_a_sink_and_a_terminal_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    with Progress("render", 1, "objects") as progress:
        progress.advance(loss=0.5)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_long_work_speaks_now_and_then_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stage.progress._PLAIN_INTERVAL", -1.0)
    with Progress("train", 10, "steps", done=4) as progress:
        progress.advance(loss=0.5)
    assert capfd.readouterr() == ("", "train: 5/10 steps loss=0.5\n")
