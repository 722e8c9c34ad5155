"""What a step of Zero-1-to-G's joint stage costs: `python -m benchmarks.zero_1_to_g_step`.

`counted`, everywhere: the activations that a step of the full-size denoiser, 911 M weights, holds at once in bf16 for six views
of five attributes with latents of 16², by `training.dry_run.trace`, which computes shapes alone; of one sample and of the
published 16 a GPU. Goal: gradient checkpointing leaves half of the latter. `copied` joins the images of a group as the released
code does, with a copy of all keys and values for each of them, where ours makes one sequence of the group.

`measured`, on a CUDA GPU: milliseconds a step with AdamW and peak memory with and without gradient checkpointing, by the
attention backends that there are. Latents, token and embedding are random numbers: the frozen autoencoder and image encoder
are not measured, and random weights cost what trained ones do. On the CPU the same of a toy denoiser, in CPU seconds.

`--quick` measures the toy in few steps, and counts 16 samples without `copied` alone.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from systems.zero123.modules import unet_options
from systems.zero123.parameters import UNetParameters
from systems.zero_1_to_g.attention import GroupAttention
from systems.zero_1_to_g.unet import AttributeUNet
from training.attention import use_attention
from training.dry_run.trace import AsOnGpu, HeldBytes, use_checkpointing
from training.hardware import use_hardware
from training.parameters import HardwareParameters

_GOAL = 0.5
_VIEWS, _ATTRIBUTES, _LATENT, _SIDE = 6, 5, 4, 16
_WARM_UP = 2
_GIB = float(1 << 30)


@dataclass(frozen=True)
class Size:
    """A denoiser."""

    name: str
    unet: UNetParameters
    token: int


TOY = Size("toy", UNetParameters(block_channels=(32, 64)), 32)
FULL = Size(
    "full size",
    UNetParameters(
        block_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        attention_heads=8,
        norm_groups=32,
        last_block_attention=False,
    ),
    768,
)


@dataclass(frozen=True)
class Variant:
    """One way to train it."""

    attention: str = "sdpa"
    gradient_checkpointing: bool = False
    copied: bool = False
    batch: int = 1

    def __str__(self) -> str:
        checkpointing = "gradient checkpointing" if self.gradient_checkpointing else "no gradient checkpointing"
        return f"{self.attention}{', copied' * self.copied}, {checkpointing}, batch {self.batch}"


class CopiedKeys:
    """A processor that gives every image a copy of its group's keys and values.

    Args:
        axis: of (b, v, a) along which a group lies.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,  # noqa: ARG002 - diffusers' interface
        attention_mask: None = None,  # noqa: ARG002 - likewise
        *,
        views: int,
        attributes: int,
    ) -> Tensor:
        """Self-attention of the groups."""
        query, *others = (layer(hidden_states) for layer in (attn.to_q, attn.to_k, attn.to_v))
        key, value = (self._of_group(each.unflatten(0, (-1, views, attributes))) for each in others)
        heads = (each.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for each in (query, key, value))
        return attn.to_out[0](F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))

    def _of_group(self, states: Tensor) -> Tensor:
        count = states.shape[self._axis]
        joined = states.movedim(self._axis, -3).flatten(-3, -2)
        copies = joined.unsqueeze(self._axis).expand(*[-1] * self._axis, count, *[-1] * (4 - self._axis))
        return copies.flatten(0, 2).contiguous()


def denoiser(size: Size, variant: Variant, device: torch.device) -> AttributeUNet:
    """The denoiser of the joint stage, with random weights."""
    torch.manual_seed(0)
    with device:
        unet = AttributeUNet(**unet_options(size.unet, _LATENT, size.token))
    chosen = {"attention": variant.attention, "gradient_checkpointing": variant.gradient_checkpointing}
    settings = HardwareParameters.model_validate(chosen)
    use_hardware(settings, unet, device)
    for name, layer in unet.named_modules():
        if variant.copied and isinstance(layer, GroupAttention):
            layer.processor = CopiedKeys(2 if name.endswith("attn_joint_mid") else 1)
    return unet.train()


