"""Kills promotions and rollbacks at each of their writes, and runs them again.

`python killed_promotion.py ROOT DATABASE promote|rollback`. DATABASE is an MLflow database of `registry_of_three` whose workspace
is ROOT. Every attempt works on a copy of it, in a child that this process forks: the libraries are imported once. Prints a JSON
line for each place of the kill.
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

from registry.claims import PREFIX
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.rollback import roll_back
from stage.errors import InputError
from stage.workspace import Workspace

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


def in_child(database: Path, work: Callable[[], object]) -> tuple[int, object]:
    """Run in a forked child with this database: the signal that ended it, and what the work returned."""
    answer = database.with_suffix(".json")
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        mlflow.set_tracking_uri(f"sqlite:///{database}")
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{database}"
        answer.write_text(json.dumps(work()))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a child failed")
    return os.WTERMSIG(status), json.loads(answer.read_text()) if answer.is_file() else None


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

    killed, number = signal.SIGKILL, 0
    while killed:
        copy = database.with_name(f"{command}-{number}.db")
        shutil.copy(database, copy)
        killed, _ = in_child(copy, lambda at=number: (kill_at(at), work())[1])
        _, after = in_child(copy, state)
        in_child(copy, work if killed else state)
        _, again = in_child(copy, state)
        print(json.dumps({"write": number, "killed": bool(killed), "after": after, "again": again}), flush=True)
        number += 1


if __name__ == "__main__":
    main()
