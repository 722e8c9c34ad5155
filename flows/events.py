"""What the flows tell Prefect of a workspace; `prefect.yaml` starts flows upon it."""

import hashlib
from pathlib import Path

from prefect.events import emit_event

TRAINED, EVALUATED, PROMOTED = "viewforge.trained", "viewforge.evaluated", "viewforge.promoted"


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


def resource_id(workspace: Path) -> str:
    """The name of a workspace among Prefect's resources."""
    return f"viewforge.workspace.{hashlib.sha256(str(workspace.resolve()).encode()).hexdigest()[:12]}"
