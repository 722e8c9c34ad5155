"""The data that a registered version was made of: its run keeps dvc.lock and params.yaml, from which DVC brings them back."""

import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.run_artifacts import fetch_folder
from stage.errors import InputError
from stage.files import file_sha256
from stage.workspace import Workspace

FILES_TAG = "dvc.files"
LOCK, PARAMETERS = "dvc.lock", "params.yaml"
# As `registry.lineage` names them.
_SUMS = {LOCK: "dvc.lock_sha256", PARAMETERS: "params_sha256"}


@dataclass(frozen=True)
class DataVersion:
    """The two files that say what a version's data are."""

    lock: bytes
    parameters: bytes

    def files(self) -> dict[str, bytes]:
        """Both by name."""
        return {LOCK: self.lock, PARAMETERS: self.parameters}


def log_data_version(client: MlflowClient, run_id: str, workspace: Workspace) -> dict[str, str]:
    """Log a workspace's dvc.lock and params.yaml to a run, in a folder named after their content, which no other replaces.

    Returns:
        The tag of a version that names the folder; none where DVC did not make the workspace's data.
    """
    lock = workspace.root / LOCK
    if not lock.is_file() or not workspace.parameters.is_file():
        return {}
    both = file_sha256(lock) + file_sha256(workspace.parameters)
    place = f"dvc/{sha256(both.encode()).hexdigest()[:12]}"
    for path in (lock, workspace.parameters):
        client.log_artifact(run_id, str(path), place)
    return {FILES_TAG: place}


def read_data_version(client: MlflowClient, version: ModelVersion) -> DataVersion:
    """The data that a version was made of.

    Raises:
        InputError: when it carries none, or others than its tags say, or they are out of reach at the moment.
    """
    what = f"{version.name} version {version.version}"
    place = version.tags.get(FILES_TAG)
    if not place:
        raise InputError(
            f"{what} names no data: DVC did not make them, or an older viewforge registered it", "take another"
        )
    with tempfile.TemporaryDirectory(prefix="viewforge-data-version-") as folder:
        root = fetch_folder(client, str(version.run_id), place, Path(folder))
        if root is None:
            raise InputError(f"the files that name the data of {what} are gone", "restore its run's artifacts")
        try:
            contents = {name: (root / name).read_bytes() for name in (LOCK, PARAMETERS)}
        except OSError as error:
            raise InputError(f"the data of {what} cannot be had ({error})", "restore its run's artifacts") from None
    for name, tag in _SUMS.items():
        if sha256(contents[name]).hexdigest() != version.tags.get(tag):
            raise InputError(f"{name} of {what} is not what its tag {tag} says", "restore its run's artifacts")
    return DataVersion(contents[LOCK], contents[PARAMETERS])
