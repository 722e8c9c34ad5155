"""A stage that DVC runs: what it made before comes back first, and what it took goes on record.

DVC deletes a stage's outputs before it runs. Packs and shards that have not changed need not be written again, so they come back
from DVC's cache, in the version that dvc.lock names: as links where the file system has them, and so at no cost. Afterwards
`scratch/stages/<stage>.json` says how long the stage took and of which files its inputs were, which `flows.drift` compares.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.repository import locked_stages, opened
from upkeep.stage_records import write_record

# Outputs of these stages are packs and shards, whose writers keep what has not changed; the others are made as a whole.
_GROWING = {"catalog": "catalog", "render": "renders", "splatter": "splatters", "shard": "shards"}


@contextmanager
def under_dvc(workspace: Workspace, stage: str) -> Iterator[None]:
    """Around the work of a stage; nothing where it is not DVC that runs it.

    Args:
        workspace: where it works.
        stage: its name in dvc.yaml.
    """
    if os.environ.get("DVC_STAGE", "").rpartition(":")[2] != stage:
        yield
        return
    if stage in _GROWING:
        put_back(workspace, stage)
    started = time.monotonic()
    yield
    # Hours of work do not fail for a note: an input that went away meanwhile, a full disk.
    with suppress(OSError, LookupError):
        write_record(workspace, stage, time.monotonic() - started)


def put_back(workspace: Workspace, stage: str) -> None:
    """Bring the folder of packs or shards that a stage made last back from DVC's cache; what the cache lacks stays absent.

    Args:
        workspace: where it works.
        stage: one of those that keep what has not changed.
    """
    folder = getattr(workspace, _GROWING[stage]).resolve()
    # Before the first run there is nothing to bring back, and no need to wait for DVC's libraries.
    if folder.exists() or stage not in locked_stages(workspace.root):
        return
    from dvc.exceptions import DvcException

    # What cannot be had is made again.
    with suppress(DvcException, InputError, OSError), opened(workspace.root) as repo:
        for out in repo.stage.load_one(name=stage).outs:
            if Path(out.fs_path).resolve() == folder:
                out.checkout(force=True, allow_missing=True)
