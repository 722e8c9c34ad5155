"""Stand-ins of packages that are not installed here, so that our loading of their weights runs for real.

`torchvision` has AlexNet's and VGG-16's features, read from torch.hub's checkpoints as the package reads them; `lpips` is the copy of
it that torchmetrics maintains, with its trained linear weights. The backbones' weights are made here, so distances are no one's
published ones.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchmetrics.functional.image.lpips as maintained
from torch import nn

BACKBONES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
# Output channels of a convolution with its kernel, stride and padding; "M" pools with this kernel and stride 2.
_ALEX = [(64, 11, 4, 2), ("M", 3), (192, 5, 1, 2), ("M", 3), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1), ("M", 3)]
_VGG_CHANNELS = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
_VGG = [("M", 2) if channels == "M" else (channels, 3, 1, 1) for channels in _VGG_CHANNELS]
_LAYERS = {"alex": _ALEX, "vgg": _VGG}

_TORCHVISION = '''
"""A stand-in."""
import learned_metrics_support as support

class models:
    class AlexNet_Weights: DEFAULT = "alex"
    class VGG16_Weights: DEFAULT = "vgg"
    alexnet = staticmethod(support.pretrained)
    vgg16 = staticmethod(support.pretrained)
'''
_LPIPS = '''
"""A stand-in."""
from pathlib import Path
import torchmetrics.functional.image.lpips as maintained

class LPIPS(maintained._LPIPS):
    def __init__(self, net, verbose):
        super().__init__(net=net, model_path=str(Path(__file__).parent / f"weights/v0.1/{net}.pth"))
'''
_FIDELITY = '''
"""A stand-in: the mean colour through a matrix."""
import torch

class FeatureExtractorInceptionV3(torch.nn.Module):
    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        super().__init__()
        assert features_list == ["2048"]
        self.matrix = torch.load(feature_extractor_weights_path, weights_only=False)["matrix"]

    def forward(self, pictures):
        assert pictures.dtype == torch.uint8
        return (pictures.float().mean(dim=(2, 3)) @ self.matrix,)
'''


def features(backbone: str) -> nn.Sequential:
    """A backbone's features, numbered as torchvision numbers them."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in _LAYERS[backbone]:
        if layer[0] == "M":
            layers.append(nn.MaxPool2d(layer[1], 2))
            continue
        out, kernel, stride, padding = layer
        layers += [nn.Conv2d(channels, out, kernel, stride, padding), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*layers)


class Backbone(nn.Module):
    """What torchvision's constructors give, without the classifier."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.features = features(backbone)


def pretrained(weights: str) -> Backbone:
    """A backbone with the weights in torch.hub's checkpoints."""
    network = Backbone(weights)
    network.load_state_dict(torch.load(checkpoint(weights), weights_only=True))
    return network


def checkpoint(backbone: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / BACKBONES[backbone]


def save_backbone(backbone: str) -> None:
    """Weights made here, where torch.hub keeps them."""
    torch.manual_seed(0)
    checkpoint(backbone).parent.mkdir(parents=True, exist_ok=True)
    torch.save(Backbone(backbone).state_dict(), checkpoint(backbone))


def linear_weights(backbone: str) -> Path:
    """The trained linear weights that torchmetrics brings, the same files as lpips's."""
    return Path(maintained.__file__).parent / "lpips_models" / f"{backbone}.pth"


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """torchvision, lpips and torch_fidelity can be imported from `folder` inside the block."""
    for name, source in (("torchvision", _TORCHVISION), ("lpips", _LPIPS), ("torch_fidelity", '"""A stand-in."""')):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(source)
    (folder / "torch_fidelity" / "feature_extractor_inceptionv3.py").write_text(_FIDELITY)
    weights = folder / "lpips" / "weights" / "v0.1"
    weights.mkdir(parents=True)
    for backbone in BACKBONES:
        shutil.copy(linear_weights(backbone), weights)
    (folder / "lpips-0.1.4.dist-info").mkdir()
    (folder / "lpips-0.1.4.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lpips\nVersion: 0.1.4\n")
    before = maintained._TORCHVISION_AVAILABLE
    sys.path.insert(0, str(folder))
    maintained._TORCHVISION_AVAILABLE = True
    try:
        yield
    finally:
        maintained._TORCHVISION_AVAILABLE = before
        sys.path.remove(str(folder))
        for name in [n for n in sys.modules if n.partition(".")[0] in {"torchvision", "lpips", "torch_fidelity"}]:
            del sys.modules[name]
