"""What became of each object that is to be rendered: from its record, from the ledger, and from the published table.

Read while the farm works or after it failed as well as when it is done. On a machine that has only the published outputs, the
failures are those of `objects.parquet`, without the tails of standard error.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from blender_render.farm import Farm
from blender_render.ledger import ledger_rows
from blender_render.rendered_object import read_record
from catalog.table import Asset
from stage.errors import InputError
from stage.packs import object_folder, unpack_missing
from stage.workspace import Workspace


class Status(StrEnum):
    """What became of an object."""

    RENDERED = "rendered"
    WARNED = "rendered with warnings"
    STALE = "rendered before a change"
    FAILED = "failed"
    WAITING = "not rendered yet"

    @property
    def has_views(self) -> bool:
        """Whether there are pictures."""
        return self in {Status.RENDERED, Status.WARNED, Status.STALE}


@dataclass(frozen=True)
class ObjectStatus:
    """What became of one object."""

    asset: Asset
    status: Status
    record: dict[str, Any]
    """The rendering's `record.json`; empty without one."""
    outcome: dict[str, Any]
    """The newest row of the ledger, or the table's failure and message; empty when neither has any."""

    @property
    def failure(self) -> str:
        """Class of the failure; empty when the object did not fail."""
        return str(self.outcome.get("failure", "")) if self.status is Status.FAILED else ""

    @property
    def message(self) -> str:
        """Why the object failed; empty when it did not."""
        return str(self.outcome.get("message", "")) if self.status is Status.FAILED else ""


def object_statuses(farm: Farm, assets: Sequence[Asset]) -> list[ObjectStatus]:
    """What became of the objects, in their order."""
    published = _published(farm.workspace)
    outcomes = {uid: row for uid, row in published.items() if not row["complete"]}
    outcomes |= {row["uid"]: row for row in ledger_rows(farm.root)}
    return [_status(farm, asset, outcomes.get(asset.uid, {}), published.get(asset.uid, {})) for asset in assets]


def _status(farm: Farm, asset: Asset, outcome: dict[str, Any], published: dict[str, Any]) -> ObjectStatus:
    fingerprint = farm.fingerprint(asset)
    if outcome.get("failure") and outcome["fingerprint"] == fingerprint:
        return ObjectStatus(asset, Status.FAILED, {}, outcome)
    record = _record(farm, asset, published)
    if not record:
        return ObjectStatus(asset, Status.WAITING, {}, {})
    status = Status.WARNED if record.get("warnings") else Status.RENDERED
    if record.get("fingerprint") != fingerprint:
        status = Status.STALE
    return ObjectStatus(asset, status, record, outcome)


def _record(farm: Farm, asset: Asset, published: dict[str, Any]) -> dict[str, Any]:
    """The record of a rendering, or what the table says of one that lies in the packs alone; empty without one."""
    try:
        return read_record(object_folder(farm.root, asset.uid))
    except InputError:
        if not published.get("complete"):
            return {}
        warnings = [text for text in published["warnings"].split("; ") if text]
        return {"fingerprint": published["fingerprint"], "warnings": warnings}


def _published(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """The rows of the published table by uid; none before there is one."""
    path = workspace.renders / "objects.parquet"
    if not path.is_file():
        return {}
    columns = ["uid", "failure", "message", "fingerprint", "complete", "warnings"]
    rows = pd.read_parquet(path, columns=columns).to_dict("records")
    return {str(row["uid"]): {str(key): row[key] for key in row} for row in rows}


def bring_back(farm: Farm, assets: Sequence[Asset]) -> None:
    """Unpack the published renderings of these objects that are not in scratch space, as after `dvc pull`."""
    published = _published(farm.workspace)
    complete = [asset.uid for asset in assets if published.get(asset.uid, {}).get("complete")]
    unpack_missing(farm.workspace.renders, farm.root, complete)


def failure_table(statuses: Sequence[ObjectStatus]) -> list[dict[str, Any]]:
    """A row a class of failure, most frequent first: how many objects, and one of them with its reason."""
    counts = Counter(status.failure for status in statuses if status.failure)
    rows = []
    for failure, objects in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        first = next(status for status in statuses if status.failure == failure)
        example = {"example": first.asset.uid, "title": first.asset.title, "message": first.message}
        rows.append({"failure": failure, "objects": objects, **example})
    return rows
