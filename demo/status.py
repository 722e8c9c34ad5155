"""What a visitor reads of a request: how many come before it, its steps, what it took, or why it failed."""

import html

from demo.jobs import Job, JobState
from demo.making import Made
from demo.meshes import MadeMesh
from stage.errors import ViewforgeError
from stage.secrets import redacted

READY = '<div class="progress-note" role="status">Ready.</div>'


def status_line(job: Job, before: int) -> str:
    """HTML of a request as it stands.

    Args:
        job: the request.
        before: how many come before it.
    """
    if job.state == JobState.WAITING:
        return _note(f"Waiting: {before} before yours." if before else "Waiting.")
    if job.state == JobState.RUNNING:
        return _running(job)
    if job.state == JobState.CANCELLED:
        return _note(f"Cancelled after {job.seconds:.1f} s. The device is free.")
    if job.state == JobState.FAILED:
        return bad(reason_of(job))
    memory = f", {job.result.memory}" if isinstance(job.result, Made | MadeMesh) else ""
    return _note(f"Done in {job.seconds:.1f} s{memory}.")


def reason_of(job: Job) -> str:
    """Why a request failed, in a line that tells strangers nothing of this machine."""
    if isinstance(job.error, ViewforgeError):
        return str(job.error)
    # What it says is for the log alone (`demo.page`).
    return "Something went wrong here; whoever runs the page finds it in its log."


def bad(message: str) -> str:
    """HTML of what went wrong."""
    return f'<div class="progress-note" role="alert"><span class="bad">{html.escape(redacted(message))}</span></div>'


def _running(job: Job) -> str:
    text = html.escape(job.note or "starting")
    if not job.total:
        return f'<div class="progress-note" role="status"><span>{text}, {job.seconds:.0f} s</span><progress></progress></div>'
    bar = f'<progress value="{job.done}" max="{job.total}"></progress>'
    count = f"step {job.done} of {job.total}, {job.seconds:.1f} s"
    return f'<div class="progress-note" role="status"><span>{text}: {count}</span>{bar}</div>'


def _note(text: str) -> str:
    return f'<div class="progress-note" role="status">{html.escape(text)}</div>'
