"""`viewforge catalog` and what is below it: the stage says what it left out; counts, charts and attribution on request."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, viewforge):
    """Three objects of a folder, one of them too large."""
    root = tmp_path_factory.mktemp("workspace")
    for name, text in {"a.obj": "v 0 0 0", "b.obj": "v 0 0 1", "large.obj": "v 0 0 0\n" * 9}.items():
        (root / "inputs" / "objects").mkdir(parents=True, exist_ok=True)
        (root / "inputs" / "objects" / name).write_text(text)
    (root / "params.yaml").write_text("catalog: {source: folder, selection: {max_bytes: 20}}\n")
    result = viewforge("catalog", cwd=root)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "catalog: 3 of 3 objects new, 0 kept\ncatalog: 2 of 3 objects selected\n"
        "catalog: left out large.obj: 72 bytes, over the limit of 20\n"
    )
    return root


def test_stats_count_and_draw(workspace, viewforge, tmp_path):
    result = viewforge("catalog", "stats", "--plot", tmp_path / "charts.png", "-w", workspace)
    assert result.returncode == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "source objects share size",
        "folder 3 100.0% 86 B",
        "unknown 3 100.0% 86 B",
        "selected 2 66.7% 14 B",
    ):
        assert line in lines
    assert "left out: bytes over the limit of 20 1 33.3% 72 B" in lines
    with Image.open(tmp_path / "charts.png") as picture:
        assert picture.size == (1500, 900)


def test_attribution_of_what_is_selected(workspace, viewforge, tmp_path):
    result = viewforge("catalog", "attribution", "-w", workspace)
    assert result.returncode == 0, result.stderr
    assert "“a.obj”" in result.stdout
    assert "“b.obj”" in result.stdout
    assert "large.obj" not in result.stdout
    assert "attribution: 2 objects" in result.stderr
    assert "author unknown, though the licence asks, or may ask, to name them: 2" in result.stderr
    written = tmp_path / "credits" / "ATTRIBUTION.md"
    assert viewforge("catalog", "--workspace", workspace, "attribution", "--out", written).returncode == 0
    assert written.read_text() == result.stdout


def test_mistakes_are_one_line(workspace, viewforge, tmp_path):
    for arguments, words in {
        ("stats", "-w", tmp_path): "no catalogue",
        ("attribution", "-w", workspace, "--shards", tmp_path): "no shard index",
        ("attribution", "-w", workspace, "--model", tmp_path): "provenance.json",
        ("stats", "-w", workspace, "--plot", tmp_path / "charts.svg"): "end it in .png",
    }.items():
        result = viewforge("catalog", *arguments)
        assert result.returncode == 1
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert list(Path(tmp_path).iterdir()) == []


def test_the_help_names_what_is_below_the_stage(viewforge):
    text = viewforge("catalog", "--help").stdout
    assert "stats" in text
    assert "attribution" in text
