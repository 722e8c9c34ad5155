"""Meshes of what a model made, beside the true ones: figures, their reasons, and the report that shows them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh
from evaluation_support import asset, object_scores
from known_gaussians_support import Answer, KnownGaussians, sphere_channels

from blender_render.camera_sets import View
from blender_render.surface_files import write_triangles
from evaluation.mesh_figures import MeshFigures, definitions, mesh_figures, unavailable
from evaluation.meshes import MeshJudge
from evaluation.parameters import EvaluateParameters, GeometryParameters
from evaluation.problems import mesh_problems
from evaluation.protocol import ObjectViews
from evaluation.report import build_report
from evaluation.sampling import predict
from evaluation.scores import ObjectScores, mesh_summary, per_object_table
from geometry.attribute_tensors import turned
from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussians import Gaussians, concatenate
from geometry.ply import read_ply
from geometry.triangle_mesh import TriangleMesh
from reconstruction.parameters import FusionParameters
from stage.files import write_json
from stage.packs import object_folder
from stage.workspace import Workspace
from systems.gaussian_pipeline import seen_gaussians

PARAMETERS = GeometryParameters(
    samples=4000, points=4000, grid=32, fusion=FusionParameters(resolution=32, views=12, view_size=64)
)
NAMES = tuple(definitions(PARAMETERS))


def cube(side: float = 1.0, shift: float = 0.0) -> TriangleMesh:
    mesh = trimesh.creation.box((side,) * 3)
    return TriangleMesh(mesh.vertices + np.array([shift, 0, 0]), mesh.faces)


def test_the_same_mesh_is_as_near_as_its_samples_and_another_is_farther() -> None:
    same, shifted, small = (mesh_figures(m, cube(), PARAMETERS, 0) for m in (cube(), cube(shift=0.1), cube(0.5)))
    assert same.missing == {}
    assert tuple(same.values) == NAMES
    assert same.values["iou_grid"] == same.values["iou_points"] == 1.0
    # 4000 points on an area of 6 have a neighbour within 0.05 but for exp(−π · 0.05² · 4000 / 6) = 0.5 % of them.
    assert same.values["f_score_0.05"] == pytest.approx(1 - math.exp(-math.pi * 0.05**2 * 4000 / 6), abs=0.004)
    assert 0.005 < same.values["chamfer_l1"] < 0.02
    # Two of six faces are 0.1 off.
    assert shifted.values["chamfer_l1"] == pytest.approx(0.1 / 3 + same.values["chamfer_l1"] * 2 / 3, rel=0.15)
    assert shifted.values["iou_points"] == pytest.approx(0.9 / 1.1, abs=0.02)
    assert small.values["iou_points"] == pytest.approx(1 / 8, abs=0.02)
    # ViewFusion's see neither place nor size.
    assert shifted.values["viewfusion_chamfer"] == pytest.approx(same.values["viewfusion_chamfer"], rel=0.05)
    assert small.values["viewfusion_f_score"] == 1.0


def test_the_same_seed_gives_the_same_figures() -> None:
    first, again, other = (mesh_figures(cube(0.9), cube(), PARAMETERS, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_cannot_be_had_has_a_reason_and_no_number() -> None:
    nothing = mesh_figures(TriangleMesh(np.zeros((0, 3)), np.zeros((0, 3), int)), cube(), PARAMETERS, 0)
    assert nothing.values == {}
    assert set(nothing.missing) == set(NAMES)
    assert nothing.note == "not available: the mesh has no triangle"
    plane = TriangleMesh(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]]) - 0.5, np.array([[0, 1, 2]]))
    open_truth = mesh_figures(cube(), plane, PARAMETERS, 0)
    assert set(open_truth.missing) == {"iou_grid", "iou_points"}
    assert open_truth.note == "not available: the asset encloses no volume"
    assert all(math.isfinite(value) for value in open_truth.values.values())


def test_means_are_over_the_objects_that_have_a_figure_and_say_how_many() -> None:
    scores = [object_scores(uid, "unseen", 16.0, 17.0, 19.0) for uid in ("b1", "b2")]
    meshes = [mesh_figures(cube(), cube(), PARAMETERS, 0), unavailable(PARAMETERS, "no mesh")]
    judged = [with_mesh(score, mesh) for score, mesh in zip(scores, meshes, strict=True)]
    summary = mesh_summary(judged, NAMES)
    assert summary["objects"] == 2
    assert summary["measured"]["iou_grid"] == 1
    assert summary["iou_grid"] == 1.0
    assert mesh_summary(judged[1:], NAMES)["chamfer_l1"] == "not available"
    table = per_object_table(judged)
    lost = table[(table["uid"] == "b2") & (table["method"] == "model")].iloc[0]
    assert lost["mesh"] == "not available: no mesh"
    assert math.isnan(lost["chamfer_l1"])
    assert table[table["method"] == "copy_input"]["chamfer_l1"].isna().all()
    (problem,) = mesh_problems(judged)
    assert (problem.uid, problem.what) == ("b2", "mesh figures not available: no mesh")


def with_mesh(scores: ObjectScores, mesh: MeshFigures) -> ObjectScores:
    return replace(scores, mesh=mesh)


@pytest.fixture
def judge(tmp_path: Path) -> MeshJudge:
    """Of an asset that is a sphere of radius 0.5, and of one whose triangles could not be had."""
    sphere = trimesh.creation.icosphere(4, 0.5)
    folder = object_folder(tmp_path / "surfaces", "b1")
    folder.mkdir(parents=True)
    write_triangles(folder, (sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32)))
    failures = {"b2": "timeout: 600 s"}
    return MeshJudge(PARAMETERS, 0, tmp_path / "made", tmp_path / "surfaces", failures, torch.device("cpu"))


def gaussians(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> Gaussians:
    return seen_gaussians(sphere_channels(radius, centre=centre))


def test_gaussians_on_the_true_surface_score_well_and_others_worse(judge: MeshJudge) -> None:
    good = judge.judge(asset("b1", "test"), "unseen", gaussians(0.48))
    made = object_folder(judge.made / "unseen", "b1")
    assert len(read_ply(made / "gaussians.ply")) == 64 * 64
    assert trimesh.load(made / "mesh.ply", force="mesh").is_watertight
    assert good.missing == {}
    assert good.values["chamfer_l1"] < 0.03
    assert good.values["iou_points"] > 0.85
    wrong = judge.judge(asset("b1", "test"), "unseen", gaussians(0.25, (0.2, 0, 0)))
    assert wrong.values["chamfer_l1"] > 5 * good.values["chamfer_l1"]
    assert wrong.values["iou_points"] < 0.2


def test_an_object_without_a_mesh_or_an_asset_without_triangles_has_reasons(judge: MeshJudge) -> None:
    empty = judge.judge(asset("b1", "test"), "unseen", concatenate([]))
    assert empty.values == {}
    assert "there are no Gaussians" in empty.note
    assert not (object_folder(judge.made / "unseen", "b1") / "mesh.ply").exists()
    lost = judge.judge(asset("b2", "test"), "unseen", gaussians(0.5))
    assert lost.note == "not available: the asset gave no triangles: timeout: 600 s"


def test_an_object_is_sampled_once_and_seen_from_every_target() -> None:
    """The answer lies in the input's frame; the input's camera stands at 70°."""
    lens = Intrinsics.from_fov(0.6, 32)
    azimuths = np.deg2rad([70, 70, 160, 250, 340])
    cameras = tuple(View(look_at_origin(np.deg2rad(60), azimuth, 2.0), lens) for azimuth in azimuths)
    scene = sphere_channels(0.4, centre=(0.3, 0, 0))
    pictures = np.random.default_rng(0).random((5, 32, 32, 3)).astype(np.float32)
    image = torch.from_numpy(pictures[0]).permute(2, 0, 1) * 2 - 1
    pipeline = KnownGaussians([Answer(image, turned(scene, torch.tensor([-azimuths[0]])))], 32)
    prediction = predict(
        pipeline, ObjectViews(asset("b1", "test"), pictures, cameras), EvaluateParameters(batch_size=2), 0
    )
    assert pipeline.elevations == pytest.approx([np.deg2rad(30)])
    assert prediction.pictures.shape == (4, 32, 32, 3)
    assert prediction.gaussians is not None
    expected = seen_gaussians(scene)
    np.testing.assert_allclose(prediction.gaussians.means, expected.means, atol=1e-5)
    # From 70° the red half (y > 0) is seen almost from the front, and from 250° the blue one.
    red, blue = (prediction.pictures[number][16, 16] for number in (0, 2))
    assert red[0] > 0.7 > red[2]
    assert blue[2] > 0.7 > blue[0]


def test_the_report_shows_each_figure_with_its_definition_and_the_objects_without_it(evaluated: Workspace) -> None:
    assert "Meshes beside the assets" not in build_report(evaluated, None)
    folder = evaluated.evaluation
    unseen = [
        with_mesh(object_scores("b1", "unseen", 16.0, 17.0, 19.0), mesh_figures(cube(0.9), cube(), PARAMETERS, 0)),
        with_mesh(object_scores("b2", "unseen", 20.0, 15.0, 19.0), unavailable(PARAMETERS, "no <mesh>")),
    ]
    training = [with_mesh(object_scores("a1", "training", 22.0, 16.0, 17.0), unavailable(PARAMETERS, "no <mesh>"))]
    per_object_table([*unseen, *training]).to_parquet(folder / "per_object.parquet", index=False)
    metrics, details = (json.loads((folder / name).read_text()) for name in ("metrics.json", "details.json"))
    metrics["geometry"] = {"unseen": mesh_summary(unseen, NAMES), "training": mesh_summary(training, NAMES)}
    details["geometry"] = PARAMETERS.model_dump(mode="json")
    details["problems"] += [problem.row() for problem in mesh_problems([*unseen, *training])]
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "details.json", details)
    section = build_report(evaluated, None).partition('id="meshes"')[2]
    meshes, _, problems = section.partition('id="problems"')
    for definition in definitions(PARAMETERS).values():
        for words in (definition.title, definition.short, definition.text, definition.source):
            assert words in meshes
    assert f"{unseen[0].mesh.values['chamfer_l1']:.4f}" in meshes
    assert meshes.count("1 of 2") == meshes.count("0 of 1") == len(NAMES)
    assert meshes.index("title &lt;b2&gt;") < meshes.index("title &lt;b1&gt;")
    assert problems.count("mesh figures not available: no &lt;mesh&gt;") == 2
    assert pd.read_parquet(folder / "per_object.parquet")["mesh"].notna().sum() == 3
