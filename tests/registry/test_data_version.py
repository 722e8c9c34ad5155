"""What a registered version keeps of the data it was made of."""

import pytest
from mlflow.tracking import MlflowClient

from registry.data_version import read_data_version
from registry.parameters import RegisterParameters
from registry.register import register
from stage.errors import InputError
from stage.workspace import Workspace


def test_a_version_keeps_lock_and_parameters_whatever_comes_after(workspace: Workspace, client: MlflowClient) -> None:
    lock, parameters = (workspace.root / "dvc.lock").read_bytes(), workspace.parameters.read_bytes()
    version = register(RegisterParameters(), workspace)
    (workspace.root / "dvc.lock").write_text("of another run")
    kept = read_data_version(client, version)
    assert (kept.lock, kept.parameters) == (lock, parameters)


def test_a_workspace_that_dvc_did_not_make_is_registered_without(workspace: Workspace, client: MlflowClient) -> None:
    (workspace.root / "dvc.lock").unlink()
    version = register(RegisterParameters(), workspace)
    with pytest.raises(InputError, match="DVC did not make them"):
        read_data_version(client, version)
