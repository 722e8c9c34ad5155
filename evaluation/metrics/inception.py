"""The features that FID and KID are defined on, where their network's weights are really here.

They are of the Inception network of 2015 whose weights torch-fidelity and pytorch-fid brought from TensorFlow. Another
Inception, torchvision's for one, gives other figures.
"""

import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32

from evaluation.metrics.eight_bits import eight_bits
from geometry.perceptual import Unavailable, hub_checkpoint, missing_package

# As torch-fidelity and as pytorch-fid name the same file.
_NAMES = ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth")
_LAYER = "2048"
_BATCH = 8


@dataclass(frozen=True)
class InceptionFeatures:
    """The last pooled features, 2048 of a picture."""

    network: Any

    def __call__(self, pictures: Float[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t 2048"]:
        """Features of RGB pictures in [0, 1].

        They are rounded to 8 bits and resized to 299×299 as TensorFlow 1 did, bilinearly without smoothing, which torch-fidelity
        does itself.
        """
        pixels = torch.from_numpy(eight_bits(pictures)).permute(0, 3, 1, 2)
        with torch.no_grad():
            return torch.cat([self.network(batch)[0] for batch in pixels.split(_BATCH)]).numpy()


def find_inception(weights: str | None) -> InceptionFeatures | Unavailable:
    """The network, if torch-fidelity, torchvision and the weights are all here; nothing is downloaded or drawn at random.

    Args:
        weights: file; the one in torch.hub's checkpoints when None.
    """
    missing = missing_package("torch_fidelity", "torchvision")
    if missing:
        return Unavailable(missing)
    candidates = [Path(weights)] if weights else [hub_checkpoint(name) for name in _NAMES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        where = weights or f"{_NAMES[0]} in torch.hub's checkpoints"
        return Unavailable(f"the weights of Inception are not installed ({where})")
    try:
        return InceptionFeatures(_load(path))
    except (ImportError, RuntimeError, OSError, AttributeError, KeyError, pickle.UnpicklingError) as error:
        return Unavailable(f"{path} does not load ({(str(error).splitlines() or [type(error).__name__])[0]})")


def _load(path: Path) -> Any:  # noqa: ANN401 - a module of a package that may be absent
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # The package unpickles whatever stands in a file. So it gets a file of ours, of the tensors alone.
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    with tempfile.TemporaryDirectory() as folder:
        checked = Path(folder) / "inception.pth"
        torch.save(tensors, checked)
        return FeatureExtractorInceptionV3("inception", [_LAYER], feature_extractor_weights_path=str(checked)).eval()
