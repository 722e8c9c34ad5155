"""The render farm: renders the objects of a catalogue that are missing or stale, and loses none.

What is complete under the present input, parameters and code is kept; permanent failures are remembered and not tried
again. Every outcome is a line of `ledger.jsonl`, with seconds, memory and the tail of standard error.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blender_render.installation import check_system_libraries
from blender_render.parameters import RenderParameters
from blender_render.protocols import cameras, light_position
from blender_render.rendered_object import RenderJob, is_complete
from catalog.table import Asset
from stage.code import source_fingerprint
from stage.executor import Job, LocalExecutor
from stage.failures import FailureClass, Outcome
from stage.files import json_sha256, remove_leftovers, write_json
from stage.packs import object_folder
from stage.progress import Progress
from stage.seeds import derive_seed, generator
from stage.workspace import Workspace

_HANDLER = "blender_render.worker:render_object"
# The modules that decide a rendering's bytes; supervision and bookkeeping do not.
RENDER_CODE = (
    "blender_render.asset_import",
    "blender_render.passes",
    "blender_render.protocols",
    "blender_render.rendered_object",
    "blender_render.scene",
    "blender_render.worker",
    "geometry.cameras",
)


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
        """Render what is missing or stale; the failures, old permanent ones included.

        Raises:
            InputError: when Blender's system libraries are missing.
            StageFailedError: when the disk is full or workers cannot start.
        """
        check_system_libraries()
        self.root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.root)
        jobs = {asset.uid: self._job(asset) for asset in assets}
        failed = self._remembered_failures(jobs)
        todo = [job for job in jobs.values() if job.uid not in failed and not self._complete(job)]
        with Progress(label, len(jobs), "objects", done=len(jobs) - len(todo)) as progress:
            executor = LocalExecutor(self.parameters.executor)
            for outcome in executor.run(_HANDLER, [Job(job.uid, job.payload()) for job in todo]):
                self._note(outcome, jobs[outcome.uid].fingerprint)
                if not outcome.ok:
                    failed[outcome.uid] = outcome
                progress.advance(failed=len(failed))
        complete = [uid for uid in jobs if uid not in failed]
        write_json(self.root / "valid_paths.json", sorted(f"{uid[:2]}/{uid}" for uid in complete))
        return [failed[uid] for uid in sorted(failed)]

    def fingerprint(self, asset: Asset) -> str:
        """Hash of all that decides an object's rendering: input, parameters, seed and code."""
        look = self.parameters.model_dump(include={"protocol", "views", "resolution", "quality", "min_coverage"})
        code = source_fingerprint(RENDER_CODE)
        return json_sha256({"input": asset.sha256, "up": asset.up_axis, "look": look, "seed": self.seed, "code": code})

    def _job(self, asset: Asset) -> RenderJob:
        parameters = self.parameters
        views = cameras(
            parameters.protocol,
            generator(self.seed, asset.uid, f"cameras {parameters.protocol}"),
            parameters.views,
            parameters.resolution,
        )
        light = generator(self.seed, asset.uid, "light")
        return RenderJob(
            uid=asset.uid,
            asset=str(asset.location(self.workspace)),
            asset_sha256=asset.sha256,
            up_axis=asset.up_axis,
            output=str(object_folder(self.root, asset.uid)),
            fingerprint=self.fingerprint(asset),
            seed=derive_seed(self.seed, asset.uid, "cycles"),
            cameras=[view.c2w.tolist() for view in views],
            intrinsics=asdict(views[0].intrinsics),
            light_position=light_position(light).tolist(),
            light_watts=parameters.quality.key_light * float(light.uniform(2 / 3, 4 / 3)),
            quality=parameters.quality.model_dump(),
            threads=parameters.executor.threads_per_worker(),
            min_coverage=parameters.min_coverage,
        )

    def _complete(self, job: RenderJob) -> bool:
        return is_complete(Path(job.output), job.fingerprint)

    @property
    def _ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    def _note(self, outcome: Outcome, fingerprint: str) -> None:
        with self._ledger.open("a") as stream:
            stream.write(json.dumps({**outcome.row(), "fingerprint": fingerprint}) + "\n")

    def _remembered_failures(self, jobs: dict[str, RenderJob]) -> dict[str, Outcome]:
        """Permanent failures of the present input, parameters and code, from the ledger."""
        failed: dict[str, Outcome] = {}
        for row in self._ledger_rows():
            job = jobs.get(row["uid"])
            if job is None or row.pop("fingerprint") != job.fingerprint:
                continue
            failure = FailureClass(row.pop("failure")) if row["failure"] else None
            failed.pop(job.uid, None)
            if failure and not failure.transient:
                failed[job.uid] = Outcome(failure=failure, result={}, **row)
        return failed

    def _ledger_rows(self) -> list[dict[str, Any]]:
        """The ledger's rows; a last line cut short by a kill is left out."""
        if not self._ledger.is_file():
            return []
        rows = []
        for line in self._ledger.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows
