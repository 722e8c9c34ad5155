"""The figures that an evaluation asks for: which can be computed here, and their values.

metrics = MetricSet.of(MetricParameters(names=("psnr", "ssim", "sift_matches", "fid")))
metrics.views(predictions, targets)                                    # {"psnr": one of each pair, …}
metrics.object(predictions, cameras, condition, condition_camera)      # {"sift_matches": 13.8}
metrics.set([metrics.features(p) for p in …], [metrics.features(t) for t in …])   # {"fid": 41.2}
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Float32

from evaluation.metrics.definitions import MetricDefinition, definition
from evaluation.metrics.distribution import set_figures
from evaluation.metrics.implementations import Implementations
from evaluation.metrics.inception import InceptionFeatures
from evaluation.metrics.orbit import NO_ORBIT, orbit
from evaluation.metrics.parameters import MetricParameters
from evaluation.metrics.views_around import ObjectMetric, PairMetric, ViewsAround
from geometry.cameras import Intrinsics
from geometry.perceptual import Unavailable

_OF_ORBITS = frozenset({"sift_matches", "neighbour_lpips", "neighbour_clip"})


class Camera(Protocol):
    """A camera with its lens."""

    @property
    def c2w(self) -> Float[np.ndarray, "4 4"]:
        """Camera-to-world, OpenGL axes, Z up, about the origin."""

    @property
    def intrinsics(self) -> Intrinsics:
        """Of its picture."""


@dataclass(frozen=True)
class MetricSet:
    """Figures by their definitions, in the order in which they are shown.

    Args:
        definitions: of all that are asked for, those not available among them.
        pairs: of the available ones of scope "view".
        unavailable: why the others are not.
        objects: of the available ones of scope "object".
        inception: the features of the available ones of scope "set"; None when there is none.
    """

    definitions: tuple[MetricDefinition, ...]
    pairs: dict[str, PairMetric]
    unavailable: dict[str, str]
    objects: dict[str, ObjectMetric] = field(default_factory=dict)
    inception: InceptionFeatures | None = None

    @classmethod
    def of(cls, parameters: MetricParameters) -> "MetricSet":
        """The figures that parameters name.

        Raises:
            ParameterError: when a name is no metric's.
        """
        definitions = tuple(definition(name) for name in parameters.names)
        here = Implementations(parameters)
        names = {scope: [d.name for d in definitions if d.scope == scope] for scope in ("view", "object", "set")}
        pairs = {name: here.pair(name) for name in names["view"]}
        objects = {name: here.object(name) for name in names["object"]}
        inception = here.inception if names["set"] else None
        found: dict[str, Any] = {**pairs, **objects, **dict.fromkeys(names["set"], inception)}
        return cls(
            definitions,
            {name: metric for name, metric in pairs.items() if not isinstance(metric, Unavailable)},
            {name: metric.reason for name, metric in found.items() if isinstance(metric, Unavailable)},
            {name: metric for name, metric in objects.items() if not isinstance(metric, Unavailable)},
            None if isinstance(inception, Unavailable) else inception,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that are asked for."""
        return tuple(entry.name for entry in self.definitions)

    def seen_from(self, cameras: Sequence[Camera]) -> "MetricSet":
        """The same figures of objects that are seen from these cameras: figures of neighbours need an orbit.

        Args:
            cameras: of all views of an object, the input view's among them.
        """
        lost = _OF_ORBITS.intersection(self.objects)
        if not lost or orbit(np.stack([camera.c2w for camera in cameras])) is not None:
            return self
        kept = {name: metric for name, metric in self.objects.items() if name not in lost}
        reasons = {name: NO_ORBIT for name in self.names if name in lost}
        return replace(self, objects=kept, unavailable={**self.unavailable, **reasons})

    def views(
        self, predictions: Float[np.ndarray, "t h w 3"], targets: Float[np.ndarray, "t h w 3"]
    ) -> dict[str, Float[np.ndarray, " t"]]:
        """The available figures of scope "view", of each pair.

        Args:
            predictions: RGB on white in [0, 1].
            targets: as many.
        """
        return {name: metric(predictions, targets) for name, metric in self.pairs.items()}

    def object(
        self,
        pictures: Float[np.ndarray, "t h w 3"],
        cameras: Sequence[Camera],
        condition: Float[np.ndarray, "h w 3"],
        condition_camera: Camera,
    ) -> dict[str, float]:
        """The available figures of scope "object", of how well pictures agree with each other; the truth is not asked.

        Args:
            pictures: of the target views, RGB on white in [0, 1]; the true ones give what a perfect model would get.
            cameras: of these.
            condition: the input view, which stands among the others.
            condition_camera: its camera.

        Raises:
            StageFailedError: when COLMAP fails.
        """
        if not self.objects:
            return {}
        seen = (condition_camera, *cameras)
        around = ViewsAround(
            np.concatenate([condition[None], pictures]),
            np.stack([camera.c2w for camera in seen]),
            tuple(camera.intrinsics for camera in seen),
        )
        found = {name: metric(around) for name, metric in self.objects.items()}
        return {name: value for name, value in found.items() if value is not None}

    def features(self, pictures: Float[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t d"] | None:
        """An object's share of figures of scope "set", for `set`; None when none is available."""
        return self.inception(pictures) if self.inception else None

    def set(
        self, predictions: Sequence[Float32[np.ndarray, "_ d"]], targets: Sequence[Float32[np.ndarray, "_ d"]]
    ) -> dict[str, float]:
        """The available figures of scope "set", as `distribution.set_figures`.

        Args:
            predictions: features of each object's predictions.
            targets: of its true views.
        """
        return set_figures(self.names, predictions, targets) if self.inception else {}
