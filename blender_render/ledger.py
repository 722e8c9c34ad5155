"""The ledger of a farm: every outcome that there ever was, a JSON line each, the newest last.

A share that runs beside others writes a ledger of its own, so that no two processes append to one file.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stage.share import Share


def ledger_path(root: Path, share: Share | None = None) -> Path:
    """Where the farm of a folder of objects, or a share of it, writes its outcomes."""
    return root / (f"ledger-{share.name}.jsonl" if share else "ledger.jsonl")


def ledger_rows(root: Path) -> Iterator[dict[str, Any]]:
    """The rows of all ledgers of a folder of objects, those of shares first; a line cut short by a kill is left out.

    A row is `stage.failures.Outcome.row` with the fingerprint.
    """
    for path in sorted(root.glob("ledger*.jsonl")):
        with path.open() as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue
