"""What sampling many poses of an image in one call saves: `python -m benchmarks.sample`.

Images a second, on the CPU a CPU-second of one thread, of `Zero123Pipeline` for eight poses of one image under guidance, against
the same pipeline called pose by pose, as diffusers' own are used: each call encodes the image again, and guidance is one pass of
a batch of two. For comparison, guidance of two passes as well. Random weights: they cost what trained ones cost.

On the CPU the published architecture at a fifth of its width, on pictures of 64 pixels (latents of 8²) by which the ratio is
judged, and of 128, where the arithmetic of a single pose keeps a core busy and batches can gain little. On a CUDA GPU, where
there is one, the published size at 256 pixels in bfloat16. Goal: twice the images. `--quick` takes few steps and one repetition.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from systems.zero123.conditioning import CCProjection, poses_from_degrees
from systems.zero123.guidance import Condition, guided
from systems.zero123.modules import build_scheduler, build_unet
from systems.zero123.parameters import UNetParameters, Zero123Parameters
from systems.zero123.pipeline import Zero123Pipeline

_POSES = 8
_GOAL = 2.0
_GUIDANCE = 3.0
_PUBLISHED_CHANNELS = 320


@dataclass(frozen=True)
class Size:
    """A share of the published architecture, and the pictures that it samples."""

    channels: int
    embedding: int
    encoder_layers: int
    pixels: int
    device: str
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.device}, {self.channels / _PUBLISHED_CHANNELS:.2g} of the width, {self.pixels} px"


_SMALL = Size(64, 128, 6, 64, "cpu", torch.float32)
_LARGER = Size(64, 128, 6, 128, "cpu", torch.float32)
_PUBLISHED = Size(_PUBLISHED_CHANNELS, 768, 24, 256, "cuda", torch.bfloat16)


class TwoPasses(Zero123Pipeline):
    """Guidance by a pass without the condition and one with it."""

    def _denoise(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        condition: Condition,
        scale: float,
        _rows: object,
    ) -> torch.Tensor:
        null = Condition(condition.null_token, torch.zeros_like(condition.latent), condition.null_token)
        without, with_condition = (guided(self.unet, latents, timestep, given, 1.0) for given in (null, condition))
        return without + scale * (with_condition - without)


def build(size: Size, kind: type[Zero123Pipeline] = Zero123Pipeline) -> Zero123Pipeline:
    """A pipeline of a size: UNet of four levels, VAE of four, CLIP vision transformer at 224 pixels."""
    torch.manual_seed(0)
    widths = tuple(size.channels * factor for factor in (1, 2, 4, 4))
    parameters = UNetParameters(
        block_channels=widths, layers_per_block=2, attention_heads=8, norm_groups=32, last_block_attention=False
    )
    unet = build_unet(parameters, latent_channels=4, cross_attention_dim=size.embedding)
    unet.register_to_config(sample_size=size.pixels // 8)
    published = Zero123Parameters(prediction_type="epsilon", zero_terminal_snr=False)
    pipeline = kind(unet, CCProjection(size.embedding), _encoder(size), _vae(size), build_scheduler(published))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(size.device)
    return pipeline if size.dtype == torch.float32 else pipeline.to(size.dtype)


def _vae(size: Size) -> AutoencoderKL:
    """Stable Diffusion's at the full size has (128, 256, 512, 512) channels and two layers a block."""
    widths = tuple(max(32, size.channels * 128 // _PUBLISHED_CHANNELS // 32 * 32) * factor for factor in (1, 2, 4, 4))
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def _encoder(size: Size) -> CLIPVisionModelWithProjection:
    hidden = size.embedding * 4 // 3 // 64 * 64
    config = CLIPVisionConfig(
        image_size=224,
        patch_size=14,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=size.encoder_layers,
        num_attention_heads=hidden // 64,
        projection_dim=size.embedding,
    )
    return CLIPVisionModelWithProjection(config)


def seconds(work: Callable[[], object], device: str, repetitions: int) -> float:
    """The best of some runs, after one that warms up; on the CPU its seconds, which other work on the machine does not take."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    taken = []
    for _ in range(repetitions + 1):
        started = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - started)
    return min(taken[1:])


def compare(size: Size, steps: int, repetitions: int) -> float:
    """Print images a second of the three ways; together against pose by pose."""
    poses = poses_from_degrees([45.0 * turn for turn in range(_POSES)])
    image = torch.rand(1, 3, size.pixels, size.pixels, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pipeline, two_passes = build(size), build(size, TwoPasses)

    def sample(pipeline: Zero123Pipeline, parts: tuple[torch.Tensor, ...]) -> None:
        for part in parts:
            pipeline(image, part, num_inference_steps=steps, guidance_scale=_GUIDANCE, generator=torch.Generator())

    ways = {
        "together": lambda: sample(pipeline, (poses,)),
        "pose by pose": lambda: sample(pipeline, poses.split(1)),
        "pose by pose, guidance in two passes": lambda: sample(two_passes, poses.split(1)),
    }
    rates = {name: _POSES / seconds(work, size.device, repetitions) for name, work in ways.items()}
    for name, rate in rates.items():
        print(f"{size}, {steps} steps, {name}: {rate:.2f} images/s")
    ratio = rates["together"] / rates["pose by pose"]
    print(f"{size}: {ratio:.2f} times the images")
    return ratio


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few steps, one repetition")
    quick = parser.parse_args().quick
    steps, repetitions = (4, 1) if quick else (20, 2)
    torch.set_num_threads(1)
    ratios = [compare(_SMALL, steps, repetitions)]
    compare(_LARGER, steps, repetitions)
    if torch.cuda.is_available():
        ratios.append(compare(_PUBLISHED, steps, repetitions))
    else:
        print("published size: no CUDA GPU")
    print(f"sample: {min(ratios):.2f} times the images (goal {_GOAL:.1f})")
    return int(min(ratios) < _GOAL)


if __name__ == "__main__":
    sys.exit(main())
