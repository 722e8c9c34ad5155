"""The splatter stage on a real object: files, tensor, and Gaussians that look like the object from unseen views."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from render_support import QUALITY, Rendered
from safetensors.numpy import load_file

from blender_render.parameters import SplatterParameters
from blender_render.rendered_object import read_record, read_views
from blender_render.splatter import _jobs, make_splatters
from catalog.table import write_table
from geometry.cameras import spherical_from_position
from geometry.ply import read_ply
from stage.executor import ExecutorParameters
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace

PARAMETERS = SplatterParameters(
    resolution=64,
    max_objects=1,
    check_views=2,
    quality=QUALITY,
    executor=ExecutorParameters(workers=1),
    max_failure_rate=1.0,
)


@pytest.fixture(scope="module")
def splatter(procedural: Rendered) -> Path:
    """The splatter folder of the first composed object."""
    make_splatters(PARAMETERS, 0, procedural.workspace)
    return object_folder(procedural.workspace.scratch / "splatters", procedural.assets[0].uid)


def test_there_are_six_views_one_fused_cloud_and_a_tensor(splatter: Path) -> None:
    views = {f"splatter_{view}.ply" for view in range(6)}
    rest = {"fused.ply", "splatter.safetensors", "record.json", "transforms.json"}
    assert {path.name for path in splatter.iterdir()} == views | rest


def test_the_tensor_has_fourteen_channels_a_pixel_and_view(splatter: Path) -> None:
    tensor = load_file(splatter / "splatter.safetensors")["splatter"]
    assert (tensor.shape, tensor.dtype) == ((6, 14, 64, 64), np.float16)
    assert np.isfinite(tensor).all()
    opacity, scale, rotation, colour = tensor[:, 3], tensor[:, 4:7], tensor[:, 7:11], tensor[:, 11:]
    assert set(np.unique(opacity)) == {np.float16(0), np.float16(PARAMETERS.opacity)}
    assert (scale > 0).all()
    np.testing.assert_allclose(np.linalg.norm(rotation.astype(float), axis=1), 1, atol=2e-3)
    assert colour.min() >= 0
    assert colour.max() <= 1


def test_each_view_is_a_ply_of_one_gaussian_a_pixel_row_major(splatter: Path) -> None:
    tensor = load_file(splatter / "splatter.safetensors")["splatter"].astype(float)
    for view in range(6):
        gaussians = read_ply(splatter / f"splatter_{view}.ply")
        assert len(gaussians) == 64 * 64
        np.testing.assert_allclose(gaussians.means.reshape(64, 64, 3), tensor[view, :3].transpose(1, 2, 0), atol=2e-3)
        np.testing.assert_allclose(gaussians.opacities.reshape(64, 64), tensor[view, 3], atol=1e-3)


def test_the_gaussians_lie_on_the_object(splatter: Path) -> None:
    fused = read_ply(splatter / "fused.ply")
    assert len(fused) == read_record(splatter)["gaussians"] > 500
    assert np.abs(fused.means).max() < 0.5 + 1e-3
    assert np.ptp(fused.means, axis=0).max() > 0.9


def test_the_cameras_are_the_six_fixed_ones(splatter: Path) -> None:
    elevations = [90 - np.rad2deg(spherical_from_position(v.c2w[:3, 3])[0]) for v in read_views(splatter)]
    np.testing.assert_allclose(elevations, [30, -20, 30, -20, 30, -20])


def test_unseen_views_of_the_gaussians_resemble_the_object(splatter: Path, procedural: Rendered) -> None:
    scores = read_record(splatter)["rerender_psnr"]
    assert len(scores) == 2
    assert min(scores) > 18.0
    table = pd.read_parquet(procedural.workspace.splatters / "splatters.parquet")
    assert list(table["uid"]) == [procedural.assets[0].uid]
    metrics = json.loads((procedural.workspace.root / "data" / "splatter_metrics.json").read_text())
    assert metrics == {"objects": 1, "psnr": pytest.approx(np.mean(scores), abs=1e-3)}


def test_the_packs_hold_the_same_files(splatter: Path, procedural: Rendered, tmp_path: Path) -> None:
    unpack_missing(procedural.workspace.splatters, tmp_path, [splatter.name])
    back = object_folder(tmp_path, splatter.name)
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {p.name: p.read_bytes() for p in splatter.iterdir()}


def test_a_second_run_makes_nothing(splatter: Path, procedural: Rendered) -> None:
    before = {path: path.stat().st_mtime_ns for path in splatter.iterdir()}
    make_splatters(PARAMETERS, 0, procedural.workspace)
    assert {path: path.stat().st_mtime_ns for path in splatter.iterdir()} == before


def test_an_object_that_no_view_sees_is_blank(neighbours: Rendered, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    titles = ["good 0.obj", "invisible.obj"]
    assets = [neighbours.asset(title) for title in titles]
    found = [replace(a, path=str(a.location(neighbours.workspace))) for a in assets]
    write_table(workspace.catalog / "catalog.parquet", found)
    workspace.renders.mkdir(parents=True)
    rendered = pd.DataFrame({"uid": [a.uid for a in found], "complete": True, "fingerprint": ""})
    rendered.to_parquet(workspace.renders / "objects.parquet")
    small = PARAMETERS.model_copy(update={"resolution": 16, "max_objects": None})
    make_splatters(small, 0, workspace)
    table = pd.read_parquet(workspace.splatters / "splatters.parquet").set_index("uid")
    assert table.loc[assets[0].uid, "failure"] == ""
    assert table.loc[assets[1].uid, "failure"] == "blank"


def test_a_turned_object_is_another_splatter(procedural: Rendered) -> None:
    asset = procedural.assets[0]
    rows = [asset, replace(asset, up_axis="Z")]
    as_it_is, turned = _jobs(rows, PARAMETERS, 0, procedural.workspace)
    assert turned.fingerprint != as_it_is.fingerprint
