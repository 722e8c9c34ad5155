"""Published figures: the YAML files beside this module, a file a system, read and checked.

They are other people's figures, measured by other code on other renders. They are shown beside ours in tables of their own and
never enter a column, a mean or a gate of ours.

    from evaluation.published.tables import read_published
    files = read_published()                                  # those that come with viewforge
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from stage.errors import InputError, ParameterError
from stage.parameters import Parameters, validated

FOLDER = Path(__file__).parent
_REMEDY = "mend the file"
_SCANNED = "Google Scanned Objects"


@dataclass(frozen=True)
class PublishedColumn:
    """A column's heading, and which figures are the better ones."""

    title: str
    better: Literal["higher", "lower"]


COLUMNS = {
    "psnr": PublishedColumn("PSNR, dB", "higher"),
    "ssim": PublishedColumn("SSIM", "higher"),
    "lpips": PublishedColumn("LPIPS", "lower"),
    "fid": PublishedColumn("FID", "lower"),
    "chamfer": PublishedColumn("Chamfer distance", "lower"),
    "iou": PublishedColumn("volume IoU", "higher"),
    "f_score": PublishedColumn("F-score", "higher"),
    "colmap_points": PublishedColumn("COLMAP points", "higher"),
    "sift_matches": PublishedColumn("SIFT matches of neighbours", "higher"),
    "lpips_neighbours": PublishedColumn("LPIPS of neighbours", "lower"),
    "clip_neighbours": PublishedColumn("CLIP similarity of neighbours", "higher"),
}


_MESHES = {"chamfer", "iou", "f_score"}


class PublishedRow(Parameters):
    """A method and its figures; in YAML a list that starts with the method."""

    method: str = Field(min_length=1)
    values: tuple[float | None, ...]
    """A figure for each column; null where none was published."""

    @model_validator(mode="before")
    @classmethod
    def _of_list(cls, given: Any) -> Any:  # noqa: ANN401 - any YAML value
        if isinstance(given, list) and given:
            return {"method": given[0], "values": given[1:]}
        return given


class PublishedTable(Parameters):
    """One table, or the part of one that was measured under one protocol."""

    title: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    protocol: str = Field(min_length=1)
    """Cameras, input, which views are scored, size: in words."""
    fits: tuple[str, ...] = ()
    """Names of our protocols (`evaluate.preset`, `evaluate.protocol`) that do the same with cameras and input."""
    source: str = Field(min_length=1)
    """Paper and table, or file, or issue."""
    read: Literal["in the source", "second-hand"]
    """Whether the figures were read where they were published or in somebody's summary."""
    caution: str = ""
    """What is known to be wrong or uncertain about them."""
    columns: tuple[str, ...] = Field(min_length=1)
    """Names in `COLUMNS`."""
    figures: tuple[str | None, ...] = ()
    """Of each column the figure of ours that is defined as it is (`evaluation.mesh_figures`); null where none is."""
    rows: tuple[PublishedRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "PublishedTable":
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"no column {unknown[0]}; columns are {', '.join(COLUMNS)}")
        if self.figures and len(self.figures) != len(self.columns):
            raise ValueError(f"{len(self.figures)} figures of ours are named for {len(self.columns)} columns")
        methods = [row.method for row in self.rows]
        if len(set(methods)) < len(methods) or len(set(self.columns)) < len(self.columns):
            raise ValueError("a method or a column stands in the table twice")
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"{row.method} has {len(row.values)} figures for {len(self.columns)} columns")
            if not all(value is None or math.isfinite(value) for value in row.values):
                raise ValueError(f"a figure of {row.method} is not finite")
        return self

    def digits(self, column: int) -> int:
        """Digits after the point with which a column's figures were published."""
        values = [row.values[column] for row in self.rows]
        return max((_digits(value) for value in values if value is not None), default=0)

    def best(self, column: int) -> float | None:
        """The best figure of a column."""
        values = [row.values[column] for row in self.rows if row.values[column] is not None]
        choose = max if COLUMNS[self.columns[column]].better == "higher" else min
        return choose((value for value in values if value is not None), default=None)


class PublishedFile(Parameters):
    """All that is known of one system's published figures."""

    system: str = Field(min_length=1)
    note: str = ""
    """What holds for all tables, or why there is none."""
    tables: tuple[PublishedTable, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> "PublishedFile":
        if not self.tables and not self.note:
            raise ValueError("neither a table nor a note that says why there is none")
        return self


def read_published(folder: Path = FOLDER) -> list[PublishedFile]:
    """The files of a folder, `*.yaml`, in order of name.

    Raises:
        InputError: when the folder holds none.
        ParameterError: when one is no such file; the message names it and what is wrong.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise InputError(f"no published figures in {folder}", "name a folder of *.yaml, or install viewforge again")
    return [_read(path) for path in paths]


def _read(path: Path) -> PublishedFile:
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not YAML: {' '.join(str(error).split())}", _REMEDY) from None
    return validated(PublishedFile, content, str(path))


def by_protocol(files: Sequence[PublishedFile], protocol: str) -> tuple[list[PublishedTable], list[PublishedTable]]:
    """The tables whose protocol is ours, and the others.

    Args:
        files: what `read_published` gives.
        protocol: our protocol's name.
    """
    fitting = [table for table in _tables(files) if protocol in table.fits]
    return fitting, [table for table in _tables(files) if protocol not in table.fits]


def published_reconstructions() -> list[PublishedTable]:
    """Tables about meshes of Google Scanned Objects, those whose figures are defined as ours first."""
    found = [t for t in _tables(read_published()) if _MESHES & {*t.columns} and t.dataset.startswith(_SCANNED)]
    return sorted(found, key=lambda table: not any(table.figures))


def _tables(files: Sequence[PublishedFile]) -> Iterator[PublishedTable]:
    for file in files:
        yield from file.tables


def _digits(value: float) -> int:
    """Digits after the point of the shortest text of a number."""
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])
