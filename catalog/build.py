"""The `catalog` stage: from a source to `catalog.parquet`."""

from catalog.folder import folder_assets
from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from catalog.procedural import procedural_assets
from catalog.remote import remote_assets
from catalog.selection import select
from catalog.table import Asset, write_table
from stage.executor import executor_for
from stage.workspace import Workspace


def build_catalog(parameters: CatalogParameters, seed: int, workspace: Workspace) -> list[Asset]:
    """Write the catalogue of a workspace.

    Reads the source and the uid lists; writes `data/catalog/catalog.parquet`, and for composed objects their packs. Downloaded
    files go to the store.

    Raises:
        InputError: when the source's folder is missing or empty, or a uid list is unreadable.
        DownloadError: when a source's list cannot be had.
        StageFailedError: when too many objects cannot be composed or downloaded.
    """
    workspace.catalog.mkdir(parents=True, exist_ok=True)
    match parameters.source:
        case "procedural" | "scene":
            assets = procedural_assets(parameters, seed, workspace, executor_for(parameters.executor))
        case "folder":
            assets = folder_assets(parameters, workspace)
        case "gso":
            assets = gso_assets(parameters, workspace)
        case "objaverse" | "objaverse_xl" | "gso_fuel":
            assets = remote_assets(parameters, seed, workspace)
    # Of downloaded files the true size is known by now.
    assets = select(assets, parameters.selection, seed, workspace)
    write_table(workspace.catalog / "catalog.parquet", assets)
    return assets
