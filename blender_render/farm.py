"""The render farm: renders the objects of a catalogue under one camera protocol and quality."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from blender_render.batch import Batch, BatchJob
from blender_render.parameters import RenderParameters
from blender_render.protocols import cameras, light_position
from blender_render.rendered_object import RenderJob
from catalog.table import Asset
from stage.code import source_fingerprint
from stage.failures import Outcome
from stage.files import json_sha256, write_json
from stage.packs import object_folder
from stage.seeds import derive_seed, generator
from stage.workspace import Workspace

_HANDLER = "blender_render.worker:render_object"
# The modules that decide a rendering's bytes, or that there is none; supervision and bookkeeping do not.
RENDER_CODE = (
    "blender_render.asset_check",
    "blender_render.asset_import",
    "blender_render.passes",
    "blender_render.protocols",
    "blender_render.rendered_object",
    "blender_render.scene",
    "blender_render.worker",
    "geometry.cameras",
)
# Where a job reads and writes and how many threads it takes does not change a pixel.
_INDIFFERENT = {"asset", "output", "threads", "fingerprint"}


@dataclass(frozen=True)
class Farm:
    """A folder of rendered objects and the parameters that they are rendered with.

    Args:
        root: folder of loose object folders.
        parameters: views, resolution, quality, workers.
        seed: the run's seed.
        workspace: where relative asset paths start.
    """

    root: Path
    parameters: RenderParameters
    seed: int
    workspace: Workspace

    def render(self, assets: Sequence[Asset], label: str = "render") -> list[Outcome]:
        """Render what is missing or stale, and list the complete objects in `valid_paths.json`; the failures.

        Raises:
            InputError: when Blender's system libraries are missing.
            StageFailedError: when the disk is full or workers cannot start.
        """
        jobs = [self.job(asset) for asset in assets]
        batch = Batch(self.root, _HANDLER, self.parameters.executor)
        failed = batch.run([BatchJob(job.uid, job.fingerprint, job.payload()) for job in jobs], label)
        complete = {job.uid for job in jobs} - {outcome.uid for outcome in failed}
        write_json(self.root / "valid_paths.json", sorted(f"{uid[:2]}/{uid}" for uid in complete))
        return failed

    def fingerprint(self, asset: Asset) -> str:
        """Hash of all that decides an object's rendering: its files, cameras, light, quality, seeds, code and Blender."""
        return self.job(asset).fingerprint

    def job(self, asset: Asset) -> RenderJob:
        """What a worker is told to render one object."""
        parameters = self.parameters
        views = cameras(
            parameters.protocol,
            generator(self.seed, asset.uid, f"cameras {parameters.protocol}"),
            parameters.views,
            parameters.resolution,
        )
        light = generator(self.seed, asset.uid, "light")
        job = RenderJob(
            uid=asset.uid,
            asset=str(asset.location(self.workspace)),
            asset_sha256=asset.sha256,
            up_axis=asset.up_axis,
            output=str(object_folder(self.root, asset.uid)),
            fingerprint="",
            seed=derive_seed(self.seed, asset.uid, "cycles"),
            cameras=[view.c2w.tolist() for view in views],
            intrinsics=asdict(views[0].intrinsics),
            light_position=light_position(light).tolist(),
            light_watts=parameters.quality.key_light * float(light.uniform(2 / 3, 4 / 3)),
            quality=parameters.quality.model_dump(),
            threads=parameters.executor.threads_per_worker(),
            min_coverage=parameters.min_coverage,
        )
        return replace(job, fingerprint=job_fingerprint(job, asset, RENDER_CODE))


def job_fingerprint(job: RenderJob, asset: Asset, code: Sequence[str], **further: object) -> str:
    """Hash of what decides a job's result: all it says but places and threads, the asset's files, the code, Blender.

    Args:
        job: the job; its own fingerprint does not count.
        asset: the row that it is about.
        code: modules that decide the bytes.
        further: JSON values that decide as well.
    """
    said = {key: value for key, value in job.payload().items() if key not in _INDIFFERENT}
    versions = {"code": source_fingerprint(code), "blender": version("bpy")}
    return json_sha256({**said, **versions, **further, "companions": asset.companions_sha256})
