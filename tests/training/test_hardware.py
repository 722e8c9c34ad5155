"""Hardware settings: none of them changes what is computed by more than its digits, and what cannot be had is one line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor, nn

from stage.errors import ParameterError, ViewforgeError
from systems.trainable import StepLoss, TrainableSystem, Views
from systems.zero123.loss import TrainingBatch
from systems.zero123.parameters import Zero123Parameters
from systems.zero123.training import Zero123Training
from training.compiled import check_compiled, compiled_difference
from training.hardware import cpu_notice, use_hardware
from training.parameters import HardwareParameters

CPU = torch.device("cpu")
with_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")


@pytest.fixture
def system_of(tiny_train: dict[str, Any]) -> Callable[..., Zero123Training]:
    def made(**changes: Any) -> Zero123Training:
        parameters = Zero123Parameters.model_validate(tiny_train["zero123"] | changes)
        return Zero123Training(parameters, seed=0, image_size=16).train()

    return made


@pytest.fixture
def accelerator_of() -> Callable[[str], Accelerator]:
    def made(precision: str) -> Accelerator:
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(cpu=True, mixed_precision=precision)

    return made


def pairs() -> TrainingBatch:
    chance = torch.Generator().manual_seed(0)
    target, condition = (torch.rand(4, 3, 16, 16, generator=chance) * 2 - 1 for _ in range(2))
    return TrainingBatch(target, condition, torch.randn(4, 4, generator=chance))


def loss_and_gradients(system: Zero123Training) -> tuple[float, dict[str, Tensor]]:
    loss = system(pairs(), system.draw(range(4))).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in system.named_parameters() if p.grad is not None}


def kept_bytes(system: Zero123Training) -> int:
    """Bytes of all that the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in system.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        system(pairs(), system.draw(range(4)))
    return sum(size for place, size in kept.items() if place not in weights)


@pytest.mark.parametrize(
    ("setting", "tolerance"), [({"gradient_checkpointing": True}, 0.0), ({"channels_last": True}, 1e-5)]
)
def test_loss_and_gradients_stay(
    system_of: Callable[..., Zero123Training], setting: dict[str, Any], tolerance: float
) -> None:
    plain, changed = system_of(), system_of()
    use_hardware(HardwareParameters(), plain.denoiser, CPU)
    facts = use_hardware(HardwareParameters(**setting), changed.denoiser, CPU)
    assert {key: facts[key] for key in setting} == setting
    loss, gradients = loss_and_gradients(plain)
    other_loss, other_gradients = loss_and_gradients(changed)
    assert other_loss == pytest.approx(loss, abs=tolerance)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        assert (gradient - other_gradients[name]).norm() <= tolerance * max(1.0, gradient.norm()), name


def test_gradient_checkpointing_keeps_less(system_of: Callable[..., Zero123Training]) -> None:
    plain, frugal = system_of(), system_of()
    use_hardware(HardwareParameters(gradient_checkpointing=True), frugal.denoiser, CPU)
    assert kept_bytes(frugal) < 0.6 * kept_bytes(plain)


def test_gradient_checkpointing_of_a_network_that_has_none_is_one_line() -> None:
    network = Denoiser()
    with pytest.raises(ParameterError, match=r"gradient_checkpointing: Denoiser cannot compute its blocks again"):
        use_hardware(HardwareParameters(gradient_checkpointing=True), network, CPU)


