"""Folders of pictures scored: the figures, the tables, what is kept, and what faults cost."""

import json
import math
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from folder_support import PARAMETERS, picture, save, score_here, write_pair
from PIL import Image

from blender_render.camera_sets import View
from blender_render.rendered_object import write_cameras
from evaluation.folders.scoring import evaluate_folders
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError, ViewforgeError
from stage.lifeline import exclusive_folder

# 10 grey levels off everywhere.
TEN_OFF = round(10 * math.log10(255**2 / 10**2), 4)


@pytest.fixture
def score(tmp_path, monkeypatch):
    """Scores `predictions` against `truth` into `output`, all below the test's folder."""

    def run(**values):
        return score_here(monkeypatch, tmp_path / "predictions", tmp_path / "truth", tmp_path / "output", **values)

    return run


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_known_errors_have_known_figures(tmp_path, score):
    write_pair(tmp_path)
    evaluation = score()
    metrics = json.loads((tmp_path / "output" / "metrics.json").read_text())
    assert metrics == evaluation.metrics()
    assert metrics["unseen"]["model"]["psnr"] == TEN_OFF
    assert metrics["intervals"]["unseen"]["model"]["psnr"] == [TEN_OFF, TEN_OFF]
    assert (metrics["objects"], metrics["objects_of_truth"], metrics["views"], metrics["pairs"]) == (3, 3, 3, 9)
    assert metrics["complete"]
    views = pd.read_parquet(tmp_path / "output" / "per_view.parquet")
    assert list(views["view"]) == [0, 1, 2] * 3
    assert views["psnr"].eq(TEN_OFF).all()
    assert views["azimuth_deg"].isna().all()


def test_equal_folders_are_at_the_top_and_equal_truth_has_an_equal_hash(tmp_path, score):
    predictions, truth = write_pair(tmp_path)
    data = score().metrics()["data_sha256"]
    shutil.rmtree(predictions)
    shutil.copytree(truth, predictions)
    metrics = score().metrics()
    assert metrics["unseen"]["model"] == {"psnr": 100.0, "ssim": 1.0}
    assert metrics["data_sha256"] == data


def test_the_input_view_is_not_scored_and_copying_it_is_the_baseline(tmp_path, score):
    _, truth = write_pair(tmp_path, objects=1)
    for view in (1, 2):
        save(truth / "object_0" / f"{view:03d}.png", picture(0) - np.uint8(10))
    metrics = score(input_view="000").metrics()
    assert metrics["views"] == 2
    assert metrics["unseen"]["copy_input"]["psnr"] == TEN_OFF
    assert metrics["unseen"]["model"]["psnr"] < 20


def test_cameras_give_angles_from_the_input_view(tmp_path, score):
    _, truth = write_pair(tmp_path, objects=1, views=4)
    lens = Intrinsics.from_fov(0.8, 16)
    azimuths = (0.5, 0.5 + math.pi / 2, 0.5 + math.pi, 0.5 - math.pi / 2)
    write_cameras(truth / "object_0", [View(look_at_origin(math.pi / 3, a, 1.5), lens) for a in azimuths], [])
    score(input_view=0)
    table = pd.read_parquet(tmp_path / "output" / "per_view.parquet").query("method == 'model'")
    assert list(table["azimuth_deg"]) == [90.0, 180.0, -90.0]
    assert list(table["elevation_deg"]) == [30.0] * 3
    assert list(table["input_elevation_deg"]) == [30.0] * 3


def test_pictures_of_another_size_need_a_filter_which_the_settings_name(tmp_path, score):
    predictions, _ = write_pair(tmp_path, objects=2)
    for view in range(3):
        save(predictions / "object_1" / f"{view:03d}.png", picture(100 + view, 32))
    assert "object_1" in score().failures
    assert not score(resize="box").failures
    assert "box" in json.loads((tmp_path / "output" / "details.json").read_text())["settings"]["resize"]


def test_a_strip_of_all_views_is_the_same_as_the_views(tmp_path, score):
    predictions, _ = write_pair(tmp_path, objects=1)
    alone = score().metrics()["unseen"]
    strip = np.concatenate([np.asarray(Image.open(p)) for p in sorted(predictions.rglob("*.png"))], axis=1)
    shutil.rmtree(predictions)
    save(predictions / "object_0.png", strip)
    assert score().metrics()["unseen"] == alone


def break_object(predictions, fault):
    folder = predictions / "object_1"
    match fault:
        case "missing object":
            shutil.rmtree(folder)
        case "missing view":
            (folder / "002.png").unlink()
        case "wrong size":
            save(folder / "002.png", picture(0, 12))
        case "damaged":
            (folder / "002.png").write_bytes((folder / "002.png").read_bytes()[:100])
        case "empty":
            (folder / "002.png").write_bytes(b"")
        case "not a number":
            for path in folder.iterdir():
                np.save(path.with_suffix(".npy"), np.full((16, 16, 3), np.nan if path.stem == "002" else 0.5))
                path.unlink()
        case "ambiguous":
            save(folder / "2.png", picture(0))


