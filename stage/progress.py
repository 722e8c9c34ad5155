"""Progress of a stage: one JSON line per change, of which terminal bars and orchestrator artifacts are two views.

A stage creates a `Progress` and calls `advance`. The line goes to the file that `VIEWFORGE_PROGRESS` names, when it
is set; when standard error is a terminal a bar is drawn as well, and otherwise a plain line appears now and then. All tell the
pace (`stage.pace`).
"""

import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from stage.pace import Cost, pace, pace_text

PROGRESS_VARIABLE = "VIEWFORGE_PROGRESS"
_PLAIN_INTERVAL = 10.0
# So that the pace fits on a line of 80 characters, too.
_BAR_WIDTH = 12


class Progress:
    """Progress of `total` units of work of one stage, as a context manager.

    Args:
        stage: name of the stage.
        total: number of units; 0 where nobody can know it before the end, as of a stream.
        unit: what is counted, in the plural ("objects", "steps").
        done: units already done, as after a resume.
        cost: what the work takes up; with it each line tells what a thousand units cost.
    """

    def __init__(self, stage: str, total: int, unit: str, done: int = 0, cost: Cost | None = None) -> None:
        self.stage, self.total, self.unit, self.done, self.cost = stage, total, unit, done, cost
        self._done_before = done
        self._sink = os.environ.get(PROGRESS_VARIABLE)
        self._started = time.monotonic()
        self._last_plain = self._started
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=_BAR_WIDTH),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(self.stage, total=self.total or None, completed=self.done, note=self.unit)
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
        line = self._emit("advance", fields)
        note = " ".join(f"{key}={value}" for key, value in fields.items())
        if self._bar:
            self._bar.update(self._task, advance=amount, note=f"{pace_text(line)} {note}")
        elif time.monotonic() - self._last_plain > _PLAIN_INTERVAL:
            self._last_plain = time.monotonic()
            done = f"{self.done}/{self.total}" if self.total else f"{self.done}"
            counted = ", ".join(filter(None, (f"{done} {self.unit}", pace_text(line))))
            print(f"{self.stage}: {counted} {note}".rstrip(), file=sys.stderr, flush=True)

    def _emit(self, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Write a line to the sink if there is one; the line."""
        seconds = time.monotonic() - self._started
        line = {
            "event": event,
            "stage": self.stage,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "seconds": round(seconds, 3),
            **pace(self.done - self._done_before, max(0, self.total - self.done), seconds, self.cost),
            **fields,
        }
        if self._sink:
            self._write(self._sink, line)
        return line

    @staticmethod
    def _write(sink: str, line: dict[str, Any]) -> None:
        with Path(sink).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
