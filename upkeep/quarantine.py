"""How many objects cannot be used, by stage and class of failure: read from the published tables, or from the ledgers of work."""

import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from blender_render.ledger import ledger_rows
from stage.workspace import Workspace

# What differs from object to object in the catalogue's reasons.
_OWN = re.compile(r"(?<=same bytes as ).*|\b\d[\d,.]*")
_LONGEST = 72


def quarantine(place: Workspace) -> dict[str, dict[str, int]]:
    """Objects by class of failure, most frequent first; stages that lost none, or have not run, are absent."""
    counted = {
        "catalog": _left_out(place.catalog / "catalog.parquet"),
        "render": _failed(place.renders / "objects.parquet", place.scratch / "renders"),
        "splatter": _failed(place.splatters / "splatters.parquet", place.scratch / "splatters"),
    }
    return {stage: dict(counts.most_common()) for stage, counts in counted.items() if counts}


def _left_out(table: Path) -> Counter[str]:
    if not table.is_file():
        return Counter()
    columns = pq.read_table(table, columns=["selected", "reason"])
    rows = zip(columns["selected"].to_pylist(), columns["reason"].to_pylist(), strict=True)
    return Counter(_OWN.sub("…", reason)[:_LONGEST] for selected, reason in rows if not selected)


def _failed(table: Path, work: Path) -> Counter[str]:
    """Of the published table; before there is one, the newest outcome of each object."""
    if table.is_file():
        failures = pq.read_table(table, columns=["failure"])["failure"].to_pylist()
    else:
        failures = list({row["uid"]: row.get("failure") for row in ledger_rows(work)}.values())
    return Counter(failure for failure in failures if failure)
