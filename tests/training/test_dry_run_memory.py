"""Parameters and memory of a training that takes neither: exact counts, and what the passes of a real model hold."""

from typing import Any

import pytest
import torch
from pair_views import views_of
from torch.profiler import ProfilerActivity, profile

from stage.errors import ParameterError
from systems.zero123.outline import networks, published_modules
from systems.zero123.parameters import UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.training import Zero123Training
from training.dry_run.fitting import largest_fitting
from training.dry_run.memory import HEADROOM, GpuMemory, MemorySettings, checkpoint_bytes, gpu_memory, settings_of
from training.dry_run.outline import Outline, counted, outlined
from training.dry_run.surroundings import wrong_weights
from training.dry_run.trace import HeldBytes, StepTrace, traced
from training.parameters import TrainParameters

SIZE = 16


@pytest.fixture(scope="module")
def tiny(tiny_train: dict[str, Any]) -> Zero123Parameters:
    return TrainParameters(**tiny_train).zero123


@pytest.fixture(scope="module")
def outline(tiny: Zero123Parameters) -> Outline:
    return outlined(tiny, SIZE)


def test_the_published_architecture_has_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        parts = networks(published_modules())
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in parts.items()}
    # zero123-hf's log, 772·768 + 768, and the sizes of CLIP ViT-L/14's vision half and Stable Diffusion's VAE.
    assert counts == {
        "unet": 859_532_484,
        "cc_projection": 593_664,
        "image_encoder": 303_966_208,
        "vae": 83_653_863,
    }
    assert all(parameter.is_meta for part in parts.values() for parameter in part.parameters())


def test_an_outline_counts_as_the_real_system_does(tiny: Zero123Parameters, outline: Outline) -> None:
    real = Zero123Training(tiny, 0, SIZE)
    counts = {module.name: module for module in counted(outline)}
    # A linear layer of 16 + 4 numbers to 16.
    assert counts["cc_projection"].total == (16 + 4) * 16 + 16
    assert (counts["vae"].total, counts["vae"].trained) == (1, 0)
    for name, part in networks(real.system).items():
        assert counts[name].total == sum(parameter.numel() for parameter in part.parameters())
    trained = sum(parameter.numel() for parameter in real.parameters() if parameter.requires_grad)
    assert sum(module.trained for module in counts.values()) == trained
    frozen = tiny.model_copy(update={"image_encoder": tiny.image_encoder.model_copy(update={"train": False})})
    encoder = {module.name: module for module in counted(outlined(frozen, SIZE))}["image_encoder"]
    assert (encoder.trained, encoder.total) == (0, counts["image_encoder"].total)


def test_an_outline_leaves_the_random_numbers_of_its_process_alone(tiny: Zero123Parameters) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    outlined(tiny, SIZE)
    assert torch.equal(torch.rand(3), expected)


def test_a_missing_folder_is_a_problem_and_the_published_architecture_stands_in() -> None:
    outline = outlined(Zero123Parameters(pretrained="nowhere/at/all"), 64)
    (problem,) = outline.problems
    assert problem.what == "nowhere/at/all is no diffusers pipeline"
    assert "train.zero123.pretrained" in problem.remedy
    assert outline.source == "the published architecture"
    assert {module.name: module.total for module in counted(outline)}["unet"] == 859_532_484


