"""How weights and probabilities change over a run: all of them functions of the share of the run that is done.

A share is step / steps, in [0, 1). Published schedules count steps of runs of a published length; as shares they are the same
there, and a run of another length goes through all of them.
"""

from pydantic import Field

from stage.parameters import Parameters


class Ramp(Parameters):
    """A value that goes from one number to another in a straight line, and is constant before and after.

    What threestudio writes as [first step, first value, last value, last step] (`threestudio/utils/misc.py` `C`).
    """

    start: float
    """Until `first`."""
    end: float
    """From `last` on."""
    first: float = Field(default=0.0, ge=0.0, le=1.0)
    """Where the line begins, as a share of the run."""
    last: float = Field(default=1.0, ge=0.0, le=1.0)
    """Where it ends, as a share of the run; where it is not after `first`, the value jumps there."""

    def at(self, share: float) -> float:
        """The value at a share of the run."""
        if self.last <= self.first:
            return self.end if share >= self.last else self.start
        along = min(1.0, max(0.0, (share - self.first) / (self.last - self.first)))
        return self.start + (self.end - self.start) * along


def constant(value: float) -> Ramp:
    """A ramp that never changes."""
    return Ramp(start=value, end=value)


def from_share(weight: float, share: float, begin: float) -> float:
    """A weight that is nothing before a share of the run and whole from it on.

    SJC's smoothness of depth is that, from half of the run on, by `i >= emptiness_step * n_steps`
    (cvlab-columbia/zero123 `3drec/run_zero123.py`).
    """
    return weight if share >= begin else 0.0


def growing(weight: float, share: float, multiplier: float) -> float:
    """SJC's weight of emptiness: λ·(1 + m·i/n), growing from λ (`3drec/run_zero123.py`, with m = 20)."""
    return weight * (1.0 + multiplier * share)
