"""The figures that an evaluation asks for: which can be computed here, and their values.

metrics = MetricSet.of(MetricParameters(names=("psnr", "ssim")))
figures = metrics.views(predictions, targets)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from evaluation.metrics.definitions import MetricDefinition, definition
from evaluation.metrics.lpips import find_lpips
from evaluation.metrics.parameters import MetricParameters
from geometry.perceptual import Unavailable
from geometry.picture_metrics import psnr, ssim

PairMetric = Callable[[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 3"]], float]


@dataclass(frozen=True)
class MetricSet:
    """Figures by their definitions, in the order in which they are shown.

    Args:
        definitions: of all that are asked for, those not available among them.
        pairs: of the available ones of scope "view".
        unavailable: why the others are not.
    """

    definitions: tuple[MetricDefinition, ...]
    pairs: dict[str, PairMetric]
    unavailable: dict[str, str]

    @classmethod
    def of(cls, parameters: MetricParameters) -> "MetricSet":
        """The figures that parameters name.

        Raises:
            ParameterError: when a name is no metric's.
        """
        definitions = tuple(definition(name) for name in parameters.names)
        found = {entry.name: _pair_metric(entry.name) for entry in definitions}
        unavailable = {name: metric.reason for name, metric in found.items() if isinstance(metric, Unavailable)}
        pairs = {name: metric for name, metric in found.items() if not isinstance(metric, Unavailable)}
        return cls(definitions, pairs, unavailable)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that are asked for."""
        return tuple(entry.name for entry in self.definitions)

    def views(
        self, predictions: Float[np.ndarray, "t h w 3"], targets: Float[np.ndarray, "t h w 3"]
    ) -> dict[str, Float[np.ndarray, " t"]]:
        """The available figures of scope "view", of each pair.

        Args:
            predictions: RGB on white in [0, 1].
            targets: as many.
        """
        pairs = list(zip(predictions, targets, strict=True))
        return {name: np.array([metric(p, t) for p, t in pairs], np.float64) for name, metric in self.pairs.items()}


def _pair_metric(name: str) -> PairMetric | Unavailable:
    match name:
        case "psnr":
            return psnr
        case "ssim":
            return ssim
        case "lpips":
            return find_lpips()
        case _:
            raise AssertionError(f"{name} has a definition and no implementation")
