"""Figures of learned features: loaded for real where the weights are, with a reason and no number where they are not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from learned_metrics_support import BACKBONES, checkpoint, features, installed, linear_weights, save_backbone
from PIL import Image
from torch.nn.functional import conv2d, cosine_similarity
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from evaluation.metrics.clip_similarity import find_clip
from evaluation.metrics.eight_bits import eight_bits
from evaluation.metrics.inception import find_inception
from evaluation.metrics.lpips import find_lpips
from evaluation.metrics.metric_set import MetricSet
from evaluation.metrics.parameters import MetricParameters
from geometry.perceptual import Unavailable

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    (tmp_path / "packages").mkdir()
    with installed(tmp_path / "packages"):
        yield tmp_path


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.random((10, 64, 64, 3))
    return first, np.clip(first + rng.normal(0, 0.1, first.shape), 0, 1)


# LPIPS


def expected_lpips(backbone: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By the paper's equation 1 from the files: Σ over layers of the mean over places of w·(â − b̂)²."""
    network = features(backbone)
    network.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(checkpoint(backbone)).items()})
    taps = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}[backbone]
    linear = torch.load(linear_weights(backbone), map_location="cpu")
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def unit(pictures: np.ndarray) -> list[torch.Tensor]:
        x = ((torch.from_numpy(pictures).float() * 2 - 1 - shift) / scale).permute(0, 3, 1, 2)
        seen = []
        for number, layer in enumerate(network):
            x = layer(x)
            if number in taps:
                seen.append(x.clone())
        return [layer / (layer.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for layer in seen]

    with torch.no_grad():
        layers = zip(unit(first), unit(second), strict=True)
        squares = [conv2d((a - b) ** 2, linear[f"lin{n}.model.1.weight"]) for n, (a, b) in enumerate(layers)]
        return sum(square.mean(dim=(1, 2, 3)) for square in squares).numpy()


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_lpips_equals_its_formula_with_the_weights_in_the_files(packages, pair, backbone) -> None:
    save_backbone(backbone)
    lpips = find_lpips(backbone)
    first, second = (side[:3] for side in pair)
    assert lpips.version == "0.1.4"
    assert lpips(first, second) == pytest.approx(expected_lpips(backbone, first, second), abs=1e-6)
    assert (lpips(first, second) > 1e-4).all()
    assert lpips(first, first) == pytest.approx(0.0, abs=1e-9)
    assert lpips(first, second) == pytest.approx(lpips(second, first), abs=1e-7)


def test_lpips_does_not_depend_on_batches(packages, pair) -> None:
    save_backbone("alex")
    lpips = find_lpips("alex")
    alone = [float(lpips(a[None], b[None])[0]) for a, b in zip(*pair, strict=True)]
    assert lpips(*pair) == pytest.approx(alone, abs=1e-6)


def test_each_backbone_needs_its_own_weights(packages) -> None:
    save_backbone("alex")
    metrics = MetricSet.of(MetricParameters(names=("lpips_alex", "lpips", "neighbour_lpips")))
    assert list(metrics.pairs) == ["lpips_alex"]
    reason = f"the weights of its backbone are not installed ({BACKBONES['vgg']} in torch.hub's checkpoints)"
    assert metrics.unavailable == {"lpips": reason, "neighbour_lpips": reason}


def test_weights_of_another_network_do_not_load(packages) -> None:
    save_backbone("alex")
    checkpoint("alex").rename(checkpoint("vgg"))
    found = find_lpips("vgg")
    assert isinstance(found, Unavailable)
    assert "it does not load" in found.reason


# CLIP


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP, as small as can be."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**TOWER, "vocab_size": 64, "max_position_embeddings": 8},
        vision_config={**TOWER, "image_size": 32, "patch_size": 8, "projection_dim": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def test_clip_equals_the_whole_model_s_cosine(clip_folder: Path, pair) -> None:
    encoder = find_clip(str(clip_folder))
    first, second = (side[:3] for side in pair)
    whole, processor = CLIPModel.from_pretrained(clip_folder), CLIPImageProcessorPil.from_pretrained(clip_folder)

    def embedded(picture: np.ndarray) -> torch.Tensor:
        image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        return whole.visual_projection(whole.vision_model(pixels).pooler_output)

    with torch.no_grad():
        expected = [float(cosine_similarity(embedded(a), embedded(b))) for a, b in zip(first, second, strict=True)]
    assert encoder.similarity(first, second) == pytest.approx(expected, abs=1e-5)
    assert encoder.similarity(first, first) == pytest.approx(1.0, abs=1e-9)
    assert encoder.similarity(first, second) == pytest.approx(encoder.similarity(second, first), abs=1e-9)


def test_clip_s_figures_are_in_a_set(clip_folder: Path, pair) -> None:
    names = ("clip_similarity", "neighbour_clip")
    metrics = MetricSet.of(MetricParameters(names=names, clip=str(clip_folder)))
    assert not metrics.unavailable
    assert set(metrics.objects) == {"neighbour_clip"}
    assert metrics.views(*pair)["clip_similarity"].shape == (10,)


@pytest.mark.parametrize("name", ["viewforge/no-such-clip", "no such name!", "/no/such/folder"])
def test_a_clip_that_is_not_here_is_not_available(name: str) -> None:
    found = find_clip(name)
    assert isinstance(found, Unavailable)
    assert found.reason == f"no CLIP in {name}, neither a folder nor in the local Hugging Face cache"


def test_a_clip_without_some_weights_is_not_completed_at_random(clip_folder: Path, tmp_path: Path) -> None:
    model = CLIPModel.from_pretrained(clip_folder)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "visual_projection.weight"}
    model.save_pretrained(tmp_path, state_dict=state)
    CLIPImageProcessorPil.from_pretrained(clip_folder).save_pretrained(tmp_path)
    assert find_clip(str(tmp_path)).reason == f"the CLIP in {tmp_path} lacks visual_projection.weight"


def test_a_folder_without_a_clip_does_not_load(tmp_path: Path) -> None:
    assert "does not load" in find_clip(str(tmp_path)).reason


# Inception


def test_features_come_from_the_file_of_weights(packages: Path, pair) -> None:
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    torch.save({"matrix": matrix}, packages / "inception.pth")
    metrics = MetricSet.of(MetricParameters(names=("kid", "fid"), inception=str(packages / "inception.pth")))
    assert not metrics.unavailable
    found = metrics.features(pair[0])
    expected = eight_bits(pair[0]).mean(axis=(1, 2)) @ matrix.numpy()
    assert found == pytest.approx(expected, rel=1e-4)
    figures = metrics.set([found[:4], found[4:]], [metrics.features(pair[1])])
    assert list(figures) == ["kid", "fid"]
    assert metrics.set([found], [found])["fid"] == pytest.approx(0.0, abs=1e-4)


def test_weights_are_found_in_torch_hub_under_either_name(packages: Path) -> None:
    assert "weights-inception-2015-12-05-6726825d.pth" in find_inception(None).reason
    (packages / "hub" / "checkpoints").mkdir(parents=True)
    weights = {"matrix": torch.eye(3)}
    torch.save(weights, packages / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth")
    assert find_inception(None)(np.ones((1, 4, 4, 3))).tolist() == [[255.0] * 3]


class Mischief:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_file_that_would_run_code_is_refused(packages: Path) -> None:
    torch.save({"matrix": Mischief(packages / "ran")}, packages / "inception.pth")
    found = find_inception(str(packages / "inception.pth"))
    assert isinstance(found, Unavailable)
    assert "does not load" in found.reason
    assert not (packages / "ran").exists()


def test_sets_without_the_package_have_a_reason_and_no_figure() -> None:
    metrics = MetricSet.of(MetricParameters(names=("fid", "psnr")))
    assert set(metrics.unavailable) == {"fid"}
    assert metrics.features(np.ones((2, 12, 12, 3))) is None
    assert metrics.set([np.ones((2, 3))], [np.ones((2, 3))]) == {}
    assert "fid" not in metrics.views(np.ones((2, 12, 12, 3)), np.ones((2, 12, 12, 3)))
