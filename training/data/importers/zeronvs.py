"""Scenes in ZeroNVS's shards, as CO3D, RealEstate10K and ACID were published for it: one tar, or a folder of them.

Each scene becomes one object, `<category>_<scene>`, with its pictures' own bytes. Its world is the publisher's: only relative
poses mean anything, up may be any way, and the cameras look at no origin. Depth stays in the shards
(`training.data.zeronvs_layout` reads it), for a rendered object's depth has a fixed range that scenes leave.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from blender_render.camera_sets import View
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from training.data.archive_folders import folders_in_archive
from training.data.importers.candidates import MAX_VIEWS, Candidate, ImportedViews, PublishedSet
from training.data.zeronvs_layout import frame_stems, read_scene

SOURCE = "zeronvs"


def zeronvs_shards(source: Path) -> PublishedSet:
    """The scenes of a shard, or of all shards below a folder.

    Raises:
        InputError: when there is no shard.
    """
    shards = sorted(source.rglob("*.tar")) if source.is_dir() else [source]
    if not shards:
        raise InputError(f"no shard in {source}", "name a tar, or a folder of *.tar")
    return PublishedSet(SOURCE, _scenes(shards))


def _scenes(shards: list[Path]) -> Iterator[Candidate]:
    for shard in shards:
        for key, files in folders_in_archive(shard):
            yield Candidate("_".join(key.split("/")[-2:]), partial(_load, shard, key, files))


def _load(shard: Path, key: str, files: dict[str, bytes]) -> ImportedViews:
    stems = frame_stems(files)
    if len(stems) > MAX_VIEWS:
        raise ObjectFailedError(FailureClass.OVERSIZED, f"{len(stems)} frames, over {MAX_VIEWS}")
    try:
        scene = read_scene(shard, key, files)
    except InputError as error:
        raise ObjectFailedError(FailureClass.PARSE, str(error)) from None
    views = tuple(View(c2w, lens) for c2w, lens in zip(scene.c2w, scene.intrinsics, strict=True))
    pictures = tuple(files[f"{stem}.png"] for stem in stems)
    return ImportedViews(pictures, (1.0,) * len(views), views, scene.category)
