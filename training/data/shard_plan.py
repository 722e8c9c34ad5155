"""Which objects go into which shard, decided before the first is written: any number of processes gives the same bytes."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blender_render.passes import pass_path
from blender_render.rendered_object import read_rgba
from blender_render.view_codecs import encode_view, resized
from catalog.table import SPLITS
from stage.errors import InputError
from stage.files import json_sha256
from stage.packs import object_folder
from training.data.index import IndexRow
from training.data.shard_parameters import ShardParameters
from training.data.sources import Source

_PICTURE = re.compile(r"\d{3}\.png", re.ASCII)
# Views that are encoded to learn how much smaller an encoding makes them.
_SAMPLED_VIEWS = 16


@dataclass(frozen=True)
class PlannedShard:
    """A shard to be written."""

    name: str
    """File name of the tar."""
    content: str
    """Hash of what belongs into it, under which it waits in scratch space."""
    sources: tuple[Source, ...]


def plan_shards(
    sources: Sequence[Source], renders: Path, parameters: ShardParameters, written: Iterable[IndexRow] = ()
) -> list[PlannedShard]:
    """Cut objects into shards of about one size, each split for itself.

    Args:
        sources: objects, in order of key; their renders are below `renders`.
        renders: folder of loose object folders.
        parameters: size of a shard and encoding.
        written: what the set's shards hold already; new ones take the numbers after theirs.

    Raises:
        InputError: when a view that the estimate of sizes looks at cannot be made as small as asked.
    """
    ratio = _ratio(sources, renders, parameters)
    sizes = {source.key: _size(source, renders, ratio, parameters) for source in sources}
    written = list(written)
    recipe, first = parameters.recipe(), _first_numbers(written)
    # What is there keeps its shards, whatever size new ones take.
    limit = parameters.shard_bytes(sum(row.size for row in written) + sum(sizes.values()))
    plan = []
    for split in SPLITS:
        mine = [source for source in sources if source.asset.split == split]
        for number, group in enumerate(_groups(mine, sizes, limit), first.get(split, 0)):
            content = json_sha256([recipe, [[source.key, source.fingerprint] for source in group]])
            plan.append(PlannedShard(f"{split}-{number:06d}.tar", content, tuple(group)))
    return plan


def pictures(folder: Path) -> list[Path]:
    """The pictures of a rendered object, in order."""
    return [folder / entry.name for entry in picture_entries(folder)]


def picture_bytes(source: Source, renders: Path) -> int:
    """Bytes of an object's pictures as rendered."""
    return sum(entry.stat().st_size for entry in picture_entries(object_folder(renders, source.key)))


def picture_entries(folder: Path) -> list[os.DirEntry[str]]:
    """The same as the folder lists them; `glob` and the making of paths take longer than reading small pictures."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if _PICTURE.fullmatch(entry.name)), key=lambda entry: entry.name)


def small_view(source: Source, renders: Path, number: int, parameters: ShardParameters) -> Mapping[str, bytes]:
    """The members of one view, encoded as asked, by their suffix.

    Raises:
        InputError: when it cannot be made as small as asked.
    """
    rgba = read_rgba(object_folder(renders, source.key), number)
    try:
        rgba = resized(rgba, parameters.size) if parameters.size else rgba
    except ValueError as error:
        remedy = "lower shard.size, or render square views of at least that size"
        raise InputError(f"view {number} of {source.key}: {error}", remedy) from None
    return encode_view(rgba, parameters.encoding, parameters.quality)


def _ratio(sources: Sequence[Source], renders: Path, parameters: ShardParameters) -> float:
    """About how much of the pictures' bytes an encoding leaves, by the first view of a few objects."""
    if parameters.encoding == "as_rendered" or not sources:
        return 1.0
    before = after = 0
    for source in sources[:: -(-len(sources) // _SAMPLED_VIEWS)]:
        before += pictures(object_folder(renders, source.key))[0].stat().st_size
        after += sum(map(len, small_view(source, renders, 0, parameters).values()))
    return after / before


def _size(source: Source, renders: Path, ratio: float, parameters: ShardParameters) -> float:
    size = ratio * picture_bytes(source, renders)
    if "depth" in parameters.include:
        size += sum(path.stat().st_size for path in depth_paths(source, renders))
    return size + (source.splatter.size if source.splatter else 0)


def depth_paths(source: Source, renders: Path) -> list[Path]:
    """The depth pictures of a rendered object, in order of view.

    Raises:
        InputError: when one is absent.
    """
    paths = [pass_path(path.with_suffix(""), "depth") for path in pictures(object_folder(renders, source.key))]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        remedy = "add depth to render.passes, or leave it out of shard.include"
        raise InputError(f"{source.key} has no depth picture {missing[0].name}", remedy)
    return paths


def _groups(sources: Sequence[Source], sizes: Mapping[str, float], limit: int) -> Iterable[list[Source]]:
    group: list[Source] = []
    total = 0.0
    for source in sources:
        group.append(source)
        total += sizes[source.key]
        if total >= limit:
            yield group
            group, total = [], 0.0
    if group:
        yield group


def _first_numbers(written: Iterable[IndexRow]) -> dict[str, int]:
    """Of each split, the number after those of its shards."""
    first: dict[str, int] = {}
    for row in written:
        split, _, number = row.shard.removesuffix(".tar").rpartition("-")
        first[split] = max(first.get(split, 0), int(number) + 1)
    return first