def test_a_pretrained_folder_is_counted_from_its_configurations_and_its_weights_are_looked_for(
    tiny: Zero123Parameters, outline: Outline, tmp_path: Any
) -> None:
    real = Zero123Training(tiny, 0, SIZE)
    parts = real.system
    folder = tmp_path / "pipeline"
    Zero123Pipeline(parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler).save_pretrained(
        folder
    )
    pretrained = tiny.model_copy(update={"pretrained": str(folder)})
    found = outlined(pretrained, SIZE)
    assert found.problems == ()
    assert counted(found) == counted(outline)
    assert list(wrong_weights(found, str(folder))) == []
    other = Zero123Training(
        tiny.model_copy(update={"unet": UNetParameters(block_channels=(16, 32), attention_heads=2)}), 0, SIZE
    )
    other.unet.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.safetensors"
    )
    (folder / "cc_projection" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    wrong = list(wrong_weights(found, str(folder)))
    assert wrong[0].what.startswith(f"{folder / 'unet'} lacks ")
    assert "or has them in another shape" in wrong[0].what
    assert str(folder / "cc_projection" / "diffusion_pytorch_model.safetensors") in wrong[1].what
    (folder / "vae" / "config.json").write_text("{")
    (problem,) = outlined(pretrained, SIZE).problems
    assert problem.what.startswith(f"{folder} cannot be read: ")


@pytest.mark.parametrize(
    ("changes", "size", "said"),
    [
        ({}, 18, "does not fit pictures of 18 pixels"),
        ({"unet": UNetParameters(block_channels=(30,), norm_groups=8)}, 16, "describes no network"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(
    tiny: Zero123Parameters, changes: dict[str, Any], size: int, said: str
) -> None:
    with pytest.raises(ParameterError, match=said) as raised:
        outlined(tiny.model_copy(update=changes), size)
    assert "\n" not in str(raised.value)


def test_weights_gradients_and_states_are_what_adamw_keeps(outline: Outline, tiny: Zero123Parameters) -> None:
    numbers = sum(module.trained for module in counted(outline))
    memory = gpu_memory(outline.system, MemorySettings(), activations=10**9)
    assert memory == GpuMemory(
        trained=4 * numbers,
        frozen=4,
        moving_average=4 * numbers,
        optimizer=8 * numbers,
        gradients=4 * numbers,
        exchange=0,
        activations=10**9,
        update=4 * numbers,
    )
    # 4 + 4 + 8 + 4 bytes a trained number, the VAE's single one, and what passes.
    assert memory.total == 20 * numbers + 4 + 10**9
    assert gpu_memory(outline.system, MemorySettings(), activations=0).total == 24 * numbers + 4
    assert checkpoint_bytes(outline.system, MemorySettings()) == 16 * numbers
    real = Zero123Training(tiny, 0, SIZE)
    trained = [parameter for parameter in real.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
    assert sum(value.nbytes for value in states) == memory.optimizer - 8 * sum(p.numel() == 1 for p in trained)


def test_sharding_parts_what_is_trained_and_copies_exchange_gradients(outline: Outline) -> None:
    numbers = sum(module.trained for module in counted(outline))
    ddp = gpu_memory(outline.system, MemorySettings(sharding="ddp"), 0)
    assert (ddp.trained, ddp.exchange) == (4 * numbers, 4 * numbers)
    fsdp = gpu_memory(outline.system, MemorySettings(sharding="fsdp", shards=4), 0)
    assert (fsdp.trained, fsdp.gradients, fsdp.moving_average) == (numbers, numbers, numbers)
    assert fsdp.optimizer == 2 * numbers
    assert fsdp.frozen == 1
    unet = outline.system.unet
    blocks = [sum(p.numel() for p in block.parameters()) for block in (*unet.down_blocks, *unet.up_blocks)]
    # A block at a time, one ahead; what is in none of the lists of blocks comes together for the whole pass.
    beside = numbers + 1 - sum(blocks)
    assert fsdp.exchange == 4 * (2 * max(blocks) + beside)


def test_states_of_8_bits_take_a_byte_and_a_scale_for_256_of_them(outline: Outline) -> None:
    sizes = [parameter.numel() for parameter in outline.system.parameters() if parameter.requires_grad]
    expected = sum(8 * n if n < 4096 else 2 * n + 2 * 4 * -(-n // 256) for n in sizes)
    found = gpu_memory(outline.system, MemorySettings(optimizer="adamw_8bit"), 0).optimizer
    assert found == expected
    assert found < gpu_memory(outline.system, MemorySettings(), 0).optimizer / 2


@pytest.mark.parametrize(("processes", "precision", "sharding"), [(1, "no", "none"), (4, "bf16", "ddp")])
def test_settings_follow_from_the_parameters(processes: int, precision: str, sharding: str) -> None:
    parameters = TrainParameters(launch={"processes": processes, "mixed_precision": precision})
    found = settings_of(parameters)
    assert (found.sharding, found.precision, found.checkpointing) == (sharding, precision, False)


def real_peak(system: Zero123Training, pairs: int) -> int:
    """Bytes that PyTorch's allocator has given out at once in real passes, as its profiler says."""
    c2w = torch.eye(4).repeat(pairs, 2, 1, 1)
    c2w[:, 0, 2, 3] = c2w[:, 1, 0, 3] = 2.0
    system.train()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        batch = system.batch(views_of(torch.zeros(pairs, 2, SIZE, SIZE, 4, dtype=torch.uint8), c2w))
        system(batch, system.draw(range(pairs))).loss.backward()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.fixture(scope="module")
def sixteen(outline: Outline) -> StepTrace:
    return traced(outline, 16, counting=True)


def test_activations_are_those_of_a_real_cpu(tiny: Zero123Parameters, sixteen: StepTrace) -> None:
    real = real_peak(Zero123Training(tiny, 0, SIZE), 16)
    assert sixteen.activations == pytest.approx(real, rel=0.03)


def test_activations_and_operations_grow_with_the_pairs(outline: Outline, sixteen: StepTrace) -> None:
    four = traced(outline, 4, counting=True)
    assert four.flops
    assert sixteen.flops == 4 * four.flops
    assert sixteen.activations == pytest.approx(4 * four.activations, rel=0.1)


def test_halves_and_checkpointing_hold_less(outline: Outline, sixteen: StepTrace) -> None:
    plain = sixteen.activations
    # Weights are copied to 16 bits for the passes, and normalisations stay in 32.
    assert plain / 2 < traced(outline, 16, "bf16").activations < plain
    assert traced(outline, 16, checkpointing=True).activations < plain


def test_held_bytes_are_those_of_storages_that_live_at_once() -> None:
    known = torch.zeros(1000)
    held = HeldBytes([known])
    with held:
        first = known + 1
        view = first[:10]
        del first
        second = torch.zeros(250)
        del view
        third = known * 2
    assert held.peak() == 4000 + 1000
    assert held.peak(without=[second]) == 4000
    assert third.numel() == 1000


def test_the_largest_number_of_pairs_that_fits_is_found(outline: Outline, sixteen: StepTrace) -> None:
    settings = MemorySettings()
    needed = gpu_memory(outline.system, settings, sixteen.activations).total
    available = int(needed / (1 - HEADROOM)) + 1
    assert largest_fitting(outline, settings, sixteen, 16, available) == 16
    found = largest_fitting(outline, settings, sixteen, 16, available - 2)
    assert found == 8
    assert largest_fitting(outline, settings, sixteen, 16, 1000) is None
    assert largest_fitting(outline, settings, sixteen, 16, None) is None
