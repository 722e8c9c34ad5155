"""The data behind a version: `dvc.lock` and `params.yaml` as they were when it was registered, among the artifacts of its run.

The lock holds the hash of every output, so that whoever has it can fetch a version's data again (`viewforge restore`), and knows
which objects of DVC's cache must stay (`viewforge gc`).
"""

import shutil
import tempfile
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stage.files import file_sha256
from stage.workspace import Workspace

LOCK_TAG = "dvc.lock"
LOCK_FILE = "dvc.lock"
PARAMETERS_FILE = "params.yaml"


def log_lock(client: MlflowClient, run_id: str, workspace: Workspace) -> dict[str, str]:
    """Log a workspace's lock and parameters to a run; the tag that leads to them, none where there is no lock.

    Args:
        client: the registry's.
        run_id: of the run.
        workspace: whose.
    """
    lock = workspace.root / LOCK_FILE
    if not lock.is_file():
        return {}
    with tempfile.TemporaryDirectory(prefix="viewforge-lock-") as folder:
        for path in filter(Path.is_file, (lock, workspace.parameters)):
            shutil.copyfile(path, Path(folder) / path.name)
        # Versions that share a run may have different data behind their evaluations.
        place = f"data/{file_sha256(Path(folder) / LOCK_FILE)[:12]}"
        client.log_artifacts(run_id, folder, place)
    return {LOCK_TAG: place}


def fetch_lock(client: MlflowClient, version: ModelVersion, folder: Path) -> Path | None:
    """Download a version's lock and parameters.

    Args:
        client: the registry's.
        version: whose.
        folder: where to; it exists.

    Returns:
        The folder that holds `dvc.lock` and `params.yaml`; None where the version carries none or its run is gone.
    """
    place = version.tags.get(LOCK_TAG)
    if not place:
        return None
    try:
        found = Path(client.download_artifacts(str(version.run_id), place, str(folder)))
    except (MlflowException, OSError):
        return None
    return found if (found / LOCK_FILE).is_file() else None
