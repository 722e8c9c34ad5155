"""What a verification finds: things that are stored and are not what they were written as."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    what: str
    """The kind of thing: asset, pack, shard, cache, model, evaluation."""
    place: str
    """Its path, or its name in the registry."""
    problem: str
    """What is wrong with it."""
    remedy: str
    """What to do about it."""


@dataclass(frozen=True)
class Verification:
    """What was looked at, and what is wrong with it."""

    findings: tuple[Finding, ...]
    checked: int
    """Files, shard members and registered versions that were hashed or compared."""
    bytes: int
    """That were read."""
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings
