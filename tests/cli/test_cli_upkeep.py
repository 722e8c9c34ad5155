"""`viewforge doctor`: reasons below their stage, what it took, faults of the surroundings and the exit status."""

from pathlib import Path

import pytest
from mini_pipeline import PARAMETERS, mini_workspace, reproduced
from typer.testing import CliRunner

from cli.main import app
from stage.errors import ViewforgeError
from stage.files import write_text
from upkeep.stage_records import write_record


def lines(root: Path) -> list[str]:
    result = CliRunner().invoke(app, ["doctor", "-w", str(root)], catch_exceptions=False)
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_the_doctor_says_why_and_what_it_took(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace", str(tmp_path / "remote"))
    reproduced(place)
    write_record(place, "train", 3723.4)
    write_text(place.parameters, PARAMETERS.replace("seed: 0", "seed: 1"))
    said = lines(place.root)
    assert said[:3] == [
        "catalog would run",
        "parameter seed: 0 -> 1",
        "train would run after catalog; last took 1 h 2 min 3 s",
    ]
    assert [line for line in said if line.startswith("data 8 of 8 files are not in")]


def test_a_server_that_does_not_answer_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = mini_workspace(tmp_path / "workspace", str(tmp_path / "remote"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ViewforgeError, match="1 of the checks found a fault"):
        lines(place.root)
