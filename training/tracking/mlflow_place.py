"""Where a workspace's MLflow is: the server that the environment names, or a local database."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import mlflow
from mlflow.tracking import MlflowClient

from stage.errors import InputError
from stage.temporary_folder import OwnedFolder
from stage.workspace import Workspace

EXPERIMENT = "viewforge"
# `set_tracking_uri` writes MLFLOW_TRACKING_URI, which the next workspace of this process must not take for a server.
_OWN: set[str] = set()


def use_mlflow(workspace: Workspace) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, or at SQLite under the workspace's `mlflow/`; the URI.

    User and password of a server's address become `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, as MLflow prints
    its address.

    Raises:
        InputError: when what the environment says is no address.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri or uri in _OWN:
        uri = f"sqlite:///{workspace.mlflow.resolve() / 'mlflow.db'}"
        _OWN.add(uri)
    if uri.startswith("sqlite:///"):
        _make_whole(Path(uri.removeprefix("sqlite:///")))
    uri = _without_user(uri)
    mlflow.set_tracking_uri(uri)
    return uri


def _make_whole(database: Path) -> None:
    """Make a database that is not there beside its place, and give it its name when it is whole.

    MLflow makes its tables in many steps; killed between two of them it would refuse the file ever after.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    if database.exists():
        return
    folder = OwnedFolder(".mlflow-", database.parent)
    try:
        made = folder.path / database.name
        MlflowClient(f"sqlite:///{made}").search_experiments()
        try:
            os.link(made, database)
        except FileExistsError:
            pass  # another process was faster, and that one's stays
        except OSError:
            # A file system without hard links.
            made.rename(database)
    finally:
        folder.remove()


def _without_user(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InputError(f"MLFLOW_TRACKING_URI is no address: {error}", "mend it") from None
    user, mark, host = parts.netloc.rpartition("@")
    if not mark or parts.scheme not in ("http", "https"):
        return uri
    name, _, password = user.partition(":")
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(name), unquote(password)
    return urlunsplit(parts._replace(netloc=host))


def bound_requests(seconds: int) -> None:
    """Let no request of this process last longer, nor be tried again by MLflow itself: a journal does that.

    What the environment says already stays.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(seconds))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def experiment_id(workspace: Workspace) -> str:
    """The experiment of all runs, made on first use, with its artifacts beside the local database."""
    client = MlflowClient()
    existing = client.get_experiment_by_name(EXPERIMENT)
    if existing:
        return str(existing.experiment_id)
    local = mlflow.get_tracking_uri().startswith("sqlite:///")
    location = (workspace.mlflow.resolve() / "artifacts").as_uri() if local else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))
