"""The `train` flow: the model of the training data as they are. Weekly and on demand, by `prefect.yaml`."""

from typing import Any

from prefect import flow

from flows.events import TRAINED, announce
from flows.stage_groups import TRAIN, stage_groups
from flows.stage_loop import as_result, bring_up_to_date, opened


@flow(
    name="train",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def train(workspace: str) -> list[dict[str, Any]]:
    """Train, or go on from the last checkpoint, and tell that there is a trained model.

    That is told of a fresh model, too: its event may have been lost with a run that was killed.

    Args:
        workspace: its folder.

    Returns:
        What became of each stage.

    Raises:
        ViewforgeError: with the reason of the stage that failed.
    """
    with opened(workspace) as place:
        runs = as_result(bring_up_to_date(place, stage_groups(place.root)[TRAIN]))
    announce(TRAINED, place.root, stages=runs)
    return runs
