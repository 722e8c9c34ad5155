"""A registry for drills: three versions with evaluations made by hand and no pipelines."""

from gate_records import record
from mlflow.tracking import MlflowClient

from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.version_records import REGISTERED_TAG, log_record
from stage.workspace import Workspace
from training.tracking.mlflow_place import experiment_id

MODEL = RegisterParameters().model_name


def registry_of_three(workspace: Workspace) -> None:
    """Versions of 20, 21 and 22 dB; the second is champion, the third challenger."""
    client = MlflowClient()
    client.create_registered_model(MODEL)
    experiment = experiment_id(workspace)
    for psnr in (20.0, 21.0, 22.0):
        run = client.create_run(experiment).info.run_id
        tags = {REGISTERED_TAG: log_record(client, run, record(psnr))}
        version = str(client.create_model_version(MODEL, workspace.root.as_uri(), run, tags=tags).version)
        client.set_registered_model_alias(MODEL, "challenger", version)
        if psnr < 22:
            assert promote(RegisterParameters(), workspace).promoted
