"""What happens when a visitor asks for something: it waits, runs step by step, can be cancelled, and is shown."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from demo.controls import Controls
from demo.jobs import Job, JobState
from demo.making import Made
from demo.outputs import Outputs, emptied, pressable, shown, shown_mesh
from demo.status import bad, status_line
from demo.studio import Studio
from demo.wishes import wish_of
from stage.errors import ViewforgeError
from stage.secrets import redacted

_LOOK_SECONDS = 0.25
_LOG = logging.getLogger("viewforge.demo")
# The studio has a line of its own, in which more than gradio's one may wait.
_UNBOUNDED: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}


class RequestPart:
    """What the buttons do.

    Args:
        studio: what stands behind the page.
        controls: what is wished.
        outputs: where it is shown.
    """

    def __init__(self, studio: Studio, controls: Controls, outputs: Outputs) -> None:
        self._studio, self._controls, self._outputs = studio, controls, outputs

    def join(self, model: gr.Dropdown) -> None:
        """Have the buttons do what they are for."""
        outputs = self._outputs
        everything = [outputs.status, *outputs.results, *outputs.buttons[:2]]
        quietly = {**_UNBOUNDED, "queue": False}
        outputs.make.click(lambda: [None, None], None, outputs.viewers, **quietly)
        made = outputs.make.click(self._make, [model, *self._controls.fields.values()], everything, **_UNBOUNDED)
        meshed = outputs.mesh.click(self._mesh, None, everything, **_UNBOUNDED)
        # Each its own: a viewer that is given again what it shows loads it anew.
        made.then(self._gaussians, None, outputs.gaussians, **quietly)
        meshed.then(self._solid, None, outputs.solid, **quietly)
        # Not in line behind what it is to cancel.
        outputs.cancel.click(self._cancel, None, None, **quietly)

    async def _make(self, request: gr.Request, model: str | None, *values: Any) -> AsyncIterator[list[Any]]:  # noqa: ANN401
        visitor = self._studio.visitors.of(str(request.session_hash))
        try:
            wish = wish_of(self._controls.wish(values))
            # A version may have to be fetched from the registry.
            job = await asyncio.to_thread(self._studio.begin, visitor, model, wish)
        except ViewforgeError as error:
            yield self._update(bad(str(error)), None, visitor.is_busy)
            return
        async for update in self._followed(job, emptied(), lambda: shown(job.result)):
            yield update

    async def _mesh(self, request: gr.Request) -> AsyncIterator[list[Any]]:
        visitor = self._studio.visitors.of(str(request.session_hash))
        try:
            made, job = visitor.made, self._studio.begin_mesh(visitor)
        except ViewforgeError as error:
            yield self._update(bad(str(error)), None, visitor.is_busy)
            return
        assert isinstance(made, Made)  # noqa: S101 - `begin_mesh` refuses nothing
        async for update in self._followed(job, None, lambda: shown_mesh(made, job.result)):
            yield update

    def _gaussians(self, request: gr.Request) -> str | None:
        made = self._studio.visitors.of(str(request.session_hash)).made
        return str(made.turned) if made and made.turned else None

    def _solid(self, request: gr.Request) -> str | None:
        mesh = self._studio.visitors.of(str(request.session_hash)).mesh
        return str(mesh.glb) if mesh else None

    def _cancel(self, request: gr.Request) -> None:
        visitor = self._studio.visitors.of(str(request.session_hash))
        if visitor.job:
            visitor.job.cancel()

    async def _followed(self, job: Job, first: list[Any] | None, results: Any) -> AsyncIterator[list[Any]]:  # noqa: ANN401
        """Updates while a job is there; it is cancelled when nobody listens any more."""
        said = ""
        try:
            yield self._update(status_line(job, self._studio.before(job)), first, busy=True)
            while not job.is_over:
                line = status_line(job, self._studio.before(job))
                if line != said:
                    yield self._update(line, None, busy=True)
                said = line
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            job.cancel()
        _log(job)
        done = results() if job.state == JobState.DONE else None
        yield self._update(status_line(job, 0), done, busy=False)

    def _update(self, status: str, results: list[Any] | None, busy: bool) -> list[Any]:
        return [status, *(results or [gr.skip()] * len(self._outputs.results)), *pressable(busy)[:2]]


def _log(job: Job) -> None:
    if job.error and not isinstance(job.error, ViewforgeError):
        _LOG.error(redacted("".join(traceback.format_exception(job.error))))
