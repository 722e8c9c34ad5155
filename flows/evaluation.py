"""The `evaluate` flow: scores and report of a trained model. After every training, by `prefect.yaml`."""

from typing import Any

from prefect import flow

from flows import artifacts
from flows.events import EVALUATED, announce
from flows.stage_groups import EVALUATE, stage_groups
from flows.stage_loop import as_result, bring_up_to_date, opened


@flow(
    name="evaluate",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def evaluate(workspace: str) -> list[dict[str, Any]]:
    """Evaluate the model of a workspace, show the results, and tell that there are some.

    Args:
        workspace: its folder.

    Returns:
        What became of each stage.

    Raises:
        ViewforgeError: with the reason of the first stage that failed.
    """
    with opened(workspace) as place:
        runs = as_result(bring_up_to_date(place, stage_groups(place.root)[EVALUATE]))
        artifacts.publish_results(place)
    announce(EVALUATED, place.root, stages=runs)
    return runs
