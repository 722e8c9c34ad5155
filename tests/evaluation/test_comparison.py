"""Two evaluations beside each other: hand-computed differences, honest doubt, and a refusal to compare what is not alike."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation_support import object_scores

from evaluation.comparison import compare
from evaluation.comparison_page import verdict, write_comparison
from evaluation.metrics.definitions import METRICS
from evaluation.pairs import Pairing, pairings
from evaluation.report import report_of
from evaluation.scores import per_object_table
from evaluation.statistics import paired_difference
from stage.errors import InputError
from stage.files import write_json
from stage.workspace import Workspace

UP, DOWN = METRICS["psnr"], METRICS["lpips"]


@pytest.fixture
def folders(evaluated: Workspace, tmp_path: Path) -> tuple[Path, Path]:
    """An evaluation, and another of a model that is 1 dB better on one object, 3 dB on another, and lacks the third."""
    other = tmp_path / "other"
    shutil.copytree(evaluated.evaluation, other)
    scores = [object_scores("b1", "unseen", 17.0, 17.0, 19.0), object_scores("b2", "unseen", 23.0, 15.0, 19.0)]
    per_object_table(scores).to_parquet(other / "per_object.parquet", index=False)
    return evaluated.evaluation, other


def change(folder: Path, name: str, key: str, value: Any) -> None:
    path = folder / name
    write_json(path, {**json.loads(path.read_text()), key: value})


def pairing(differences: list[float], metric: Any = UP) -> Pairing:
    return Pairing("unseen", metric, paired_difference(np.array(differences), np.zeros(len(differences))))


def test_an_outcome_needs_an_interval_without_zero_and_knows_the_direction() -> None:
    assert pairing([1.0, 1.2, 0.9, 1.1, 1.0, 1.0]).outcome == "better"
    assert pairing([-1.0, -1.2, -0.9, -1.1, -1.0, -1.0]).outcome == "worse"
    assert pairing([1.0, -1.0, 0.5, -0.4, 0.2, -0.1]).outcome == "undecided"
    assert pairing([0.1, 0.12, 0.09, 0.1, 0.1, 0.1], DOWN).outcome == "worse"
    # Of five objects all lean to one side by chance one time in sixteen.
    assert pairing([5.0] * 5).outcome == "undecided"
    lower = pairing([-0.1, 0.2, -0.3, 0.0], DOWN)
    assert (lower.better_on, lower.worse_on, lower.difference.ties) == (2, 1, 1)


def test_only_shared_objects_and_figures_are_paired() -> None:
    ours = pd.DataFrame(
        {"subset": "unseen", "uid": ["a", "b", "c"], "psnr": [1.0, 2.0, None], "ssim": [0.1, 0.2, 0.3]}
    )
    theirs = pd.DataFrame({"subset": "unseen", "uid": ["b", "a", "c"], "psnr": [1.0, 1.0, 9.0]})
    (only,) = pairings(ours, theirs, [METRICS["psnr"], METRICS["ssim"]])
    assert (only.metric.name, only.difference.mean, only.difference.count) == ("psnr", 0.5, 2)


def test_the_model_is_compared_object_by_object(folders: tuple[Path, Path]) -> None:
    result = compare(*folders, names=("first", "second"))
    psnr = result.pairings[0]
    # 16 and 20 against 17 and 23.
    assert (psnr.difference.mean, psnr.difference.low, psnr.difference.high) == (-2.0, -3.0, -1.0)
    assert (psnr.better_on, psnr.worse_on, psnr.outcome) == (0, 2, "undecided")
    assert result.alone == {"first": ["a1"], "second": []}
    assert (
        verdict(result)
        == "first is neither better nor worse than second in PSNR, as far as 2 unseen objects can tell."
    )
    decided = replace(result, pairings=[pairing([-1.0] * 6)])
    assert verdict(decided) == "first is worse than second in PSNR, on 6 unseen objects."


def test_a_comparison_on_disk_is_whole_and_the_same_twice(folders: tuple[Path, Path], tmp_path: Path) -> None:
    change(folders[1], "details.json", "settings", {"guidance_scale": 3.0})
    for name in ("one", "two"):
        write_comparison(compare(*folders, names=("first", "second")), tmp_path / name)
    document = json.loads((tmp_path / "one" / "comparison.json").read_text())
    assert document["figures"][0]["difference"] == -2.0
    assert document["settings"]["guidance_scale"] == [1.0, 3.0]
    page = (tmp_path / "one" / "comparison.html").read_text()
    assert "-2.000" in page
    assert "guidance scale: 1.0 against 3.0" in page
    assert "1 object of first left out, which the other lacks" in page
    for name in ("comparison.json", "comparison.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_comparison_says_how_sure_its_intervals_are(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_comparison(compare(*folders, confidence=0.9), tmp_path)
    assert json.loads((tmp_path / "comparison.json").read_text())["confidence"] == 0.9
    assert "its 90 % interval" in (tmp_path / "comparison.html").read_text()


def test_a_report_shows_the_comparison_that_it_is_given(folders: tuple[Path, Path]) -> None:
    page = report_of(folders[0], comparison=compare(*folders))
    assert 'id="comparison"' in page
    assert 'id="comparison"' not in report_of(folders[0])


def _other_data(folder: Path) -> None:
    change(folder, "metrics.json", "data_sha256", "fedcba")


def _other_protocol(folder: Path) -> None:
    change(folder, "metrics.json", "protocol", "zero123")


def _other_definition(folder: Path) -> None:
    details = json.loads((folder / "details.json").read_text())
    details["metrics"][0]["text"] = "on black"
    write_json(folder / "details.json", details)


def _other_objects(folder: Path) -> None:
    per_object_table([object_scores("z", "unseen", 17.0, 17.0, 19.0)]).to_parquet(folder / "per_object.parquet")


def _no_figures(folder: Path) -> None:
    (folder / "metrics.json").unlink()


def _damaged_table(folder: Path) -> None:
    (folder / "per_object.parquet").write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            _other_data,
            "not of the same objects or views (data_sha256 differs); evaluate both models under one protocol",
        ),
        (_other_protocol, "not of the same cameras (protocol differs)"),
        (_other_definition, "psnr has another definition in first than in second"),
        (_other_objects, "first and second share no object with a figure"),
        (_no_figures, "no evaluation"),
        (_damaged_table, "per_object.parquet is damaged"),
    ],
)
def test_what_is_not_alike_is_refused(folders: tuple[Path, Path], spoil: Callable[[Path], None], words: str) -> None:
    spoil(folders[1])
    with pytest.raises(InputError) as caught:
        compare(*folders, names=("first", "second"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_compares_workspaces_and_folders(
    folders: tuple[Path, Path], evaluated: Workspace, tmp_path: Path, viewforge: Any
) -> None:
    done = viewforge("compare", evaluated.root, folders[1], "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "unseen psnr: -2.000 [-3.000, -1.000], better on 0 and worse on 2 of 2 objects: undecided" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"comparison.json", "comparison.html"}
