"""The networks of LPIPS (Zhang et al. 2018), if they are really here: nothing is downloaded, and nothing is drawn at random."""

import importlib.util
import pickle
from pathlib import Path
from typing import Any, Literal

import torch

from geometry.unavailable import NOT_AVAILABLE, Unavailable

__all__ = ["NOT_AVAILABLE", "Backbone", "Unavailable", "find_lpips_network", "hub_checkpoint", "missing_package"]
Backbone = Literal["vgg", "alex"]
# What torchvision downloads for VGG-16 and AlexNet.
_BACKBONES: dict[Backbone, str] = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}


def find_lpips_network(backbone: Backbone = "vgg") -> Any | Unavailable:  # noqa: ANN401 - of a package that may be absent
    """LPIPS, if its package, torchvision and the trained backbone are all here.

    It takes two batches (n, 3, h, w) in [−1, 1] and gives n distances, differentiable by both. The files are looked for before
    anything is imported: a torchvision that does not fit torch breaks other libraries. Both packages read weights with
    PyTorch's unpickler of tensors alone.

    Args:
        backbone: whose features are compared, VGG-16's or AlexNet's.
    """
    missing = _missing_part(backbone)
    if missing:
        return Unavailable(missing)
    try:
        import lpips

        return lpips.LPIPS(net=backbone, verbose=False).eval()
    except (ImportError, RuntimeError, OSError, AttributeError, pickle.UnpicklingError) as error:
        return Unavailable(f"it does not load ({(str(error).splitlines() or [type(error).__name__])[0]})")


def missing_package(*packages: str) -> str:
    """Says which of some packages is not installed, importing none of them; empty when all are."""
    absent = (package for package in packages if importlib.util.find_spec(package) is None)
    return next((f"the package {package} is not installed" for package in absent), "")


def hub_checkpoint(name: str) -> Path:
    """Where torch.hub keeps a file of weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _missing_part(backbone: Backbone) -> str:
    """What LPIPS lacks on this machine; empty when everything is there."""
    missing = missing_package("lpips", "torchvision")
    if missing:
        return missing
    name = _BACKBONES[backbone]
    if not hub_checkpoint(name).is_file():
        return f"the weights of its backbone are not installed ({name} in torch.hub's checkpoints)"
    linear = f"weights/v0.1/{backbone}.pth"
    origin = importlib.util.find_spec("lpips").origin  # type: ignore[union-attr]
    if origin is None or not (Path(origin).parent / linear).is_file():
        return f"the package lpips lacks its own {linear}"
    return ""
