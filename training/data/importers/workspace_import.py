"""A published data set becomes a workspace whose objects are rendered already, so that `viewforge shard` and `train` follow.

Writes what the stages `catalog` and `render` would: `data/catalog/catalog.parquet`, the packs of object folders and
`objects.parquet` in `data/renders/`, and the loose folders in `scratch/renders/`. A folder has `000.png` (the published bytes),
`000.npy`, `transforms.json` and `record.json`. Where the set has splatter images, `data/splatters/` and `scratch/splatters/` get
what the stage `splatter` would have written (`training.data.importers.splatter_import`). What is written already is kept, so a
killed import goes on where it was.

Incomplete and damaged objects are left out; `objects.parquet` and the catalogue say why.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blender_render.rendered_object import is_complete, write_cameras
from catalog.split import SplitParameters, split_of
from catalog.table import Asset, read_table, write_table
from geometry.cameras import zero123_from_c2w
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from stage.files import json_sha256, remove_leftovers, replacing, replacing_folder, write_json, write_text
from stage.packs import object_folder, pack_of, write_packs
from stage.progress import Progress
from stage.workspace import Workspace
from training.data.importers.candidates import (
    MAX_VIEWS,
    Candidate,
    ImportedViews,
    PartFailedError,
    PublishedSet,
    check_uid,
)
from training.data.importers.splatter_import import publish_splatters, write_splatter_object

Item = TypeVar("Item")
Result = TypeVar("Result")
_PARAMETERS = "# Written by viewforge shards import; the stages' own defaults apply where nothing is said.\nseed: 0\n"
_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("uid", "title", "split", "licence")),
        ("complete", pa.bool_()),
        *((name, pa.string()) for name in ("failure", "message")),
        ("pack", pa.int64()),
        ("fingerprint", pa.string()),
        ("views", pa.int64()),
        ("mean_coverage", pa.float64()),
        *((name, pa.int64()) for name in ("vertices", "faces")),
        ("warnings", pa.string()),
    ]
)


@dataclass(frozen=True)
class Imported:
    """What became of one candidate."""

    uid: str
    fingerprint: str = ""
    views: int = 0
    bytes: int = 0
    coverage: float = 0.0
    category: str = ""
    failure: str = ""
    """A failure's class; empty when the object is complete."""
    message: str = ""
    part: str = ""
    """Of a set whose objects have several parts, the one that cannot be used."""
    splatter: bool = False
    """Whether it has splatter images."""


def import_set(
    published: PublishedSet,
    workspace: Workspace,
    packs: int = 4,
    shares: SplitParameters | None = None,
    workers: int | None = None,
) -> list[Imported]:
    """Import a data set; what became of each of its objects, by uid.

    Args:
        published: the set.
        workspace: a new one, or one that the same set was imported into before.
        packs: tar files that the objects are published in.
        shares: of the objects that are held out.
        workers: threads that read and check; the machine's cores if None.

    Raises:
        InputError: when the workspace holds objects of another source, or no object is complete.
    """
    _check_workspace(workspace, published.source)
    root, splatters = workspace.scratch / "renders", workspace.scratch / "splatters"
    remove_leftovers(root)
    remove_leftovers(splatters)
    done: dict[str, Imported] = {}
    failed = 0
    with Progress("import", published.total, "objects") as progress:
        work = partial(_import_candidate, root, splatters, published.source)
        for imported in _in_order(work, _once(published.candidates), workers or len(os.sched_getaffinity(0))):
            done[imported.uid] = imported
            failed += bool(imported.failure)
            progress.advance(failed=failed)
    results = [done[uid] for uid in sorted(done)]
    complete = [imported.uid for imported in results if not imported.failure]
    if not complete:
        why = f", {results[0].uid}: {results[0].message}" if results else ""
        raise InputError(f"none of {len(results)} objects is complete{why}", "compare it with docs/howto-shards.md")
    # The table says that the packs are whole, so an old one goes before the first of its packs does.
    (workspace.renders / "objects.parquet").unlink(missing_ok=True)
    write_packs(root, complete, workspace.renders, packs)
    if any(imported.splatter for imported in results):
        failures = {each.uid: (each.failure, each.message) for each in results}
        publish_splatters(workspace, splatters, failures, packs)
    _write_tables(results, published, workspace, packs, shares or SplitParameters())
    return results


