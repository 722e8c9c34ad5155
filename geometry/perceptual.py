"""The network of LPIPS (Zhang et al. 2018), if it is really here: nothing is downloaded, and nothing is drawn at random."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

NOT_AVAILABLE = "not available"
# What torchvision downloads for the VGG-16 that LPIPS measures with.
_BACKBONE = "vgg16-397923af.pth"
_LINEAR_WEIGHTS = "weights/v0.1/vgg.pth"


@dataclass(frozen=True)
class Unavailable:
    """A metric that cannot be computed here. It has a reason and never a number."""

    reason: str

    def __str__(self) -> str:
        return f"{NOT_AVAILABLE}: {self.reason}"


def find_lpips_network() -> Any | Unavailable:  # noqa: ANN401 - a module of a package that may be absent
    """LPIPS with VGG-16, if its package, torchvision and the trained backbone are all here.

    It takes two batches (n, 3, h, w) in [−1, 1] and gives n distances, differentiable by both. The files are looked for before
    anything is imported: a torchvision that does not fit torch breaks other libraries.
    """
    missing = _missing_part()
    if missing:
        return Unavailable(missing)
    try:
        import lpips

        return lpips.LPIPS(net="vgg", verbose=False).eval()
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        return Unavailable(f"it does not load ({str(error).splitlines()[0]})")


def _missing_part() -> str:
    """What LPIPS lacks on this machine; empty when everything is there."""
    for package in ("lpips", "torchvision"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    backbone = Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE
    if not backbone.is_file():
        return f"the weights of its backbone are not installed ({_BACKBONE} in torch.hub's checkpoints)"
    origin = importlib.util.find_spec("lpips").origin  # type: ignore[union-attr]
    if origin is None or not (Path(origin).parent / _LINEAR_WEIGHTS).is_file():
        return f"the package lpips lacks its own {_LINEAR_WEIGHTS}"
    return ""
