"""What is asked of a plan beside the parameters of the training."""

import math
from dataclasses import dataclass

from stage.errors import ParameterError


@dataclass(frozen=True)
class Questions:
    """What is asked beside the parameters."""

    step_seconds: float | None = None
    """Seconds of a step, where they are known."""
    measure: int = 0
    """Steps to be taken to find out; 0 takes none."""
    gpu_hour_price: float | None = None
    gpu_memory: float | None = None
    """Gigabytes of a GPU of another machine than this."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be.

        Raises:
            ParameterError: when one is not positive, or the step's time is both given and to be measured.
        """
        for name in ("step_seconds", "gpu_hour_price", "gpu_memory"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ParameterError(f"--{name.replace('_', '-')} {value:g}", "give a positive number")
        if self.measure and self.step_seconds is not None:
            raise ParameterError("--measure and --step-seconds", "give one of them")
