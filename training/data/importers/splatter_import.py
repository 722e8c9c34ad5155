"""Splatter images of a published set, as the stage `splatter` would have made them: folders, packs and `splatters.parquet`.

A folder has `splatter_0.ply` …, `fused.ply`, `splatter.safetensors`, `transforms.json` and `record.json`. How near the Gaussians
are to their pictures is not measured, so the table has no scores.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blender_render.rendered_object import is_complete, read_record, write_cameras
from blender_render.splatter_files import write_splatter_files
from geometry.gaussians import Gaussians
from stage.errors import InputError
from stage.failures import FailureClass
from stage.files import json_sha256, replacing, replacing_folder, write_json
from stage.packs import object_folder, write_packs
from stage.workspace import Workspace
from training.data.importers.candidates import ImportedSplatter, PartFailedError

PART = "splatter"
_FIELDS = ("means", "quaternions", "scales", "opacities", "colours")
_COLUMNS = pa.schema(
    [
        ("uid", pa.string()),
        *((name, pa.int64()) for name in ("gaussians", "union_gaussians")),
        *((name, pa.string()) for name in ("failure", "message")),
    ]
)


def write_splatter_object(root: Path, uid: str, source: str, splatter: ImportedSplatter) -> None:
    """Write one object's folder, unless it is there.

    Args:
        root: folder of loose object folders.
        uid: the object.
        source: what the catalogue calls the set.
        splatter: what is written.

    Raises:
        PartFailedError: when a value is beyond float16.
    """
    folder, fingerprint = object_folder(root, uid), _fingerprint(splatter)
    if is_complete(folder, fingerprint):
        return
    record = {
        "uid": uid,
        "source": source,
        "fingerprint": fingerprint,
        "gaussians": len(splatter.fused),
        "union_gaussians": sum(int((image.opacities > 0.0).sum()) for image in splatter.images),
    }
    with replacing_folder(folder) as temporary:
        try:
            write_splatter_files(temporary, splatter.images, splatter.fused, splatter.cameras)
        except InputError as error:
            what = str(error).replace(f"{temporary}/", "").partition(";")[0]
            raise PartFailedError(PART, FailureClass.PARSE, what) from None
        write_json(temporary / "record.json", record)
        write_cameras(temporary, splatter.cameras, [])


def publish_splatters(workspace: Workspace, root: Path, failures: Mapping[str, tuple[str, str]], packs: int) -> None:
    """Write the packs of a workspace's splatter images, and the table that says that they are whole.

    Args:
        workspace: the workspace.
        root: folder of loose object folders.
        failures: of every object its failure's class and message, empty where it is complete.
        packs: tar files.
    """
    table = workspace.splatters / "splatters.parquet"
    table.unlink(missing_ok=True)
    complete = [uid for uid, (failure, _) in sorted(failures.items()) if not failure]
    write_packs(root, complete, workspace.splatters, packs)
    rows = [_row(root, uid, *failures[uid]) for uid in sorted(failures)]
    with replacing(table) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_COLUMNS), temporary)


def _row(root: Path, uid: str, failure: str, message: str) -> dict[str, Any]:
    record = {} if failure else read_record(object_folder(root, uid))
    counts = {name: record.get(name, 0) for name in ("gaussians", "union_gaussians")}
    return {"uid": uid, **counts, "failure": failure, "message": message}


def _fingerprint(splatter: ImportedSplatter) -> str:
    cameras = [[view.c2w.tolist(), vars(view.intrinsics)] for view in splatter.cameras]
    return json_sha256([cameras, [_hash(gaussians) for gaussians in (*splatter.images, splatter.fused)]])


def _hash(gaussians: Gaussians) -> str:
    digest = hashlib.sha256()
    for name in _FIELDS:
        digest.update(np.ascontiguousarray(getattr(gaussians, name)).data)
    return digest.hexdigest()
