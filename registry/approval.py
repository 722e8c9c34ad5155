"""A person's word on a model that passed its gate, where `register.approval` asks for one.

The gate decides first: nobody is asked about a model that it refuses. What was rejected stays so until somebody approves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from registry.decision import Decision
from registry.parameters import RegisterParameters
from stage.errors import ParameterError

APPROVAL_TAG = "promotion.approval"
_REJECTED = "rejected"


@dataclass(frozen=True)
class Approval:
    """What a person said.

    Args:
        agreed: whether the model may become champion.
        reason: why.
        by: who.
    """

    agreed: bool
    reason: str
    by: str

    def __str__(self) -> str:
        return f"{'approved' if self.agreed else _REJECTED} by {self.by}: {self.reason.strip()}"


def check_approval(approval: Approval) -> None:
    """Refuse a word without a reason or a name.

    Raises:
        ParameterError: when either is empty.
    """
    if not approval.reason.strip() or not approval.by.strip():
        raise ParameterError("an approval or rejection gives no reason or no name", "say who and why")


def approved(
    decision: Decision, tags: Mapping[str, str], parameters: RegisterParameters, approval: Approval | None
) -> Decision:
    """The decision with what a person said, or awaiting it.

    Args:
        decision: the gate's.
        tags: of the version that it is about.
        parameters: whether approval is required.
        approval: what was said now; None when nobody was asked yet.
    """
    if not decision.promoted:
        return decision
    if approval is None:
        return _unasked(decision, tags, parameters)
    reasons = (str(approval), *decision.reasons)
    if approval.agreed:
        return replace(decision, reasons=reasons)
    return replace(decision, promoted=False, outcome="rejected", reasons=reasons)


def _unasked(decision: Decision, tags: Mapping[str, str], parameters: RegisterParameters) -> Decision:
    said = tags.get(APPROVAL_TAG, "")
    if said.startswith(_REJECTED):
        return replace(decision, promoted=False, outcome="rejected", reasons=(said, *decision.reasons))
    if parameters.approval != "required":
        return decision
    remedy = f"viewforge promote --version {decision.version} --approve WHY, or --reject WHY"
    reasons = (f"a person must agree: {remedy}", *decision.reasons)
    return replace(decision, promoted=False, outcome="awaiting approval", reasons=reasons)