FAULTS = {
    "missing object": "missing: no prediction of this object",
    "missing view": "missing: no prediction of view 2, of 3 views",
    "wrong size": "mismatch: .*002.png has 12×12 pixels, its truth 16×16",
    "damaged": "parse: .*002.png is damaged",
    "empty": "empty: .*002.png is empty",
    "not a number": "degenerate: .*002.npy has 768 values that are not finite",
    "ambiguous": "parse: .*002.png and 2.png for one view",
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items())
def test_a_fault_costs_its_object_alone_and_says_why(tmp_path, score, fault, reason):
    predictions, _ = write_pair(tmp_path)
    break_object(predictions, fault)
    evaluation = score()
    metrics = evaluation.metrics()
    assert list(evaluation.failures) == list(metrics["missing"]) == ["object_1"]
    assert pd.Series(evaluation.failures["object_1"]).str.contains(reason).all(), evaluation.failures
    assert (metrics["objects"], metrics["objects_of_truth"], metrics["complete"]) == (2, 3, False)
    assert metrics["unseen"]["model"]["psnr"] == TEN_OFF
    table = pd.read_parquet(tmp_path / "output" / "per_object.parquet").set_index("uid")
    assert table.loc["object_1", "failure"] == evaluation.failures["object_1"]
    assert math.isnan(table.loc["object_1", "psnr"])
    problems = json.loads((tmp_path / "output" / "details.json").read_text())["problems"]
    assert [(row["uid"], row["consequence"]) for row in problems] == [("object_1", "quarantined")]


def test_fewer_objects_are_other_data(tmp_path, score):
    predictions, _ = write_pair(tmp_path)
    data = score().metrics()["data_sha256"]
    break_object(predictions, "missing object")
    assert score().metrics()["data_sha256"] != data


def test_other_targets_of_the_same_objects_are_other_data(tmp_path, score):
    write_pair(tmp_path)
    assert len({score(input_view=view).metrics()["data_sha256"] for view in (None, 0, 1)}) == 3


def test_predictions_of_objects_that_the_truth_lacks_are_named_and_not_scored(tmp_path, score):
    _, truth = write_pair(tmp_path)
    shutil.rmtree(truth / "object_0")
    metrics = score().metrics()
    assert metrics["without_truth"] == ["object_0"]
    assert metrics["objects"] == metrics["objects_of_truth"] == 2


def test_nothing_to_score_is_an_error_that_leaves_the_earlier_figures(tmp_path, score):
    predictions, _ = write_pair(tmp_path, objects=1)
    score()
    before = files(tmp_path / "output")
    (predictions / "object_0" / "001.png").unlink()
    with pytest.raises(InputError, match="none of 1 objects could be scored: object_0: missing"):
        score()
    assert files(tmp_path / "output") == before


def test_a_second_run_keeps_every_result_and_writes_the_same_bytes(tmp_path, score):
    write_pair(tmp_path)
    assert score().kept == 0
    before = files(tmp_path / "output")
    for path in (tmp_path / "truth").rglob("*.png"):
        path.touch()
    assert score().kept == 3
    assert files(tmp_path / "output") == before


def repaint(path):
    """Another picture under the same date."""
    stat = path.stat()
    save(path, np.asarray(Image.open(path))[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("side", ["predictions", "truth"])
def test_a_picture_that_changes_behind_its_date_is_noticed(tmp_path, score, side):
    write_pair(tmp_path)
    score()
    repaint(tmp_path / side / "object_1" / "001.png")
    again = score()
    assert again.kept == 2
    assert again.results["object_1"].figures["model"]["psnr"][1] < TEN_OFF


def test_other_metrics_settings_and_code_make_results_stale(tmp_path, score, monkeypatch):
    write_pair(tmp_path)
    score()
    assert score(metrics={"names": ["psnr"]}).kept == 0
    assert score(metrics={"names": ["psnr"]}, input_view="0").kept == 0
    assert score(metrics={"names": ["psnr"]}, input_view="0").kept == 3
    monkeypatch.setattr("evaluation.folders.object_scoring.source_fingerprint", lambda _: "other code")
    assert score(metrics={"names": ["psnr"]}, input_view="0").kept == 0


def test_a_damaged_result_is_made_again(tmp_path, score):
    write_pair(tmp_path)
    score()
    before = files(tmp_path / "output")
    (tmp_path / "output" / ".cache" / "object_1.json").write_text('{"key": ')
    assert score().kept == 2
    assert files(tmp_path / "output") == before


def test_two_at_once_are_refused(tmp_path):
    predictions, truth = write_pair(tmp_path, objects=1)
    with (
        exclusive_folder(tmp_path / "output"),
        pytest.raises(ViewforgeError, match="another process writes into"),
    ):
        evaluate_folders(predictions, truth, tmp_path / "output", PARAMETERS)


def test_folders_without_anything_in_common_are_refused(tmp_path, score):
    save(tmp_path / "predictions" / "a" / "0.png", picture(0))
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "a.obj").touch()
    with pytest.raises(InputError, match="neither pictures nor meshes in common"):
        score()


def test_real_pictures_with_alpha_against_themselves_on_white(tmp_path, score, shared_assets):
    for path in sorted((shared_assets / "images").glob("*.png"))[:3]:
        for side in ("truth", "predictions"):
            (tmp_path / side / path.stem).mkdir(parents=True)
        shutil.copy(path, tmp_path / "truth" / path.stem / "0.png")
        with Image.open(path) as image:
            assert image.mode == "RGBA"
            white = Image.new("RGBA", image.size, "white")
            Image.alpha_composite(white, image).convert("RGB").save(
                tmp_path / "predictions" / path.stem / "000.webp", lossless=True
            )
    evaluation = score()
    assert len(evaluation.results) == 3
    # Pillow composites in 8 bits: what is left is rounding.
    assert evaluation.metrics()["unseen"]["model"]["psnr"] > 55
    assert evaluation.metrics()["unseen"]["model"]["ssim"] > 0.999
