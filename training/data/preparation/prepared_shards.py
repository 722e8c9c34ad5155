"""Scenes of any source as ZeroNVS's shards, split by split: `<split>/<split>-000000.tar` … and `prepared.parquet` below a folder.

    prepare(open_source("co3d", Path("/data/co3d")), Path("/data/prepared"), Making(), PreparationParameters())

A split has a folder of its own, as sources of views read all shards in a folder. The same source and parameters give the same
bytes with any number of processes. A run that was killed goes on behind the last finished shard: `.preparation/` keeps what each
holds, and of which source and parameters it is; of others nothing is mixed in.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import Field

from catalog.split import SplitParameters, split_of
from catalog.table import SPLITS
from stage.code import source_fingerprint
from stage.errors import InputError, StageFailedError
from stage.files import json_sha256, remove_leftovers, write_json
from stage.lifeline import exclusive_folder
from stage.parameters import Parameters
from stage.progress import Progress
from training.data.preparation.report import REPORT, Part, SceneRow, write_report
from training.data.preparation.scene_makers import SceneMakers
from training.data.preparation.scene_making import MadeScene, Making
from training.data.preparation.source_scenes import SourceScene
from training.data.preparation.sources import SceneSource
from training.data.zeronvs_layout import EncodedScene, shard_path, write_shard

_KEPT = ".preparation"
_ORIGIN = "origin.json"
# The modules whose code decides a shard's bytes.
_ROOM = "training.data.preparation"
_CODE = (
    *(f"{_ROOM}.{name}" for name in ("co3d", "colmap", "framing", "picture_files", "real_estate10k")),
    *(f"{_ROOM}.{name}" for name in ("renders", "scene_making", "source_scenes")),
    *("training.data.preparation.colmap_files", "training.data.preparation.colmap_models"),
    *("training.data.zeronvs_cameras", "training.data.zeronvs_layout", "geometry.cameras"),
)


class PreparationParameters(Parameters):
    """How a preparation divides its scenes."""

    max_bytes: int = Field(default=256 * 2**20, ge=1)
    """A shard is closed when it has so many."""
    shares: SplitParameters = SplitParameters()
    """Splits of scenes whose source has none."""


def prepare(
    source: SceneSource,
    target: Path,
    making: Making,
    parameters: PreparationParameters,
    splits: Sequence[str] = SPLITS,
    processes: int = 1,
) -> list[SceneRow]:
    """Make and write the scenes of a source; the rows of the report, those of former runs of the same preparation too.

    Args:
        source: with each scene once.
        target: receives a folder for each split.
        making: how they are made.
        parameters: how they are divided.
        splits: which are written.
        processes: that make scenes; with one, none is started.

    Raises:
        InputError: when a scene comes twice, or `target` holds other shards.
        StageFailedError: when no scene can be used.
        StageKilledError: when a process that makes scenes was killed.
        ViewforgeError: when another process writes into the folder.
    """
    sorted_out = _sorted_out(source.scenes, parameters.shares)
    with exclusive_folder(target):
        remove_leftovers(target)
        _claim(target, _origin(source, making, parameters, sorted_out))
        with SceneMakers(processes) as makers:
            for split in splits:
                _write_split(sorted_out[split], split, target, making, parameters.max_bytes, makers)
        rows = [row for split in SPLITS for part in _parts(target, split) for row in part.rows]
        write_report(target / REPORT, rows)
    _check_any(rows, splits, target)
    return rows


def _sorted_out(scenes: Iterable[SourceScene], shares: SplitParameters) -> dict[str, list[SourceScene]]:
    """The scenes of each split."""
    sorted_out: dict[str, list[SourceScene]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for scene in scenes:
        if scene.key in seen:
            raise InputError(f"the scene {scene.key} comes twice", "give each scene its own name")
        seen.add(scene.key)
        sorted_out[scene.split or split_of(scene.split_key or scene.key, shares)].append(scene)
    return sorted_out


def _origin(
    source: SceneSource, making: Making, parameters: PreparationParameters, sorted_out: dict[str, list[SourceScene]]
) -> dict[str, Any]:
    """All that the bytes of the shards follow from, but for the scenes' own content."""
    densify = making.densify
    return {
        "source": source.origin,
        "side": making.side,
        "form": making.form,
        "densify": "" if densify is None else getattr(densify, "__qualname__", type(densify).__qualname__),
        "max_bytes": parameters.max_bytes,
        "scenes": json_sha256({split: [scene.key for scene in scenes] for split, scenes in sorted_out.items()}),
        "code": source_fingerprint(_CODE),
    }


def _claim(target: Path, origin: dict[str, Any]) -> None:
    """Note what a folder's shards are of, or refuse to mix them with others."""
    path = target / _KEPT / _ORIGIN
    if path.is_file():
        if json.loads(path.read_bytes()) != origin:
            raise InputError(
                f"{target} holds what was prepared of other scenes, or in another way",
                "name another folder, or delete it",
            )
    elif any(target.rglob("*.tar")):
        raise InputError(f"{target} holds shards", "name another folder")
    else:
        write_json(path, origin)


def _write_split(
    scenes: list[SourceScene], split: str, target: Path, making: Making, max_bytes: int, makers: SceneMakers
) -> None:
    """Write the shards that a split lacks."""
    finished = _parts(target, split)
    end = finished[-1].end if finished else 0
    with Progress(f"prepare {split}", len(scenes), "scenes", done=end) as progress:
        made = makers.made(scenes[end:], split, making)
        for number in count(len(finished)):
            if end == len(scenes):
                return
            path, rows = shard_path(target / split, split, number), list[SceneRow]()
            written = write_shard(path, _usable(made, path.relative_to(target).as_posix(), rows, progress), max_bytes)
            end += len(rows)
            Part(end, path.stat().st_size if written else 0, rows).write(_part_path(target, split, number))


def _usable(
    scenes: Iterator[MadeScene], shard: str, rows: list[SceneRow], progress: Progress
) -> Iterator[EncodedScene]:
    """Those that can be used; all are told in rows."""
    for scene in scenes:
        rows.append(SceneRow.of(scene, shard))
        progress.advance()
        if scene.files:
            yield scene.files


def _parts(target: Path, split: str) -> list[Part]:
    """The finished shards of a split, without a gap."""
    found: list[Part] = []
    for number in count():
        part = Part.read(_part_path(target, split, number), shard_path(target / split, split, number))
        if part is None:
            return found
        found.append(part)
    raise AssertionError


def _part_path(target: Path, split: str, number: int) -> Path:
    return target / _KEPT / f"{split}-{number:06d}.json"


def _check_any(rows: list[SceneRow], splits: Sequence[str], target: Path) -> None:
    asked = [row for row in rows if row.split in splits]
    if not any(row.shard for row in asked):
        first = f"; {asked[0].scene}: {asked[0].message}" if asked else ""
        raise StageFailedError(f"none of {len(asked)} scenes can be used{first}", f"see {target / REPORT}")
