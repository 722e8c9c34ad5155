"""Objects worked on by a farm of workers: what is missing or stale is done, and nothing is lost or done twice.

What is complete under the present input, parameters and code is kept; permanent failures are remembered and not tried
again. Every outcome is a line of `ledger.jsonl`, with seconds in all and of each
phase, memory and the tail of standard error.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_render.installation import check_system_libraries
from blender_render.rendered_object import is_complete
from stage.executor import ExecutorParameters, Job, LocalExecutor
from stage.failures import FailureClass, Outcome
from stage.files import remove_leftovers
from stage.packs import object_folder
from stage.progress import Progress


@dataclass(frozen=True)
class BatchJob:
    """One object's work; `fingerprint` is the hash of all that decides its result."""

    uid: str
    fingerprint: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """A folder of object folders that one worker function fills.

    Args:
        root: folder of loose object folders, each with a `record.json` that holds its fingerprint.
        handler: the worker function, "module:function".
        executor: worker processes.
    """

    root: Path
    handler: str
    executor: ExecutorParameters

    def run(self, jobs: Sequence[BatchJob], label: str) -> list[Outcome]:
        """Do what is missing or stale; the failures sorted by uid, old permanent ones included.

        Raises:
            InputError: when Blender's system libraries are missing.
            StageFailedError: when the disk is full or workers cannot start.
        """
        check_system_libraries()
        self.root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.root)
        fingerprints = {job.uid: job.fingerprint for job in jobs}
        failed = self._remembered_failures(fingerprints)
        todo = [job for job in jobs if job.uid not in failed and not self._complete(job)]
        with Progress(label, len(jobs), "objects", done=len(jobs) - len(todo)) as progress:
            executor = LocalExecutor(self.executor)
            for outcome in executor.run(self.handler, [Job(job.uid, job.payload) for job in todo]):
                self._note(outcome, fingerprints[outcome.uid])
                if not outcome.ok:
                    failed[outcome.uid] = outcome
                progress.advance(failed=len(failed))
        return [failed[uid] for uid in sorted(failed)]

    def _complete(self, job: BatchJob) -> bool:
        return is_complete(object_folder(self.root, job.uid), job.fingerprint)

    @property
    def ledger(self) -> Path:
        """Every outcome there ever was, a JSON line each."""
        return self.root / "ledger.jsonl"

    def _note(self, outcome: Outcome, fingerprint: str) -> None:
        with self.ledger.open("a") as stream:
            stream.write(
                json.dumps({**outcome.row(), "phases": outcome.result.get("seconds", {}), "fingerprint": fingerprint})
                + "\n"
            )

    def _remembered_failures(self, fingerprints: dict[str, str]) -> dict[str, Outcome]:
        """Permanent failures of the present input, parameters and code, from the ledger."""
        failed: dict[str, Outcome] = {}
        for row in self._ledger_rows():
            if row.pop("fingerprint") != fingerprints.get(row["uid"]):
                continue
            failed.pop(row["uid"], None)
            row.pop("phases", None)
            failure = FailureClass(row.pop("failure")) if row["failure"] else None
            if failure and failure.lasting:
                failed[row["uid"]] = Outcome(failure=failure, result={}, **row)
        return failed

    def _ledger_rows(self) -> list[dict[str, Any]]:
        """The ledger's rows; a last line cut short by a kill is left out."""
        if not self.ledger.is_file():
            return []
        rows = []
        for line in self.ledger.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows
