"""Figures that cannot be computed here: said in words, never a number. No libraries, since those who only print need it."""

from dataclasses import dataclass

NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Unavailable:
    """A metric that cannot be computed here. It has a reason and never a number."""

    reason: str

    def __str__(self) -> str:
        return f"{NOT_AVAILABLE}: {self.reason}"
