"""The folder source: every asset file of a tree is a row, with its checksum, its split and why it is left out."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.build import build_catalog
from catalog.folder import FILE_TYPES, folder_assets, uid_of
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.changes import Changes
from stage.errors import InputError
from stage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace beside a folder of objects."""
    (tmp_path / "workspace").mkdir()
    (tmp_path / "objects").mkdir()
    return Workspace(tmp_path / "workspace")


def catalogue(workspace: Workspace, path: str = "../objects", **parameters: Any) -> dict[str, Asset]:
    """Rows by title."""
    rows = folder_assets(CatalogParameters(source="folder", path=path, **parameters), workspace)
    return {row.title: row for row in rows}


def put(workspace: Workspace, name: str, content: str | None = None) -> Path:
    path = workspace.root.parent / "objects" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name if content is None else content)
    return path


def test_every_asset_file_of_the_tree_is_found_and_nothing_else(workspace: Workspace) -> None:
    for number, suffix in enumerate(FILE_TYPES):
        put(workspace, f"{'sub/' * number}asset {number}.{suffix}")
    put(workspace, "LOUD.GLB")
    for other in ("spot.mtl", "texture.png", "README.txt", "glb", "scene.bin"):
        put(workspace, other)
    rows = catalogue(workspace)
    assert sorted(row.file_type for row in rows.values()) == sorted([*FILE_TYPES, "glb"])
    assert rows["LOUD.GLB"].file_type == "glb"
    assert all(row.selected and row.source == "folder" and row.licence == "unknown" for row in rows.values())


def test_a_row_says_what_the_file_is(workspace: Workspace) -> None:
    path = put(workspace, "a/b.glb", "content")
    row = catalogue(workspace)["a/b.glb"]
    assert row.bytes == 7
    assert row.sha256 == hashlib.sha256(b"content").hexdigest()
    assert row.location(workspace) == path.resolve()
    assert row.split in {"train", "val", "test"}


def test_a_second_copy_is_left_out_and_says_of_what(workspace: Workspace) -> None:
    for name in ("a/first.glb", "b/second.glb", "c/third.glb"):
        put(workspace, name, "the same")
    put(workspace, "b/other.glb")
    rows = catalogue(workspace)
    assert {title for title, row in rows.items() if row.selected} == {"a/first.glb", "b/other.glb"}
    assert rows["b/second.glb"].reason == rows["c/third.glb"].reason == "same bytes as a/first.glb"


@pytest.mark.parametrize("suffix", ["obj", "gltf"])
def test_the_same_bytes_beside_other_textures_are_no_copy(suffix: str, workspace: Workspace) -> None:
    """These formats keep materials in other files: a red and a blue chair may share their mesh file."""
    for colour in ("red", "blue"):
        put(workspace, f"{colour}/chair.{suffix}", "mtllib chair.mtl")
        put(workspace, f"{colour}/chair.mtl")
    assert all(row.selected for row in catalogue(workspace).values())


def test_an_empty_folder_is_a_one_line_error(workspace: Workspace) -> None:
    put(workspace, "README.txt")
    with pytest.raises(InputError, match=r"objects holds no asset; put files of these types there: glb, gltf, obj"):
        catalogue(workspace)


def test_a_missing_folder_is_a_one_line_error(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"no folder .*nowhere; set catalog\.path"):
        catalogue(workspace, "nowhere")


def test_uids_stay_when_the_folder_moves_or_grows(workspace: Workspace) -> None:
    put(workspace, "sub/a.glb")
    before = catalogue(workspace)["sub/a.glb"].uid
    put(workspace, "aa.glb")
    (workspace.root.parent / "objects").rename(workspace.root / "moved")
    after = catalogue(workspace, "moved")
    assert after["sub/a.glb"].uid == before
    assert after["aa.glb"].uid != before


@settings(deadline=None)
@given(name=st.text(min_size=1))
def test_a_uid_is_safe_as_a_name_of_files_and_folders(name: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", uid_of(name))


def test_a_file_in_the_workspace_is_recorded_without_the_machines_paths(workspace: Workspace) -> None:
    put(workspace, "a.glb")
    (workspace.root.parent / "objects").rename(workspace.root / "inputs")
    inside = catalogue(workspace, "inputs")["a.glb"]
    assert inside.path == "inputs/a.glb"
    assert inside.location(workspace).is_file()


def test_a_file_elsewhere_is_recorded_with_its_whole_path(workspace: Workspace) -> None:
    path = put(workspace, "a.glb")
    assert catalogue(workspace)["a.glb"].path == str(path.resolve())
    assert catalogue(workspace, str(path.parent))["a.glb"].path == str(path.resolve())


def test_a_name_that_is_not_utf8_is_a_one_line_error(workspace: Workspace) -> None:
    (workspace.root.parent / "objects").joinpath(b"caf\xe9.glb".decode(errors="surrogateescape")).touch()
    with pytest.raises(InputError, match=r"caf.*\.glb.*rename it"):
        catalogue(workspace)


def test_real_assets_are_found(shared_assets: Path, workspace: Workspace) -> None:
    rows = catalogue(workspace, str(shared_assets / "objects"))
    assert {"Duck.glb", "spot/spot.obj", "cubevc.glb"} <= set(rows)
    assert len(rows) == 11
    assert all(row.selected for row in rows.values())


def test_the_stage_counts_what_is_new_and_removes_packs_of_a_composed_catalogue(workspace: Workspace) -> None:
    parameters = CatalogParameters(source="folder", path="../objects")
    workspace.catalog.mkdir(parents=True)
    (workspace.catalog / "pack-00000.tar").write_bytes(b"of objects that were composed")
    put(workspace, "a.glb")
    put(workspace, "b.glb")
    build_catalog(parameters, 0, workspace)
    assert not list(workspace.catalog.glob("pack-*.tar"))
    put(workspace, "b.glb", "another content")
    put(workspace, "c.glb")
    changes = Changes()
    build_catalog(parameters, 0, workspace, changes)
    assert changes.line("packs", "new") == "2 of 3 objects new, 1 kept"
