"""The workspace's shard set, wherever its tars are: `training.data.verify` reads it, and what it finds become findings."""

from stage.errors import ViewforgeError
from stage.workspace import Workspace
from training.data.index import INDEX
from training.data.verify import verify
from upkeep.findings import Checked, Finding

_REMEDY = "viewforge verify --repair and dvc pull, or viewforge shard --compact and dvc commit --force shard"


def check_shards(place: Workspace) -> Checked:
    """Every sample of every shard, against the index."""
    if not (place.shards / INDEX).is_file():
        return Checked(skipped=(f"shards: {place.shards} has no {INDEX}",))
    try:
        found = verify(place.shards)
    except ViewforgeError as error:
        return Checked((Finding("shard", str(place.shards), "the set cannot be read", str(error)),))
    findings = [Finding("shard", str(place.shards), str(damage), _REMEDY) for damage in found.damages]
    return Checked(tuple(findings), found.shards, found.bytes)