def _check_workspace(workspace: Workspace, source: str) -> None:
    path = workspace.catalog / "catalog.parquet"
    others = {asset.source for asset in read_table(path)} - {source} if path.is_file() else set()
    if others:
        raise InputError(f"{workspace.root} holds objects of {min(others)}", "import into a new folder")
    if not workspace.parameters.is_file():
        write_text(workspace.parameters, _PARAMETERS)


def _once(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """The first candidate of each uid: the same folder again in an archive is what its writer came back to."""
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.uid not in seen:
            seen.add(candidate.uid)
            yield candidate


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` over threads, with no more than a few items in memory; Pillow decodes without the interpreter's lock."""
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _import_candidate(root: Path, splatters: Path, source: str, candidate: Candidate) -> Imported:
    """Read one object and write its folders, unless they are there."""
    try:
        check_uid(candidate.uid)
        loaded = candidate.load()
        if len(loaded.pictures) > MAX_VIEWS:
            raise ObjectFailedError(FailureClass.OVERSIZED, f"{len(loaded.pictures)} views, over {MAX_VIEWS}")  # noqa: TRY301
        if loaded.splatter:
            write_splatter_object(splatters, candidate.uid, source, loaded.splatter)
    except ObjectFailedError as error:
        part = error.part if isinstance(error, PartFailedError) else ""
        return Imported(candidate.uid, failure=str(error.failure), message=str(error), part=part)
    fingerprint = _fingerprint(loaded)
    folder = object_folder(root, candidate.uid)
    if not is_complete(folder, fingerprint):
        with replacing_folder(folder) as temporary:
            _write_object(temporary, candidate.uid, source, fingerprint, loaded)
    return Imported(
        candidate.uid,
        fingerprint,
        views=len(loaded.views),
        bytes=sum(map(len, loaded.pictures)),
        coverage=float(np.mean(loaded.coverage)),
        category=loaded.category,
        splatter=loaded.splatter is not None,
    )


def _fingerprint(loaded: ImportedViews) -> str:
    cameras = [[view.c2w.tolist(), asdict(view.intrinsics)] for view in loaded.views]
    return json_sha256([[hashlib.sha256(picture).hexdigest() for picture in loaded.pictures], cameras])


def _write_object(folder: Path, uid: str, source: str, fingerprint: str, loaded: ImportedViews) -> None:
    for number, (picture, view) in enumerate(zip(loaded.pictures, loaded.views, strict=True)):
        stem = folder / f"{number:03d}"
        stem.with_suffix(".png").write_bytes(picture)
        np.save(stem.with_suffix(".npy"), zero123_from_c2w(view.c2w))
    coverage = [round(value, 6) for value in loaded.coverage]
    write_json(
        folder / "record.json", {"uid": uid, "source": source, "fingerprint": fingerprint, "coverage": coverage}
    )
    write_cameras(folder, loaded.views, [])


def _write_tables(
    results: list[Imported], published: PublishedSet, workspace: Workspace, packs: int, shares: SplitParameters
) -> None:
    """The catalogue and `objects.parquet`, which comes last: it says that the packs are whole."""
    splits = {imported.uid: split_of(published.split_key(imported.uid), shares) for imported in results}
    assets = [_asset(imported, published.source, splits[imported.uid]) for imported in results]
    write_table(workspace.catalog / "catalog.parquet", assets)
    rows = [_row(imported, splits[imported.uid], packs) for imported in results]
    with replacing(workspace.renders / "objects.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), temporary)


def _asset(imported: Imported, source: str, split: str) -> Asset:
    asset = Asset(
        uid=imported.uid,
        source=source,
        path="",
        sha256=imported.fingerprint,
        companions_sha256="",
        bytes=imported.bytes,
        file_type="views",
        up_axis="Z",
        licence="unknown",
        author="",
        title=imported.uid,
        tags=(),
        split=split,
        selected=True,
        reason="",
        categories=(imported.category,) if imported.category else (),
    )
    return asset.excluded(f"{imported.failure}: {imported.message}") if imported.failure else asset


def _row(imported: Imported, split: str, packs: int) -> dict[str, Any]:
    """The row that the render stage would write."""
    return {
        "uid": imported.uid,
        "title": imported.uid,
        "split": split,
        "licence": "unknown",
        "complete": not imported.failure,
        "failure": imported.failure,
        "message": imported.message,
        "pack": -1 if imported.failure else pack_of(imported.uid, packs),
        "fingerprint": imported.fingerprint,
        "views": imported.views,
        "mean_coverage": imported.coverage,
        "vertices": 0,
        "faces": 0,
        "warnings": "",
    }
