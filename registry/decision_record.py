"""Where a decision is written down: tags of the version, an artifact of its run, two files of the workspace."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlflow.tracking import MlflowClient

from registry.approval import APPROVAL_TAG, Approval
from registry.decision import Decision
from registry.decision_report import decision_markdown
from stage.files import write_json, write_text
from stage.workspace import Workspace

DECISION_FILE = "promotion.json"
MARKDOWN_FILE = "promotion.md"
SINCE_TAG = "champion.since"
AWAY_TAG = "rollback.away"


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def decision_tags(decision: Decision, override: str | None, approval: Approval | None) -> dict[str, str]:
    """Tags of the version. A promotion is `promoting` until the alias has moved.

    Args:
        decision: what they say.
        override: the reason, where the decision was a person's against the gate.
        approval: what a person said, if anybody was asked.
    """
    tags = {
        "promotion.decision": "promoting" if decision.promoted else decision.outcome,
        "promotion.gate": decision.gate,
        "promotion.reasons": "\n".join(decision.reasons),
        "promotion.checks": json.dumps([asdict(check) for check in decision.checks]),
        "promotion.override": override or "",
        "promotion.time": now(),
    }
    if approval or override:
        # An override outlives the rejection that it overrode.
        tags[APPROVAL_TAG] = str(approval or "")
    return tags | ({"previous_champion": decision.previous_champion} if decision.previous_champion else {})


def log_decision(client: MlflowClient, run_id: str, decision: Decision) -> None:
    """Log the decision's page to the version's run."""
    client.log_text(run_id, decision_markdown(decision), f"promotion/version-{decision.version}.md")


def write_decision(decision: Decision, workspace: Workspace) -> None:
    """Write `promotion.json` and `promotion.md` at the workspace's root."""
    write_text(workspace.root / MARKDOWN_FILE, decision_markdown(decision))
    write_json(workspace.root / DECISION_FILE, decision.to_json())


def read_decision(workspace: Workspace) -> dict[str, Any] | None:
    """The last decision in this workspace, as `promotion.json` holds it; None before the first."""
    path = workspace.root / DECISION_FILE
    return json.loads(path.read_text()) if path.is_file() else None
