"""The `folder` source: any directory tree of glTF, OBJ, STL, PLY and FBX files."""

import hashlib
from pathlib import Path

from catalog.parameters import CatalogParameters
from catalog.split import split_of
from catalog.table import Asset
from stage.errors import InputError
from stage.files import file_sha256, json_sha256
from stage.workspace import Workspace

FILE_TYPES = ("glb", "gltf", "obj", "stl", "ply", "fbx")
# Their buffers, materials and textures are files of their own: the same bytes may be another object.
_WITH_COMPANIONS = ("gltf", "obj")
_COMPANIONS = {".bin", ".mtl", ".png", ".jpg", ".jpeg", ".webp", ".tga", ".bmp", ".tif", ".tiff", ".exr"}
# Beside the file, below it, and where Google Scanned Objects keep their textures.
_COMPANION_FOLDERS = (".", "textures", "../materials/textures")


def source_root(parameters: CatalogParameters, workspace: Workspace) -> Path:
    """The folder of a source that reads one.

    Raises:
        InputError: when it does not exist.
    """
    root = workspace.root / parameters.path
    if not root.is_dir():
        raise InputError(f"no folder {root}", "set catalog.path to a folder of 3D assets")
    return root


def uid_of(name: str) -> str:
    """A 32-digit hexadecimal uid from a name that is stable within its source."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def folder_assets(parameters: CatalogParameters, workspace: Workspace) -> list[Asset]:
    """A row for each asset file below the folder, in order of path; a second copy of the same bytes is left out.

    Raises:
        InputError: when the folder is missing or holds no asset, or a file's name is not UTF-8.
    """
    root = source_root(parameters, workspace)
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix.lower().lstrip(".") in FILE_TYPES)
    if not files:
        raise InputError(f"{root} holds no asset", f"put files of these types there: {', '.join(FILE_TYPES)}")
    return _without_copies([_asset(path, root, parameters, workspace) for path in files])


def _asset(path: Path, root: Path, parameters: CatalogParameters, workspace: Workspace) -> Asset:
    name = path.relative_to(root).as_posix()
    if not _is_utf8(name):
        raise InputError(f"the name of {name!r} in {root} is not UTF-8", "rename it")
    file_type = path.suffix.lower().lstrip(".")
    return file_asset(uid_of(name), "folder", path, parameters, workspace, title=name, file_type=file_type)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def file_asset(
    uid: str,
    source: str,
    path: Path,
    parameters: CatalogParameters,
    workspace: Workspace,
    *,
    title: str,
    file_type: str,
    up_axis: str = "Y",
    licence: str = "unknown",
    author: str = "unknown",
    tags: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    page: str = "",
) -> Asset:
    """The row of one file, with its checksum and split."""
    return Asset(
        uid=uid,
        source=source,
        path=_recorded_path(path, workspace),
        sha256=file_sha256(path),
        companions_sha256=companions_sha256(path) if file_type in _WITH_COMPANIONS else "",
        bytes=path.stat().st_size,
        file_type=file_type,
        up_axis=up_axis,
        licence=licence,
        author=author,
        title=title,
        tags=tags,
        split=split_of(uid, parameters.split),
        selected=True,
        reason="",
        page=page,
        categories=categories,
    )


def companions_sha256(path: Path) -> str:
    """Hash of the names and contents of all files that an asset may refer to, whether it does or not."""
    folders = [path.parent / folder for folder in _COMPANION_FOLDERS]
    files = [p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir())]
    return json_sha256([[p.name, file_sha256(p)] for p in files if p.is_file() and p.suffix.lower() in _COMPANIONS])


def _recorded_path(path: Path, workspace: Workspace) -> str:
    """Relative to the workspace when the file lies in it, so that the catalogue does not name this machine."""
    resolved, root = path.resolve(), workspace.root.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(resolved)


def _without_copies(assets: list[Asset]) -> list[Asset]:
    first: dict[tuple[str, str], str] = {}
    kept = []
    for asset in assets:
        original = first.setdefault((asset.sha256, asset.companions_sha256), asset.title)
        kept.append(asset if original == asset.title else asset.excluded(f"same bytes as {original}"))
    return kept
