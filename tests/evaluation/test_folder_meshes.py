"""Meshes of other programs: their frames, and what is said of those that cannot be measured."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from folder_support import score_here, write_pair

from evaluation.folders.meshes import compare_meshes, read_mesh
from evaluation.parameters import GeometryParameters
from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

FEW = GeometryParameters(samples=2000, points=2000, grid=16)


def brick(*sides: float, offset=(0.0, 0.0, 0.0)) -> TriangleMesh:
    made = trimesh.creation.box(sides)
    return TriangleMesh(made.vertices + np.array(offset), made.faces)


def overlap(prediction, truth, alignment="none", yaw_deg=0.0) -> float:
    return compare_meshes(prediction, truth, alignment, yaw_deg, FEW, 0).values["iou_points"]


def test_lengths_are_in_the_truths_longest_side_wherever_it_lies():
    small = compare_meshes(brick(1, 0.5, 0.5), brick(1, 0.5, 0.5, offset=(0.1, 0, 0)), "none", 0.0, FEW, 0)
    moved = [brick(10, 5, 5, offset=(30, 0, 0)), brick(10, 5, 5, offset=(31, 0, 0))]
    large = compare_meshes(*moved, "none", 0.0, FEW, 0)
    # Shifted by a tenth of its length a brick shares 0.9 of 1.1.
    assert small.values["iou_points"] == pytest.approx(0.9 / 1.1, abs=0.03)
    assert large.values["chamfer_l1"] == pytest.approx(small.values["chamfer_l1"], rel=0.05)


def test_the_true_box_is_brought_to_the_unit_box_and_the_prediction_is_not():
    assert overlap(brick(1, 1, 1), brick(8, 8, 8, offset=(5, 5, 5)), "true_box") == pytest.approx(1.0, abs=0.01)
    # An eighth of the volume.
    assert overlap(brick(0.5, 0.5, 0.5), brick(8, 8, 8), "true_box") == pytest.approx(1 / 8, abs=0.02)


def test_the_truth_is_turned_counter_clockwise_about_z():
    pillar = brick(0.2, 0.2, 0.5, offset=(0.4, 0, 0))
    both = trimesh.util.concatenate(
        [trimesh.creation.box((1, 1, 0.1)), trimesh.Trimesh(pillar.vertices, pillar.faces)]
    )
    truth = TriangleMesh(both.vertices, both.faces)
    turned = TriangleMesh(both.vertices @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), both.faces)
    assert overlap(turned, truth, yaw_deg=90.0) == pytest.approx(1.0, abs=0.01)
    assert overlap(turned, truth) < 0.9


@pytest.mark.parametrize("kind", ["obj", "ply", "glb"])
def test_files_are_read_as_they_are(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    trimesh.creation.box((1, 2, 3)).export(path)
    mesh = read_mesh(path, path.read_bytes())
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [1, 2, 3])
    assert len(mesh.faces) == 12


POINTS = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
BAD = {
    "points alone": ("a.ply", POINTS + "0 0 0\n1 0 0\n0 1 0\n", "no faces"),
    "no faces": ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n", "no faces"),
    "no area": ("a.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no area"),
    "not finite": ("a.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "no mesh": ("a.glb", "nothing of the kind", "is no mesh"),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_has_no_surface_is_refused(fault):
    name, text, reason = BAD[fault]
    with pytest.raises(InputError, match=reason):
        read_mesh(Path(name), text.encode())


def test_a_mesh_without_faces_costs_its_own_mesh_figures_and_nothing_else(tmp_path, monkeypatch):
    predictions, truth = write_pair(tmp_path)
    for folder in (predictions, truth):
        for number in range(3):
            trimesh.creation.box((1, 1, 1)).export(folder / f"object_{number}" / "mesh.obj")
    (predictions / "object_1" / "mesh.obj").write_text(BAD["no faces"][1])
    (predictions / "object_2" / "mesh.obj").unlink()
    evaluation = score_here(
        monkeypatch,
        predictions,
        truth,
        tmp_path / "output",
        geometry=FEW.model_dump(include={"samples", "points", "grid"}),
    )
    metrics = evaluation.metrics()
    geometry = metrics["geometry"]["unseen"]
    assert metrics["objects"] == 3
    assert geometry["objects"] == 3
    assert geometry["measured"]["iou_points"] == 1
    assert geometry["iou_points"] == pytest.approx(1.0, abs=0.01)
    assert list(metrics["missing"]) == ["object_1", "object_2"]
    assert "has no faces" in metrics["missing"]["object_1"]
    assert "there is no predicted mesh" in metrics["missing"]["object_2"]
    assert not evaluation.failures


def test_folders_of_meshes_alone(tmp_path, monkeypatch):
    for side, length in (("predictions", 0.8), ("truth", 1.0)):
        (tmp_path / side).mkdir()
        trimesh.creation.box((length, 1, 1)).export(tmp_path / side / "crate.ply")
    few = FEW.model_dump(include={"samples", "points", "grid"})
    evaluation = score_here(
        monkeypatch, tmp_path / "predictions", tmp_path / "truth", tmp_path / "output", geometry=few
    )
    metrics = evaluation.metrics()
    assert metrics["geometry"]["unseen"]["iou_points"] == pytest.approx(0.8, abs=0.03)
    assert metrics["unseen"] == {"model": {}}
    assert metrics["pairs"] == 0
    page = (tmp_path / "output" / "report.html").read_text()
    assert "both meshes as they are, in one frame" in page
    # They are nobody's Gaussians, and no figure of pictures was asked for.
    assert "Gaussians" not in page
    assert 'id="metrics"' not in page
    assert 'href="#metrics"' not in page
