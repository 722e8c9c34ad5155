"""Cancelled runs get the time that their worker leaves them. Prefect 3.8 has 30 s in its code, and no setting."""

import asyncio
import time
from contextlib import suppress
from typing import ClassVar
from uuid import UUID

from prefect.runner import _flow_run_executor
from prefect.runner._process_manager import ProcessManager

_TICK_SECONDS = 0.5
MOST_SECONDS = 600.0
"""The longest time that a run is given."""


class PatientProcesses(ProcessManager):
    """Prefect's processes of flow runs, which are killed when they have had our time for ending and not Prefect's."""

    seconds: ClassVar[float] = 30.0
    """Between SIGTERM and SIGKILL."""

    async def kill(self, flow_run_id: UUID, grace_seconds: float = 30, *, force: bool = False) -> None:  # noqa: ARG002 - ours counts
        """Ask a run's process group to end, and kill what is left of it."""
        handle = self.get(flow_run_id)
        if handle is not None and not force:
            with suppress(ProcessLookupError):
                handle.graceful_kill()
            until = time.monotonic() + self.seconds
            while handle.is_alive() and time.monotonic() < until:
                await asyncio.sleep(_TICK_SECONDS)
            if not handle.is_alive():
                return
        await super().kill(flow_run_id, force=True)


def give(seconds: float) -> None:
    """Have all runs that this process starts from now on get so long when they are asked to end.

    Args:
        seconds: ten minutes at most. Its flow kills a stage after `flow.grace_seconds`, and has little to do then.
    """
    PatientProcesses.seconds = min(seconds, MOST_SECONDS)
    _flow_run_executor.ProcessManager = PatientProcesses  # type: ignore[misc]
