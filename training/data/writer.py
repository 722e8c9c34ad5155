"""The `shard` stage: rendered objects into WebDataset tars, a sample an object, byte-identical on a re-run.

Reads `data/catalog/` and `data/renders/`; finished shards wait in `scratch/shards/`; writes `data/shards/`. A sample's members are
`<uid>.000.png` … (sRGB, straight alpha, as rendered) and `<uid>.cameras.json` (`c2w` in OpenGL axes, intrinsics in pixels).
"""

import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import webdataset
from pydantic import Field

from blender_render.render import rendered_fingerprints
from blender_render.rendered_object import read_views
from catalog.table import SPLITS, Asset, selected_rows
from stage.errors import InputError
from stage.files import json_sha256, remove_leftovers, replacing
from stage.packs import object_folder, unpack_missing
from stage.parameters import Parameters
from stage.progress import Progress
from stage.workspace import Workspace
from training.data.index import INDEX, IndexRow, write_index


class ShardParameters(Parameters):
    """Parameters of the `shard` stage."""

    max_bytes: int = Field(default=64 * 2**20, ge=2**10)
    """Size at which a shard is closed, bytes; 64 MiB for small sets, 256 MiB for large ones."""


def write_shards(parameters: ShardParameters, workspace: Workspace) -> list[IndexRow]:
    """Write the shard set of a workspace's rendered objects; the rows of its index.

    A shard that a killed run finished is kept: its name in scratch space is the hash of what belongs into it.

    Raises:
        InputError: when there are no renders.
    """
    finished = workspace.scratch / "shards"
    finished.mkdir(parents=True, exist_ok=True)
    remove_leftovers(finished)
    remove_leftovers(workspace.shards)
    objects = _rendered(workspace)
    renders = workspace.scratch / "renders"
    unpack_missing(workspace.renders, renders, objects)
    plan = [(split, group) for split in SPLITS for group in _groups(objects, split, renders, parameters.max_bytes)]
    # An index means a whole set, so an old one goes before the first of its shards does.
    (workspace.shards / INDEX).unlink(missing_ok=True)
    numbers: dict[str, int] = {}
    rows: list[IndexRow] = []
    with Progress("shard", len(objects), "objects") as progress:
        for split, group in plan:
            name = f"{split}-{numbers.setdefault(split, 0):06d}.tar"
            numbers[split] += 1
            content = json_sha256([[asset.uid, fingerprint] for asset, fingerprint in group])
            tar = finished / f"{content}.tar"
            if not tar.is_file():
                _write_tar(tar, [asset for asset, _ in group], renders)
            _publish(tar, workspace.shards / name)
            rows += _index(tar, name, [asset for asset, _ in group])
            progress.advance(len(group))
    for stale in {path.name for path in workspace.shards.glob("*.tar")} - {row.shard for row in rows}:
        (workspace.shards / stale).unlink()
    write_index(workspace.shards, rows)
    shutil.rmtree(finished)
    return rows


def _rendered(workspace: Workspace) -> dict[str, tuple[Asset, str]]:
    """The rendered objects of a workspace by uid, each with its rendering's fingerprint."""
    fingerprints = rendered_fingerprints(workspace)
    return {a.uid: (a, fingerprints[a.uid]) for a in selected_rows(workspace) if a.uid in fingerprints}


def _groups(
    objects: dict[str, tuple[Asset, str]], split: str, renders: Path, max_bytes: int
) -> Iterator[list[tuple[Asset, str]]]:
    """The objects of one split, in order of uid, cut into shards of about `max_bytes`."""
    group: list[tuple[Asset, str]] = []
    size = 0
    for uid, entry in sorted(objects.items()):
        if entry[0].split != split:
            continue
        group.append(entry)
        size += sum(path.stat().st_size for path in _pictures(object_folder(renders, uid)))
        if size >= max_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _pictures(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9].png"))


def _write_tar(path: Path, assets: list[Asset], renders: Path) -> None:
    with replacing(path) as temporary, webdataset.TarWriter(str(temporary), mtime=0, encoder=False) as archive:
        for asset in assets:
            archive.write(_sample(asset, object_folder(renders, asset.uid)))


def _sample(asset: Asset, folder: Path) -> dict[str, str | bytes]:
    views = read_views(folder)
    cameras = {"c2w": [view.c2w.tolist() for view in views], "intrinsics": asdict(views[0].intrinsics)}
    pictures = {path.name: path.read_bytes() for path in _pictures(folder)}
    return {"__key__": asset.uid, **pictures, "cameras.json": json.dumps(cameras, sort_keys=True).encode()}


def _publish(tar: Path, target: Path) -> None:
    """Give a finished shard its final name, as a link where the file system allows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(tar, target)
    except OSError:
        with replacing(target) as temporary:
            shutil.copyfile(tar, temporary)


def _index(tar: Path, name: str, assets: list[Asset]) -> list[IndexRow]:
    """Where each object's members start and end in a tar."""
    starts: dict[str, int] = {}
    views: dict[str, int] = {}
    with tarfile.open(tar) as archive:
        for member in archive:
            key = member.name.partition(".")[0]
            starts.setdefault(key, member.offset)
            views[key] = views.get(key, 0) + member.name.endswith(".png")
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    ends = [*list(starts.values())[1:], end]
    rows = []
    with tar.open("rb") as stream:
        for asset, stop in zip(assets, ends, strict=True):
            start = starts[asset.uid]
            stream.seek(start)
            digest = hashlib.sha256(stream.read(stop - start)).hexdigest()
            rows.append(
                IndexRow(
                    shard=name,
                    key=asset.uid,
                    offset=start,
                    size=stop - start,
                    sha256=digest,
                    views=views[asset.uid],
                    split=asset.split,
                    licence=asset.licence,
                    source=asset.source,
                )
            )
    return rows
