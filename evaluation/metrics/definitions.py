"""What each figure is: a number without its definition cannot be compared with anybody's."""

from dataclasses import dataclass
from typing import Any, Literal

from geometry.unavailable import NOT_AVAILABLE
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


_PICTURES = "RGB on white in [0, 1], not rounded by the scoring, at the size of the true views"
_BYTES = "RGB on white, rounded to 8 bits"
_MEAN = "mean over an object's target views, then over objects"
_AROUND = "mean over an object's neighbours, then over objects"
_NEIGHBOURS = (
    "between each view and the next around the object, the input view among them and the first after the last; only of views "
    "on an even orbit of one elevation"
)
_SET = "one figure of all target views of all objects; it depends on how many there are"
_CLIP = f"cosine of CLIP's image embeddings (ViT-B/32 unless another is named), {_BYTES}, resized bicubically to 224"
_INCEPTION = f"of 2048 features of the Inception of 2015, {_BYTES}, resized bilinearly to 299×299 as TensorFlow 1 did"

_PAIRS = (
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
        source="Wang et al. 2004; filters of OpenCV, equal to scikit-image",
    ),
    MetricDefinition(
        name="lpips",
        title="LPIPS, VGG",
        unit="",
        better="lower",
        scope="view",
        digits=3,
        text=f"distance of VGG-16 features, weights 0.1, pictures brought to [−1, 1]; {_PICTURES}",
        averaging=_MEAN,
        source="Zhang et al. 2018; lpips",
    ),
    MetricDefinition(
        name="lpips_alex",
        title="LPIPS, AlexNet",
        unit="",
        better="lower",
        scope="view",
        digits=3,
        text=f"distance of AlexNet features, weights 0.1, pictures brought to [−1, 1]; {_PICTURES}",
        averaging=_MEAN,
        source="Zhang et al. 2018; lpips",
    ),
    MetricDefinition(
        name="clip_similarity",
        title="CLIP similarity",
        unit="",
        better="higher",
        scope="view",
        digits=3,
        text=f"of a prediction and its true view: {_CLIP}",
        averaging=_MEAN,
        source="Radford et al. 2021; transformers",
    ),
)

_CONSISTENCY = (
    MetricDefinition(
        name="sift_matches",
        title="SIFT matches",
        unit="",
        better="higher",
        scope="object",
        digits=2,
        text=f"keypoints matched {_NEIGHBOURS}; Lowe's ratio 0.75; the channels' mean at 256×256, cut to whole levels of 255",
        averaging=_AROUND,
        source="ViewFusion's evaluator; OpenCV",
    ),
    MetricDefinition(
        name="neighbour_lpips",
        title="LPIPS of neighbours",
        unit="",
        better="lower",
        scope="object",
        digits=3,
        text=f"LPIPS, VGG, {_NEIGHBOURS}",
        averaging=_AROUND,
        source="ViewFusion's evaluator; lpips",
    ),
    MetricDefinition(
        name="neighbour_clip",
        title="CLIP similarity of neighbours",
        unit="",
        better="higher",
        scope="object",
        digits=3,
        text=f"{_NEIGHBOURS}: {_CLIP}",
        averaging=_AROUND,
        source="ViewFusion's evaluator; transformers",
    ),
    MetricDefinition(
        name="colmap_sparse_points",
        title="COLMAP points",
        unit="",
        better="higher",
        scope="object",
        digits=1,
        text="sparse points triangulated from all views, the input view among them, with their true cameras: COLMAP's SIFT, "
        f"exhaustive matching, its defaults, whose tolerance of 4 pixels says little below 256²; {_BYTES}. The count "
        "that SyncDreamer published is of dense points: another figure",
        averaging="mean over objects",
        source="SyncDreamer's evaluator up to its dense stereo; pycolmap",
    ),
)

_SETS = (
    MetricDefinition(
        name="fid",
        title="FID",
        unit="",
        better="lower",
        scope="set",
        digits=2,
        text=f"Fréchet distance {_INCEPTION}; predictions against true views. Too large with fewer views than features",
        averaging=_SET,
        source="Heusel et al. 2017; torch-fidelity's features",
    ),
    MetricDefinition(
        name="kid",
        title="KID",
        unit="",
        better="lower",
        scope="set",
        digits=4,
        text=f"squared maximum mean discrepancy under (xᵀy / 2048 + 1)³ {_INCEPTION}; unbiased, mean over 100 subsets of 1000",
        averaging=_SET,
        source="Bińkowski et al. 2018; torch-fidelity's features",
    ),
)

METRICS: dict[str, MetricDefinition] = {entry.name: entry for entry in (*_PAIRS, *_CONSISTENCY, *_SETS)}


def definition(name: str) -> MetricDefinition:
    """The definition of a figure.

    Raises:
        ParameterError: when there is none of that name; it names the nearest.
    """
    if name not in METRICS:
        raise ParameterError(f"no metric {name!r}", nearest_remedy(name, METRICS))
    return METRICS[name]


def figures_line(figures: dict[str, Any]) -> str:
    """A method's figures in one line, those that it has: "PSNR 18.21 dB, SSIM 0.801"; "not available" without any.

    Args:
        figures: means by metric, of one method and subset of `metrics.json`.
    """
    shown = [METRICS[name] for name, value in figures.items() if name in METRICS and isinstance(value, int | float)]
    texts = (f"{each.title} {figures[each.name]:.{each.digits}f} {each.unit}".strip() for each in shown)
    return ", ".join(texts) or NOT_AVAILABLE
