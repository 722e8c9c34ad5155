"""What a catalogue holds, counted: by source, licence, file type, split, size and status; as tables and as a picture."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill, shorten
from typing import TYPE_CHECKING

from catalog.licences import licence_of
from catalog.table import SPLITS, Asset
from stage.errors import InputError
from stage.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SELECTED = "selected"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_DECADES = [f"{10**power}–{10 ** (power + 1)} {unit}" for unit in _UNITS for power in range(3)]
_NO_SIZE = "unknown"
_BARS = 12
# What differs from object to object in the reasons of `catalog.selection` and `catalog.folder`.
_PARTICULAR = (
    (re.compile(r"^\d+ (bytes|faces),"), r"\1"),
    (re.compile(r"^same bytes as .*"), "same bytes as another"),
)


@dataclass(frozen=True)
class Group:
    """Objects that have something in common."""

    name: str
    objects: int
    bytes: int
    """Sum of their files' sizes, as far as known."""


def count(assets: Iterable[Asset]) -> dict[str, list[Group]]:
    """The groups of a catalogue by what they are grouped by, largest first; splits and sizes in their own order."""
    assets = list(assets)
    tables = {by: _groups(assets, name) for by, name in _NAMES.items()}
    tables["split"].sort(key=lambda group: SPLITS.index(group.name))
    tables["size"].sort(key=lambda group: [_NO_SIZE, *_DECADES].index(group.name))
    return tables


def _groups(assets: Iterable[Asset], name_of: Callable[[Asset], str]) -> list[Group]:
    sizes: dict[str, list[int]] = {}
    for asset in assets:
        sizes.setdefault(name_of(asset), []).append(asset.bytes)
    groups = [Group(name, len(found), sum(found)) for name, found in sizes.items()]
    return sorted(groups, key=lambda group: (-group.objects, group.name))


def left_out(assets: Iterable[Asset]) -> dict[str, list[Asset]]:
    """The objects that are not selected by reason, most frequent first; numbers and names of single objects aside."""
    groups: dict[str, list[Asset]] = {}
    for asset in assets:
        if not asset.selected:
            groups.setdefault(_reason(asset), []).append(asset)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))


def _reason(asset: Asset) -> str:
    reason = asset.reason
    for pattern, general in _PARTICULAR:
        reason = pattern.sub(general, reason)
    return reason


def _status(asset: Asset) -> str:
    return SELECTED if asset.selected else f"left out: {_reason(asset)}"


def _decade(asset: Asset) -> str:
    """The power of ten that a file's size lies in."""
    return _DECADES[min(len(str(asset.bytes)) - 1, len(_DECADES) - 1)] if asset.bytes else _NO_SIZE


_NAMES: dict[str, Callable[[Asset], str]] = {
    "source": lambda asset: asset.source,
    "licence": lambda asset: licence_of(asset.licence).identifier,
    "file type": lambda asset: asset.file_type,
    "split": lambda asset: asset.split,
    "size": _decade,
    "status": _status,
}


def size_text(number: int) -> str:
    """A number of bytes for people: 12.3 MB, in powers of ten."""
    amount = float(number)
    for unit in _UNITS[:-1]:
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} {_UNITS[-1]}"


def write_plot(path: Path, assets: Iterable[Asset]) -> None:
    """Write bar charts of all groups as a PNG.

    Raises:
        InputError: when the name ends in something else.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is no name of a PNG file", "end it in .png")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    assets = list(assets)
    figure = Figure(figsize=(15, 9), layout="constrained")
    FigureCanvasAgg(figure)
    chosen = sum(asset.selected for asset in assets)
    figure.suptitle(f"{len(assets):,} objects in the catalogue, {chosen:,} selected", fontsize=15)
    for axes, (by, groups) in zip(figure.subplots(2, 3).flat, count(assets).items(), strict=True):
        _draw(axes, by, groups)
    with replacing(path) as temporary:
        # Without the library's version in it, the same catalogue gives the same file for longer.
        figure.savefig(temporary, format="png", dpi=100, metadata={"Software": None})


def _draw(axes: "Axes", by: str, groups: list[Group]) -> None:
    """Horizontal bars, the first on top, each with its number at its end."""
    bars = [(group.name, group.objects) for group in groups[:_BARS]]
    if rest := groups[_BARS:]:
        bars.append((f"{len(rest)} others", sum(group.objects for group in rest)))
    places = range(len(bars))
    drawn = axes.barh(places, [objects for _, objects in bars], color="#4878a8")
    axes.bar_label(drawn, [f"{objects:,}" for _, objects in bars], padding=3)
    axes.set_yticks(places, [fill(shorten(name, 70, placeholder=" …"), 36) for name, _ in bars])
    for label in axes.get_yticklabels():
        # A file's name in a reason may hold two dollar signs.
        label.set_parse_math(False)
    axes.set_title(by)
    # Downwards, and few bars no thicker than some.
    axes.set_ylim(max(len(bars), 7) - 0.5, -0.5)
    axes.margins(x=0.15)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.xaxis.set_visible(False)
