"""Attribution: who made the objects of a catalogue, of a shard set or behind a model, and under which licence, as Markdown.

Most licences ask that whoever passes the pictures or the model on names title, author, source and licence, and says what was
changed.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from catalog.licences import Licence, licence_of
from catalog.table import Asset, read_table
from stage.errors import InputError
from stage.files import file_sha256
from stage.workspace import Workspace

_CHANGES = "The objects were scaled to unit size, rendered to pictures, and the pictures used for training."
_SPECIAL = re.compile(r"([\\`*_\[\]<>&~|$])")
_ADDRESS = re.compile(r"https?://[^\s<>]+")


def selected_objects(workspace: Workspace) -> list[Asset]:
    """The selected objects of a workspace's catalogue.

    Raises:
        InputError: when there is no catalogue.
    """
    return [asset for asset in read_table(workspace.catalog / "catalog.parquet") if asset.selected]


def shard_objects(workspace: Workspace, shards: Path, split: str | None = None) -> list[Asset]:
    """The objects in a shard set, or in one split of it, in order of uid.

    Args:
        workspace: whose catalogue knows them.
        shards: folder of the shard set; its `index.parquet` names the objects.
        split: train, val or test; all when None.

    Raises:
        InputError: when there is no index, or the catalogue does not know all of its objects.
    """
    path = shards / "index.parquet"
    uids = _indexed(path, split)
    catalogue = workspace.catalog / "catalog.parquet"
    found = [asset for asset in read_table(catalogue) if asset.uid in uids]
    if missing := uids - {asset.uid for asset in found}:
        raise InputError(
            f"{catalogue} lacks {len(missing)} objects of {path}, {min(missing)} among them",
            "name the --workspace that the shards were made in, or run viewforge shard again",
        )
    return found


def _indexed(path: Path, split: str | None) -> set[str]:
    try:
        table = pq.ParquetFile(path).read(["key", "split"]).to_pydict()
        return {key for key, of in zip(table["key"], table["split"], strict=True) if split in {None, of}}
    except FileNotFoundError:
        raise InputError(f"no shard index {path}", "run viewforge shard first") from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: {str(error).splitlines()[0]}", "run viewforge shard again") from None


def model_objects(workspace: Workspace, model: Path, shards: Path) -> list[Asset]:
    """The objects that a model was trained on: the training split of its shard set.

    Args:
        workspace: whose catalogue knows them.
        model: folder of the trained pipeline; its `provenance.json` holds the hash of each shard set's index.
        shards: folder of what should be that shard set.

    Raises:
        InputError: when the model does not say what it was trained on, or it was another shard set, or several.
    """
    trained_on, path = _shards_sha256(model / "provenance.json"), shards / "index.parquet"
    if len(trained_on) > 1:
        raise InputError(
            f"{model} was trained on several shard sets: {', '.join(trained_on)}",
            "list the objects of each with --shards and without --model",
        )
    if path.is_file() and file_sha256(path) not in trained_on.values():
        raise InputError(
            f"{model} was trained on another shard set than {shards}",
            "name the right one with --shards or --workspace",
        )
    return shard_objects(workspace, shards, "train")


def _shards_sha256(path: Path) -> dict[str, str]:
    """Hash of the index of each shard set, by the set's name."""
    try:
        return dict(json.loads(path.read_text())["shards_sha256"])
    except FileNotFoundError:
        raise InputError(f"no {path}", "name the folder of a pipeline that viewforge train wrote") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not say what the model was trained on", "run viewforge train again") from None


def uncredited(assets: Iterable[Asset]) -> list[Asset]:
    """The objects whose licence asks, or as it is unknown may ask, to name the author, when nobody said who that is."""
    return [asset for asset in assets if licence_of(asset.licence).attribution and not _author(asset)]


def _author(asset: Asset) -> str:
    return "" if asset.author.strip().lower() == "unknown" else asset.author.strip()


def attribution(assets: Iterable[Asset], what: str) -> str:
    """The attribution list of objects, grouped by licence, as Markdown; the same objects give the same text.

    Args:
        assets: the objects.
        what: in what they are, for the heading ("the model data/model").
    """
    groups: dict[Licence, list[Asset]] = {}
    for asset in sorted(assets, key=lambda asset: (asset.title.lower(), asset.uid)):
        groups.setdefault(licence_of(asset.licence), []).append(asset)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0].identifier))
    return "\n".join([*_summary(ordered, what), *(line for group in ordered for line in _section(*group))]) + "\n"


def _summary(groups: list[tuple[Licence, list[Asset]]], what: str) -> list[str]:
    assets = [asset for _, members in groups for asset in members]
    lines = [
        f"# Attribution: {_plain(what)}",
        "",
        f"{len(assets)} objects. {_CHANGES}",
        "",
        "| licence | objects | commercial use | changed versions | attribution |",
        "| --- | --- | --- | --- | --- |",
    ]
    for licence, members in groups:
        facts = (licence.commercial, licence.derivatives, licence.attribution)
        words = " | ".join("yes" if fact else "no" for fact in facts)
        lines.append(f"| {licence.identifier} | {len(members)} | {words} |")
    if missing := uncredited(assets):
        lines += ["", f"Author unknown, though the licence asks, or may ask, to name them: **{len(missing)}**."]
    return lines


def _section(licence: Licence, members: list[Asset]) -> list[str]:
    deed = [f"<{licence.deed}>", ""] if licence.deed else []
    return ["", f"## {licence.identifier}", "", *deed, *map(_line, members)]


def _line(asset: Asset) -> str:
    """What is known of one object."""
    author = f" by {_plain(_author(asset))}" if _author(asset) else ", author unknown"
    address = next(filter(_ADDRESS.fullmatch, (asset.page, asset.url)), "")
    place = f"<{address}>" if address else f"source {_plain(asset.source)}"
    return f"- “{_plain(asset.title) or 'untitled'}”{author}, {place}, `{asset.uid}`"


def _plain(text: str) -> str:
    """A text of other people as one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
