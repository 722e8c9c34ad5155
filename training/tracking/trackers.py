"""The trackers that a run's parameters name. A library is imported only where its tracker is named: MLflow's takes seconds."""

from stage.workspace import Workspace
from training.tracking.journals import journals_folder
from training.tracking.parameters import TrackerName, TrackingParameters
from training.tracking.tracker import Several, Tracker


def open_trackers(parameters: TrackingParameters, workspace: Workspace, title: str, run: str) -> Tracker:
    """All of them as one.

    Args:
        parameters: which, and their options.
        workspace: whose.
        title: the run's display name.
        run: the run's own name, the same for each attempt at it.

    Raises:
        InputError: when the package of one is missing.
        ViewforgeError: when another process reports on the same run.
    """
    return Several([_opened(name, parameters, workspace, title, run) for name in dict.fromkeys(parameters.trackers)])


def _opened(name: TrackerName, parameters: TrackingParameters, workspace: Workspace, title: str, run: str) -> Tracker:
    if name == "mlflow":
        from training.tracking.mlflow_run import MlflowRun

        return MlflowRun(workspace, title, journals_folder(workspace) / run, parameters)
    from training.tracking.other_trackers import tensorboard_run, wandb_run

    if name == "tensorboard":
        return tensorboard_run(parameters, workspace, run)
    return wandb_run(parameters.wandb, workspace, run)