def batch(size: Size, samples: int, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Arguments of the denoiser, and a target."""
    chance = torch.Generator(device).manual_seed(0)
    draw = partial(torch.randn, generator=chance, device=device)
    grid = (samples, _VIEWS, _ATTRIBUTES)
    inputs = {
        "sample": draw(*grid, 2 * _LATENT, _SIDE, _SIDE),
        "timestep": torch.full((samples,), 500, device=device),
        "encoder_hidden_states": draw(samples, 1, size.token),
        "class_labels": draw(*grid, 16),
    }
    return inputs, draw(*grid, _LATENT, _SIDE, _SIDE)


def loss_of(unet: AttributeUNet, inputs: dict[str, Tensor], target: Tensor, lowered: bool) -> Tensor:
    """The squared error, in bfloat16 where lowered."""
    with torch.autocast(target.device.type, torch.bfloat16, enabled=lowered):
        prediction = unet(**inputs).sample
    return F.mse_loss(prediction.float(), target)


def counted(size: Size, variant: Variant) -> float:
    """GiB of activations that a step holds at once on a GPU, counted on tensors without bytes."""
    cpu = torch.device("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        unet = denoiser(size, variant, cpu)
        use_checkpointing(unet, "bf16", wanted=variant.gradient_checkpointing)
        inputs, target = batch(size, variant.batch, cpu)
        held = HeldBytes([*unet.parameters(), *inputs.values(), target])
        with AsOnGpu("bf16"), held:
            loss_of(unet, inputs, target, lowered=True).backward()
        return held.peak(without=[p.grad for p in unet.parameters() if p.grad is not None]) / _GIB


def measured(size: Size, variant: Variant, device: torch.device, steps: int) -> str:
    """Time and memory of a step, as a row of the report."""
    unet = denoiser(size, variant, device)
    inputs, target = batch(size, variant.batch, device)
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.AdamW(unet.parameters(), fused=on_gpu)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(unet, inputs, target, lowered=on_gpu).backward()
        optimizer.step()

    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = [timed(step, device) for _ in range(_WARM_UP + steps)]
    peak = f", peak {torch.cuda.max_memory_allocated() / _GIB:.1f} GiB" if on_gpu else ""
    return f"{1e3 * statistics.median(seconds[_WARM_UP:]):.0f} ms a step{peak}"


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of a call; on the CPU its own, which other work on the machine does not take."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    started = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def count(quick: bool) -> float:
    """Print what steps of the full size hold; the share that gradient checkpointing leaves of the last batch."""
    for copied, size in ((False, 16),) if quick else ((False, 1), (True, 16), (False, 16)):
        whole, left = (counted(FULL, Variant("sdpa", frugal, copied, size)) for frugal in (False, True))
        print(
            f"counted, full size{', copied' * copied}, batch {size}: {whole:.1f} GiB, with gradient checkpointing {left:.1f} GiB"
        )
    return left / whole


def measure(size: Size, device: torch.device, steps: int, batches: tuple[int, ...]) -> None:
    """Print all variants."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU, one thread"
    for variant in variants(device, batches):
        gc.collect()
        try:
            row = measured(size, variant, device, steps)
        except torch.cuda.OutOfMemoryError:
            row = "out of memory"
            torch.cuda.empty_cache()
        print(f"measured, {size.name}, {where}, {variant}: {row}")


def variants(device: torch.device, batches: tuple[int, ...]) -> list[Variant]:
    """All backends of the device with and without gradient checkpointing, the released grouping, and larger batches."""
    first, *larger = batches
    best = use_attention(denoiser(TOY, Variant(), device), "auto")
    backends = sorted({"sdpa", best})
    compared = [Variant(backend, frugal, batch=first) for backend in backends for frugal in (False, True)]
    copied = [Variant(gradient_checkpointing=frugal, copied=True, batch=first) for frugal in (False, True)]
    return compared + copied + [Variant(best, frugal, batch=size) for size in larger for frugal in (False, True)]


def main() -> int:
    """Count and measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps of the toy, and few counts")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    share = count(quick)
    measure(TOY, torch.device("cpu"), 2 if quick else 8, (1,))
    if not torch.cuda.is_available():
        print("no CUDA GPU: step time and peak memory of the full size are not measured")
    elif not quick:
        measure(FULL, torch.device("cuda"), 10, (1, 4, 16))
    print(f"zero_1_to_g_step: {share:.0%} of the activations with gradient checkpointing (goal {_GOAL:.0%})")
    return int(share > _GOAL)


if __name__ == "__main__":
    sys.exit(main())
