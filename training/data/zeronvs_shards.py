"""Which files are the shards of a ZeroNVS set: all below a folder, or those of a pattern as the published configuration has them.

A folder may hold several splits, told apart by the names of files (`val-000000.tar`, as our own export writes them) or of the
first folder (`val/000000.tar`); what is named by no split is of `train`.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from braceexpand import braceexpand

from catalog.table import SPLITS
from stage.errors import InputError

_PATTERN = "write a pattern such as /data/co3d/{shard:06d}.tar or /data/co3d/{000000..000126}.tar"


@dataclass(frozen=True)
class SceneShards:
    """Some shards below a folder."""

    folder: Path
    names: tuple[str, ...]
    """Their paths below it, sorted."""
    named_splits: bool = True
    """Whether their names tell splits apart; otherwise all are of `train`."""

    def of_split(self, split: str) -> frozenset[str]:
        """The names of those of one split."""
        return frozenset(name for name in self.names if (_split_of(name) if self.named_splits else SPLITS[0]) == split)

    def states(self) -> list[list[str | int]]:
        """Path, size and time of change of each: what a shard is known by, for published ones have no hashes."""
        stats = [(name, (self.folder / name).stat()) for name in self.names]
        return [[name, state.st_size, state.st_mtime_ns] for name, state in stats]


def shards_in(folder: Path) -> SceneShards:
    """All `*.tar` in a folder or below it.

    Raises:
        InputError: when there is none.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.tar"))
    if not names:
        raise InputError(f"no shard in {folder}", "name a folder of *.tar")
    return SceneShards(folder, tuple(names))


def is_pattern(place: str) -> bool:
    """Whether a place names its shards one by one."""
    return "{" in place


def shards_of(pattern: str, count: int | None, root: Path) -> SceneShards:
    """The shards that a pattern names: `{shard}` as Python formats it from 0 on, or braces as a shell expands them.

    Args:
        pattern: a path, or a `file://` address; from `root` on unless it is absolute.
        count: how many there are; for braces, how many there must be.
        root: of the workspace.

    Raises:
        InputError: when the pattern is none, or another number of shards than `count`, or one of them is not there.
    """
    names = _expanded(local_path(pattern), pattern, count)
    if count is not None and len(names) != count:
        raise InputError(f"{pattern} names {len(names)} shards, {count} are said to be there", "mend either")
    paths = [root / name for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(paths)} shards of {pattern} are missing, the first is {missing[0]}",
            "download them, or name fewer",
        )
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    return SceneShards(
        folder, tuple(sorted(path.relative_to(folder).as_posix() for path in paths)), named_splits=False
    )


def local_path(place: str) -> str:
    """The path of a place.

    Raises:
        InputError: when it is an address on a server: shards without hashes are read from a disk alone.
    """
    # Not told apart by `urlsplit`, which takes a pattern's brackets for those of an IPv6 address.
    scheme, separator, _ = place.partition("://")
    if not separator:
        return place
    if scheme != "file":
        raise InputError(f"{place} is no folder: ZeroNVS's shards are read from a disk", "download them")
    return unquote(urlsplit(place).path)


def _expanded(path: str, pattern: str, count: int | None) -> list[str]:
    try:
        if "{shard" not in path:
            return list(dict.fromkeys(braceexpand(path)))
        if count is None:
            raise InputError(f"nothing says how many shards {pattern} stands for", "give their number")
        return list(dict.fromkeys(path.format(shard=number) for number in range(count)))
    except (ValueError, LookupError, AttributeError) as error:
        raise InputError(f"{pattern} is no pattern of shards: {error!r}", _PATTERN) from None


def _split_of(name: str) -> str:
    path = PurePosixPath(name)
    stated = (path.parts[0], path.name.partition("-")[0])
    return next((part for part in stated if part in SPLITS), SPLITS[0])
