"""The files of rows that come from the network: brought into the store, and brought back where they are absent.

Rows name them by `scratch/assets/…` in the workspace, whichever machine it is on; another folder that holds them in
truth, for many workspaces or on a larger disk, is linked there.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from catalog.companions import WITH_COMPANIONS, package
from catalog.downloads import Request, Task, each, fetch
from catalog.folder import companions_sha256
from catalog.gso import MESH, category
from catalog.gso_fuel import fetch_model
from catalog.http_client import HttpClient
from catalog.object_store import ObjectStore
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.errors import InputError
from stage.failures import Outcome
from stage.files import file_sha256, temporary_name
from stage.parameters import load_section
from stage.workspace import Workspace

PLACE = "scratch/assets"
_SHOWN = 3


def opened_store(workspace: Workspace, folder: str | None) -> ObjectStore:
    """The store of a workspace, at `PLACE` or linked there.

    Args:
        workspace: whose store.
        folder: where it is in truth, absolute or relative to the workspace; None for the place itself.

    Raises:
        InputError: when there are files at the place and `folder` is another.
    """
    place = workspace.root / PLACE
    place.parent.mkdir(parents=True, exist_ok=True)
    target = (workspace.root / folder).resolve() if folder else None
    if target and target != place.resolve():
        if place.exists() and not place.is_symlink():
            raise InputError(
                f"{place} is a folder, so it cannot lead to {target}", "move what it holds there, and remove it"
            )
        target.mkdir(parents=True, exist_ok=True)
        link = temporary_name(place)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        link.replace(place)
    elif not target and place.is_symlink():
        place.unlink()
    return ObjectStore(place)


def bring(
    assets: Sequence[Asset], store: ObjectStore, client: HttpClient, parameters: CatalogParameters, stage: str
) -> Iterator[Outcome]:
    """Bring the files of rows into the store, those that are there without asking anyone.

    The results hold what is then known of a row: `path`, `sha256`, `bytes`, and where they say more `companions_sha256` and
    `categories`.

    Args:
        assets: rows with a URL.
        store: where files go.
        client: what they are asked with.
        parameters: limits and number of workers.
        stage: name for progress and errors.

    Yields:
        One outcome a row, in order of completion.

    Raises:
        StageFailedError: when the disk is full.
    """
    work = partial(_bring, store, client, parameters)
    tasks: Iterable[Task] = (Task(asset.uid, partial(work, asset)) for asset in assets)
    return each(tasks, workers=parameters.download.workers, stage=stage, total=len(assets))


def _bring(
    store: ObjectStore, client: HttpClient, parameters: CatalogParameters, asset: Asset, stop: threading.Event
) -> dict[str, Any]:
    limit = parameters.download.max_bytes
    if asset.source == "gso_fuel":
        folder = fetch_model(asset.title, asset.url, store.root / "gso", client, parameters.fuel.archive, limit, stop)
        return _scanned(folder, store.root)
    request = Request(asset.uid, asset.url, asset.sha256 or None, extension=asset.file_type)
    result = fetch(request, store, client, limit, stop)
    known = {"path": f"{PLACE}/{result['path']}", "sha256": result["sha256"], "bytes": result["bytes"]}
    if asset.file_type not in WITH_COMPANIONS:
        return known
    whole = package(request, store.root / result["path"], store, client, limit, stop)
    return {**known, "path": f"{PLACE}/{whole.path}", "companions_sha256": whole.companions_sha256} if whole else known


def _scanned(folder: Path, root: Path) -> dict[str, Any]:
    mesh = folder / MESH
    return {
        "path": f"{PLACE}/{mesh.relative_to(root).as_posix()}",
        "sha256": file_sha256(mesh),
        "bytes": mesh.stat().st_size,
        "companions_sha256": companions_sha256(mesh),
        "categories": category(folder / "metadata.pbtxt"),
    }


def bring_back(assets: Sequence[Asset], workspace: Workspace) -> None:
    """Download the files of a catalogue that another machine made, or whose scratch folder was deleted.

    What cannot be had stays absent, and is a missing file to whoever reads it; how many and why is said on standard error.

    Args:
        assets: rows with a URL whose files are absent.
        workspace: whose parameters say how files are downloaded.

    Raises:
        StageFailedError: when the disk is full.
    """
    parameters = load_section(workspace.parameters, "catalog", CatalogParameters)
    store = opened_store(workspace, parameters.store)
    with HttpClient(parameters.download) as client:
        failed = [o for o in bring(assets, store, client, parameters, "assets") if not o.ok]
    for outcome in failed[:_SHOWN]:
        print(f"assets: cannot bring back {outcome.uid}: {outcome.message}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"assets: cannot bring back {len(failed) - _SHOWN} more", file=sys.stderr)
