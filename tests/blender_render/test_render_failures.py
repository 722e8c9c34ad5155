"""Bad objects among good ones: each becomes a row with its class, and its neighbours are what they are without it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from render_support import SMALL, Rendered, contents, surface_points, tetrahedron

from blender_render.farm import Farm
from blender_render.render import render
from catalog.table import Asset
from stage.errors import StageFailedError
from stage.executor import ExecutorParameters
from stage.failures import FailureClass
from stage.files import write_text
from stage.packs import object_folder

BAD = {
    "no bytes.glb": "parse",
    "error page.glb": "parse",
    "cut short.glb": "parse",
    "bad index.gltf": "parse",
    "outside.gltf": "unsafe",
    "not a number.obj": "degenerate",
    "no extent.obj": "degenerate",
    "beyond measure.obj": "degenerate",
    "no faces.obj": "empty",
    "invisible.obj": "blank",
    "gone.obj": "missing",
    "changed.obj": "checksum",
}
GOOD = ["good 0.obj", "good 1.obj", "good 2.obj", "stray vertex.ply", "two colours.ply", "half transparent.obj"]
ONE_WORKER = SMALL.model_copy(update={"executor": ExecutorParameters(workers=1)})


@pytest.fixture(scope="module")
def table(neighbours: Rendered) -> pd.DataFrame:
    """objects.parquet by title."""
    return pd.read_parquet(neighbours.workspace.renders / "objects.parquet").set_index("title")


def ledger(root: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (root / "ledger.jsonl").read_text().splitlines()]


def test_every_bad_object_is_a_row_with_its_class(table: pd.DataFrame) -> None:
    failed = table[~table["complete"]]
    assert failed["failure"].to_dict() == BAD
    assert (failed["message"].str.len() > 0).all()
    assert not failed["message"].str.contains("\n").any()
    assert (failed["pack"] == -1).all()


def test_a_message_says_what_is_wrong_and_not_where_blender_noticed(table: pd.DataFrame) -> None:
    assert not table["message"].str.contains("ops.py").any()
    assert "Error: " in table.loc["bad index.gltf", "message"]


def test_every_good_object_is_rendered(table: pd.DataFrame, neighbours: Rendered) -> None:
    assert sorted(table[table["complete"]].index) == sorted(GOOD)
    for title in GOOD:
        assert (neighbours.folder(title) / "transforms.json").is_file()


def test_no_folder_of_a_bad_object_is_left(neighbours: Rendered) -> None:
    for title in BAD:
        assert not neighbours.folder(title).exists()
    assert [path.name for path in neighbours.root.rglob(".*")] == []


def test_neighbours_of_bad_objects_are_unharmed(neighbours: Rendered, tmp_path: Path) -> None:
    asset = neighbours.asset("good 1.obj")
    assert Farm(tmp_path, ONE_WORKER, 0, neighbours.workspace).render([asset]) == []
    assert contents(object_folder(tmp_path, asset.uid)) == contents(neighbours.folder(asset.title))


def test_permanent_failures_are_tried_once_and_not_again_in_a_later_run(neighbours: Rendered, tmp_path: Path) -> None:
    root = Path(shutil.copytree(neighbours.root, tmp_path / "renders"))
    before = ledger(root)
    assert max(Counter(row["uid"] for row in before).values()) == 1
    failed = Farm(root, ONE_WORKER, 0, neighbours.workspace).render(neighbours.assets)
    assert sorted(str(outcome.failure) for outcome in failed) == sorted(BAD.values())
    again = {row["failure"] for row in ledger(root)[len(before) :]}
    assert again <= {"missing", "checksum"}, "a file may be back, anything else stays as it is"


def test_a_bad_object_is_tried_again_when_its_file_has_changed(neighbours: Rendered, tmp_path: Path) -> None:
    root = Path(shutil.copytree(neighbours.root, tmp_path / "renders"))
    good, bad = neighbours.asset("good 0.obj"), neighbours.asset("no faces.obj")
    mended = Asset(**{**vars(good), "uid": bad.uid})
    assert Farm(root, ONE_WORKER, 0, neighbours.workspace).render([mended]) == []


@pytest.mark.parametrize("title", ["gone.obj", "changed.obj"])
def test_a_file_that_is_back_is_rendered(title: str, neighbours: Rendered, tmp_path: Path) -> None:
    """As after a disk was mounted again: the failure was of the machine, not of the object."""
    workspace = type(neighbours.workspace)(tmp_path / "workspace")
    root = Path(shutil.copytree(neighbours.root, tmp_path / "renders"))
    write_text(
        workspace.root / "inputs" / title, tetrahedron({"gone.obj": "# gone\n", "changed.obj": "# before\n"}[title])
    )
    assert Farm(root, ONE_WORKER, 0, workspace).render([neighbours.asset(title)]) == []


def test_too_many_failures_end_the_stage_by_name(neighbours: Rendered) -> None:
    strict = SMALL.model_copy(update={"max_failure_rate": 0.1})
    with pytest.raises(StageFailedError, match=r"render: 12 of 18 objects failed, over the limit of 10%"):
        render(strict, 0, neighbours.workspace)


def test_a_stray_vertex_does_not_shrink_an_object(neighbours: Rendered) -> None:
    """Only what faces use is seen, so only that is measured."""
    points = surface_points(neighbours.folder("stray vertex.ply"))
    assert np.ptp(points, axis=0).max() > 0.8


def test_a_blank_object_says_how_little_is_seen(table: pd.DataFrame) -> None:
    assert FailureClass(table.loc["invisible.obj", "failure"]) is FailureClass.BLANK
    assert "0.0000% of the pixels" in table.loc["invisible.obj", "message"]
