"""Progress: one JSON line per change where a sink is named, and silence where none is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stage.pace import Cost
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


def test_of_an_unknown_total_nothing_is_said(
    sink: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stage.progress._PLAIN_INTERVAL", -1.0)
    with Progress("import", 0, "objects") as progress:
        progress.advance(3)
    assert lines(sink)[1]["remaining_seconds"] == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"import: 3 objects, [\d.e+]+/s", line), line


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
    printed, said = capfd.readouterr()
    assert printed == ""
    assert re.fullmatch(r"train: 5/10 steps, [\de.+]+/s(, \d+ s left)? loss=0\.5\n", said)


def test_the_pace_is_of_this_run_alone(sink: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before a resume took no time of this run."""
    now = [100.0]
    monkeypatch.setattr("stage.progress.time.monotonic", lambda: now[0])
    with Progress("render", 100, "objects", done=90, cost=Cost(cores=8, price_per_core_hour=0.5)) as progress:
        now[0] += 20
        progress.advance(4)
    start, advanced, _ = lines(sink)
    assert "per_second" not in start
    figures = {name: advanced[name] for name in ("per_second", "remaining_seconds", "core_seconds_per_1000")}
    assert figures == {"per_second": 0.2, "remaining_seconds": 30.0, "core_seconds_per_1000": 40_000.0}
    assert advanced["cost_per_1000"] == pytest.approx(40_000 / 3600 * 0.5, abs=1e-4)
