"""Two scored folders compared object by object: the mean difference with its interval, and how many objects each is better on.

Only objects that both have figures of, and only where the truth has the same bytes; only figures of the same definition and
settings. Everything else is refused or counted, so that no difference comes from the objects.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.folders.publication import COMPARISON_FILE, PROTOCOL
from evaluation.mesh_figures import definitions
from evaluation.parameters import GeometryParameters
from evaluation.statistics import PairedDifference, paired_difference
from stage.errors import InputError
from stage.files import write_json

_DIGITS = 6


@dataclass(frozen=True)
class Figure:
    """What one figure is, as far as a comparison needs it."""

    title: str
    better: str
    definition: dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One figure's paired difference, ours minus theirs."""

    title: str
    better: str
    paired: PairedDifference

    def line(self) -> str:
        """The difference in words."""
        of, higher = self.paired, self.better == "higher"
        better, worse = (of.wins, of.losses) if higher else (of.losses, of.wins)
        return (
            f"{self.title} {of.mean:+.4f} ({of.low:+.4f} to {of.high:+.4f}, {self.better} is better): "
            f"better on {better}, worse on {worse}, equal on {of.ties} of {of.count} objects"
        )


@dataclass(frozen=True)
class FolderComparison:
    """Two scored folders."""

    ours: int
    """Objects with figures."""
    theirs: int
    common: int
    """Objects that both have figures of, with the same truth."""
    differences: dict[str, Difference]

    def lines(self) -> list[str]:
        """The comparison in words."""
        first = f"ours minus theirs over {self.common} common objects, of our {self.ours} and their {self.theirs}"
        return [first, *(difference.line() for difference in self.differences.values())]

    def document(self) -> dict[str, Any]:
        """The comparison as JSON."""
        found = {
            name: {
                **{key: round(value, _DIGITS) for key, value in asdict(of.paired).items()},
                "title": of.title,
                "better": of.better,
            }
            for name, of in self.differences.items()
        }
        return {"ours": self.ours, "theirs": self.theirs, "common": self.common, "differences": found}


def compare_folders(ours: Path, theirs: Path) -> FolderComparison:
    """Compare two outputs and write `comparison.json` into ours.

    Raises:
        InputError: when one is no scored folder, or they have no object or no figure in common.
    """
    mine, other = _figures(ours), _figures(theirs)
    common = {name: of for name, of in mine.items() if name in other and other[name].definition == of.definition}
    if not common:
        raise InputError(
            f"{ours} and {theirs} have no figure of the same definition and settings", "score both in the same way"
        )
    tables = _table(ours), _table(theirs)
    joined = _joined(*tables)
    if joined.empty:
        raise InputError(f"{ours} and {theirs} have no object with the same truth", "score both against one folder")
    found = {name: difference for name, of in common.items() if (difference := _difference(joined, name, of))}
    comparison = FolderComparison(len(tables[0]), len(tables[1]), len(joined), found)
    write_json(ours / COMPARISON_FILE, comparison.document())
    return comparison


def _figures(folder: Path) -> dict[str, Figure]:
    """The figures of a scored folder by name, each with all that it depends on beside the objects."""
    metrics, details = _read(folder / "metrics.json"), _read(folder / "details.json")
    if metrics.get("protocol") != PROTOCOL:
        raise InputError(
            f"{folder} is no scored folder", "name the --output of another viewforge evaluate --predictions"
        )
    settings = details["settings"]
    frame = {key: settings.get(key) for key in ("mesh_frame", "mesh_yaw")}
    rest = {key: value for key, value in settings.items() if key not in {*frame, "resolution"}}
    pictures = {d["name"]: Figure(d["title"], d["better"], {**d, **rest}) for d in details["metrics"]}
    if "geometry" not in details:
        return pictures
    shapes = definitions(GeometryParameters.model_validate(details["geometry"]))
    return pictures | {n: Figure(d.title, d.better, {**vars(d), **frame}) for n, d in shapes.items()}


def _table(folder: Path) -> pd.DataFrame:
    """Rows of the predictions that have figures."""
    table = pd.read_parquet(folder / "per_object.parquet")
    return table[(table["method"] == "model") & (table["failure"] == "")]


def _joined(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    return ours.merge(theirs, on=["uid", "truth_sha256"], suffixes=("", " theirs")).sort_values("uid")


def _difference(joined: pd.DataFrame, name: str, figure: Figure) -> Difference | None:
    """None where no object has the figure on both sides."""
    if name not in joined or f"{name} theirs" not in joined:
        return None
    pairs = joined[[name, f"{name} theirs"]].dropna()
    if pairs.empty:
        return None
    return Difference(figure.title, figure.better, paired_difference(*pairs.to_numpy().T))


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{path} is missing or damaged", "name the output of another evaluation") from None
    return document
