"""Kills promotions and rollbacks at each of their writes, and runs them again.

`python killed_promotion.py ROOT DATABASE promote|rollback`. DATABASE is an MLflow database of `registry_of_three` whose workspace
is ROOT; it is put back before every attempt. Attempts run in children that this process forks, so that libraries and stores are
set up once. Prints a JSON line for each place of the kill.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import mlflow
from mlflow.tracking import MlflowClient

import registry.promote
import registry.rollback
from registry.claims import PREFIX
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.rollback import roll_back
from stage.errors import InputError
from stage.workspace import Workspace

# No connection is kept open that a child would inherit.
os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"
# Model cards follow from what is written before them, come last, and would double the drill's time.
registry.promote.publish_cards = registry.rollback.publish_cards = lambda *_: None
MODEL = RegisterParameters().model_name
WRITES = (
    "set_model_version_tag",
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "delete_registered_model_tag",
    "log_text",
)


def kill_at(number: int) -> None:
    """Have this process killed in place of its n-th write, counted from 0."""
    done = [0]

    def counted(write: Callable[..., None]) -> Callable[..., None]:
        def instead(*arguments: object, **options: object) -> None:
            if done[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            done[0] += 1
            write(*arguments, **options)

        return instead

    for name in WRITES:
        setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked child; the signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a child failed")
    return os.WTERMSIG(status)


def state() -> dict[str, object]:
    """Who holds which alias, and what is left of claims and of a rollback."""
    model = MlflowClient().get_registered_model(MODEL)
    versions = {v.version: v.tags for v in MlflowClient().search_model_versions(f"name = '{MODEL}'")}
    return {
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "claims": sum(key.startswith(PREFIX) for key in model.tags),
        "pending": "rollback.pending" in model.tags,
        "decisions": {str(version): tags.get("promotion.decision") for version, tags in versions.items()},
    }


def main() -> None:
    """Kill at write 0, 1, … until one attempt gets through."""
    workspace, database, command = Workspace(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]

    def work() -> None:
        if command == "promote":
            promote(RegisterParameters(), workspace)
        else:
            # Killed after its last write it was complete, and no champion is left to go back to.
            with suppress(InputError):
                roll_back(workspace, MODEL, "it paints seams")

    pristine = database.with_suffix(".pristine")
    shutil.copy(database, pristine)
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    # Once here, so that the children need import and set up nothing.
    work()
    killed, number = int(signal.SIGKILL), 0
    while killed:
        shutil.copy(pristine, database)
        killed = in_child(lambda at=number: (kill_at(at), work())[1])
        after = state()
        if killed:
            in_child(work)
        print(json.dumps({"write": number, "killed": bool(killed), "after": after, "again": state()}), flush=True)
        number += 1


if __name__ == "__main__":
    main()
