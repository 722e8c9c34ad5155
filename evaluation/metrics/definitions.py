"""What each figure is: a number without its definition cannot be compared with anybody's."""

from dataclasses import dataclass
from typing import Literal

from stage.errors import ParameterError
from stage.parameters import nearest_remedy


@dataclass(frozen=True)
class MetricDefinition:
    """A figure about pictures."""

    name: str
    """In `metrics.json` and the tables."""
    title: str
    unit: str
    """Empty of a pure number."""
    better: Literal["higher", "lower"]
    scope: Literal["view", "object", "set"]
    """What one figure is of: a pair of pictures, all views of an object, or all objects of a subset."""
    digits: int
    """After the point, where it is shown."""
    text: str
    """Background, data range, resize, and the formula in words."""
    averaging: str
    """From figures to the subset's."""
    source: str
    """Whose formula, and whose implementation."""


_PICTURES = "RGB on white in [0, 1], not quantised, at the size that was rendered"
_MEAN = "mean over an object's target views, then over objects"

METRICS: dict[str, MetricDefinition] = {
    definition.name: definition
    for definition in (
        MetricDefinition(
            name="psnr",
            title="PSNR",
            unit="dB",
            better="higher",
            scope="view",
            digits=2,
            text=f"10·log10(1 / mean squared error over all pixels and channels), at most 100; {_PICTURES}",
            averaging=_MEAN,
            source="scikit-image",
        ),
        MetricDefinition(
            name="ssim",
            title="SSIM",
            unit="",
            better="higher",
            scope="view",
            digits=3,
            text="Gaussian window of 11×11, σ 1.5, population covariances, data range 1, mean over channels and all places "
            f"where the window fits; {_PICTURES}",
            averaging=_MEAN,
            source="Wang et al. 2004; scikit-image",
        ),
        MetricDefinition(
            name="lpips",
            title="LPIPS, VGG",
            unit="",
            better="lower",
            scope="view",
            digits=3,
            text=f"distance of VGG-16 features, pictures brought to [−1, 1]; {_PICTURES}",
            averaging=_MEAN,
            source="Zhang et al. 2018; lpips",
        ),
    )
}


def definition(name: str) -> MetricDefinition:
    """The definition of a figure.

    Raises:
        ParameterError: when there is none of that name; it names the nearest.
    """
    if name not in METRICS:
        raise ParameterError(f"no metric {name!r}", nearest_remedy(name, METRICS))
    return METRICS[name]
