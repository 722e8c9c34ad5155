"""Real assets through the whole pipeline, evaluated on Google Scanned Objects; broken ones beside them are rows."""

import json
import shutil

import pandas as pd
import pytest

# Together where several processes share the tests: one run serves all.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.minutes(2)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, shared_assets, viewforge, tiny_parameters):
    """A run over the real and the broken assets together."""
    folder = tmp_path_factory.mktemp("assets")
    assets = folder / "assets"
    shutil.copytree(shared_assets / "objects", assets / "objects")
    shutil.copytree(shared_assets / "bad", assets / "bad")
    place = folder / "workspace"
    values = {**tiny_parameters, "render.max_failure_rate": 0.6}
    options = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    sources = ("--source", "folder", "--path", assets, "--gso", shared_assets / "gso")
    result = viewforge("run", *sources, "-w", place, *options, timeout=1100)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    return place


def test_every_good_object_is_rendered_and_every_bad_one_a_row(workspace):
    table = pd.read_parquet(workspace / "data" / "renders" / "objects.parquet").set_index("title")
    good = table[table.index.str.startswith("objects/")]
    bad = table[table.index.str.startswith("bad/")]
    assert good["complete"].all()
    assert not bad["complete"].any()
    assert bad.loc["bad/truncated.glb", "failure"] == "parse"
    assert bad.loc["bad/uri_outside_folder.gltf", "failure"] == "unsafe"
    assert bad.loc["bad/zero_extent.obj", "failure"] == "degenerate"
    assert bad.loc["bad/empty_nodes.glb", "failure"] == "empty"
    assert bad["message"].str.len().gt(0).all()


def test_evaluation_covers_the_scanned_objects(workspace):
    metrics = json.loads((workspace / "data" / "evaluation" / "metrics.json").read_text())
    assert metrics["source"] == "gso"
    assert metrics["unseen_objects"] == 3
    table = pd.read_parquet(workspace / "data" / "evaluation" / "per_object.parquet")
    assert {"CHICKEN_NESTING", "Chefmate_8_Frypan", "Glazed_Rim_Porcelain_Ramekin"} <= set(table["title"])


def test_missing_texture_is_said_in_the_report(workspace):
    assert "missing texture" in (workspace / "report.html").read_text()
