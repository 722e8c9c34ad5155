"""The journal of a run: what it has to tell a server, one JSON line each, kept on the disk until the server has it and after.

`journal.jsonl` is only ever added to, a line at a time, so a killed process leaves at most its last line cut short, and none
when the machine goes on. `sent.json` says how far the server has got: up to `delivered` it has everything; up to `attempted` it
may have it, as when an answer was lost. What may have arrived is sent again exactly as it was, time stamps included, for MLflow
keeps equal figures once.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO

from stage.files import write_bytes, write_json

Entry = dict[str, Any]
# Who reports where nobody says so.
TRAINING = "train"
# Kinds of entry that belong to a training step, which a resumed run takes again.
_OF_STEPS = ("metrics", "image")


@dataclass(frozen=True)
class Pending:
    """Entries that are not delivered yet, and the byte at which the next one starts."""

    entries: list[Entry]
    end: int


class Journal:
    """The journal of one run; one process at a time writes it, any of its threads.

    Args:
        folder: where it lies; made when absent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._path, self._note = folder / "journal.jsonl", folder / "sent.json"
        self._changed = threading.Condition()
        self._mend()
        self._taken: set[tuple[str, int]] = set()
        self._delivered, self._attempted = self._noted()
        self._stream = self._path.open("ab")

    @property
    def empty(self) -> bool:
        """Whether nothing was ever noted."""
        return not self._path.stat().st_size

    @property
    def complete(self) -> bool:
        """Whether the server has everything."""
        return self._delivered >= self._path.stat().st_size

    def entries(self) -> list[Entry]:
        """Everything that was noted, delivered or not."""
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def append(self, entry: Mapping[str, Any]) -> None:
        """Note something; it outlives this process from then on."""
        line = (json.dumps(entry) + "\n").encode()
        with self._changed:
            self._stream.write(line)
            self._stream.flush()
            self._changed.notify_all()

    def append_step(self, kind: str, values: Mapping[str, Any], step: int, time: int) -> None:
        """Note values of a training step, less those that an earlier attempt at this step may have delivered."""
        new = {key: value for key, value in values.items() if (key, step) not in self._taken}
        if new:
            self.append({"kind": kind, "values": new, "step": step, "time": time})

    def rewind(self, step: int) -> None:
        """Go on after a step: what later steps left and was not sent goes, and what was sent of them is not noted again."""
        lines = self._path.read_bytes()
        sent, rest = lines[: self._attempted], lines[self._attempted :]
        later = [entry for entry in map(json.loads, sent.splitlines()) if _later(entry, step)]
        self._taken = {(key, entry["step"]) for entry in later for key in entry["values"]}
        kept = [line for line in rest.splitlines(keepends=True) if not _later(json.loads(line), step)]
        if len(kept) < len(rest.splitlines()):
            write_bytes(self._path, sent + b"".join(kept))
            self._stream.close()
            self._stream = self._path.open("ab")

    def pending(self, limit: int) -> Pending:
        """The next entries that the server may lack."""
        with self._path.open("rb") as stream:
            stream.seek(self._delivered)
            lines = list(islice(whole_lines(stream), limit))
        return Pending([json.loads(line) for line in lines], self._delivered + sum(map(len, lines)))

    def attempting(self, end: int) -> None:
        """Note, before anything is sent, that the entries up to a byte may have arrived from now on."""
        if end > self._attempted:
            self._attempted = end
            self._save()

    def delivered(self, end: int) -> None:
        """Note that the server has the entries up to a byte."""
        self._delivered = end
        self._save()

    def forget_deliveries(self) -> None:
        """Send everything anew: the run that had it is gone."""
        self._delivered = self._attempted = 0
        self._taken = set()
        self._save()

    def wait(self, seconds: float | None) -> None:
        """Until something is noted, or the time is over."""
        with self._changed:
            if self.complete:
                self._changed.wait(seconds)

    def wake(self) -> None:
        """End a `wait`."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _mend(self) -> None:
        """Cut off a last line that a kill cut short."""
        content = self._path.read_bytes() if self._path.is_file() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            write_bytes(self._path, content[:whole])

    def _noted(self) -> tuple[int, int]:
        try:
            note = json.loads(self._note.read_text())
        except FileNotFoundError:
            return 0, 0
        return note["delivered"], note["attempted"]

    def _save(self) -> None:
        write_json(self._note, {"delivered": self._delivered, "attempted": self._attempted})


def program_of(start: Mapping[str, Any]) -> str:
    """Who reports, by the first entry of a journal: `train`, or `reconstruct`."""
    return (str(start.get("name", "")).split() or [TRAINING])[0]


def whole_lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines up to the first one without its end: a line that is being written shows its parts one after the other."""
    return takewhile(lambda line: line.endswith(b"\n"), iter(stream.readline, b""))


def _later(entry: Entry, step: int) -> bool:
    return entry["kind"] in _OF_STEPS and entry["step"] > step
