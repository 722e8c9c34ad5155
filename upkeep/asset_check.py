"""Assets, hashed again: the store of downloads by the names of its files, others by their rows in the catalogue."""

import re
from collections.abc import Iterator
from pathlib import Path

from catalog.asset_files import PLACE
from catalog.folder import companions_sha256
from catalog.part_file import note_path
from catalog.table import Asset, read_table
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.aside import put_aside
from upkeep.findings import Checked, Finding, together
from upkeep.hashing import hash_files

_OBJECT = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]{1,16})?")
# Made here and published in packs.
_COMPOSED = ("procedural", "scene")
_FETCHED_AGAIN = "the next stage that needs it fetches it again"


def check_assets(place: Workspace, repair: bool = False) -> Checked:
    """The store of downloads with its unfinished parts, and every other file that the catalogue names.

    Args:
        place: whose.
        repair: whether damaged downloads are put aside.
    """
    store = place.root / PLACE
    aside = store / "damaged" if repair else None
    return together([_objects(store, aside), _parts(store), _rows(place, store, aside)])


def _objects(store: Path, aside: Path | None) -> Checked:
    total = sum(1 for _ in _object_files(store))
    found, size = [], 0
    for file in hash_files(_object_files(store), "sha256", "downloads", total):
        size += file.bytes
        if file.digest is None:
            found.append(Finding("asset", str(file.path), f"cannot be read ({file.error})", "mend the disk"))
        elif file.digest != file.path.name.partition(".")[0]:
            problem = f"its bytes have the hash {file.digest[:12]}…, not that of its name"
            found.append(Finding("asset", str(file.path), problem, _put_aside(file.path, aside)))
    return Checked(tuple(found), total, size)


def _object_files(store: Path) -> Iterator[Path]:
    for folder in sorted(store.glob("[0-9a-f][0-9a-f]")):
        yield from sorted(path for path in folder.iterdir() if _OBJECT.fullmatch(path.name))


def _put_aside(path: Path, aside: Path | None) -> str:
    if aside is None:
        return f"viewforge verify --repair puts it aside, and {_FETCHED_AGAIN}"
    return f"put aside at {put_aside(path, aside)}; {_FETCHED_AGAIN}"


def _parts(store: Path) -> Checked:
    """Unfinished downloads: bytes without a note of where they are from are never continued."""
    parts = [path for path in store.glob("*/.*.part") if _size(path)]
    found = [
        Finding("asset", str(path), "an unfinished download that does not say what it is of", "delete it")
        for path in parts
        # One that ended meanwhile has neither.
        if not note_path(path).is_file() and path.exists()
    ]
    return Checked(tuple(found), len(parts))


def _size(path: Path) -> int:
    """Bytes of a file; 0 where a download that ended has just renamed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _rows(place: Workspace, store: Path, aside: Path | None) -> Checked:
    table = place.catalog / "catalog.parquet"
    if not table.is_file():
        return Checked(skipped=(f"assets: there is no catalogue {table}",))
    try:
        assets = [asset for asset in read_table(table) if asset.selected and asset.path and asset.sha256]
    except InputError as error:
        return Checked((Finding("catalogue", str(table), "it cannot be read", str(error)),), 1)
    there = {asset.location(place): asset for asset in assets if _is_apart(asset.location(place), store)}
    found, size = [], 0
    for file in hash_files(there, "sha256", "assets", len(there)):
        size += file.bytes
        asset = there[file.path]
        if problem := _problem(asset, file.path, file.digest):
            found.append(Finding("asset", str(file.path), problem, _remedy(asset, file.path, aside)))
    return Checked(tuple(found), len(there) + 1, size)


def _is_apart(path: Path, store: Path) -> bool:
    """Whether a file is there, and not one of the store's, whose names have been compared already."""
    return path.is_file() and not (path.parent.parent == store and _OBJECT.fullmatch(path.name))


def _problem(asset: Asset, path: Path, digest: str | None) -> str:
    if digest is None:
        return "cannot be read"
    if digest != asset.sha256:
        return f"its bytes have the hash {digest[:12]}…, and the catalogue names {asset.sha256[:12]}…"
    if asset.companions_sha256 and companions_sha256(path) != asset.companions_sha256:
        return "the files that belong to it are not those that the catalogue names"
    return ""


def _remedy(asset: Asset, path: Path, aside: Path | None) -> str:
    if asset.url:
        return _put_aside(path, aside)
    if asset.source in _COMPOSED:
        return f"delete {path.parent}; the next stage that needs it unpacks it again"
    return "put the file back, or take it as it is now: viewforge catalog"
