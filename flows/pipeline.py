"""The `pipeline` flow: every stale stage of a workspace, then registration, promotion and the report.

    viewforge run

The stages come from DVC (`flows.graph`); each runs as `dvc repro --single-item` in a directly called task, because only
such a task's processes die with a cancelled run. Prefect is ephemeral by default and a server's client when
`PREFECT_API_URL` is set.
"""

from typing import Any

from prefect import flow

from flows import artifacts
from flows.graph import stage_order
from flows.promotion import after_approval, is_served, register_and_promote
from flows.stage_loop import bring_up_to_date, opened


@flow(
    name="pipeline",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def pipeline(workspace: str, promote: bool = True) -> dict[str, Any] | None:
    """Bring a workspace up to date.

    Args:
        workspace: its folder.
        promote: whether the result is registered and put before the gate, if its system is one that is served.

    Returns:
        The promotion decision, or None without one.

    Raises:
        ViewforgeError: with the reason of the first stage that failed.
    """
    with opened(workspace) as place:
        bring_up_to_date(place, stage_order(place.root))
        artifacts.publish_results(place)
        decision = register_and_promote(str(place.root)) if promote and is_served(place) else None
    # A person may take a day: nobody else is kept from the workspace meanwhile.
    return after_approval(str(place.root), decision) if decision else None
