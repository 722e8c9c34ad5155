"""The `stage` flow: any one stage of dvc.yaml, where its inputs are there. On demand."""

from typing import Any

from prefect import flow

from flows.graph import stage_order
from flows.stage_loop import as_result, bring_up_to_date, opened
from stage.errors import InputError
from stage.parameters import nearest_remedy


@flow(
    name="stage",
    flow_run_name="{stage} in {workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def one_stage(workspace: str, stage: str) -> list[dict[str, Any]]:
    """Bring one stage of a workspace up to date.

    Args:
        workspace: its folder.
        stage: name in dvc.yaml.

    Returns:
        What became of it.

    Raises:
        ViewforgeError: when there is no such stage, or with the reason of the stage that failed.
    """
    with opened(workspace) as place:
        if stage not in (known := stage_order(place.root)):
            raise InputError(f"no stage {stage} in {place.root / 'dvc.yaml'}", nearest_remedy(stage, known))
        return as_result(bring_up_to_date(place, [stage]))
