"""Which figures an evaluation computes."""

from pydantic import Field

from stage.parameters import Parameters


class MetricParameters(Parameters):
    """The figures about pictures (docs/metrics.md)."""

    names: tuple[str, ...] = Field(default=("psnr", "ssim", "lpips"), min_length=1)
    """Names of `evaluation.metrics.definitions.METRICS`, in the order in which they are shown."""
