"""The splatter stage on a real object: files, tensor, and Gaussians that look like the object from unseen views."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from render_support import QUALITY, Rendered, write_see_through
from safetensors.numpy import load_file

from blender_render.parameters import SplatterParameters
from blender_render.rendered_object import read_record, read_rgba, read_views
from blender_render.splatter import _jobs, make_splatters
from catalog.folder import folder_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset, write_table
from geometry.attribute_images import encode
from geometry.cameras import project, spherical_from_position
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
    assert opacity.min() == 0
    assert opacity.max() == np.float16(PARAMETERS.opacity)
    assert (scale > 0).all()
    np.testing.assert_allclose(np.linalg.norm(rotation.astype(float), axis=1), 1, atol=2e-3)
    assert colour.min() >= 0
    assert colour.max() <= 1


def test_what_shows_lies_in_the_ranges_of_both_generations_of_zero_1_to_g(splatter: Path) -> None:
    for view in range(6):
        gaussians = read_ply(splatter / f"splatter_{view}.ply")
        shown = gaussians.opacities > 1e-3
        # The first: positions in ±1, scales in [e⁻¹⁰, e⁻²], which its network's activations clamp to.
        assert np.abs(gaussians.means[shown]).max() <= 1.0
        assert gaussians.scales[shown].min() >= np.exp(-10.0)
        assert gaussians.scales[shown].max() <= np.exp(-2.0)
        # The second: what its attribute images hold.
        assert not encode(gaussians, 64, 64).clipped.reshape(15, -1)[:, shown].any()


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


def test_a_splatter_images_gaussians_lie_on_their_pixels(splatter: Path) -> None:
    for number, view in enumerate(read_views(splatter)):
        gaussians = read_ply(splatter / f"splatter_{number}.ply")
        shown = gaussians.opacities > 1e-3
        pixels, _ = project(gaussians.means, view.c2w, view.intrinsics)
        rows, columns = np.mgrid[:64, :64].reshape(2, -1) + 0.5
        assert shown.sum() > 200
        assert np.abs(pixels - np.stack([columns, rows], axis=1))[shown].max() < 0.76


def test_unseen_views_of_the_gaussians_resemble_the_object(splatter: Path, procedural: Rendered) -> None:
    record = read_record(splatter)
    for kind in ("fused", "union"):
        scores = record["quality"][kind]
        assert {name: len(values) for name, values in scores.items()} == {"psnr": 2, "ssim": 2, "alpha_iou": 2}
        assert min(scores["psnr"]) > 21.0
        assert min(scores["ssim"]) > 0.8
        assert min(scores["alpha_iou"]) > 0.8
    assert set(record["shares"]) == {"transparent", "thin", "cut_off"}
    assert record["supervision_views"] == 0
    fused = record["quality"]["fused"]
    table = pd.read_parquet(procedural.workspace.splatters / "splatters.parquet")
    assert list(table["uid"]) == [procedural.assets[0].uid]
    row = table.iloc[0]
    assert row["psnr"] == pytest.approx(np.mean(fused["psnr"]))
    assert row["psnr_worst"] == min(fused["psnr"])
    assert row["union_alpha_iou"] == pytest.approx(np.mean(record["quality"]["union"]["alpha_iou"]))
    assert row["falls_short"] == record["falls_short"]
    metrics = json.loads((procedural.workspace.root / "data" / "splatter_metrics.json").read_text())
    means = {name: pytest.approx(np.mean(values), abs=1e-3) for name, values in fused.items()}
    assert metrics == {"objects": 1, **means}


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
    assert table.loc[assets[1].uid, "gaussians"] == 0
    assert np.isnan(table.loc[assets[1].uid, "psnr"])
    assert table.loc[assets[0].uid, "psnr"] > 10


def test_a_turned_object_is_another_splatter(procedural: Rendered) -> None:
    asset = procedural.assets[0]
    rows = [asset, replace(asset, up_axis="Z")]
    as_it_is, turned = _jobs(rows, PARAMETERS, 0, procedural.workspace)
    assert turned.fingerprint != as_it_is.fingerprint


def made_with(asset: Asset, root: Path, **changes: object) -> tuple[Path, Workspace]:
    """The folder of an object, its path absolute, made under other parameters in a workspace of its own."""
    workspace = Workspace(root)
    write_table(workspace.catalog / "catalog.parquet", [asset])
    workspace.renders.mkdir(parents=True)
    rendered = pd.DataFrame({"uid": [asset.uid], "complete": True, "fingerprint": ""})
    rendered.to_parquet(workspace.renders / "objects.parquet")
    parameters = SplatterParameters.model_validate({**PARAMETERS.model_dump(), "resolution": 32, **changes})
    make_splatters(parameters, 0, workspace)
    return object_folder(workspace.scratch / "splatters", asset.uid), workspace


@pytest.fixture
def first(neighbours: Rendered) -> Asset:
    """A plain object, to be found from any workspace."""
    asset = neighbours.asset("good 0.obj")
    return replace(asset, path=str(asset.location(neighbours.workspace)))


def test_refinement_finds_views_to_learn_from_beside_those_of_the_check(first: Asset, tmp_path: Path) -> None:
    folder, workspace = made_with(first, tmp_path, refinement={"steps": 5, "views": 3, "validation_views": 1})
    assert read_record(folder)["supervision_views"] == 3
    views = read_views(folder / "views")
    assert len(views) == 5
    assert len({view.c2w.tobytes() for view in views}) == 5
    for number in range(5):
        rgba = read_rgba(folder / "views", number)
        assert rgba.shape == (32, 32, 4)
        assert rgba[..., 3].max() == 255
    unpack_missing(workspace.splatters, tmp_path / "unpacked", [folder.name])
    assert not (object_folder(tmp_path / "unpacked", folder.name) / "views").exists()


def test_another_layout_has_its_own_cameras(first: Asset, tmp_path: Path) -> None:
    folder, _ = made_with(first, tmp_path, layout="zero_1_to_g_lara")
    views = read_views(folder)
    np.testing.assert_allclose([np.rad2deg(view.intrinsics.fov_x) for view in views], 39.6)
    # The check stays what it is, through its own lens.
    assert min(read_record(folder)["quality"]["fused"]["psnr"]) > 17.0


def test_albedo_has_no_light(first: Asset, tmp_path: Path) -> None:
    dark = {"samples": 4, "device": "cpu", "ambient": 0.0, "key_light": 0.0}
    folder, _ = made_with(first, tmp_path, colour="albedo", quality=dark)
    fused = read_ply(folder / "fused.ply")
    assert np.median(fused.colours) > 0.3
    # One surface of one material: as bright wherever it faces.
    assert np.ptp(np.quantile(fused.colours, [0.25, 0.75], axis=0), axis=0).max() < 0.05
    assert min(read_record(folder)["quality"]["fused"]["psnr"]) > 15.0


def test_what_light_goes_through_is_as_opaque_as_it_looks(tmp_path: Path) -> None:
    write_see_through(tmp_path / "inputs", "faint", 0.3)
    source = CatalogParameters(source="folder", path=str(tmp_path / "inputs"))
    (asset,) = folder_assets(source, Workspace(tmp_path))
    folder, _ = made_with(replace(asset, path=str(asset.location(Workspace(tmp_path)))), tmp_path / "run")
    assert "transparent" in read_record(folder)["falls_short"]
    # One face or two lie before the background: 0.3, or 1 − 0.7².
    assert 0.2 < np.median(read_ply(folder / "fused.ply").opacities) < 0.55
