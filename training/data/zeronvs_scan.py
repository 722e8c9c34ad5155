"""A scan of one of ZeroNVS's shards: its scenes by the headers of the tar, and their scales where they are wanted."""

import logging
import tarfile
from pathlib import Path, PurePosixPath

from stage.errors import InputError
from stage.foreign_files import members
from training.data.archive_folders import check_end
from training.data.zeronvs_layout import FRAME
from training.data.zeronvs_scales import WantedScales, scales_of_scene

_log = logging.getLogger(__name__)

# What is kept of a frame, and what its scales are made of; where there is a file's offset, the file's size follows.
COLUMNS = ("number", "picture_offset", "picture_size", "metadata_offset", "metadata_size")
_OF_DEPTH = ("depth_offset", "depth_size")
_PARTS = {".png": 1, "_metadata.json": 3, "_depth.png": 5}
# A frame may lack its depth, and nothing else.
_NEEDED = slice(1, 5)

ScannedScene = dict[str, str | list[int] | list[float]]
"""Its name, and of each frame the columns, as lists."""


def scan_shard(shard: Path, wanted: WantedScales | None = None) -> list[ScannedScene]:
    """The scenes of a shard; one that lacks a picture or a camera is left out with a warning, as in the published loader.

    Raises:
        InputError: when the shard is damaged or truncated, or the estimator that is asked for is not available.
    """
    scenes: dict[str, dict[str, list[int]]] = {}
    try:
        check_end(shard)
        with tarfile.open(shard, "r:") as archive:
            for member in members(archive):
                _note(scenes, member)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{shard} is damaged: {error}", "download it again") from None
    for scene in [scene for scene, frames in scenes.items() if any(0 in row[_NEEDED] for row in frames.values())]:
        _log.warning("left out, a frame lacks its picture or its metadata: %s: %s", shard, scene)
        del scenes[scene]
    return [_scanned(shard, scene, _columns(frames), wanted) for scene, frames in scenes.items()]


def _note(scenes: dict[str, dict[str, list[int]]], member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    match = FRAME.fullmatch(path.name)
    part = _PARTS.get(path.name.removeprefix(match[1])) if match else None
    if match and part and member.isfile():
        empty = [int(match[1][5:]), 0, 0, 0, 0, 0, 0]
        row = scenes.setdefault(str(path.parent), {}).setdefault(match[1], empty)
        row[part : part + 2] = member.offset_data, member.size


def _columns(frames: dict[str, list[int]]) -> dict[str, list[int]]:
    rows = [frames[stem] for stem in sorted(frames)]
    return dict(zip((*COLUMNS, *_OF_DEPTH), map(list, zip(*rows, strict=True)), strict=True))


def _scanned(shard: Path, scene: str, columns: dict[str, list[int]], wanted: WantedScales | None) -> ScannedScene:
    kept = {name: columns[name] for name in COLUMNS}
    if wanted is None:
        return {"scene": scene, **kept}
    with shard.open("rb") as stream:
        return {"scene": scene, **kept, **scales_of_scene(stream, scene, columns, wanted)}
