"""The pipeline that a device holds: one at a time, the last that was asked for."""

import threading
from pathlib import Path

import torch
from torch import nn

from demo.jobs import Job
from systems.object_pipeline import ObjectPipeline
from systems.pipelines import load_pipeline

CPU = "cpu"


def device_names() -> list[str]:
    """Every GPU, or the CPU where there is none."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or [CPU]


class LoadedPipelines:
    """The pipelines of all devices."""

    def __init__(self) -> None:
        self._loaded: dict[str, tuple[Path, float, ObjectPipeline]] = {}
        self._jobs: dict[str, Job] = {}
        self._loading = threading.Lock()

    def on(self, device: str, folder: Path, job: Job) -> ObjectPipeline:
        """A folder's pipeline on a device, in the service of a job: no module of it begins once the job is to end.

        Args:
            device: its name, as PyTorch has it.
            folder: the pipeline's; one that was trained anew since is loaded again.
            job: whose turn it is.

        Raises:
            InputError: when the folder holds none, or one that is damaged.
        """
        self._jobs[device] = job
        written = (folder / "model_index.json").stat().st_mtime if folder.is_dir() else 0.0
        known = self._loaded.get(device)
        if known is None or known[:2] != (folder, written):
            job.expect(0, "loading the model")
            # Two at once would need the memory of both.
            self._loaded.pop(device, None)
            known = (folder, written, self._prepared(device, folder))
            self._loaded[device] = known
        return known[2]

    def _prepared(self, device: str, folder: Path) -> ObjectPipeline:
        with self._loading:
            pipeline = load_pipeline(folder).to(device)
        pipeline.set_progress_bar_config(disable=True)
        for module in pipeline.components.values():
            if isinstance(module, nn.Module):
                # Also where a pipeline calls no callback, as a cascade's before its last stage.
                module.register_forward_pre_hook(lambda *_: self._jobs[device].check())
        return pipeline
