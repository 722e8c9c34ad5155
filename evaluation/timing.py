"""How long sampling took and how large the model is: `scratch/evaluation/timing.json`, for people.

Seconds differ each time, and everything below `data/` has the same bytes each time: so the file lies in `scratch/`. It names the
model, by which a reader knows whether it is of the one at hand. Limits of a promotion are measured anew (`registry.footprint`).
"""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from evaluation.predictions import Prediction
from stage.files import write_json
from stage.workspace import Workspace


def timing_path(workspace: Workspace) -> Path:
    """Where a workspace's timing lies."""
    return workspace.scratch / "evaluation" / "timing.json"


@dataclass(frozen=True)
class Timing:
    """Seconds a picture of each sampled object, those of an earlier run as they were then.

    Args:
        model_sha256: hash of the model's folder.
        model_bytes: its size.
        device: where it was sampled.
    """

    model_sha256: str
    model_bytes: int
    device: str
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, model: Path, model_sha256: str) -> "Timing":
        """Of a model, before anything is sampled.

        Args:
            model: the pipeline's folder.
            model_sha256: its hash.
        """
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        device = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
        )
        return cls(model_sha256, size, device)

    def note(self, prediction: Prediction) -> None:
        """Count an object's prediction."""
        if prediction.seconds is not None:
            self.seconds.append(prediction.seconds)

    def write(self, workspace: Workspace) -> None:
        """Write `timing.json`."""
        write_json(timing_path(workspace), self.document())

    def document(self) -> dict[str, Any]:
        """The content of `timing.json`; the median is null where nothing was timed."""
        return {
            "model_sha256": self.model_sha256,
            "model_bytes": self.model_bytes,
            "device": self.device,
            "objects": len(self.seconds),
            "median_seconds_per_picture": statistics.median(self.seconds) if self.seconds else None,
        }
