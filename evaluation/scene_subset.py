"""The unseen subset where it is scenes of photographs: `evaluate.source` dtu or mip_nerf_360."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blender_render.camera_sets import View
from catalog.table import Asset
from evaluation.dtu import dtu_scene
from evaluation.mip_nerf_360 import mip_nerf_360_scene
from evaluation.parameters import EvaluateParameters
from evaluation.protocol import INPUT_VIEW, ObjectViews, Selection, Subset, render_subset
from evaluation.scenes import Scene
from stage.code import source_fingerprint
from stage.errors import InputError
from stage.failures import FailureClass, Outcome, check_failure_rate
from stage.files import json_sha256
from stage.workspace import Workspace

_CODE = ("evaluation.dtu", "evaluation.mip_nerf_360", "evaluation.scenes", "training.data.preparation.colmap_models")


@dataclass(frozen=True)
class SceneSubset(Subset):
    """Scenes whose files are at hand."""

    resolution: int
    score_input: bool = False
    targets: int | None = None
    """So many of each; all when None."""

    def read(self, asset: Asset) -> ObjectViews:
        """A scene's views, cut to squares, and cameras.

        Raises:
            InputError: when a file is missing or damaged.
        """
        scene = open_scene(asset, self.targets)
        pairs = [photograph.square(self.resolution) for photograph in scene.photographs]
        pictures, cameras = np.stack([picture for picture, _ in pairs]), tuple(camera for _, camera in pairs)
        first = INPUT_VIEW if self.score_input else INPUT_VIEW + 1
        return ObjectViews(asset, pictures, cameras, scale=scene.scale, first_target=first)

    def cameras(self, asset: Asset) -> tuple[View, ...]:
        """A scene's cameras, of its photographs as they are stored."""
        return tuple(photograph.camera for photograph in open_scene(asset, self.targets).photographs)

    def warnings(self, asset: Asset) -> list[str]:  # noqa: ARG002 - photographs are read or not
        """Nothing: photographs are not mended."""
        return []

    def data_sha256(self) -> str:
        """Hash of what is scored: the scenes, their files, and all that decides their pictures."""
        look = [self.resolution, self.score_input, self.targets, source_fingerprint(_CODE)]
        return json_sha256([look, *([asset.uid, asset.sha256] for asset in self.assets)])


def open_scene(asset: Asset, targets: int | None = None) -> Scene:
    """The scene of a row of `scene_assets`.

    Raises:
        InputError: when files are missing or damaged.
    """
    folder = Path(asset.path)
    return dtu_scene(folder, targets) if asset.source == "dtu" else mip_nerf_360_scene(folder, most=targets)


def subset_of(
    selection: Selection, parameters: EvaluateParameters, resolution: int, seed: int, workspace: Workspace
) -> Subset:
    """The pictures of a selection: photographs of scenes, renderings of everything else.

    Raises:
        StageFailedError: when more than `max_failure_rate` of the objects fail.
        InputError: when there are no pictures of any.
    """
    if selection.name == "training" or parameters.source in ("heldout", "gso"):
        return render_subset(selection, parameters, resolution, seed, workspace)
    failures = tuple(failure for asset in selection.assets if (failure := _failure(asset, parameters.scene_targets)))
    check_failure_rate("evaluate", failures, len(selection.assets), parameters.max_failure_rate)
    subset = SceneSubset(selection, failures, resolution, parameters.score_input, parameters.scene_targets)
    if not subset.assets:
        raise InputError(f"no scene could be read: {failures[0].message}", "see evaluate.path")
    return subset


def _failure(asset: Asset, targets: int | None) -> Outcome | None:
    if not Path(asset.path).is_dir():
        return _outcome(asset, FailureClass.MISSING, f"no folder {asset.path}")
    try:
        open_scene(asset, targets)
    except InputError as error:
        return _outcome(asset, FailureClass.PARSE, str(error))
    return None


def _outcome(asset: Asset, failure: FailureClass, message: str) -> Outcome:
    return Outcome(asset.uid, failure, message, "", 1, 0.0, 0, {})
