"""Objects worked on by a farm of workers: what is missing or stale is done, and nothing is lost or done twice.

What is complete under the present input, parameters and code is kept, here or in the output root; permanent failures are
remembered and not tried again. Every outcome is a line of `ledger.jsonl`, with seconds in all and of each phase, memory and the
tail of standard error; a share that runs beside others writes its own, and all are read.
"""

import json
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from blender_render.installation import check_system_libraries
from blender_render.ledger import ledger_path, ledger_rows
from blender_render.rendered_object import is_complete
from stage.changes import Changes
from stage.errors import StageFailedError
from stage.executor import ExecutorParameters, Job, Payload, executor_for
from stage.failures import FailureClass, Outcome
from stage.files import remove_leftovers
from stage.output_root import OutputRoot
from stage.packs import object_folder
from stage.progress import Progress
from stage.share import Share

_DELIVERY = "blender_render.delivery:deliver"
_DOWNLOADS = 8

# What an object's folder may be called; a catalogue is data from elsewhere. A dot ends a sample's key in shards.
_UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


@dataclass(frozen=True)
class BatchJob:
    """One object's work; `fingerprint` is the hash of all that decides its result."""

    uid: str
    fingerprint: str
    payload: Payload
    cost: float = 0.0
    """Estimate in any unit; the most costly goes first, so that none is left over when the others are done."""


@dataclass(frozen=True)
class Batch:
    """A folder of object folders that one worker function fills.

    Args:
        root: folder of loose object folders, each with a `record.json` that holds its fingerprint.
        handler: the worker function, "module:function".
        executor: worker processes.
        output_root: where finished objects are published for machines that do not share `root`.
        share: the part of a larger batch that this is, beside which others run.
    """

    root: Path
    handler: str
    executor: ExecutorParameters
    output_root: OutputRoot | None = None
    share: Share | None = None
    changes: Changes = field(default_factory=Changes)
    """Is told how many objects were made and how many kept."""

    def run(self, jobs: Sequence[BatchJob], label: str) -> list[Outcome]:
        """Do what is missing or stale; the failures sorted by uid, old permanent ones included, without standard error.

        What others have published is brought here, unless this is a share.

        Raises:
            InputError: when Blender's system libraries are missing, or the output root cannot be reached.
            StageFailedError: when the disk is full, workers cannot start, or a published object is damaged.
        """
        check_system_libraries()
        self.root.mkdir(parents=True, exist_ok=True)
        if self.share is None:
            remove_leftovers(self.root)
        fingerprints = {job.uid: job.fingerprint for job in jobs}
        failed = {**self._remembered_failures(fingerprints), **_unsafe_uids(jobs)}
        todo = self._unfinished([job for job in jobs if job.uid not in failed])
        done, cost = len(jobs) - len(todo), self.executor.cost()
        with Progress(label, len(jobs), "objects", done, cost) as progress:
            for outcome in executor_for(self.executor).run(self._handler, map(self._job, todo)):
                self._note(outcome, fingerprints[outcome.uid])
                if not outcome.ok:
                    # The ledger has it; thousands of failures would fill the memory with it.
                    failed[outcome.uid] = replace(outcome, stderr_tail="")
                self.changes.made += outcome.ok
                progress.advance(failed=len(failed))
        self.changes.failed = len(failed)
        self.changes.kept = len(jobs) - len(failed) - self.changes.made
        if self.output_root and self.share is None:
            self._fetch(self.output_root, [job for job in jobs if job.uid not in failed and not self._is_here(job)])
        return [failed[uid] for uid in sorted(failed)]

    def _unfinished(self, jobs: Sequence[BatchJob]) -> list[BatchJob]:
        """What is to be done, the most costly first."""
        if self.output_root:
            finished = self.output_root.finished()
            todo = [job for job in jobs if (job.uid, job.fingerprint) not in finished]
        else:
            todo = [job for job in jobs if not self._is_here(job)]
        return sorted(todo, key=lambda job: (-job.cost, job.uid))

    def _is_here(self, job: BatchJob) -> bool:
        folder = object_folder(self.root, job.uid)
        return is_complete(folder, job.fingerprint) and not _has_lost_bytes(folder)

    @property
    def _handler(self) -> str:
        return _DELIVERY if self.output_root else self.handler

    def _job(self, job: BatchJob) -> Job:
        if self.output_root:
            return Job(job.uid, partial(self._delivery, job, self.output_root.url))
        return Job(job.uid, job.payload)

    def _delivery(self, job: BatchJob, url: str) -> dict[str, Any]:
        """The job as `blender_render.delivery` takes it."""
        return {
            "uid": job.uid,
            "fingerprint": job.fingerprint,
            "handler": self.handler,
            "payload": Job(job.uid, job.payload).message(),
            "root": str(self.root),
            "output": str(object_folder(self.root, job.uid)),
            "output_root": url,
        }

    def _fetch(self, output_root: OutputRoot, jobs: Sequence[BatchJob]) -> None:
        """Bring published objects here."""

        def fetch(job: BatchJob) -> None:
            output_root.fetch(job.uid, job.fingerprint, self.root)
            if not self._is_here(job):
                raise StageFailedError(
                    f"{output_root.url}: {job.uid} is not what its name says", "delete it there and run again"
                )

        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            for _ in pool.map(fetch, jobs):
                pass

    @property
    def ledger(self) -> Path:
        """Every outcome that there was here, a JSON line each."""
        return ledger_path(self.root, self.share)

    def _note(self, outcome: Outcome, fingerprint: str) -> None:
        with self.ledger.open("a") as stream:
            stream.write(
                json.dumps({**outcome.row(), "phases": outcome.result.get("seconds", {}), "fingerprint": fingerprint})
                + "\n"
            )

    def _remembered_failures(self, fingerprints: dict[str, str]) -> dict[str, Outcome]:
        """Permanent failures of the present input, parameters and code, from the ledgers."""
        failed: dict[str, Outcome] = {}
        for row in ledger_rows(self.root):
            if row.pop("fingerprint") != fingerprints.get(row["uid"]):
                continue
            failed.pop(row["uid"], None)
            row.pop("phases", None)
            failure = FailureClass(row.pop("failure")) if row["failure"] else None
            if failure and failure.lasting:
                failed[row["uid"]] = Outcome(failure=failure, result={}, **{**row, "stderr_tail": ""})
        return failed


def _has_lost_bytes(folder: Path) -> bool:
    """Whether a file is empty, as a power cut leaves those that were written in the half-minute before it."""
    with os.scandir(folder) as entries:
        return any(entry.is_file() and not entry.stat().st_size for entry in entries)


def _unsafe_uids(jobs: Sequence[BatchJob]) -> dict[str, Outcome]:
    """A failure for each uid that would name a folder elsewhere; it is not worked on."""
    message = "the uid is no name for a folder: letters, digits, _ and - alone, a letter or digit first"
    return {
        job.uid: Outcome(job.uid, FailureClass.UNSAFE, message, "", 0, 0.0, 0, {})
        for job in jobs
        if not _UID.fullmatch(job.uid)
    }
