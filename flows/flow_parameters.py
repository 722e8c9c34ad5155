"""How the flows treat the stages: attempts, time limits, patience. None of it makes a stage stale."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from stage.errors import ParameterError
from stage.parameters import Parameters, nearest_remedy

_HOUR = 3600.0


class FlowParameters(Parameters):
    """Section `flow`."""

    attempts: int = Field(default=3, ge=1, le=20)
    """How often a stage is started when it crashes, as by a signal; a stage that names its reason is not started again."""
    delay_seconds: float = Field(default=5.0, ge=0)
    """Pause before the second attempt; each further one is twice as long."""
    delay_jitter: float = Field(default=0.5, ge=0, le=1)
    """Share of a pause by which it is varied at random, so that many that failed together do not start together."""
    hours: float = Field(default=168.0, gt=0)
    """Longest that a stage may run; what takes longer is taken to hang. Waiting for a slot does not count."""
    stage_hours: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """The same for single stages, as {train: 400, render: 48}."""
    grace_seconds: float = Field(default=45.0, ge=0)
    """What a stage that is asked to end gets for it: more than `train.launch.grace_seconds` gives a training for its checkpoint,
    and less than the worker gives its runs (`--grace-seconds`)."""
    wait_hours: float = Field(default=24.0, ge=0)
    """How long a deployment's run waits for another one, or for a command of DVC, in the same workspace."""

    def delays(self) -> list[float]:
        """Seconds before each attempt after the first."""
        return [self.delay_seconds * 2**number for number in range(self.attempts - 1)]

    def seconds(self, stage: str) -> float:
        """Longest that a stage may run, in seconds."""
        return _HOUR * self.stage_hours.get(stage, self.hours)

    def check_stages(self, stages: Iterable[str]) -> None:
        """Refuse limits of stages that there are not.

        Raises:
            ParameterError: naming the nearest stage.
        """
        known = list(stages)
        for name in self.stage_hours:
            if name not in known:
                raise ParameterError(f"unknown parameter flow.stage_hours.{name}", nearest_remedy(name, known))
