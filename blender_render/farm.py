"""The render farm: renders the objects of a catalogue under one camera protocol and quality."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from blender_render.batch import Batch, BatchJob
from blender_render.camera_sets import CameraSet
from blender_render.cost import estimated_cost
from blender_render.light_rigs import hdri_path, light_rigs
from blender_render.parameters import RenderParameters
from blender_render.protocols import camera_set
from blender_render.rendered_object import RenderJob
from catalog.table import Asset
from stage.changes import Changes
from stage.code import source_fingerprint
from stage.failures import Outcome
from stage.files import file_sha256, json_sha256, write_json
from stage.output_root import OutputRoot
from stage.packs import object_folder
from stage.seeds import derive_seed, generator
from stage.share import Share
from stage.workspace import Workspace

_HANDLER = "blender_render.worker:render_object"
# The modules that decide a rendering's bytes, or that there is none; supervision and bookkeeping do not.
RENDER_CODE = (
    "blender_render.asset_check",
    "blender_render.asset_import",
    "blender_render.camera_sets",
    "blender_render.clearance",
    "blender_render.framing",
    "blender_render.gltf_check",
    "blender_render.gltf_observer",
    "blender_render.inside",
    "blender_render.light_rigs",
    "blender_render.lighting",
    "blender_render.obj_files",
    "blender_render.opacity",
    "blender_render.passes",
    "blender_render.protocols",
    "blender_render.references",
    "blender_render.rendered_object",
    "blender_render.scan_check",
    "blender_render.scene",
    "blender_render.studio",
    "blender_render.textures",
    "blender_render.worker",
    "blender_render.zero_1_to_g_cameras",
    "geometry.cameras",
)
# Where a job reads and writes and how many threads it takes does not change a pixel.
_INDIFFERENT = {"asset", "output", "threads", "fingerprint", "hdri"}
# Stands for any object where only what all have in common counts.
_ANY = Asset("", "", "", "", "", 0, "", "", "", "", "", (), "", True, "")


@dataclass(frozen=True)
class Farm:
    """A folder of rendered objects and the parameters that they are rendered with.

    Args:
        root: folder of loose object folders.
        parameters: views, resolution, quality, workers.
        seed: the run's seed.
        workspace: where relative asset paths start.
        share: the part of a larger farm that this is, beside which others run.
    """

    root: Path
    parameters: RenderParameters
    seed: int
    workspace: Workspace
    share: Share | None = None
    changes: Changes = field(default_factory=Changes)
    """Is told how many objects were rendered and how many kept."""

    def render(self, assets: Sequence[Asset], label: str = "render") -> list[Outcome]:
        """Render what is missing or stale, and list the complete objects in `valid_paths.json`, unless a share; the failures.

        Raises:
            ParameterError: for an unknown protocol, a number of views that it does not have, or a lighting without its map.
            InputError: when Blender's system libraries or the environment map are missing, or the output root cannot be reached.
            StageFailedError: when the disk is full or workers cannot start.
        """
        # A hundred thousand objects' cameras would not fit in memory: a job is written out when it is its turn.
        jobs = [self._batch_job(asset) for asset in assets]
        url = self.parameters.output_root
        output_root = OutputRoot.at(url, self.workspace.root) if url else None
        failed = Batch(self.root, _HANDLER, self.parameters.executor, output_root, self.share, self.changes).run(
            jobs, label
        )
        if self.share is None:
            complete = {job.uid for job in jobs} - {outcome.uid for outcome in failed}
            write_json(self.root / "valid_paths.json", sorted(f"{uid[:2]}/{uid}" for uid in complete))
        return failed

    def _batch_job(self, asset: Asset) -> BatchJob:
        return BatchJob(
            asset.uid, self.fingerprint(asset), partial(self.payload, asset), estimated_cost(asset, self.parameters)
        )

    def fingerprint(self, asset: Asset) -> str:
        """Hash of all that decides an object's rendering: its files, cameras, light, quality, seeds, code and Blender."""
        return object_fingerprint(self._recipe, asset)

    def payload(self, asset: Asset) -> dict[str, Any]:
        """What a worker is told to render one object, as JSON."""
        return replace(self.job(asset), fingerprint=self.fingerprint(asset)).payload()

    def job(self, asset: Asset) -> RenderJob:
        """What a worker is told to render one object; the fingerprint is the stage's to add."""
        parameters = self.parameters
        cameras = self._cameras(asset)
        lenses = [asdict(view.intrinsics) for view in cameras.views]
        rigs = light_rigs(parameters.quality, self.seed, asset.uid, parameters.views)
        hdri, hdri_sha256 = self._hdri
        return RenderJob(
            uid=asset.uid,
            asset=str(asset.location(self.workspace)),
            asset_sha256=asset.sha256,
            up_axis=asset.up_axis,
            output=str(object_folder(self.root, asset.uid)),
            fingerprint="",
            seed=derive_seed(self.seed, asset.uid, "cycles"),
            cameras=[view.c2w.tolist() for view in cameras.views],
            intrinsics=lenses[0],
            light_rigs=[asdict(rig) for rig in rigs],
            # The map counts by its content, not by where it lies.
            quality=parameters.quality.model_dump(exclude={"hdri"}),
            threads=parameters.executor.threads_per_worker(),
            min_coverage=parameters.min_coverage,
            input_views=len(cameras.inputs),
            view_intrinsics=lenses if any(lens != lenses[0] for lens in lenses) else None,
            hdri=hdri,
            hdri_sha256=hdri_sha256,
            assets=parameters.assets.model_dump(),
            passes=list(parameters.passes),
            spares=[[pose.tolist() for pose in poses] for poses in cameras.spares],
        )

    def sample_job(self) -> RenderJob:
        """The job of an object without name or file: all objects' jobs follow from it and their rows."""
        return self.job(_ANY)

    @cached_property
    def _recipe(self) -> str:
        return recipe(self.sample_job(), RENDER_CODE)

    def _cameras(self, asset: Asset) -> CameraSet:
        parameters = self.parameters
        random = generator(self.seed, asset.uid, f"cameras {parameters.protocol}")
        return camera_set(parameters.protocol, random, parameters.views, parameters.resolution)

    @cached_property
    def _hdri(self) -> tuple[str | None, str]:
        """Path and hash of the environment map, read once for all objects."""
        path = hdri_path(self.parameters.quality, self.workspace.root)
        return (str(path), file_sha256(path)) if path else (None, "")


def recipe(sample: RenderJob, code: Sequence[str], **further: object) -> str:
    """Hash of what decides the results of all jobs that differ in their object alone.

    Cameras, light and seeds of an object are functions of its uid and of the code, so that those of one sample tell about all:
    a hundred thousand objects are planned in seconds.

    Args:
        sample: the job of a nameless object; places and threads do not count.
        code: modules that decide the bytes.
        further: JSON values that decide as well.
    """
    said = {key: value for key, value in sample.payload().items() if key not in _INDIFFERENT}
    versions = {"code": source_fingerprint(code), "blender": version("bpy")}
    return json_sha256({**said, **versions, **further})


def object_fingerprint(recipe: str, asset: Asset) -> str:
    """Hash of what decides one object's result: the `recipe`, the object's uid, its files and how they stand."""
    return json_sha256([recipe, asset.uid, asset.sha256, asset.companions_sha256, asset.up_axis])
