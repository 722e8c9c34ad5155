"""A promotion decision: what was compared, what came of it and why."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["promoted", "refused", "awaiting approval", "rejected", "rolled back"]


@dataclass(frozen=True)
class CheckResult:
    """One comparison. `margin` is the advantage over the reference that was asked for: negative where worse is tolerated."""

    metric: str
    value: float | None
    reference: float | None
    reference_name: str
    margin: float
    passed: bool
    reason: str
    advantage: float | None = None
    """How much better the model is, in the metric's unit: over the same objects where objects have the figure."""
    low: float | None = None
    high: float | None = None
    """Ends of the advantage's confidence interval; None where no objects were compared."""
    confidence: float | None = None
    objects: int | None = None
    """Objects that both were scored on."""
    wins: int | None = None
    """Of these, on how many the model is the better one."""


@dataclass(frozen=True)
class Decision:
    """What the gate says and, once a registry acted on it, which version holds which alias.

    `reasons` are the failed checks of a refusal, or all checks of a promotion.
    """

    gate: str
    promoted: bool
    checks: tuple[CheckResult, ...]
    reasons: tuple[str, ...]
    outcome: Outcome = "refused"
    model: str = ""
    version: str = ""
    alias: str | None = None
    previous_champion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of promotion.json."""
        values = asdict(self)
        values["reasons"] = list(self.reasons)
        values["checks"] = [{k: v for k, v in asdict(c).items() if k != "reason"} for c in self.checks]
        return values


def from_checks(gate: str, checks: tuple[CheckResult, ...], further: tuple[str, ...] = ()) -> Decision:
    """The decision that checks lead to.

    Args:
        gate: its name.
        checks: all of them.
        further: reasons for a refusal that are no comparisons.
    """
    failed = (*further, *(check.reason for check in checks if not check.passed))
    reasons = failed or tuple(check.reason for check in checks)
    return Decision(gate, not failed, checks, reasons, "refused" if failed else "promoted")
