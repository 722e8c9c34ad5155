"""How long sampling took and how large the model is: `timing.json`, for limits that a promotion sets.

Seconds differ each time, so they stand in no output that is to have the same bytes, and DVC does not follow the file. It
names the model, by which a reader knows whether it is of the one at hand.
"""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from evaluation.predictions import Prediction
from stage.files import folder_sha256

FILE = "timing.json"


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
    def of(cls, model: Path) -> "Timing":
        """Of a model, before anything is sampled.

        Args:
            model: the pipeline's folder.
        """
        size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
        device = (
            torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
        )
        return cls(folder_sha256(model), size, device)

    def note(self, prediction: Prediction) -> None:
        """Count an object's prediction."""
        if prediction.seconds is not None:
            self.seconds.append(prediction.seconds)

    def document(self) -> dict[str, Any]:
        """The content of `timing.json`; the median is null where nothing was timed."""
        return {
            "model_sha256": self.model_sha256,
            "model_bytes": self.model_bytes,
            "device": self.device,
            "objects": len(self.seconds),
            "median_seconds_per_picture": statistics.median(self.seconds) if self.seconds else None,
        }
