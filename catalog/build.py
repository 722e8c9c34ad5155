"""The `catalog` stage: from a source to `catalog.parquet`."""

from pathlib import Path

from catalog.folder import folder_assets
from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from catalog.procedural import procedural_assets
from catalog.remote import remote_assets
from catalog.selection import select
from catalog.table import COMPOSED, Asset, read_table, write_table
from stage.changes import Changes
from stage.errors import InputError
from stage.executor import executor_for
from stage.packs import write_packs
from stage.workspace import Workspace


def build_catalog(
    parameters: CatalogParameters, seed: int, workspace: Workspace, changes: Changes | None = None
) -> list[Asset]:
    """Write the catalogue of a workspace.

    Reads the source and the uid lists; writes `data/catalog/catalog.parquet`, and for composed objects their packs. Downloaded
    files go to the store.

    Args:
        parameters: of the stage.
        seed: the run's.
        workspace: the workspace.
        changes: is told how many objects are new or others than in the catalogue before.

    Raises:
        InputError: when the source's folder is missing or empty, or a uid list is unreadable.
        DownloadError: when a source's list cannot be had.
        StageFailedError: when too many objects cannot be composed or downloaded.
    """
    workspace.catalog.mkdir(parents=True, exist_ok=True)
    changes, path = changes or Changes(), workspace.catalog / "catalog.parquet"
    before = _before(path)
    match parameters.source:
        case "procedural" | "scene":
            assets = procedural_assets(parameters, seed, workspace, executor_for(parameters.executor), changes)
        case "folder":
            assets = folder_assets(parameters, workspace)
        case "gso":
            assets = gso_assets(parameters, workspace)
        case "objaverse" | "objaverse_xl" | "gso_fuel":
            assets = remote_assets(parameters, seed, workspace)
    # Of downloaded files the true size is known by now.
    assets = select(assets, parameters.selection, seed, workspace)
    if parameters.source not in COMPOSED:
        # The packs of a composed catalogue that was here.
        write_packs(workspace.scratch / "catalog", [], workspace.catalog, parameters.packs)
        changes.kept = sum(before.get(asset.uid) == asset.sha256 for asset in assets)
        changes.made = len(assets) - changes.kept
    write_table(path, assets)
    return assets


def _before(path: Path) -> dict[str, str]:
    """The checksum of each object of the catalogue that is there; empty without one that can be read."""
    try:
        return {asset.uid: asset.sha256 for asset in read_table(path)}
    except InputError:
        return {}
