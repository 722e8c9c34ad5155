"""Whether the data of a workspace's dvc.lock are in its DVC remote, from where others get them; and bringing them there.

A registered version says by its tag `dvc.remote` where its data are: what is nowhere but on one disk cannot be restored.

    python -m upkeep.remote_data WORKSPACE      # say what the remote lacks, in a process that whoever asks may end
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow.tracking import MlflowClient

from catalog.http_errors import shown
from registry.client import open_registry
from stage.errors import InputError
from stage.workspace import Workspace
from upkeep.repository import locked_stages, opened, reaching

REMOTE_TAG = "dvc.remote"
Treatment = Literal["push", "check", "leave"]


@dataclass(frozen=True)
class RemoteState:
    """What a remote has of the data of dvc.lock."""

    name: str
    url: str
    """Without user and password."""
    missing: int
    """Files that it lacks."""
    files: int

    @property
    def complete(self) -> bool:
        """Whether others can get everything."""
        return not self.missing

    def __str__(self) -> str:
        if self.complete:
            return f"all {self.files} files are in {self.url}"
        return f"{self.missing} of {self.files} files are not in {self.url}"


def remote_state(workspace: Workspace) -> RemoteState:
    """Compare dvc.lock with the default remote; nothing is hashed or sent.

    Raises:
        InputError: when there is no remote, it cannot be reached, or no DVC workspace.
    """
    with opened(workspace.root) as repo:
        name, url = default_remote(repo)
        with reaching(url):
            wanted = {checksum for checksums in repo.used_objs(push=True).values() for checksum in checksums}
            found = repo.cloud.status(wanted)
        missing = len(found.new) + len(found.missing)
        return RemoteState(name, url, missing, missing + len(found.ok) + len(found.deleted))


def push(workspace: Workspace) -> int:
    """Bring the data of dvc.lock to the default remote, with DVC's run cache; the number of files that were sent.

    Raises:
        InputError: when there is no remote or it cannot be reached.
    """
    with opened(workspace.root) as repo:
        _, url = default_remote(repo)
        with reaching(url):
            return int(repo.push(run_cache=True))


def secure(workspace: Workspace, model: str, version: str, treatment: Treatment) -> str:
    """See to the data of a registered version, and note with it where they are.

    Data that are not in the remote keep nobody from promoting the model; the sentence says so.

    Args:
        workspace: that the version was registered from.
        model: registered model.
        version: its number.
        treatment: push the data, check that they are there, or leave them.

    Returns:
        What is so, in one sentence; empty where the data are left or DVC did not make them.

    Raises:
        InputError: when the data shall be pushed and cannot.
    """
    if treatment == "leave" or not locked_stages(workspace.root):
        return ""
    if treatment == "push":
        push(workspace)
    try:
        state = remote_state(workspace)
    except InputError as error:
        return f"data: whether they can be restored is not known: {error}"
    with open_registry(workspace) as client:
        _note(client, model, version, state)
    remedy = "" if state.complete else "; dvc push brings them there, or nobody can restore them elsewhere"
    return f"data: {state}{remedy}"


def _note(client: MlflowClient, model: str, version: str, state: RemoteState) -> None:
    client.set_model_version_tag(model, version, REMOTE_TAG, state.url if state.complete else "")


def default_remote(repo: Any) -> tuple[str, str]:  # noqa: ANN401 - DVC's repository
    """Name and address of the remote that DVC takes when none is named.

    Raises:
        InputError: when there is none.
    """
    name = repo.config["core"].get("remote")
    if not name or name not in repo.config["remote"]:
        raise InputError(f"{repo.root_dir} has no default DVC remote", "dvc remote add --default NAME URL")
    url = str(repo.config["remote"][name]["url"])
    return name, shown(url) if "://" in url else url


def main() -> None:
    """Print the state of the default remote of the workspace that the command line names; exit status 1 with the reason."""
    try:
        print(remote_state(Workspace(Path(sys.argv[1]))))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
