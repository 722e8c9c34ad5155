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
from blender_render.ledger import LEDGER, read_ledger
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
    outcomes = _published_failures(farm.workspace)
    outcomes |= {row["uid"]: row for row in read_ledger(farm.root / LEDGER)}
    return [_status(farm, asset, outcomes.get(asset.uid, {})) for asset in assets]


def _status(farm: Farm, asset: Asset, outcome: dict[str, Any]) -> ObjectStatus:
    fingerprint = farm.fingerprint(asset)
    if outcome.get("failure") and outcome["fingerprint"] == fingerprint:
        return ObjectStatus(asset, Status.FAILED, {}, outcome)
    try:
        record = read_record(object_folder(farm.root, asset.uid))
    except InputError:
        return ObjectStatus(asset, Status.WAITING, {}, {})
    status = Status.WARNED if record.get("warnings") else Status.RENDERED
    if record.get("fingerprint") != fingerprint:
        status = Status.STALE
    return ObjectStatus(asset, status, record, outcome)


def _published_failures(workspace: Workspace) -> dict[str, dict[str, Any]]:
    path = workspace.renders / "objects.parquet"
    if not path.is_file():
        return {}
    columns = ["uid", "failure", "message", "fingerprint", "complete"]
    rows = pd.read_parquet(path, columns=columns).to_dict("records")
    return {str(row["uid"]): {str(key): row[key] for key in row} for row in rows if not row["complete"]}


def bring_back(farm: Farm, assets: Sequence[Asset]) -> None:
    """Unpack the published renderings that are not in scratch space, as after `dvc pull`."""
    path = farm.workspace.renders / "objects.parquet"
    if path.is_file():
        table = pd.read_parquet(path, columns=["uid", "complete"])
        published = set(table.loc[table["complete"], "uid"])
        unpack_missing(farm.workspace.renders, farm.root, [a.uid for a in assets if a.uid in published])


def failure_table(statuses: Sequence[ObjectStatus]) -> list[dict[str, Any]]:
    """A row a class of failure, most frequent first: how many objects, and one of them with its reason."""
    counts = Counter(status.failure for status in statuses if status.failure)
    rows = []
    for failure, objects in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        first = next(status for status in statuses if status.failure == failure)
        example = {"example": first.asset.uid, "title": first.asset.title, "message": first.message}
        rows.append({"failure": failure, "objects": objects, **example})
    return rows
