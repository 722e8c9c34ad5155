"""What the flows tell Prefect of a workspace; `prefect.yaml` starts flows upon it."""

import hashlib
from pathlib import Path

from prefect.events import emit_event

TRAINED, EVALUATED, PROMOTED = "viewforge.trained", "viewforge.evaluated", "viewforge.promoted"
# Of Prefect's own kind, which the automation that gives up lost runs expects after a sign of life.
WAITS = "prefect.flow-run.waits-for-a-person"


def announce(event: str, workspace: Path, **facts: object) -> None:
    """Emit an event about a workspace. What it starts must bear being started twice.

    Args:
        event: its name.
        workspace: whose.
        facts: JSON values beside the workspace's path.
    """
    path = str(workspace.resolve())
    resource = {"prefect.resource.id": resource_id(workspace), "prefect.resource.name": path}
    emit_event(event=event, resource=resource, payload={"workspace": path, **facts})


def tell_of_waiting(run_id: str) -> None:
    """Emit that a flow run is silent from now on because it waits, behind the signs of life that it has already given.

    Args:
        run_id: Prefect's, of the flow run.
    """
    emit_event(event=WAITS, resource={"prefect.resource.id": f"prefect.flow-run.{run_id}"})


def resource_id(workspace: Path) -> str:
    """The name of a workspace among Prefect's resources."""
    return f"viewforge.workspace.{hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:12]}"
