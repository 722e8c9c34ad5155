"""A flow that waits for a person about the last decision of a workspace. `python approval_drill.py run|serve ROOT`."""

import json
import sys
from pathlib import Path
from typing import Any

from prefect import flow

from flows.promotion import after_approval
from stage.workspace import Workspace


@flow(name="approval-drill")
def drill(root: str) -> dict[str, Any]:
    """The decision after a person has spoken."""
    return after_approval(root, json.loads((Workspace(Path(root)).root / "promotion.json").read_text()))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        drill(sys.argv[2])
    else:
        drill.serve(name="drill", parameters={"root": sys.argv[2]}, print_starting_message=False)
