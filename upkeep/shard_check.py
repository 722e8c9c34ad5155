"""The workspace's shard set, wherever its tars are: `training.data.verify` reads it, and what it finds become findings."""

from stage.errors import ViewforgeError
from stage.lifeline import exclusive
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.verify import verify
from upkeep.findings import Checked, Finding

_REMEDY = "viewforge verify --repair and dvc pull, or viewforge shard --compact and dvc commit --force shard"


def check_shards(place: Workspace) -> Checked:
    """Every sample of every shard, against the index; a set that its stage writes, or wrote meanwhile, is left out."""
    if (before := _version(place)) is None:
        return Checked(skipped=(f"shards: {place.shards} has no {INDEX}",))
    checked = _read(place)
    if checked.findings and (_version(place) != before or _is_written(place)):
        return Checked(skipped=(f"shards: {place.shards} is being written, or was meanwhile",))
    return checked


def _read(place: Workspace) -> Checked:
    try:
        found = verify(place.shards)
    except ViewforgeError as error:
        return Checked((Finding("shard", str(place.shards), "the set cannot be read", str(error)),))
    findings = [Finding("shard", str(place.shards), str(damage), _REMEDY) for damage in found.damages]
    return Checked(tuple(findings), found.shards, found.bytes)


def _version(place: Workspace) -> tuple[int, int] | None:
    """What differs when the index was written anew; None where there is none."""
    try:
        status = (place.shards / INDEX).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _is_written(place: Workspace) -> bool:
    try:
        with exclusive(place, "shard", patience=0):
            return False
    except ViewforgeError:
        return True
