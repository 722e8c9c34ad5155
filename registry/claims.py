"""One promotion of a model at a time, also of two workspaces on two machines that share a registry.

MLflow's registry has no compare-and-set. It has tags that one writer each writes and all read, which is enough for the bakery
algorithm (Lamport 1974): who comes says that he is choosing, takes a number above all he sees, and waits until nobody is still
choosing and nobody has a lower number. No two hold the claim, however their requests interleave, as long as the registry shows
every reader what was written before.

A claim carries its owner's machine and process and the time until which it holds. One whose process is gone from this machine
counts for nothing; another machine's counts until its time is up. That is the one place where clocks matter.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import psutil
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from stage.errors import ViewforgeError

PREFIX = "promotion.claim."
LEASE_SECONDS = 120.0
_PATIENCE_SECONDS = 180.0
_TICK_SECONDS = 0.2
# Linux has them; elsewhere the name must do.
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERING = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Claim:
    """One process's claim on a model's aliases."""

    owner: str
    ticket: int | None
    """None while it is being chosen."""
    machine: str
    process: int
    started: float
    """When the process started, seconds since the epoch: process ids come again."""
    until: float
    """When it no longer counts, seconds since the epoch."""

    def is_dead(self, now: float) -> bool:
        """Whether its time is up or its process is gone."""
        return now > self.until or (self.machine == _machine() and not _runs(self.process, self.started))

    def precedes(self, other: "Claim") -> bool:
        """Whether it goes first; one that is being chosen might."""
        if self.ticket is None or other.ticket is None:
            return self.ticket is None
        return (self.ticket, self.owner) < (other.ticket, other.owner)


@dataclass(frozen=True)
class HeldClaim:
    """A claim that is held.

    Args:
        client: the registry's.
        model: the registered model.
        owner: of the claim.
        until: when it no longer counts, on the monotonic clock.
    """

    client: MlflowClient
    model: str
    owner: str
    until: float

    def check(self) -> None:
        """To be called right before an alias moves.

        Raises:
            ViewforgeError: when the claim's time is up, so that another may hold it, or another took it for dead and removed it:
                this machine slept, and its monotonic clock with it, or the other's clock is ahead.
        """
        taken = PREFIX + self.owner not in self.client.get_registered_model(self.model).tags
        if taken or time.monotonic() > self.until:
            raise ViewforgeError(f"the claim on the aliases of {self.model} ran out", "run the command again")


@contextmanager
def claimed(
    client: MlflowClient, model: str, lease: float = LEASE_SECONDS, patience: float = _PATIENCE_SECONDS
) -> Iterator[HeldClaim]:
    """Hold the claim on a registered model's aliases.

    Args:
        client: the registry's.
        model: its name; it must be registered.
        lease: seconds after which others need no longer wait for this process; the claim is for seconds of work.
        patience: how long to wait for others.

    Raises:
        ViewforgeError: when others hold it for longer than that.
    """
    mine = Claim(uuid4().hex, None, _machine(), os.getpid(), psutil.Process().create_time(), time.time() + lease)
    try:
        _publish(client, model, mine)
        mine = replace(mine, ticket=1 + max((c.ticket or 0 for c in _living(client, model)), default=0))
        _publish(client, model, mine)
        yield HeldClaim(client, model, mine.owner, _wait(client, model, mine, lease, patience))
    finally:
        _remove(client, model, mine)


def _wait(client: MlflowClient, model: str, mine: Claim, lease: float, patience: float) -> float:
    """Wait for the turn; when the claim ends, on the monotonic clock."""
    deadline, until = time.monotonic() + patience, time.monotonic() + mine.until - time.time()
    while first := next((claim for claim in _living(client, model) if claim.precedes(mine)), None):
        if time.monotonic() > deadline:
            ends = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first.until))
            raise ViewforgeError(
                f"process {first.process} on {first.machine} is promoting {model}",
                f"wait for it or end it; its claim ends {ends}",
            )
        time.sleep(_TICK_SECONDS)
        if until - time.monotonic() < lease / 2:
            # Before it is written, so that it holds at least as long as we think.
            until, mine = time.monotonic() + lease, replace(mine, until=time.time() + lease)
            _publish(client, model, mine)
    return until


def _living(client: MlflowClient, model: str) -> list[Claim]:
    """The claims that count; tags of the others are removed."""
    found, now = [], time.time()
    for key, value in client.get_registered_model(model).tags.items():
        if key.startswith(PREFIX):
            claim = _read(value)
            if claim is None:
                continue
            if claim.is_dead(now):
                _remove(client, model, claim)
            else:
                found.append(claim)
    return found


def _read(value: str) -> Claim | None:
    """A claim; None of what is none, which must not keep everybody out for ever."""
    try:
        return Claim(**json.loads(value))
    except (ValueError, TypeError):
        return None


def _publish(client: MlflowClient, model: str, claim: Claim) -> None:
    client.set_registered_model_tag(model, PREFIX + claim.owner, json.dumps(asdict(claim)))


def _remove(client: MlflowClient, model: str, claim: Claim) -> None:
    # It ends by itself; a registry that does not answer now must not hide why the block ended.
    with suppress(MlflowException):
        client.delete_registered_model_tag(model, PREFIX + claim.owner)


def _machine() -> str:
    """This machine since it started, by more than a name, which two may share; in a container, its own numbering of processes."""
    boot = _BOOT.read_text().strip()[:8] if _BOOT.is_file() else ""
    numbering = str(_NUMBERING.readlink()) if _NUMBERING.is_symlink() else ""
    return " ".join(filter(None, (socket.gethostname(), boot, numbering)))


def _runs(process: int, started: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False
