"""The gso source: Google Scanned Objects in their own folder layout."""

from pathlib import Path

import pytest

from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from stage.errors import InputError
from stage.files import write_text
from stage.workspace import Workspace


def test_every_scanned_object_is_a_row(shared_assets: Path, tmp_path: Path) -> None:
    parameters = CatalogParameters(source="gso", path=str(shared_assets / "gso"))
    rows = {row.title: row for row in gso_assets(parameters, Workspace(tmp_path))}
    assert sorted(rows) == ["CHICKEN_NESTING", "Chefmate_8_Frypan", "Glazed_Rim_Porcelain_Ramekin"]
    assert all(
        (row.up_axis, row.licence, row.author) == ("Z", "CC-BY-4.0", "Google Research") for row in rows.values()
    )
    assert all(row.location(Workspace(tmp_path)).name == "model.obj" for row in rows.values())
    assert rows["CHICKEN_NESTING"].categories == ("Toys",)


def test_folders_without_a_mesh_are_passed_over_and_metadata_may_be_absent(tmp_path: Path) -> None:
    write_text(tmp_path / "gso" / "Cup" / "meshes" / "model.obj", "v 0 0 0")
    write_text(tmp_path / "gso" / "Thumbnails" / "0.jpg", "")
    rows = gso_assets(CatalogParameters(source="gso", path="gso"), Workspace(tmp_path))
    assert [(row.title, row.categories) for row in rows] == [("Cup", ())]


def test_the_category_is_read_from_the_metadata(tmp_path: Path) -> None:
    write_text(tmp_path / "gso" / "Cup" / "meshes" / "model.obj", "v 0 0 0")
    write_text(tmp_path / "gso" / "Cup" / "metadata.pbtxt", 'name: "Cup"\ncategories {\n  first: "Cups"\n}\n')
    rows = gso_assets(CatalogParameters(source="gso", path="gso"), Workspace(tmp_path))
    assert rows[0].categories == ("Cups",)


def test_a_folder_of_something_else_is_a_one_line_error(tmp_path: Path) -> None:
    write_text(tmp_path / "gso" / "Duck.glb", "")
    with pytest.raises(InputError, match=r"holds no Google Scanned Object; expected folders with meshes/model\.obj"):
        gso_assets(CatalogParameters(source="gso", path="gso"), Workspace(tmp_path))
