"""What checks find: things that are stored and are not what they were written as."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    what: str
    """The kind of thing: asset, catalogue, pack, splatter, shard, model, evaluation, cache, database, registry."""
    place: str
    """Its path, or its name in the registry."""
    problem: str
    """What is wrong with it."""
    remedy: str
    """What to do about it."""

    def __str__(self) -> str:
        """One line."""
        return f"{self.what} {self.place}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Checked:
    """What one check looked at, and what is wrong with it."""

    findings: tuple[Finding, ...] = ()
    checked: int = 0
    """Files, shards and registered versions that were hashed or compared."""
    bytes: int = 0
    """That were read."""
    skipped: tuple[str, ...] = ()
    """What could not be looked at and why, in one line each."""


def together(parts: Iterable[Checked]) -> Checked:
    """Several checks as one, in their order."""
    whole = Checked()
    for part in parts:
        whole = Checked(
            (*whole.findings, *part.findings),
            whole.checked + part.checked,
            whole.bytes + part.bytes,
            (*whole.skipped, *part.skipped),
        )
    return whole
