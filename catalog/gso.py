"""The `gso` source: Google Scanned Objects in their own folder layout.

An object is a folder with `meshes/model.obj`, its texture in `materials/textures/` and `metadata.pbtxt` beside them. The
meshes are Z-up, which the OBJ format does not say.
"""

import re
from pathlib import Path
from urllib.parse import quote

from catalog.folder import file_asset, source_root, uid_of
from catalog.parameters import CatalogParameters
from catalog.table import Asset
from stage.errors import InputError
from stage.workspace import Workspace

PAGES = "https://app.gazebosim.org/GoogleResearch/fuel/models/"
MESH = "meshes/model.obj"
_CATEGORY = re.compile(r'categories\s*\{[^}]*first:\s*"([^"]*)"')


def gso_assets(parameters: CatalogParameters, workspace: Workspace) -> list[Asset]:
    """A row for each object folder directly below the source's folder.

    Raises:
        InputError: when the folder is missing or holds no object.
    """
    root = source_root(parameters, workspace)
    meshes = sorted(root.glob(f"*/{MESH}"))
    if not meshes:
        raise InputError(f"{root} holds no Google Scanned Object", f"expected folders with {MESH}")
    return [_asset(path, parameters, workspace) for path in meshes]


def _asset(mesh: Path, parameters: CatalogParameters, workspace: Workspace) -> Asset:
    folder = mesh.parent.parent
    return file_asset(
        uid_of(folder.name),
        "gso",
        mesh,
        parameters,
        workspace,
        title=folder.name,
        file_type="obj",
        up_axis="Z",
        licence="CC-BY-4.0",
        author="Google Research",
        categories=category(folder / "metadata.pbtxt"),
        page=PAGES + quote(folder.name),
    )


def category(metadata: Path) -> tuple[str, ...]:
    """What an object is, as its `metadata.pbtxt` says; nothing where there is none."""
    if not metadata.is_file():
        return ()
    return tuple(_CATEGORY.findall(metadata.read_text(errors="replace")))
