"""The protocol: which objects are scored, which of their views is the input, and which are to be predicted.

The default is SyncDreamer's set of cameras (16 azimuths from 0, elevation 30°, distance 1.5) rendered by the farm that renders
training data. View 0 is the input; views 1 … 15 are the targets. The input view itself is not scored: predicting it is copying,
which would flatter every method. (SyncDreamer's `eval_nvs.py` does score all 16: `evaluate.score_input`.) Other published
protocols are in `evaluation.protocol_presets`.

Two subsets are scored. "unseen" is what counts for promotion: held-out objects of the catalogue, Google Scanned Objects, or
scenes (`evaluation.scene_subset`). "training" tells how much of a result is memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from blender_render.camera_sets import View
from blender_render.farm import Farm
from blender_render.parameters import RenderParameters
from blender_render.passes import load_depth, pass_path
from blender_render.rendered_object import on_white, read_record, read_rgba, read_views
from catalog.gso import gso_assets
from catalog.parameters import CatalogParameters
from catalog.table import Asset, selected_rows, with_files
from evaluation.object_names import named
from evaluation.parameters import EvaluateParameters
from evaluation.render_seals import discard_altered, seal
from evaluation.scene_assets import scene_assets
from stage.errors import InputError
from stage.failures import Outcome, check_failure_rate
from stage.files import json_sha256
from stage.packs import object_folder
from stage.workspace import Workspace

INPUT_VIEW = 0
SubsetName = Literal["unseen", "training"]


@dataclass(frozen=True)
class Selection:
    """The objects of a subset before they are rendered."""

    name: SubsetName
    assets: tuple[Asset, ...]
    left_out: tuple[Asset, ...] = ()
    """Objects of the source that the model was trained on, which therefore cannot be unseen."""


@dataclass(frozen=True)
class ObjectViews:
    """One object as the protocol sees it: RGB on white in [0, 1], and the cameras."""

    asset: Asset
    views: Float[np.ndarray, "v h w 3"]
    cameras: tuple[View, ...]
    folder: Path | None = None
    """Where its passes lie."""
    scale: float | None = None
    """What ZeroNVS's released model divides translations by, scene units, where that is published."""
    first_target: int = INPUT_VIEW + 1
    """Number of the first view to be predicted; that of the input view where it is scored as well."""

    @property
    def c2w(self) -> Float[np.ndarray, "v 4 4"]:
        """The cameras' c2w, OpenGL axes."""
        return np.stack([camera.c2w for camera in self.cameras])

    @property
    def condition(self) -> Float[np.ndarray, "h w 3"]:
        """The input view."""
        return self.views[INPUT_VIEW]

    @property
    def targets(self) -> Float[np.ndarray, "t h w 3"]:
        """The views to be predicted: all but the input view, unless that is scored as well."""
        return self.views[self.first_target :]

    @property
    def target_cameras(self) -> tuple[View, ...]:
        """The cameras of the views to be predicted."""
        return self.cameras[self.first_target :]

    def depth(self, number: int) -> Float[np.ndarray, "h w"]:
        """Planar depth of a view, scene units; 0 is background.

        Raises:
            InputError: when it was not rendered.
        """
        if self.folder is None:
            raise InputError(f"{self.asset.title} is photographs and has no depth", "set evaluate.scale")
        path = pass_path(self.folder / f"{number:03d}", "depth")
        if not path.is_file():
            raise InputError(f"object {self.asset.uid} has no depth of view {number}", "run viewforge evaluate again")
        return load_depth(path)


@dataclass(frozen=True)
class Subset(ABC):
    """The objects of a selection that there are pictures of, in order of uid."""

    selection: Selection
    failures: tuple[Outcome, ...]

    @property
    def name(self) -> SubsetName:
        """The subset: unseen or training."""
        return self.selection.name

    @property
    def assets(self) -> list[Asset]:
        """The objects that there are pictures of."""
        failed = {outcome.uid for outcome in self.failures}
        return [asset for asset in self.selection.assets if asset.uid not in failed]

    @abstractmethod
    def read(self, asset: Asset) -> ObjectViews:
        """An object's views and cameras."""

    @abstractmethod
    def cameras(self, asset: Asset) -> tuple[View, ...]:
        """An object's cameras as in `read`, lenses of the stored size; no picture is decoded."""

    @abstractmethod
    def warnings(self, asset: Asset) -> list[str]:
        """What was mended or missing when the object was read."""

    @abstractmethod
    def data_sha256(self) -> str:
        """Hash of what is scored: the objects, their files, and all that decides their pictures."""


