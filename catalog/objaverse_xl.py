"""The source `objaverse_xl`: Objaverse-XL, ten million objects of four origins, from its tables on Hugging Face.

Objects of Sketchfab are those of Objaverse 1.0 and are listed with its metadata, which XL's table lacks. Objects of GitHub
are files at a commit. Those of Thingiverse and the Smithsonian become rows that are left out: they have no
mirror that serves them to programs.
"""

from collections.abc import Iterator
from typing import Any

from catalog.folder import uid_of
from catalog.github import repository_file
from catalog.index_files import IndexFiles
from catalog.listed import listed_asset, text
from catalog.objaverse import objaverse_assets
from catalog.source_parameters import ObjaverseParameters, ObjaverseXlParameters
from catalog.split import SplitParameters
from catalog.table import Asset

_SOURCE = "objaverse_xl"
_COLUMNS = ("fileIdentifier", "license", "fileType", "sha256")


def objaverse_xl_assets(
    parameters: ObjaverseXlParameters,
    objaverse: ObjaverseParameters,
    split: SplitParameters,
    index: IndexFiles,
    workers: int,
) -> Iterator[Asset]:
    """A row for each object of the chosen origins; the tables are read piece by piece.

    Args:
        parameters: where the tables are, and which.
        objaverse: where Objaverse 1.0 is.
        split: shares of the splits.
        index: what reads them.
        workers: simultaneous downloads.

    Raises:
        DownloadError: when a table cannot be had or is damaged.
    """
    for origin in parameters.origins:
        if origin == "sketchfab":
            yield from objaverse_assets(_SOURCE, objaverse, split, index, workers)
            continue
        url = f"{parameters.base_url.rstrip('/')}/{origin}/{origin}.parquet"
        for batch in index.batches(url, _COLUMNS):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield _asset(origin, dict(zip(_COLUMNS, row, strict=True)), split)


def _asset(origin: str, row: dict[str, Any], split: SplitParameters) -> Asset:
    identifier = str(row["fileIdentifier"] or "")
    place = repository_file(identifier) if origin == "github" else None
    # Not pathlib, which takes half the time that ten million rows take.
    name = (place.path if place else identifier.partition("?")[0]).rpartition("/")[2]
    return listed_asset(
        uid_of(identifier),
        _SOURCE,
        split,
        file_type=(text(row["fileType"]) or name.rpartition(".")[2]).lower().removeprefix("."),
        url=place.url if place else "",
        page=place.page if place else text(identifier),
        sha256=text(row["sha256"]),
        licence=text(row["license"]),
        author=place.owner if place else "",
        title=text(name),
        reason="" if place else _why_not(origin),
    )


def _why_not(origin: str) -> str:
    if origin == "github":
        return "its identifier is no file of a GitHub repository at a commit"
    return f"objects of {origin} cannot be downloaded by viewforge"
