"""Selection: which objects of the catalogue are worked on, and why the others are not.

An object that is left out keeps its row, with the first reason that applies in the order of the parameters. Two kinds of filter
treat what is unknown differently:

- A *limit* (`min_bytes`, `max_bytes`, `max_faces`) keeps objects whose size or face count nobody said: most publishers do
  not say, and the stages behind find out.
- A *membership* (`licences`, `commercial_only`, `uids`, `categories`, `tags`) keeps only objects that are known to belong.
"""

from collections.abc import Callable, Iterable
from functools import cache
from heapq import nsmallest
from pathlib import Path

from pydantic import Field, field_validator

from catalog.licences import UNKNOWN, licence_of
from catalog.table import Asset
from catalog.uid_lists import UidList, read_uid_list
from stage.parameters import Parameters
from stage.seeds import derive_seed
from stage.workspace import Workspace

# Why an object is left out; empty when it is not.
Rule = Callable[[Asset], str]
_NAMES_SHOWN = 8


class SelectionParameters(Parameters):
    """Which objects of the source are worked on; null does not filter."""

    licences: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Licences to keep, in short (by, by-sa, cc0, mit) for any version or as SPDX identifiers; "unknown" is one of them."""
    commercial_only: bool = False
    """Leave out what is not known to allow commercial use."""
    lists: str = "inputs/lists"
    """Folder of the uid lists, absolute or relative to the workspace; DVC sees when a list in it changes."""
    uids: str | None = None
    """File of that folder with the objects to keep: .txt, .csv or .json, as it is or gzipped."""
    exclude_uids: str | None = None
    """File of that folder with objects to leave out."""
    uid_index: str | None = None
    """File of that folder that translates lists of G-Objaverse's numbers: gobjaverse_280k_index_to_objaverse.json."""
    categories: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Keep objects in any of these categories, such as those of LVIS; case, spaces and underscores do not matter."""
    tags: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Keep objects with any of these tags; case, spaces and underscores do not matter."""
    min_bytes: int | None = Field(default=None, ge=0)
    """Smaller asset files are left out."""
    max_bytes: int | None = Field(default=None, ge=1)
    """Larger asset files are left out."""
    max_faces: int | None = Field(default=None, ge=1)
    """Objects with more faces are left out, as far as their publisher says how many there are."""
    max_objects: int | None = Field(default=None, ge=1)
    """Number of objects to keep of those that pass, drawn by the seed; a larger number adds objects and changes none."""

    @field_validator("licences")
    @classmethod
    def _are_licences(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if not licence_of(name).is_among([name]):
                raise ValueError(f"{name} is no licence; such are by, by-sa, cc0, mit, CC-BY-4.0, unknown")
        return names

    @field_validator("uids", "exclude_uids", "uid_index")
    @classmethod
    def _is_in_the_folder(cls, name: str | None) -> str | None:
        # Elsewhere DVC would not see that it changes, and would keep a catalogue that is no longer true.
        if name is not None and (Path(name).is_absolute() or ".." in Path(name).parts):
            raise ValueError("must be a file of the folder catalog.selection.lists")
        return name


def select(assets: Iterable[Asset], parameters: SelectionParameters, seed: int, workspace: Workspace) -> list[Asset]:
    """The same objects in the same order, those left out that the parameters do not keep.

    What becomes of an object depends on itself and, for `max_objects`, on the others, but never on their order. Objects that
    their source left out stay left out for its reason.

    Args:
        assets: rows of a source.
        parameters: what to keep.
        seed: the run's seed, which draws the subset of `max_objects`.
        workspace: where the folder of lists is relative to.

    Raises:
        InputError: when a list is missing or unreadable.
    """
    rules = _rules(parameters, workspace.root / parameters.lists)
    judged = [_judged(asset, rules) if asset.selected else asset for asset in assets]
    return judged if parameters.max_objects is None else _drawn(judged, parameters.max_objects, seed)


def _judged(asset: Asset, rules: Iterable[Rule]) -> Asset:
    reason = next(filter(None, (rule(asset) for rule in rules)), "")
    return asset.excluded(reason) if reason else asset


def _drawn(assets: list[Asset], count: int, seed: int) -> list[Asset]:
    """At most `count` selected objects: those that come first in an order drawn by the seed."""
    drawn = nsmallest(
        count, ((derive_seed(seed, asset.uid, "selection"), asset.uid) for asset in assets if asset.selected)
    )
    kept = {uid for _, uid in drawn}
    reason = f"not among the {count} objects that were drawn"
    return [asset.excluded(reason) if asset.selected and asset.uid not in kept else asset for asset in assets]


def _rules(parameters: SelectionParameters, lists: Path) -> list[Rule]:
    """The rules that are switched on, in the order in which they are applied."""
    index = lists / parameters.uid_index if parameters.uid_index else None
    rules: list[Rule] = []
    if parameters.licences is not None:
        rules.append(_licensed(parameters.licences))
    if parameters.commercial_only:
        rules.append(_commercial)
    if parameters.uids is not None:
        rules.append(_on_list(parameters.uids, read_uid_list(lists / parameters.uids, index)))
    if parameters.exclude_uids is not None:
        rules.append(_off_list(parameters.exclude_uids, read_uid_list(lists / parameters.exclude_uids, index)))
    if parameters.categories is not None:
        rules.append(_labelled("category", parameters.categories, lambda asset: asset.categories))
    if parameters.tags is not None:
        rules.append(_labelled("tag", parameters.tags, lambda asset: asset.tags))
    rules.append(_limited("bytes", parameters.min_bytes, parameters.max_bytes, _bytes))
    rules.append(_limited("faces", None, parameters.max_faces, lambda asset: asset.faces))
    return rules


def _licensed(names: tuple[str, ...]) -> Rule:
    # A catalogue has few licences.
    @cache
    def reason(words: str) -> str:
        licence = licence_of(words)
        return "" if licence.is_among(names) else f"licence {licence.identifier} is not among {_shown(names)}"

    return lambda asset: reason(asset.licence)


def _commercial(asset: Asset) -> str:
    licence = licence_of(asset.licence)
    if licence.commercial:
        return ""
    if licence == UNKNOWN:
        return "licence unknown, so commercial use may not be allowed"
    return f"licence {licence.identifier} does not allow commercial use"


def _on_list(name: str, wanted: UidList) -> Rule:
    reason = f"not on the list {name}"
    return lambda asset: "" if wanted.holds(asset.uid, asset.sha256) else reason


def _off_list(name: str, unwanted: UidList) -> Rule:
    reason = f"on the list {name} of objects to leave out"
    return lambda asset: reason if unwanted.holds(asset.uid, asset.sha256) else ""


def _labelled(kind: str, wanted: tuple[str, ...], labels: Callable[[Asset], tuple[str, ...]]) -> Rule:
    keys = {_key(label) for label in wanted}
    reason = f"no {kind} among {_shown(wanted)}"
    return lambda asset: "" if any(_key(label) in keys for label in labels(asset)) else reason


def _limited(unit: str, low: int | None, high: int | None, amount: Callable[[Asset], int | None]) -> Rule:
    def rule(asset: Asset) -> str:
        found = amount(asset)
        if found is not None and low is not None and found < low:
            return f"{found} {unit}, under the limit of {low}"
        if found is not None and high is not None and found > high:
            return f"{found} {unit}, over the limit of {high}"
        return ""

    return rule


def _bytes(asset: Asset) -> int | None:
    return None if asset.url and not asset.bytes else asset.bytes


def _key(label: str) -> str:
    return label.lower().replace(" ", "_")


def _shown(names: tuple[str, ...]) -> str:
    """The names in words; of many the first, as LVIS alone has over a thousand."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
