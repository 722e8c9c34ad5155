"""Files that a glTF or OBJ file refers to: buffers, materials, textures; downloaded beside it into a folder of its own.

Only relative paths that stay in the asset's folder or below it are followed; whatever else a file refers to is not looked at,
and the stages behind refuse or report it. A companion that the publisher does not have is left out: its
absence is a missing texture, or a file that cannot be read.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from catalog.downloads import Request, fetch
from catalog.http_client import HttpClient
from catalog.http_errors import DownloadError
from catalog.object_store import ObjectStore
from stage.failures import FailureClass, ObjectFailedError
from stage.files import json_sha256, replacing_folder
from stage.foreign_files import parse_json

WITH_COMPANIONS = ("gltf", "obj")
_FORBIDDEN = re.compile(r"[\\:\x00-\x1f\x7f]")
_SUFFIX = re.compile(r"[A-Za-z0-9]{1,16}")
_MTLLIB = re.compile(rb"\s*mtllib\s+(.+?)\s*")
# Wavefront: a statement's options, each with words or numbers, then the file's name.
_MAP = re.compile(
    rb"\s*(?:map_\w+|bump|disp|decal|refl|norm)\s+(?:-\w+(?:\s+(?:on|off|[-+.\d]+))*\s+)*(.+?)\s*", re.IGNORECASE
)
_MAX_TEXT_BYTES = 2**28
_MAX_COMPANIONS = 500


@dataclass(frozen=True)
class Package:
    """An asset in a folder with what it refers to."""

    path: str
    """The asset's file, relative to the store's root."""
    companions_sha256: str
    """Hash of the companions' names and contents."""
    bytes: int
    """Size of all companions."""


def package(
    request: Request, asset: Path, store: ObjectStore, client: HttpClient, max_bytes: int | None, stop: threading.Event
) -> Package | None:
    """Bring what an asset refers to, and lay both into `<root>/packages/`, under the hash of all contents.

    Args:
        request: where the asset is from, which companions lie beside.
        asset: its file in the store.
        store: where everything goes.
        client: what companions are asked with.
        max_bytes: limit on one companion.
        stop: ends the downloads.

    Returns:
        The package; None for an asset that refers to no file.

    Raises:
        ObjectFailedError: PARSE when the asset cannot be read, UNSAFE when it refers to too many files.
        DownloadError: when a companion cannot be had for another reason than that there is none.
    """

    def bring(name: str) -> str | None:
        suffix = PurePosixPath(name).suffix.removeprefix(".")
        extension = suffix if _SUFFIX.fullmatch(suffix) else ""
        wanted = Request(request.uid, urljoin(request.url, quote(name)), extension=extension)
        try:
            return str(fetch(wanted, store, client, max_bytes, stop)["path"])
        except DownloadError as error:
            if error.failure is FailureClass.MISSING:
                return None
            raise

    found = _companions(asset, request.extension, lambda path: store.root / path, bring)
    return _laid_out(request, asset, found, store.root) if found else None


def _companions(
    asset: Path, file_type: str, place: Callable[[str], Path], bring: Callable[[str], str | None]
) -> dict[str, str]:
    """Path in the store by the path relative to the asset."""
    found: dict[str, str] = {}
    waiting = list(references(asset, file_type))
    asked = set(waiting)
    while waiting:
        if len(asked) > _MAX_COMPANIONS:
            raise ObjectFailedError(FailureClass.UNSAFE, f"{asset.name} refers to more than {_MAX_COMPANIONS} files")
        name = waiting.pop()
        if (path := bring(name)) is None:
            continue
        found[name] = path
        if name.lower().endswith(".mtl"):
            below = [_joined(PurePosixPath(name).parent, texture) for texture in references(place(path), "mtl")]
            fresh = {one for one in below if one} - asked
            asked |= fresh
            waiting += sorted(fresh)
    return found


def _laid_out(request: Request, asset: Path, found: dict[str, str], root: Path) -> Package:
    contents = sorted((name, PurePosixPath(path).stem) for name, path in found.items())
    # Whatever the file is called, its own name in the package is fixed.
    main = f"asset.{request.extension}"
    key = json_sha256([asset.stem, contents])
    folder = root / "packages" / key[:2] / key
    if not folder.is_dir():
        with replacing_folder(folder) as temporary:
            for name, path in {**found, main: asset.relative_to(root).as_posix()}.items():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                # The same file under two names: nothing writes to either.
                os.link(root / path, target)
    size = sum((root / path).stat().st_size for path in found.values())
    return Package((folder / main).relative_to(root).as_posix(), json_sha256(contents), size)


def references(path: Path, file_type: str) -> Iterator[str]:
    """The relative paths that a file of type gltf, obj or mtl refers to, each once, if they stay at or below its folder.

    Raises:
        ObjectFailedError: PARSE when a glTF file is no JSON object or a file of text is too long.
    """
    names = (
        _gltf_names(path) if file_type == "gltf" else _wavefront_names(path, _MAP if file_type == "mtl" else _MTLLIB)
    )
    return iter(dict.fromkeys(name for name in map(_inside, names) if name))


def _gltf_names(path: Path) -> Iterable[str]:
    if path.stat().st_size > _MAX_TEXT_BYTES:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} is a glTF text of more than {_MAX_TEXT_BYTES} bytes")
    try:
        document: Any = parse_json(path.read_bytes())
    except ValueError as error:
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} holds no glTF JSON: {error}") from None
    if not isinstance(document, dict):
        raise ObjectFailedError(FailureClass.PARSE, f"{path.name} holds no glTF object")
    lists = [document.get(key) for key in ("buffers", "images")]
    items = [item for entries in lists if isinstance(entries, list) for item in entries if isinstance(item, dict)]
    return [unquote(item["uri"]) for item in items if isinstance(item.get("uri"), str) and _is_relative(item["uri"])]


def _is_relative(uri: str) -> bool:
    try:
        return not urlsplit(uri).scheme
    except ValueError:
        return False


def _wavefront_names(path: Path, statement: re.Pattern[bytes]) -> Iterator[str]:
    with path.open("rb") as stream:
        for line in iter(lambda: stream.readline(1 << 16), b""):
            if match := statement.fullmatch(line):
                # Written on Windows more often than not.
                yield match[1].decode(errors="replace").strip('"').replace("\\", "/")


def _inside(name: str) -> str | None:
    """The path without detours; None when it leads out of the folder or is none."""
    return _joined(PurePosixPath(), name)


def _joined(folder: PurePosixPath, name: str) -> str | None:
    path = folder / name
    if path.is_absolute() or ".." in path.parts or not path.parts or _FORBIDDEN.search(str(path)) or len(name) > 1000:
        return None
    return path.as_posix()
