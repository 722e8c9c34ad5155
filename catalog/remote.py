"""Sources on the network: listed, selected, and only then downloaded.

Lists may have ten million rows. They are read piece by piece, and of each piece only what is selected is kept, with a number
of the rows that are left out.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from heapq import nsmallest
from itertools import chain, islice
from typing import Any

from catalog.asset_files import bring, opened_store
from catalog.gso_fuel import fuel_assets
from catalog.http_client import HttpClient
from catalog.index_files import IndexFiles
from catalog.objaverse import objaverse_assets
from catalog.objaverse_xl import objaverse_xl_assets
from catalog.parameters import CatalogParameters
from catalog.selection import SelectionParameters, select
from catalog.table import Asset
from stage.errors import InputError
from stage.failures import Outcome, check_failure_rate
from stage.files import write_text
from stage.workspace import Workspace

FAILURES = "catalog_downloads.jsonl"
_PIECE = 200_000


def remote_assets(parameters: CatalogParameters, seed: int, workspace: Workspace) -> list[Asset]:
    """The rows of a source on the network, the files of the selected ones downloaded.

    An object whose download fails is a row that is left out; what went wrong is in `scratch/catalog_downloads.jsonl`.

    Raises:
        DownloadError: when the source's list cannot be had.
        InputError: when it is empty, a uid list is unreadable, or the store cannot be where it shall.
        StageFailedError: when more than `max_failure_rate` of the downloads fail, or the disk is full.
    """
    store = opened_store(workspace, parameters.store)
    with HttpClient(parameters.download) as client:
        index = IndexFiles(store.root / "indexes", client)
        rows = _narrowed(_listed(parameters, index, client), parameters, seed, workspace)
        if not rows:
            raise InputError(f"the source {parameters.source} lists no object", "check its parameters")
        wanted = [asset for asset in rows if asset.selected]
        outcomes = {o.uid: o for o in bring(wanted, store, client, parameters, "catalog")}
    failed = [outcomes[asset.uid] for asset in wanted if not outcomes[asset.uid].ok]
    write_text(workspace.scratch / FAILURES, "".join(json.dumps(outcome.row()) + "\n" for outcome in failed))
    check_failure_rate("catalog", failed, len(wanted), parameters.max_failure_rate)
    return _without_copies([_downloaded(asset, outcomes.get(asset.uid)) for asset in rows])


def _listed(parameters: CatalogParameters, index: IndexFiles, client: HttpClient) -> Iterator[Asset]:
    split, workers = parameters.split, parameters.download.workers
    match parameters.source:
        case "objaverse":
            return objaverse_assets("objaverse", parameters.objaverse, split, index, workers)
        case "objaverse_xl":
            return objaverse_xl_assets(parameters.objaverse_xl, parameters.objaverse, split, index, workers)
        case _:
            return fuel_assets(parameters.fuel, split, client)


def _narrowed(listed: Iterable[Asset], parameters: CatalogParameters, seed: int, workspace: Workspace) -> list[Asset]:
    """The rows in order of uid: all that are to be downloaded, and of the others as many as may be kept."""
    limit = parameters.objaverse_xl.max_left_out if parameters.source == "objaverse_xl" else None
    selection = _before_download(parameters)
    rest = iter(listed)
    kept: list[Asset] = []
    while piece := list(islice(rest, _PIECE)):
        # Who is drawn of a draw's winners and more objects is who would be drawn of all.
        kept = _few_left_out(select(_distinct(chain(kept, piece)), selection, seed, workspace), limit)
    return sorted(kept, key=lambda asset: asset.uid)


def _before_download(parameters: CatalogParameters) -> SelectionParameters:
    """The part of the selection that a list can answer; Fuel's does not say what its models are."""
    selection = parameters.selection
    if parameters.source != "gso_fuel" or not (selection.categories or selection.tags):
        return selection
    return selection.model_copy(update={"categories": None, "tags": None, "max_objects": None})


def _distinct(assets: Iterable[Asset]) -> list[Asset]:
    """The first row of each uid: a list may hold an object twice."""
    rows: dict[str, Asset] = {}
    for asset in assets:
        rows.setdefault(asset.uid, asset)
    return list(rows.values())


def _few_left_out(assets: list[Asset], limit: int | None) -> list[Asset]:
    """All selected rows, and of the others those with the first uids, which are as good as drawn."""
    if limit is None:
        return assets
    left_out = (asset for asset in assets if not asset.selected)
    return [asset for asset in assets if asset.selected] + nsmallest(limit, left_out, key=lambda asset: asset.uid)


def _downloaded(asset: Asset, outcome: Outcome | None) -> Asset:
    """The row with what its download has shown."""
    if outcome is None:
        return asset
    if outcome.failure:
        # Not the message, which may name this machine and its mirrors.
        return asset.excluded(f"download: {outcome.failure}")
    known: dict[str, Any] = outcome.result
    return replace(asset, **known)


def _without_copies(assets: list[Asset]) -> list[Asset]:
    """The same rows; of those with the same bytes the first in order of uid is kept."""
    first: dict[tuple[str, str], str] = {}
    kept = []
    for asset in assets:
        key = (asset.sha256, asset.companions_sha256)
        original = first.setdefault(key, asset.uid) if asset.selected else asset.uid
        kept.append(asset if original == asset.uid else asset.excluded(f"same bytes as {original}"))
    return kept
