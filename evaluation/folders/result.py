"""What is known of one scored object, as a small file: written when it is done, kept as long as nothing it rests on changes.

The key is the hash of all bytes read on both sides, of the metrics' definitions, of the settings and of our code. Times of files
do not count: a picture that changes in place is noticed, one that is only touched or copied is not scored again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from evaluation.mesh_figures import MeshFigures
from evaluation.scores import TargetPose
from stage.files import replacing, write_json


@dataclass(frozen=True)
class FolderResult:
    """One object's figures."""

    key: str
    truth_sha256: str
    prediction_sha256: str
    views: tuple[str, ...] = ()
    """Names of the scored views, in order; none where only a mesh is scored."""
    size: tuple[int, int] | None = None
    """Height and width of the true views, pixels."""
    poses: tuple[TargetPose, ...] = ()
    """Of the scored views; none without cameras."""
    figures: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)
    """By method and metric, of each scored view."""
    object_figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By method and metric, of all views together; the true views' own under "truth"."""
    unavailable: Mapping[str, str] = field(default_factory=dict)
    """Why this object lacks figures that others may have."""
    mesh: MeshFigures | None = None
    """None where no mesh was asked for."""

    def write(self, path: Path) -> None:
        """Write the file."""
        write_json(path, asdict(self))


def write_features(result: Path, features: Mapping[str, Float32[np.ndarray, "t d"]]) -> None:
    """Write what figures of whole sets need of an object beside its result: by method and of the truth, a row a view."""
    with replacing(features_path(result)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **features)


def read_features(result: Path) -> dict[str, Float32[np.ndarray, "t d"]]:
    """The features beside a result's file."""
    with np.load(features_path(result), allow_pickle=False) as arrays:
        return dict(arrays)


def features_path(result: Path) -> Path:
    """Where the features of an object lie."""
    return result.with_suffix(".npz")


def read_result(path: Path) -> FolderResult | None:
    """The result in a file; None where there is none, or none that can be read."""
    try:
        document = json.loads(path.read_text())
        mesh = document.pop("mesh")
        size = document.pop("size")
        return FolderResult(
            **document
            | {
                "views": tuple(document["views"]),
                "poses": tuple(TargetPose(**pose) for pose in document["poses"]),
                "figures": _tuples(document["figures"]),
                "mesh": MeshFigures(**mesh) if mesh else None,
                "size": tuple(size) if size else None,
            }
        )
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return None


def _tuples(figures: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, tuple[float, ...]]]:
    return {method: {name: tuple(values) for name, values in of.items()} for method, of in figures.items()}
