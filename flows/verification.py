"""The `verify` flow: what is stored is hashed again. Weekly, by `prefect.yaml`."""

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.stage_loop import opened
from stage.errors import ViewforgeError
from stage.secrets import redacted
from upkeep.verification import Verification, verify

# Of a table; a disk that dies may damage everything, and viewforge verify lists it all.
_ROWS = 500
# Of what could not be looked at, in one line.
_NAMED = 5


@flow(
    name="verify",
    flow_run_name="{workspace}",
    validate_parameters=False,
    persist_result=True,
    result_serializer="json",
)
def verification(workspace: str) -> dict[str, Any]:
    """Verify a workspace, and fail where something stored is not what was written.

    Args:
        workspace: its folder.

    Returns:
        What was looked at.

    Raises:
        ViewforgeError: with the first finding.
    """
    with opened(workspace) as place:
        found = verify(place)
    rows = [{name: redacted(text) for name, text in asdict(finding).items()} for finding in found.findings[:_ROWS]]
    create_table_artifact(table=rows, key="verification", description=_said(found))
    if rows:
        first = found.findings[0]
        raise ViewforgeError(f"{_said(found)}; first: {first.what} {first.place}: {first.problem}", first.remedy)
    return {"checked": found.checked, "bytes": found.bytes, "seconds": found.seconds}


def _said(found: Verification) -> str:
    more = [f"and {len(found.skipped) - _NAMED} more"] if len(found.skipped) > _NAMED else []
    left_out = f"; not looked at: {', '.join([*found.skipped[:_NAMED], *more])}" if found.skipped else ""
    size = f"{found.bytes / 2**20:.0f} MiB"
    return redacted(f"{len(found.findings)} of {found.checked} things in {size} are not what was written{left_out}")
