"""Figures about one mesh beside the true one, each with its definition and whose protocol it is.

A figure that cannot be had is not available, with the reason, and never a number.
"""

from dataclasses import dataclass, field
from typing import Literal

from evaluation.parameters import GeometryParameters
from geometry.perceptual import NOT_AVAILABLE, Unavailable
from geometry.surface_metrics import (
    VIEWFUSION_SAMPLES,
    VIEWFUSION_SIDE,
    VIEWFUSION_THRESHOLD,
    box_points,
    chamfer_l1,
    chamfer_l2,
    f_score,
    grid_points,
    nearest,
    normal_consistency,
    viewfusion_scores,
    volume_iou,
)
from geometry.surfaces import measurable, sample_surface
from geometry.triangle_mesh import TriangleMesh
from stage.errors import InputError

# Chamfer distances of squares are small numbers.
DIGITS = 6


@dataclass(frozen=True)
class Definition:
    """What a figure is."""

    title: str
    short: str
    better: Literal["lower", "higher"]
    text: str
    """In the asset's frame: its longest side is 1 and nothing is aligned."""
    source: str


@dataclass(frozen=True)
class MeshFigures:
    """What is known of one object's mesh."""

    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Why a figure is not available."""

    @property
    def note(self) -> str:
        """The reasons in one line; empty when every figure is there."""
        return "; ".join(f"{NOT_AVAILABLE}: {reason}" for reason in dict.fromkeys(self.missing.values()))


def definitions(parameters: GeometryParameters) -> dict[str, Definition]:
    """Every figure by its name in `metrics.json` and `per_object.parquet`, in the order in which they are shown."""
    shown = {
        "chamfer_l1": Definition(
            "Chamfer distance, L1",
            "CD L1",
            "lower",
            f"half the sum of the two mean distances between {parameters.samples:,} points on each surface",
            "SyncDreamer, eval_mesh.py",
        ),
        "chamfer_l2": Definition(
            "Chamfer distance, L2",
            "CD L2",
            "lower",
            "sum of the two mean squared distances of the same points",
            "after Fan et al. 2017",
        ),
    }
    for threshold in parameters.thresholds:
        shown[f_score_name(threshold)] = Definition(
            f"F-score at {threshold:g}",
            f"F {threshold:g}",
            "higher",
            f"harmonic mean of the shares of points nearer than {threshold:g} to the other surface",
            "Knapitsch et al. 2017",
        )
    return (
        shown
        | _FURTHER
        | {
            "iou_grid": Definition(
                f"volume IoU, {parameters.grid}³",
                f"IoU {parameters.grid}³",
                "higher",
                f"shared by joint volume at the centres of {parameters.grid}³ cells of the cube from −1 to 1",
                "SyncDreamer, eval_mesh.py",
            ),
            "iou_points": Definition(
                "volume IoU, points",
                "IoU points",
                "higher",
                f"the same at {parameters.points:,} random points of the box around both",
                "Mescheder et al. 2019",
            ),
        }
        | _VIEWFUSION
    )


_FURTHER = {
    "normal_consistency": Definition(
        "normal consistency",
        "NC",
        "higher",
        "mean |cosine| between normals of nearest points, both ways",
        "Mescheder et al. 2019",
    )
}
_VIEWFUSION = {
    "viewfusion_chamfer": Definition(
        "Chamfer distance after ViewFusion",
        "CD ViewFusion",
        "lower",
        f"sum of the two mean squared distances of {VIEWFUSION_SAMPLES:,} points, each mesh brought by its own box to a longest "
        f"side of {VIEWFUSION_SIDE:g} about the origin",
        "ViewFusion, test_3d_shape.py",
    ),
    "viewfusion_f_score": Definition(
        "F-score after ViewFusion",
        "F ViewFusion",
        "higher",
        f"of the same points, at a distance of {VIEWFUSION_THRESHOLD:g}",
        "ViewFusion, test_3d_shape.py",
    ),
}


def f_score_name(threshold: float) -> str:
    """The F-score's name in `metrics.json`."""
    return f"f_score_{threshold:g}"


def unavailable(parameters: GeometryParameters, reason: str) -> MeshFigures:
    """No figure at all."""
    return MeshFigures(missing=dict.fromkeys(definitions(parameters), reason))


def mesh_figures(
    prediction: TriangleMesh, truth: TriangleMesh, parameters: GeometryParameters, seed: int
) -> MeshFigures:
    """All figures of a mesh.

    Args:
        prediction: the mesh to judge, in the truth's frame.
        truth: the asset's, with a longest side of 1 about the origin.
        parameters: samples, thresholds and grid.
        seed: of all samples of this object.
    """
    try:
        prediction = measurable(prediction)
        found = _distances(prediction, truth, parameters, seed)
        found |= viewfusion_scores(prediction, truth, seed)
    except InputError as error:
        return unavailable(parameters, str(error))
    found |= _overlaps(prediction, truth, parameters, seed)
    found = {name: found[name] for name in definitions(parameters)}
    missing = {name: value.reason for name, value in found.items() if isinstance(value, Unavailable)}
    values = {name: round(value, DIGITS) for name, value in found.items() if not isinstance(value, Unavailable)}
    return MeshFigures(values, missing)


def _distances(
    prediction: TriangleMesh, truth: TriangleMesh, parameters: GeometryParameters, seed: int
) -> dict[str, float | Unavailable]:
    pairs = nearest(
        sample_surface(prediction, parameters.samples, seed), sample_surface(truth, parameters.samples, seed + 1)
    )
    return {
        "chamfer_l1": chamfer_l1(pairs),
        "chamfer_l2": chamfer_l2(pairs),
        **{f_score_name(threshold): f_score(pairs, threshold) for threshold in parameters.thresholds},
        "normal_consistency": normal_consistency(pairs),
    }


def _overlaps(
    prediction: TriangleMesh, truth: TriangleMesh, parameters: GeometryParameters, seed: int
) -> dict[str, float | Unavailable]:
    return {
        "iou_grid": volume_iou(prediction, truth, grid_points(parameters.grid)),
        "iou_points": volume_iou(prediction, truth, box_points([prediction, truth], parameters.points, seed)),
    }