def test_weights_laid_out_otherwise_are_saved_as_they_were(
    system_of: Callable[..., Zero123Training], tmp_path: Path
) -> None:
    plain, changed = system_of(), system_of()
    use_hardware(HardwareParameters(channels_last=True), changed.denoiser, CPU)
    assert changed.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    plain.save(tmp_path / "plain")
    changed.save(tmp_path / "changed")
    one, other = (
        load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors") for name in ("plain", "changed")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_in_force_is_told(system_of: Callable[..., Zero123Training]) -> None:
    facts = use_hardware(HardwareParameters(attention="sdpa"), system_of().denoiser, CPU)
    assert facts == {
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "attention": "sdpa",
        "channels_last": False,
        "gradient_checkpointing": False,
        "compile": "off",
    }
    assert cpu_notice(CPU).startswith("no CUDA GPU: training on the CPU with ")
    assert cpu_notice(torch.device("cuda")) == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_xformers_without_a_gpu_is_one_line(system_of: Callable[..., Zero123Training]) -> None:
    with pytest.raises(ParameterError, match=r"^train\.hardware\.attention = xformers needs a CUDA GPU"):
        use_hardware(HardwareParameters(attention="xformers"), system_of().denoiser, CPU)


def test_compilation_without_a_compiler_is_one_line(
    system_of: Callable[..., Zero123Training], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        ParameterError, match=r"compile = default needs a C\+\+ compiler, and there is none; install g\+\+"
    ):
        use_hardware(HardwareParameters(compile="default"), system_of().denoiser, CPU)


class Denoiser(nn.Module):
    """A network that compiles in seconds; `compiled_error` is added to what it says when it is compiled."""

    def __init__(self, compiled_error: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
        self.compiled_error = compiled_error

    def set_attn_processor(self, processor: object) -> None:
        """It has no attention."""

    def forward(self, values: Tensor) -> Tensor:
        """What the layers say."""
        said = self.layers(values)
        return said * (1.0 + self.compiled_error) if torch.compiler.is_compiling() else said


class Painter(TrainableSystem):
    """The smallest system: it guesses the noise that was added to a row of pixels."""

    timesteps_total = 1

    def __init__(self, compiled_error: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = Denoiser(compiled_error)

    @property
    def denoiser(self) -> nn.Module:
        """The network."""
        return self.network

    def forward(self, batch: Tensor, draws: Tensor) -> StepLoss:
        """Mean squared error."""
        errors = (self.network(batch + draws) - draws).square().mean(1)
        return StepLoss(errors.mean(), errors.detach(), torch.zeros(len(batch), dtype=torch.long))

    def batch(self, views: Views) -> Tensor:
        """A row of the first view."""
        return views.rgba[:, 0, 0, :, 0].float() / 255

    def draw(self, seeds: Any) -> Tensor:
        """Noise."""
        return torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    def predict(self, batch: Tensor, seeds: Any, steps: int, guidance_scale: float) -> Tensor:  # noqa: ARG002
        """A row of pixels is all it paints."""
        return batch[:, None, None].expand(-1, 3, 16, -1)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """One."""
        return {"network": list(self.parameters())}

    def save(self, folder: Path) -> None:
        """It is not worth saving."""


@with_compiler
@pytest.mark.parametrize(
    ("error", "refused"), [(0.0, False), (0.2, True), (float("nan"), True)], ids=["right", "wrong", "nan"]
)
def test_a_compiled_network_is_compared_with_itself_before_the_first_step(
    accelerator_of: Callable[[str], Accelerator], error: float, refused: bool
) -> None:
    system = Painter(error)
    names = list(system.state_dict())
    use_hardware(HardwareParameters(compile="default"), system.denoiser, CPU)
    assert list(system.state_dict()) == names

    def checked() -> float:
        return check_compiled(system, accelerator_of("no"), size=16, samples=4, views=2, tolerance=0.05).gradients

    if refused:
        with pytest.raises(ViewforgeError, match=r"compile_tolerance = 0\.05; set train\.hardware\.compile to null"):
            checked()
    else:
        assert checked() < 1e-5
    assert all(parameter.grad is None for parameter in system.parameters())


@with_compiler
@pytest.mark.slow
@pytest.mark.minutes(1.5)
@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-4), ("bf16", 0.03)])
def test_the_compiled_denoiser_is_finite_and_the_same(
    system_of: Callable[..., Zero123Training],
    accelerator_of: Callable[[str], Accelerator],
    precision: str,
    tolerance: float,
) -> None:
    system = system_of(unet={"block_channels": [16], "attention_heads": 2})
    names = list(system.state_dict())
    settings = HardwareParameters(compile="default", gradient_checkpointing=True, channels_last=True)
    use_hardware(settings, system.denoiser, CPU)
    difference = compiled_difference(system, accelerator_of(precision), size=16, samples=4, views=2)
    print(precision, difference)
    assert difference.within(tolerance)
    assert list(system.state_dict()) == names


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("on", [True, False])
def test_cuda_flags_are_set_whatever_they_were(system_of: Callable[..., Zero123Training], on: bool) -> None:
    settings = HardwareParameters(tf32=on, cudnn_benchmark=on)
    facts = use_hardware(settings, system_of().to("cuda").denoiser, torch.device("cuda"))
    assert torch.backends.cuda.matmul.allow_tf32 is on
    assert torch.backends.cudnn.allow_tf32 is on
    assert torch.backends.cudnn.benchmark is on
    assert facts["tf32"] is on
    assert "flash" in str(facts["sdpa_kernels"])
