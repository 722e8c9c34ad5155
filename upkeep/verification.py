"""Verification: all that an installation stores is read again and compared with what it was written as.

    viewforge verify [--repair]

Downloaded and composed assets, the outputs of `dvc.lock`, DVC's cache, the shard set, the databases, and the registered versions
that an alias names. What is found is a list of findings, each with its remedy; nothing is raised for damage.
"""

import time
from dataclasses import dataclass

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.asset_check import check_assets
from upkeep.databases import check_databases
from upkeep.findings import Checked, Finding, together
from upkeep.registry_check import check_registry
from upkeep.shard_check import check_shards
from upkeep.version_check import check_versions

__all__ = ["Finding", "Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what is wrong with it."""

    findings: tuple[Finding, ...]
    checked: int
    """Files, shards and registered versions that were hashed or compared."""
    bytes: int
    """That were read."""
    seconds: float
    skipped: tuple[str, ...] = ()
    """What could not be looked at and why, in one line each."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(place: Workspace, repair: bool = False) -> Verification:
    """Read again all that a workspace stores.

    Files are read side by side, a piece at a time; only what is compared stays in memory.

    Args:
        place: the workspace.
        repair: whether damaged files are put aside, so that DVC or the next stage brings them back. Nothing is deleted.

    Raises:
        InputError: when the folder is no workspace.
    """
    if not place.parameters.is_file():
        raise InputError(f"{place.root} has no params.yaml", "name a workspace with --workspace")
    started = time.monotonic()
    found = together(_checks(place, repair))
    seconds = round(time.monotonic() - started, 1)
    return Verification(found.findings, found.checked, found.bytes, seconds, found.skipped)


def _checks(place: Workspace, repair: bool) -> list[Checked]:
    databases = check_databases(place)
    # MLflow's own library says of a damaged database what nobody understands.
    registry = Checked(skipped=("registry: a database is damaged",)) if databases.findings else check_registry(place)
    return [check_assets(place, repair), check_versions(place, repair), check_shards(place), databases, registry]
