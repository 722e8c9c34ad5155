"""The `ingest` flow: new assets become renderings, splatter images and shards. Nightly, by `prefect.yaml`."""

from typing import Any

from prefect import flow

from flows.stage_groups import INGEST, stage_groups
from flows.stage_loop import as_result, bring_up_to_date, opened


@flow(
    name="ingest",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def ingest(workspace: str) -> list[dict[str, Any]]:
    """Bring the training data of a workspace up to date.

    Args:
        workspace: its folder.

    Returns:
        What became of each stage.

    Raises:
        ViewforgeError: with the reason of the first stage that failed.
    """
    with opened(workspace) as place:
        return as_result(bring_up_to_date(place, stage_groups(place.root)[INGEST]))
