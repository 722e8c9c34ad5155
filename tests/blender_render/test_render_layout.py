"""What the render stage leaves on disk: the layout that readers rely on, packed, resumable, the same in any order."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from render_support import QUALITY, SMALL, Rendered, contents

from blender_render.farm import Farm
from blender_render.parameters import AssetParameters, QualityParameters
from blender_render.render import render
from blender_render.rendered_object import is_complete, read_record, read_rgba, read_views
from catalog.table import write_table
from geometry.cameras import zero123_from_c2w
from stage.errors import InputError
from stage.executor import ExecutorParameters
from stage.files import write_text
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace


def times(root: Path) -> dict[str, int]:
    """Modification times of all pictures."""
    return {path.name: path.stat().st_mtime_ns for path in root.rglob("*.png")}


def test_a_folder_holds_pictures_cameras_passes_and_provenance(procedural: Rendered) -> None:
    expected = {"record.json", "transforms.json"}
    for number in range(SMALL.views):
        expected |= {f"{number:03d}{end}" for end in (".png", ".npy", "_depth.png", "_normal.png")}
    for asset in procedural.assets:
        assert set(contents(procedural.folder(asset.title))) == expected


def test_pictures_have_the_modes_and_sizes_that_readers_expect(procedural: Rendered) -> None:
    for asset in procedural.assets:
        folder = procedural.folder(asset.title)
        for suffix, mode in (("", "RGBA"), ("_depth", "I;16"), ("_normal", "RGB")):
            with Image.open(folder / f"000{suffix}.png") as image:
                assert (image.mode, image.size, image.format) == (mode, (32, 32), "PNG")
        assert read_rgba(folder, 0).shape == (32, 32, 4)


def test_the_object_is_in_the_picture_lit_and_in_front_of_nothing(procedural: Rendered) -> None:
    for asset in procedural.assets:
        for number in range(SMALL.views):
            pixels = read_rgba(procedural.folder(asset.title), number) / 255.0
            covered = pixels[..., 3] > 0.99
            assert 0.01 < covered.mean() < 0.9
            assert (pixels[..., 3] == 0).any()
            assert pixels[covered][:, :3].mean() > 0.05


def test_cameras_are_rigid_three_by_four_and_agree_with_the_transforms(procedural: Rendered) -> None:
    for asset in procedural.assets:
        folder = procedural.folder(asset.title)
        for number, view in enumerate(read_views(folder)):
            matrix = np.load(folder / f"{number:03d}.npy", allow_pickle=False)
            assert (matrix.shape, matrix.dtype) == ((3, 4), np.float64)
            np.testing.assert_allclose(matrix[:, :3] @ matrix[:, :3].T, np.eye(3), atol=1e-12)
            np.testing.assert_allclose(matrix, zero123_from_c2w(view.c2w), atol=1e-12)


def test_transforms_are_what_nerf_programs_read(procedural: Rendered) -> None:
    folder = procedural.folder(procedural.assets[0].title)
    document = json.loads((folder / "transforms.json").read_text())
    assert document["camera_angle_x"] == pytest.approx(2 * np.arctan(16 / 35))
    assert document["fl_x"] == document["fl_y"] == pytest.approx(16 / np.tan(document["camera_angle_x"] / 2))
    assert (document["w"], document["h"], document["cx"], document["cy"]) == (32, 32, 16, 16)
    for frame in document["frames"]:
        assert (folder / frame["file_path"]).is_file()
        assert (folder / frame["depth_file_path"]).is_file()
        assert np.array(frame["transform_matrix"]).shape == (4, 4)


def test_the_record_tells_where_a_rendering_comes_from(procedural: Rendered) -> None:
    asset = procedural.assets[0]
    record = read_record(procedural.folder(asset.title))
    assert record["uid"] == asset.uid
    assert record["asset_sha256"] == asset.sha256
    assert record["blender_version"].startswith("5.0")
    assert len(record["coverage"]) == SMALL.views
    assert record["normalisation"]["scale"] > 0
    assert record["statistics"]["faces"] > 0


def test_valid_paths_lists_the_complete_objects(procedural: Rendered, neighbours: Rendered) -> None:
    for rendered in (procedural, neighbours):
        listed = json.loads((rendered.root / "valid_paths.json").read_text())
        assert listed == sorted(f"{p.parent.name}/{p.name}" for p in rendered.root.glob("??/*"))
    assert len(json.loads((procedural.root / "valid_paths.json").read_text())) == 3


def test_the_table_has_a_row_for_each_object(procedural: Rendered) -> None:
    table = pd.read_parquet(procedural.workspace.renders / "objects.parquet")
    assert list(table["uid"]) == [asset.uid for asset in procedural.assets]
    assert table["complete"].all()
    assert (table["views"] == SMALL.views).all()
    assert (table["mean_coverage"] > 0.01).all()
    assert (table["failure"] == "").all()


def test_the_packs_bring_the_same_renderings_back(procedural: Rendered, tmp_path: Path) -> None:
    unpack_missing(procedural.workspace.renders, tmp_path, [asset.uid for asset in procedural.assets])
    for asset in procedural.assets:
        assert contents(object_folder(tmp_path, asset.uid)) == contents(procedural.folder(asset.title))


def test_an_object_rendered_alone_is_the_same_as_in_a_farm(procedural: Rendered, tmp_path: Path) -> None:
    """With another number of workers, and so of threads."""
    alone = SMALL.model_copy(update={"executor": ExecutorParameters(workers=1)})
    asset = procedural.assets[-1]
    assert Farm(tmp_path, alone, 0, procedural.workspace).render([asset]) == []
    assert contents(object_folder(tmp_path, asset.uid)) == contents(procedural.folder(asset.title))


def test_a_second_run_renders_nothing_and_writes_the_same(procedural: Rendered) -> None:
    workspace = procedural.workspace
    before, published = times(procedural.root), contents(workspace.renders)
    ledger = (procedural.root / "ledger.jsonl").read_text()
    assert render(SMALL, 0, workspace) == []
    assert times(procedural.root) == before
    assert (procedural.root / "ledger.jsonl").read_text() == ledger
    assert contents(workspace.renders) == published


def test_what_a_kill_left_is_rendered_again_to_the_same_bytes(procedural: Rendered, tmp_path: Path) -> None:
    """A folder gone, half a folder under its temporary name, a ledger line cut short."""
    root = Path(shutil.copytree(procedural.root, tmp_path / "renders"))
    uid = procedural.assets[0].uid
    shutil.rmtree(object_folder(root, uid))
    write_text(root / uid[:2] / f".{uid}.77.tmp" / "000.png", "half")
    with (root / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"uid": "' + uid)
    before = times(root)
    assert Farm(root, SMALL, 0, procedural.workspace).render(procedural.assets) == []
    assert contents(object_folder(root, uid)) == contents(procedural.folder(procedural.assets[0].title))
    assert list((root / uid[:2]).glob(".*")) == []
    kept = object_folder(root, procedural.assets[1].uid) / "000.png"
    assert kept.stat().st_mtime_ns <= max(before.values())


def test_a_changed_parameter_renders_again(procedural: Rendered, tmp_path: Path) -> None:
    root = Path(shutil.copytree(procedural.root, tmp_path / "renders"))
    asset = procedural.assets[0]
    before = read_record(object_folder(root, asset.uid))["fingerprint"]
    coarse = SMALL.model_copy(update={"resolution": 16, "views": 2, "executor": ExecutorParameters(workers=1)})
    assert Farm(root, coarse, 0, procedural.workspace).render([asset]) == []
    folder = object_folder(root, asset.uid)
    assert read_record(folder)["fingerprint"] != before
    assert read_rgba(folder, 0).shape == (16, 16, 4)
    assert not (folder / "002.png").exists(), "nothing of the old rendering is left"


def test_a_damaged_record_is_rendered_again(procedural: Rendered, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(procedural.folder(procedural.assets[0].title), tmp_path / "object"))
    fingerprint = read_record(folder)["fingerprint"]
    assert is_complete(folder, fingerprint)
    assert not is_complete(folder, "another")
    for damage in ("", '{"uid": "', "{}"):
        (folder / "record.json").write_text(damage)
        assert not is_complete(folder, fingerprint)


def test_a_folder_without_cameras_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"transforms\.json is missing or damaged; delete its folder"):
        read_views(tmp_path)


def test_the_fingerprint_tells_all_that_decides_the_pictures(procedural: Rendered) -> None:
    farm, asset = procedural.farm(), procedural.assets[0]
    changed = [
        replace(farm, seed=1).fingerprint(asset),
        farm.fingerprint(replace(asset, sha256="0" * 64)),
        farm.fingerprint(replace(asset, up_axis="Z")),
    ]
    updates: list[dict[str, object]] = [
        {"protocol": "syncdreamer"},
        {"views": 9},
        {"resolution": 33},
        {"quality": QUALITY.model_copy(update={"samples": 5})},
        {"quality": QualityParameters(ambient=1.0)},
        {"quality": QualityParameters(lighting="uniform")},
        {"assets": AssetParameters(max_faces=5)},
    ]
    looks = [SMALL.model_copy(update=update) for update in updates]
    changed += [replace(farm, parameters=look).fingerprint(asset) for look in looks]
    assert len({farm.fingerprint(asset), *changed}) == len(changed) + 1


def test_the_fingerprint_does_not_tell_how_the_work_is_organised(procedural: Rendered, tmp_path: Path) -> None:
    farm, asset = procedural.farm(), procedural.assets[0]
    organised = SMALL.model_copy(update={"executor": ExecutorParameters(workers=7), "packs": 9})
    elsewhere = Farm(tmp_path, organised, 0, Workspace(tmp_path))
    assert elsewhere.fingerprint(replace(asset, title="renamed", path="elsewhere.glb")) == farm.fingerprint(asset)


def test_planning_writes_out_no_cameras(tmp_path: Path, procedural: Rendered, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be known of a hundred thousand objects before the first is rendered must be little."""
    farm = Farm(tmp_path, SMALL, 0, procedural.workspace)
    sets: list[str] = []
    real = Farm._cameras
    monkeypatch.setattr(Farm, "_cameras", lambda self, asset: sets.append(asset.uid) or real(self, asset))
    prints = {farm.fingerprint(replace(procedural.assets[0], uid=f"{number:032x}")) for number in range(100)}
    assert len(prints) == 100
    assert sets == [""]


def test_a_catalogue_of_which_nothing_renders_is_a_one_line_error(neighbours: Rendered, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    shutil.copytree(neighbours.workspace.root / "inputs", tmp_path / "inputs")
    write_table(workspace.catalog / "catalog.parquet", [neighbours.asset("no faces.obj")])
    with pytest.raises(InputError, match=r"no object could be rendered; see .*ledger\.jsonl"):
        render(SMALL, 0, workspace)
    assert list(workspace.renders.iterdir()) == []
