"""Two scored folders compared over the objects that both have."""

import json
import shutil

import pytest
import trimesh
from folder_support import score_here, write_pair

from evaluation.folders.comparison import compare_folders
from stage.errors import InputError


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """Scores predictions that are so many grey levels off against one truth; the output."""

    def run(name, off, drop=(), **values):
        predictions, truth = write_pair(tmp_path / name, off=off)
        for uid in drop:
            shutil.rmtree(predictions / uid)
        score_here(monkeypatch, predictions, truth, tmp_path / name / "output", **values)
        return tmp_path / name / "output"

    return run


def test_the_difference_is_over_common_objects_alone(scored):
    ours, theirs = scored("ours", 10, drop=["object_0"]), scored("theirs", 20)
    comparison = compare_folders(ours, theirs)
    psnr = comparison.pairings[0].difference
    # Half the error is 20·log10(2) dB.
    assert (psnr.mean, psnr.low, psnr.high) == pytest.approx([6.0206] * 3, abs=2e-4)
    assert (psnr.wins, psnr.losses, psnr.count) == (2, 0, 2)
    assert comparison.alone == {str(ours): [], str(theirs): ["object_0"]}
    assert comparison.pairings[0].better_on == 2
    document = json.loads((ours / "comparison.json").read_text())
    assert document["figures"][0]["difference"] == pytest.approx(6.0206, abs=2e-4)
    assert document["objects"] == 2
    assert len(json.loads((theirs / "metrics.json").read_text())["missing"]) == 0


def test_another_setting_and_another_kind_of_folder_are_refused(scored, tmp_path):
    ours = scored("ours", 10)
    with pytest.raises(InputError, match="no figure of the same definition"):
        compare_folders(ours, scored("other view", 10, input_view="0"))
    with pytest.raises(InputError, match="no evaluation"):
        compare_folders(ours, tmp_path)


def test_objects_whose_truth_differs_are_not_paired(scored, tmp_path, monkeypatch):
    ours = scored("ours", 10)
    for name in ("object_0", "object_1"):
        shutil.copy(tmp_path / "ours/predictions/object_2/000.png", tmp_path / f"ours/truth/{name}/000.png")
    score_here(monkeypatch, tmp_path / "ours/predictions", tmp_path / "ours/truth", tmp_path / "later")
    comparison = compare_folders(ours, tmp_path / "later")
    assert [pairing.difference.count for pairing in comparison.pairings] == [1, 1]
    assert comparison.alone[str(ours)] == ["object_0", "object_1"]


def test_figures_about_meshes_are_compared_too(tmp_path, monkeypatch):
    for name, length in (("ours", 0.9), ("theirs", 0.5)):
        for side, first in (("predictions", length), ("truth", 1.0)):
            (tmp_path / name / side).mkdir(parents=True)
            trimesh.creation.box((first, 1, 1)).export(tmp_path / name / side / "crate.ply")
        few = {"samples": 500, "points": 2000, "grid": 16}
        folders = tmp_path / name / "predictions", tmp_path / name / "truth"
        score_here(monkeypatch, *folders, tmp_path / name / "output", geometry=few)
    comparison = compare_folders(tmp_path / "ours" / "output", tmp_path / "theirs" / "output")
    found = {pairing.metric.name: pairing for pairing in comparison.pairings}
    assert found["iou_points"].better_on == found["chamfer_l1"].better_on == 1
    assert found["iou_points"].difference.mean == pytest.approx(0.4, abs=0.05)


def test_pictures_are_compared_though_one_side_has_meshes_too(scored, tmp_path, monkeypatch):
    ours = scored("ours", 10)
    for side in ("predictions", "truth"):
        trimesh.creation.box((1, 1, 1)).export(tmp_path / "ours" / side / "object_0.ply")
    few = {"samples": 500, "points": 2000, "grid": 16}
    folders = tmp_path / "ours/predictions", tmp_path / "ours/truth"
    score_here(monkeypatch, *folders, ours, geometry=few)
    shutil.copytree(tmp_path / "ours/predictions", tmp_path / "pictures alone")
    (tmp_path / "pictures alone" / "object_0.ply").unlink()
    score_here(monkeypatch, tmp_path / "pictures alone", tmp_path / "ours/truth", tmp_path / "other")
    comparison = compare_folders(ours, tmp_path / "other")
    assert {pairing.metric.name: pairing.difference.count for pairing in comparison.pairings} == {"psnr": 3, "ssim": 3}
    data = [json.loads((folder / "metrics.json").read_text())["data_sha256"] for folder in (ours, tmp_path / "other")]
    assert data[0] == data[1]


def test_a_comparison_does_not_outlive_its_figures(scored, tmp_path, monkeypatch):
    ours = scored("ours", 10)
    compare_folders(ours, ours)
    score_here(monkeypatch, tmp_path / "ours/predictions", tmp_path / "ours/truth", ours)
    assert not (ours / "comparison.json").exists()
