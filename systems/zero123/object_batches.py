"""Views of several objects in the same batches: what keeps a GPU busy where one object has few views."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from systems.zero123.guidance import conditioned
from systems.zero123.sampler_options import SamplerOptions
from systems.zero123.view_pipeline import ViewPipeline


@torch.no_grad()
def sample_objects(
    pipeline: ViewPipeline,
    images: Float[Tensor, "m 3 h w"],
    poses: Sequence[Float[Tensor, "_ e"]],
    generators: Sequence[Generator],
    **options: Any,  # noqa: ANN401 - those of `SamplerOptions`
) -> list[Float[Tensor, "_ 3 h w"]]:
    """Sample the views of several objects at once; each object's image is encoded once.

    An object's random numbers are those that it has alone: its views draw one after the other from its own generator. (PyTorch
    draws blocks of 16 numbers, so this holds of latents of a multiple of 16.)

    Args:
        pipeline: of any system that sees single views.
        images: the input view of each object, in [−1, 1].
        poses: pose vectors of each object's wanted views.
        generators: of each object.
        **options: `SamplerOptions` but for generator and output type.

    Raises:
        InputError: when values or options do not fit.
    """
    counts = [len(each) for each in poses]
    sources = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    chosen = SamplerOptions(**options, output_type="pt", generator=[generators[source] for source in sources.tolist()])
    seen = pipeline.encoded(images, chosen.batch_size)
    told, sources = torch.cat(list(poses)).to(seen.embedding), sources.to(seen.embedding.device)
    condition = conditioned(pipeline.cc_projection, seen.embedding, seen.latent, told, sources, chosen.null_condition)
    return list(torch.as_tensor(pipeline.sampled_from(condition, chosen)).split(counts))