@dataclass(frozen=True)
class RenderedSubset(Subset):
    """The objects of a selection that could be rendered."""

    farm: Farm
    score_input: bool = False

    def read(self, asset: Asset) -> ObjectViews:
        """An object's views and cameras."""
        folder = object_folder(self.farm.root, asset.uid)
        cameras = read_views(folder)
        rgba = np.stack([read_rgba(folder, number) for number in range(len(cameras))])
        first = INPUT_VIEW if self.score_input else INPUT_VIEW + 1
        return ObjectViews(asset, on_white(rgba), tuple(cameras), folder, first_target=first)

    def cameras(self, asset: Asset) -> tuple[View, ...]:
        """An object's cameras."""
        return tuple(read_views(object_folder(self.farm.root, asset.uid)))

    def warnings(self, asset: Asset) -> list[str]:
        """What was mended or missing when the object was imported."""
        return list(read_record(object_folder(self.farm.root, asset.uid))["warnings"])

    def data_sha256(self) -> str:
        """Hash of what is scored: the objects, their files, and all that decides their pictures."""
        rows = [[a.uid, a.sha256, self.farm.fingerprint(a)] for a in self.assets]
        return json_sha256([*rows, "the input is scored"] if self.score_input else rows)


def select_unseen(parameters: EvaluateParameters, trained: Sequence[str], workspace: Workspace) -> Selection:
    """The objects that the model has not seen.

    Args:
        parameters: source, names and number.
        trained: uids of the training objects.
        workspace: catalogue, and where relative paths start.

    Raises:
        InputError: when there is none, or one that is named is not among them.
    """
    catalogue = selected_rows(workspace)
    match parameters.source:
        case "heldout":
            found = _held_out(catalogue)
        case "gso":
            found = _scanned_objects(parameters, workspace)
        case "dtu" | "mip_nerf_360":
            found = scene_assets(parameters.source, workspace.root / parameters.path)
    seen = {asset.sha256 for asset in catalogue if asset.uid in set(trained)}
    found = sorted(named(found, parameters.objects, workspace), key=lambda asset: asset.uid)
    unseen = [asset for asset in found if asset.sha256 not in seen]
    if not unseen:
        raise InputError(
            "the model was trained on every object that would evaluate it",
            "raise catalog.split.test, or set evaluate.source to other objects",
        )
    left_out = tuple(asset for asset in found if asset.sha256 in seen)
    return Selection("unseen", tuple(with_files(unseen[: parameters.max_objects], workspace)), left_out)


def _held_out(catalogue: Sequence[Asset]) -> list[Asset]:
    assets = [asset for asset in catalogue if asset.split in {"val", "test"}]
    if not assets:
        raise InputError(
            f"none of the catalogue's {len(catalogue)} objects is held out for evaluation",
            "raise catalog.split.test, add objects, or set evaluate.source: gso",
        )
    return assets


def _scanned_objects(parameters: EvaluateParameters, workspace: Workspace) -> list[Asset]:
    root = workspace.root / parameters.path
    if not root.is_dir():
        raise InputError(f"no folder {root}", "set evaluate.path to a folder of Google Scanned Objects")
    return gso_assets(CatalogParameters(source="gso", path=parameters.path), workspace)


def select_training(parameters: EvaluateParameters, trained: Sequence[str], workspace: Workspace) -> Selection:
    """The first training objects in order of uid.

    Raises:
        InputError: when the catalogue knows none of them, so catalogue and shards do not belong together.
    """
    by_uid = {asset.uid: asset for asset in selected_rows(workspace)}
    known = [by_uid[uid] for uid in sorted(trained) if uid in by_uid]
    if not known:
        raise InputError(
            f"{workspace.catalog} knows none of the objects in {workspace.shards}", "run viewforge shard again"
        )
    return Selection("training", tuple(with_files(known[: parameters.training_objects], workspace)))


def render_subset(
    selection: Selection, parameters: EvaluateParameters, resolution: int, seed: int, workspace: Workspace
) -> RenderedSubset:
    """Render a selection under the protocol; what is there under the present input, parameters and code is kept.

    Raises:
        StageFailedError: when more than `max_failure_rate` of the objects fail.
        InputError: when none can be rendered.
    """
    farm = render_farm(selection.name, parameters, resolution, seed, workspace)
    discard_altered(farm, selection.assets)
    failures = farm.render(selection.assets, label=f"evaluate: render {selection.name}")
    check_failure_rate("evaluate", failures, len(selection.assets), parameters.max_failure_rate)
    subset = RenderedSubset(selection, tuple(failures), farm, parameters.score_input)
    if not subset.assets:
        raise InputError(f"no {selection.name} object could be rendered", f"see {farm.root / 'ledger.jsonl'}")
    seal(farm, subset.assets)
    return subset


def render_farm(
    name: SubsetName, parameters: EvaluateParameters, resolution: int, seed: int, workspace: Workspace
) -> Farm:
    """What renders a subset's objects under the protocol."""
    look = RenderParameters(
        protocol=parameters.protocol,
        views=parameters.views,
        resolution=resolution,
        quality=parameters.quality,
        executor=parameters.executor,
    )
    return Farm(workspace.scratch / "evaluation" / name, look, seed, workspace)
