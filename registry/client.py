"""MLflow's registry as this room needs it: its client, who holds which alias, and failures in one line."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stage.errors import InputError
from stage.workspace import Workspace
from training.tracking.mlflow_place import use_mlflow, without_password

CHAMPION = "champion"
CHALLENGER = "challenger"


@contextmanager
def open_registry(workspace: Workspace) -> Iterator[MlflowClient]:
    """The workspace's MLflow; what it refuses is a one-line error.

    Raises:
        InputError: when MLflow does not answer or refuses.
    """
    use_mlflow(workspace)
    # Downloads are of this room alone, small and not worth a bar each.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        yield MlflowClient()
    except MlflowException as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        message = f"MLflow at {mlflow.get_tracking_uri()}: {reason}"
        raise InputError(without_password(message), _remedy(message)) from error


def _remedy(message: str) -> str:
    """MLflow gives no code to an answer without one, as that of its authentication."""
    if re.search(r"error code 40[13] |PERMISSION_DENIED|UNAUTHENTICATED", message):
        return "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, and what its server lets that user do"
    return "check MLFLOW_TRACKING_URI and its server"


def holders(client: MlflowClient, model: str) -> dict[str, str]:
    """Version numbers by alias.

    Raises:
        InputError: when nothing is registered under this name.
    """
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(model).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    raise InputError(f"no model is registered as {model!r}", "register one first: viewforge run does it")


def version_of(client: MlflowClient, model: str, version: str) -> ModelVersion:
    """A version by its number.

    Raises:
        InputError: when there is no such version; it names those there are.
    """
    known = {str(v.version): v for v in client.search_model_versions(f"name = '{model}'")}
    if version not in known:
        numbers = ", ".join(sorted(known, key=int)) or "none"
        raise InputError(f"{model} has no version {version!r}", f"its versions are {numbers}")
    return known[version]
