"""Hours and money of a training, from the seconds of one step."""

from dataclasses import dataclass

from training.dry_run.devices import peak_flops
from training.parameters import TrainParameters


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimiser step, and where they are from."""

    seconds: float
    source: str
    device: str = ""
    """On which they were measured; empty where somebody said them."""
    peak_memory: int | None = None
    """Bytes that PyTorch had reserved on one GPU meanwhile."""


@dataclass(frozen=True)
class Cost:
    """What a whole training takes."""

    step: StepTime
    hours: float
    gpu_hours: float
    pairs_per_second: float
    price: float | None
    """In the currency of an hour's price."""
    utilisation: float | None
    """Model FLOPs utilisation: what the passes compute, of what the GPUs could."""


def cost_of(
    parameters: TrainParameters, step: StepTime, flops: int | None, price_per_hour: float | None, device: str
) -> Cost:
    """Hours, money and utilisation.

    Args:
        parameters: the run.
        step: its steps' time.
        flops: of a whole step on one GPU, where they are known.
        price_per_hour: of one GPU.
        device: name of the GPU.
    """
    hours = parameters.steps * step.seconds / 3600
    gpu_hours = hours * parameters.launch.processes
    peak = peak_flops(device, parameters.launch.mixed_precision)
    return Cost(
        step=step,
        hours=hours,
        gpu_hours=gpu_hours,
        pairs_per_second=parameters.batch_size / step.seconds,
        price=None if price_per_hour is None else gpu_hours * price_per_hour,
        utilisation=flops / step.seconds / peak if flops and peak else None,
    )
