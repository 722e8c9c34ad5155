"""The source `objaverse`: Objaverse 1.0, 798,759 objects of Sketchfab, from its index files on Hugging Face.

`object-paths.json.gz` says where each file is, `metadata/000-NNN.json.gz` whose it is and under which licence,
`lvis-annotations.json.gz` what it is. SHA-256 sums are published in Objaverse-XL's table of the same objects.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from catalog.index_files import IndexFiles
from catalog.listed import listed_asset, mapping, number, text
from catalog.source_parameters import ObjaverseParameters
from catalog.split import SplitParameters
from catalog.table import Asset

PAGES = "https://sketchfab.com/3d-models/"
_PATH = re.compile(r"glbs/([0-9A-Za-z_-]+)/[^/\x00-\x1f]+\.glb")


def objaverse_assets(
    source: str, parameters: ObjaverseParameters, split: SplitParameters, index: IndexFiles, workers: int
) -> Iterator[Asset]:
    """A row for each object, in order of folder and uid, one folder's metadata in memory at a time.

    Args:
        source: name of the source, for the rows.
        parameters: where the index files are.
        split: shares of the splits.
        index: what reads them.
        workers: simultaneous downloads.

    Raises:
        DownloadError: when an index file cannot be had or is damaged.
    """
    base = parameters.base_url.rstrip("/")
    folders = _folders(index.gzip_json(f"{base}/object-paths.json.gz"), parameters.max_folders)
    categories = _categories(index.gzip_json(f"{base}/lvis-annotations.json.gz"))
    sums = _checksums(parameters.checksums_url, index)
    addresses = {folder: f"{base}/metadata/{folder}.json.gz" for folder in folders}
    index.fetch(addresses.values(), workers, "catalog")
    for folder, paths in folders.items():
        annotations = index.gzip_json(addresses[folder])
        for uid, path in sorted(paths.items()):
            said = mapping(annotations.get(uid))
            yield _asset(uid, said, f"{base}/{quote(path)}", sums.get(uid), categories.get(uid, ()), source, split)


def _folders(paths: Mapping[str, Any], max_folders: int | None) -> dict[str, dict[str, str]]:
    """The objects' paths by their folder, in order; what has no path in a folder is no object."""
    folders: dict[str, dict[str, str]] = defaultdict(dict)
    for uid, path in paths.items():
        if match := _PATH.fullmatch(str(path)):
            folders[match[1]][uid] = match[0]
    return {folder: folders[folder] for folder in sorted(folders)[:max_folders]}


def _categories(annotations: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """LVIS categories by uid, from uids by category."""
    found: dict[str, list[str]] = defaultdict(list)
    for category, uids in sorted(annotations.items()):
        for uid in uids if isinstance(uids, list) else ():
            found[str(uid)].append(text(category))
    return {uid: tuple(names) for uid, names in found.items()}


def _checksums(url: str | None, index: IndexFiles) -> dict[str, bytes]:
    """SHA-256 sums by uid, as bytes: 32 in place of 64 for each of 800,000."""
    sums: dict[str, bytes] = {}
    for batch in index.batches(url, ("fileIdentifier", "sha256")) if url else ():
        pages, hashes = (column.to_pylist() for column in batch.columns)
        sums |= _by_uid(zip(pages, hashes, strict=True))
    return sums


def _by_uid(rows: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, bytes]]:
    for page, sha256 in rows:
        try:
            yield str(page).rstrip("/").rpartition("/")[2], bytes.fromhex(str(sha256))
        except ValueError:
            continue


def _asset(
    uid: str,
    said: dict[str, Any],
    url: str,
    sha256: bytes | None,
    categories: tuple[str, ...],
    source: str,
    split: SplitParameters,
) -> Asset:
    user, tags = mapping(said.get("user")), said.get("tags")
    names = [text(mapping(tag).get("name")) for tag in tags] if isinstance(tags, list) else []
    return listed_asset(
        uid,
        source,
        split,
        file_type="glb",
        url=url,
        page=text(said.get("viewerUrl")) or PAGES + quote(uid),
        sha256=sha256.hex() if sha256 else "",
        size=number(mapping(mapping(said.get("archives")).get("glb")).get("size")) or 0,
        licence=text(said.get("license")),
        author=text(user.get("displayName")) or text(user.get("username")),
        title=text(said.get("name")),
        tags=tuple(name for name in names if name),
        categories=categories,
        faces=number(said.get("faceCount")),
    )
