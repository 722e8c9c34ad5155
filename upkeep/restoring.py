"""Bringing a registered version's data and evaluation back, on whatever machine: `viewforge restore`.

The version's run has dvc.lock and params.yaml. They are put in place, DVC fetches what they name from its remote, and nothing is
computed. What somebody changed and committed nowhere is not overwritten unless asked for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from registry.client import holders, open_registry, version_of
from registry.data_version import DataVersion, read_data_version
from registry.lineage import MODEL_TAG
from stage.errors import InputError
from stage.files import folder_sha256, write_bytes
from stage.repository import git
from stage.workspace import Workspace
from upkeep.remote_data import REMOTE_TAG, default_remote
from upkeep.repository import locked_stages, opened, reaching


@dataclass(frozen=True)
class Restored:
    """What was brought back."""

    model: str
    version: str
    fetched: int
    """Files that came from the remote; the others were in DVC's cache."""


def restore(
    workspace: Workspace, model: str, which: str = "champion", force: bool = False, remote: str | None = None
) -> Restored:
    """Bring a workspace to the data, model and evaluation of a registered version.

    Args:
        workspace: a DVC workspace.
        model: registered model.
        which: alias or number of the version.
        force: whether changes that are committed nowhere may be lost.
        remote: address of the DVC remote to fetch from; the workspace's default one when None.

    Raises:
        InputError: when there is no such version, it names no data, changes would be lost, the remote lacks something or cannot
            be reached, or what came back is not the version's model.
    """
    with open_registry(workspace) as client:
        version = version_of(client, model, _number(holders(client, model), model, which))
        data = read_data_version(client, version)
    if not force:
        _refuse_to_lose(workspace, data)
    with _in_place(workspace, data):
        fetched = _brought(workspace, version, force, remote)
    _verify(workspace, version)
    return Restored(model, str(version.version), fetched)


def _number(aliases: dict[str, str], model: str, which: str) -> str:
    if which.isdigit():
        return which
    if which not in aliases:
        known = ", ".join(f"{alias} is version {number}" for alias, number in aliases.items()) or "it has no alias"
        raise InputError(f"{model} has no {which}", f"name an alias or a version: {known}")
    return aliases[which]


def _refuse_to_lose(workspace: Workspace, data: DataVersion) -> None:
    """Refuse to replace a file that is neither the same nor committed."""
    for name, content in data.files().items():
        path = workspace.root / name
        if path.is_file() and path.read_bytes() != content and not _is_committed(workspace, name):
            raise InputError(
                f"{path} has changes that are committed nowhere", "commit or move it, or restore with --force"
            )


def _is_committed(workspace: Workspace, name: str) -> bool:
    tracked = git(workspace.root, "ls-files", "--error-unmatch", name)
    return tracked is not None and git(workspace.root, "status", "--porcelain", "--", name) == ""


@contextmanager
def _in_place(workspace: Workspace, data: DataVersion) -> Iterator[None]:
    """Put the version's files in place; when the block fails, those that were there come back."""
    before = {name: _content(workspace, name) for name in data.files()}
    try:
        for name, content in data.files().items():
            write_bytes(workspace.root / name, content)
        yield
    except BaseException:
        for name, former in before.items():
            if former is None:
                (workspace.root / name).unlink(missing_ok=True)
            else:
                write_bytes(workspace.root / name, former)
        raise


def _content(workspace: Workspace, name: str) -> bytes | None:
    path = workspace.root / name
    return path.read_bytes() if path.is_file() else None


def _brought(workspace: Workspace, version: ModelVersion, force: bool, remote: str | None) -> int:
    """Fetch and check out what dvc.lock names; the number of files that were fetched."""
    from dvc.exceptions import CheckoutError, DownloadError, DvcException

    with opened(workspace.root, remote) as repo:
        url = _remote(repo, version)
        with reaching(url):
            try:
                fetched = int(repo.fetch())
            except DownloadError as error:
                raise InputError(f"{url} lacks {error.amount} files of the version", _pushed(version)) from None
        try:
            repo.checkout(force=force)
        except CheckoutError as error:
            raise InputError(
                f"{url} lacks data of the version: {' '.join(str(error).split())}", _pushed(version)
            ) from None
        except DvcException as error:
            raise InputError(
                f"outputs in {workspace.root} were changed and are in no cache: {' '.join(str(error).split())}",
                "dvc commit them, or restore with --force",
            ) from None
    return fetched


def _remote(repo: Any, version: ModelVersion) -> str:  # noqa: ANN401 - DVC's repository
    try:
        return default_remote(repo)[1]
    except InputError as error:
        raise InputError(str(error), _pushed(version)) from None


def _pushed(version: ModelVersion) -> str:
    """Where the data are, for a remedy."""
    if url := version.tags.get(REMOTE_TAG):
        return f"they were pushed to {url}: name it by --remote or dvc remote add --default"
    return "nobody pushed them: run dvc push where the version was registered"


def _verify(workspace: Workspace, version: ModelVersion) -> None:
    """Compare what came back with the lock, and the model with the version's tag.

    Raises:
        InputError: when they are not the same.
    """
    locked = locked_stages(workspace.root)
    with opened(workspace.root) as repo:
        stages = [stage for stage in repo.index.stages if getattr(stage, "name", None) in locked]
        wrong = [name for stage in stages for out in stage.outs for name in out.status()]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)} are not what dvc.lock names", "run dvc checkout --force, then viewforge doctor"
        )
    if folder_sha256(workspace.model) != version.tags.get(MODEL_TAG):
        raise InputError(
            f"{workspace.model} is not the model of {version.name} version {version.version}",
            "dvc.lock was of other data when the version was registered; take another version",
        )
