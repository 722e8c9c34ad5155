"""The catalog stage over the procedural source: resumable, and the same bytes however it was interrupted."""

import shutil
from pathlib import Path

import pytest

from catalog.build import build_catalog
from catalog.parameters import CatalogParameters
from catalog.table import Asset, read_table
from stage.executor import ExecutorParameters
from stage.files import file_sha256, write_text
from stage.packs import pack_of
from stage.workspace import Workspace

PARAMETERS = CatalogParameters(objects=3, packs=2, executor=ExecutorParameters(workers=1))


def published(workspace: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(workspace.catalog.iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[Asset]]:
    """A workspace with a catalogue of three composed objects."""
    workspace = Workspace(tmp_path_factory.mktemp("catalog"))
    return workspace, build_catalog(PARAMETERS, 5, workspace)


def test_the_catalogue_holds_the_objects_that_were_composed(built: tuple[Workspace, list[Asset]]) -> None:
    workspace, assets = built
    assert read_table(workspace.catalog / "catalog.parquet") == assets
    assert len(assets) == 3
    for asset in assets:
        path = asset.location(workspace)
        assert not Path(asset.path).is_absolute()
        assert (path.stat().st_size, file_sha256(path)) == (asset.bytes, asset.sha256)


def test_a_second_run_composes_nothing_and_changes_nothing(built: tuple[Workspace, list[Asset]]) -> None:
    workspace, assets = built
    before, times = published(workspace), [a.location(workspace).stat().st_mtime_ns for a in assets]
    assert build_catalog(PARAMETERS, 5, workspace) == assets
    assert published(workspace) == before
    assert [a.location(workspace).stat().st_mtime_ns for a in assets] == times


def test_a_killed_run_is_continued_to_the_same_bytes(built: tuple[Workspace, list[Asset]], tmp_path: Path) -> None:
    """What a killed worker leaves beside an object must not get into the packs."""
    killed = Workspace(shutil.copytree(built[0].root, tmp_path / "killed"))
    folder = built[1][0].location(killed).parent
    (folder / "description.json").unlink()
    write_text(folder / ".xyz.tmp" / "object.glb", "half an object")
    (folder / ".asset.glb.77.tmp").touch()
    build_catalog(PARAMETERS, 5, killed)
    assert published(killed) == published(built[0])


def test_other_seeds_give_other_objects_and_fewer_objects_fewer_packs(
    built: tuple[Workspace, list[Asset]], tmp_path: Path
) -> None:
    workspace = Workspace(shutil.copytree(built[0].root, tmp_path / "reseeded"))
    (other,) = build_catalog(PARAMETERS.model_copy(update={"objects": 1}), 6, workspace)
    assert other.uid not in {asset.uid for asset in built[1]}
    assert other.sha256 not in {asset.sha256 for asset in built[1]}
    assert sorted(published(workspace)) == ["catalog.parquet", f"pack-{pack_of(other.uid, 2):05d}.tar"]
