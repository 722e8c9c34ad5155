"""What may become a sample: the rendered objects of a workspace, each with what it was made of.

Nothing is unpacked to find out; that is done for those that are to be written (`training.data.shard_plan`).
"""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from blender_render.render import rendered_fingerprints
from catalog.table import Asset, selected_rows
from stage.errors import InputError
from stage.files import json_sha256
from stage.foreign_files import members
from stage.workspace import Workspace

SPLATTER = "splatter.safetensors"
_KEY = re.compile(r"[^./\s]+")


@dataclass(frozen=True)
class Extent:
    """A piece of a file."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


@dataclass(frozen=True)
class Source:
    """One object to be written."""

    asset: Asset
    fingerprint: str
    """Of the rendering, and of the splatter images where they are included."""
    splatter: Extent | None = None

    @property
    def key(self) -> str:
        """The sample's key."""
        return self.asset.uid


def rendered_sources(workspace: Workspace, include: Iterable[str]) -> dict[str, Source]:
    """The rendered objects of a workspace by key, in order of key.

    Args:
        workspace: the workspace.
        include: as `ShardParameters.include`.

    Raises:
        InputError: when there are no renders, two objects have the same key, or a key cannot be one.
    """
    fingerprints = rendered_fingerprints(workspace)
    assets = [asset for asset in selected_rows(workspace) if asset.uid in fingerprints]
    check_keys([asset.uid for asset in assets], str(workspace.catalog / "catalog.parquet"))
    splatters = _splatters(workspace.splatters) if "splatter" in include else {}
    sources = (_source(asset, fingerprints[asset.uid], splatters.get(asset.uid)) for asset in assets)
    return {source.key: source for source in sorted(sources, key=lambda source: source.key)}


def check_keys(keys: list[str], place: str) -> None:
    """Refuse keys that WebDataset would take for something else.

    Args:
        keys: of all objects.
        place: where they come from, for the message.

    Raises:
        InputError: when a key comes twice, is empty or holds a dot, a slash or white space.
    """
    wrong = sorted(key for key in set(keys) if not _KEY.fullmatch(key))
    if wrong:
        remedy = "rename them: a dot ends a sample's key, a slash or a space breaks it"
        raise InputError(f"{place}: {_named(wrong)} cannot be keys of samples", remedy)
    twice = sorted(key for key, count in Counter(keys).items() if count > 1)
    if twice:
        raise InputError(f"{place} lists {_named(twice)} more than once", "keep one row of each")


def _named(keys: list[str]) -> str:
    rest = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(repr(key) for key in keys[:3]) + rest


def _source(asset: Asset, fingerprint: str, splatter: tuple[str, Extent] | None) -> Source:
    if splatter is None:
        return Source(asset, fingerprint)
    return Source(asset, json_sha256([fingerprint, splatter[0]]), splatter[1])


def _splatters(folder: Path) -> dict[str, tuple[str, Extent]]:
    """By uid, the fingerprint of an object's published splatter images and where in the packs their tensor lies."""
    packs = sorted(folder.glob("pack-*.tar"))
    if not packs:
        raise InputError(
            f"no splatter images in {folder}", "run viewforge splatter first, or leave splatter out of shard.include"
        )
    found: dict[str, tuple[str, Extent]] = {}
    for path in packs:
        try:
            with tarfile.open(path, "r:") as archive:
                found |= _pack_splatters(path, archive)
        except (tarfile.TarError, KeyError, ValueError) as error:
            raise InputError(
                f"{path} is damaged: {error}", "restore it with dvc pull, or run its stage again"
            ) from None
    return found


def _pack_splatters(path: Path, archive: tarfile.TarFile) -> dict[str, tuple[str, Extent]]:
    found = {}
    for member in members(archive, files_alone=True):
        folder, _, name = member.name.rpartition("/")
        if name == SPLATTER:
            record = archive.extractfile(f"{folder}/record.json")
            assert record is not None  # noqa: S101 - the member is a file
            fingerprint = json.loads(record.read())["fingerprint"]
            found[folder.rpartition("/")[2]] = (fingerprint, Extent(path, member.offset_data, member.size))
    return found
