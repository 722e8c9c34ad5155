"""The catalogue as a table: a row an object, with where it comes from, its checksum, its split, and why it is left out.

It is read and written column by column: a hundred thousand rows take a second, and equal texts share their memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

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
    """Name of the source, as `catalog.source` calls it."""
    path: str
    """The asset's file, absolute or relative to the workspace; empty while it is not downloaded."""
    sha256: str
    companions_sha256: str
    """Hash of the buffers, materials and textures that lie beside a glTF or OBJ file; empty for self-contained types."""
    bytes: int
    """Size of the file; 0 for a file that is to be downloaded and whose publisher does not say."""
    file_type: str
    """glb, gltf, obj, stl, ply or fbx."""
    up_axis: str
    """Up axis of the file, Y or Z, for formats that do not say."""
    licence: str
    """SPDX identifier or the publisher's words (`catalog.licences` reads both); "unknown" where nobody said."""
    author: str
    title: str
    tags: tuple[str, ...]
    split: str
    """train, val or test, from the uid alone."""
    selected: bool
    reason: str
    """Why the object is left out; empty when it is selected."""
    url: str = ""
    """Where the file is downloaded from; empty for local files."""
    page: str = ""
    """Where people see the object, which attribution refers to: `url` may be a mirror of bare files. Empty if there is none."""
    faces: int | None = None
    """Number of faces as the publisher counts them; None where nobody said."""
    categories: tuple[str, ...] = ()
    """What the object is, in the publisher's or annotators' fixed vocabulary, such as LVIS; tags are in free words."""

    def excluded(self, reason: str) -> "Asset":
        """The same object, left out for a reason."""
        # Three times as fast as `dataclasses.replace`, which matters to a selection that leaves out most of a million.
        return Asset(**{**vars(self), "selected": False, "reason": reason})

    def location(self, workspace: Workspace) -> Path:
        """The asset's file; absolute paths stay as they are."""
        return workspace.root / self.path


_TEXTS = pa.list_(pa.string())
_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    int | None: pa.int64(),
    bool: pa.bool_(),
    tuple[str, ...]: _TEXTS,
}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in get_type_hints(Asset).items()])
# Sources whose files are made here and published in packs.
COMPOSED = ("procedural", "scene")
# Small pieces and no read-ahead: what is decoded at once would otherwise take as much memory as the rows themselves.
_GROUP_ROWS = 10_000
_BATCH_ROWS = 2_000


def write_table(path: Path, assets: Iterable[Asset]) -> None:
    """Write the catalogue, sorted by uid, as parquet; the same rows give the same bytes."""
    rows = sorted(assets, key=lambda asset: asset.uid)
    columns = {name: [getattr(asset, name) for asset in rows] for name in _SCHEMA.names}
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=_SCHEMA), temporary, row_group_size=_GROUP_ROWS)


def read_table(path: Path) -> list[Asset]:
    """The rows of a catalogue.

    Raises:
        InputError: when there is none, it is no parquet or has other columns.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            _check_columns(file.schema_arrow, path)
            batches = file.iter_batches(_BATCH_ROWS, use_threads=False)
            return [asset for batch in batches for asset in _rows(batch)]
    except FileNotFoundError:
        raise InputError(f"no catalogue {path}", "run viewforge catalog first") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}", "run viewforge catalog again") from None


def _check_columns(found: pa.Schema, path: Path) -> None:
    """Refuse a table of something else, or of another version of viewforge."""
    if not found.equals(_SCHEMA):
        strange = sorted(set(_SCHEMA.names) ^ set(found.names)) or ["their types"]
        raise InputError(f"{path} has other columns: {', '.join(strange)}", "run viewforge catalog again")


def _rows(batch: pa.RecordBatch) -> Iterator[Asset]:
    return map(Asset, *map(_values, batch.columns))


def _values(column: pa.Array) -> list[Any]:
    """The values of a column as Python's; equal texts are one object in memory."""
    if pa.types.is_list(column.type):
        texts = _values(column.values)
        return [tuple(texts[start:end]) for start, end in pairwise(column.offsets.to_pylist())]
    if pa.types.is_string(column.type):
        encoded = column.dictionary_encode()
        distinct = encoded.dictionary.to_pylist()
        return [distinct[number] for number in encoded.indices.to_pylist()]
    return column.to_pylist()


def selected_assets(workspace: Workspace) -> list[Asset]:
    """The selected objects of a workspace's catalogue, their files brought back where they are absent.

    Raises:
        InputError: when none is selected, or as `with_files`.
    """
    return with_files(selected_rows(workspace), workspace)


def selected_rows(workspace: Workspace) -> list[Asset]:
    """The selected objects of a workspace's catalogue, for those who do not read their files.

    Raises:
        InputError: when none is selected.
    """
    assets = [asset for asset in read_table(workspace.catalog / "catalog.parquet") if asset.selected]
    if not assets:
        raise InputError(f"{workspace.catalog} selects no object", "see the column reason of catalog.parquet")
    return assets


def with_files(assets: list[Asset], workspace: Workspace) -> list[Asset]:
    """The same objects, their files brought back from packs or from their publisher where they are absent.

    A file that its publisher no longer has stays absent, which is its object's failure where it is read.

    Raises:
        InputError: when packs lack an object, or files are to be downloaded and there are no parameters that say how.
        StageFailedError: when the disk is full.
    """
    made = [asset.uid for asset in assets if asset.source in COMPOSED]
    unpack_missing(workspace.catalog, workspace.scratch / "catalog", made)
    if absent := [asset for asset in assets if asset.url and not asset.location(workspace).is_file()]:
        # Rare, and it needs the network's libraries, which also build on this module.
        from catalog.asset_files import bring_back

        bring_back(absent, workspace)
    return assets
