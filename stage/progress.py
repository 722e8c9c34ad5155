"""Progress of a stage: one JSON line per change, of which terminal bars and orchestrator artifacts are two views.

A stage creates a `Progress` and calls `advance`. The line goes to the file that `VIEWFORGE_PROGRESS` names, when it
is set; when standard error is a terminal a bar is drawn as well, and otherwise a plain line appears now and then.
"""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

PROGRESS_VARIABLE = "VIEWFORGE_PROGRESS"
_PLAIN_INTERVAL = 10.0


class Progress:
    """Progress of `total` units of work of one stage, as a context manager.

    Args:
        stage: name of the stage.
        total: number of units.
        unit: what is counted, in the plural ("objects", "steps").
        done: units already done, as after a resume.
    """

    def __init__(self, stage: str, total: int, unit: str, done: int = 0) -> None:
        self.stage, self.total, self.unit, self.done = stage, total, unit, done
        self._sink = os.environ.get(PROGRESS_VARIABLE)
        self._started = time.monotonic()
        self._last_plain = self._started
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(
                f"{self.stage} ({self.unit})", total=self.total, completed=self.done, note=""
            )
            self._bar.start()
        self._emit("start", {})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._emit("end" if kind is None else "fail", {})

    def advance(self, amount: int = 1, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Count `amount` units as done; `fields` (a loss, a failure count) go into the line and beside the bar."""
        self.done += amount
        self._emit("advance", fields)
        note = " ".join(f"{key}={value}" for key, value in fields.items())
        if self._bar:
            self._bar.update(self._task, advance=amount, note=note)
        elif time.monotonic() - self._last_plain > _PLAIN_INTERVAL:
            self._last_plain = time.monotonic()
            print(f"{self.stage}: {self.done}/{self.total} {self.unit} {note}".rstrip(), file=sys.stderr, flush=True)

    def _emit(self, event: str, fields: dict[str, Any]) -> None:
        if not self._sink:
            return
        line = {
            "event": event,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "seconds": round(time.monotonic() - self._started, 3),
            **fields,
        }
        with Path(self._sink).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
