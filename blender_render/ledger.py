"""The ledger of a farm: every outcome that there ever was, a JSON line each, the newest last."""

import json
from pathlib import Path
from typing import Any

LEDGER = "ledger.jsonl"


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The rows of a ledger: `stage.failures.Outcome.row` with the fingerprint; a line cut short by a kill is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
