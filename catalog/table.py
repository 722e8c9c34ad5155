"""The catalogue as a table: a row an object, with where it comes from, its checksum, its split, and why it is left out."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from stage.errors import InputError
from stage.files import replacing
from stage.packs import unpack_missing
from stage.workspace import Workspace

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Asset:
    """One object of the catalogue."""

    uid: str
    """Identifier, letters and digits, unique in the catalogue."""
    source: str
    """Name of the source: procedural, folder or gso."""
    path: str
    """The asset's file, absolute or relative to the workspace."""
    sha256: str
    companions_sha256: str
    """Hash of the buffers, materials and textures that lie beside a glTF or OBJ file; empty for self-contained types."""
    bytes: int
    file_type: str
    """glb, gltf, obj, stl, ply or fbx."""
    up_axis: str
    """Up axis of the file, Y or Z, for formats that do not say."""
    licence: str
    """SPDX identifier or the publisher's words; "unknown" where nobody said."""
    author: str
    title: str
    tags: tuple[str, ...]
    split: str
    """train, val or test, from the uid alone."""
    selected: bool
    reason: str
    """Why the object is left out; empty when it is selected."""

    def excluded(self, reason: str) -> "Asset":
        """The same object, left out for a reason."""
        return replace(self, selected=False, reason=reason)

    def location(self, workspace: Workspace) -> Path:
        """The asset's file; absolute paths stay as they are."""
        return workspace.root / self.path


def write_table(path: Path, assets: Iterable[Asset]) -> None:
    """Write the catalogue, sorted by uid, as parquet; the same rows give the same bytes."""
    rows = [{**asdict(asset), "tags": list(asset.tags)} for asset in sorted(assets, key=lambda a: a.uid)]
    frame = pd.DataFrame(rows, columns=[field.name for field in fields(Asset)])
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_table(path: Path) -> list[Asset]:
    """The rows of a catalogue.

    Raises:
        InputError: when there is none, it is no parquet or has other columns.
    """
    try:
        rows = pd.read_parquet(path).to_dict("records")
        return [Asset(**{**row, "tags": tuple(row["tags"])}) for row in rows]  # type: ignore[arg-type]
    except FileNotFoundError:
        raise InputError(f"no catalogue {path}", "run viewforge catalog first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {error}", "run viewforge catalog again") from None


def selected_assets(workspace: Workspace) -> list[Asset]:
    """The selected objects of a workspace's catalogue, their files brought back from packs where they are absent.

    Raises:
        InputError: when none is selected.
    """
    assets = [asset for asset in read_table(workspace.catalog / "catalog.parquet") if asset.selected]
    if not assets:
        raise InputError(f"{workspace.catalog} selects no object", "see the column reason of catalog.parquet")
    made = [asset.uid for asset in assets if asset.source == "procedural"]
    unpack_missing(workspace.catalog, workspace.scratch / "catalog", made)
    return assets
