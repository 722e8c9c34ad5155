"""Which figures an evaluation computes."""

from pydantic import Field

from stage.parameters import Parameters


class MetricParameters(Parameters):
    """The figures about pictures (docs/metrics.md)."""

    names: tuple[str, ...] = Field(default=("psnr", "ssim", "lpips"), min_length=1)
    """Names of `evaluation.metrics.definitions.METRICS`, in the order in which they are shown."""
    clip: str = "openai/clip-vit-base-patch32"
    """CLIP for similarities: a folder as `save_pretrained` writes it, or the name of a model in the local Hugging Face cache."""
    inception: str | None = None
    """File of Inception's weights for FID and KID; the one in torch.hub's checkpoints when null."""
