"""Which figures an evaluation computes."""

from pydantic import Field, field_validator

from evaluation.metrics.definitions import METRICS
from stage.parameters import Parameters, nearest_remedy


class MetricParameters(Parameters):
    """The figures about pictures (docs/metrics.md)."""

    names: tuple[str, ...] = Field(default=("psnr", "ssim", "lpips"), min_length=1)
    """Names of `evaluation.metrics.definitions.METRICS`, in the order in which they are shown."""
    clip: str = "openai/clip-vit-base-patch32"
    """CLIP for similarities: a folder as `save_pretrained` writes it, or the name of a model in the local Hugging Face cache."""
    inception: str | None = None
    """File of Inception's weights for FID and KID; the one in torch.hub's checkpoints when null."""

    @field_validator("names")
    @classmethod
    def _known_and_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in METRICS:
                raise ValueError(f"no metric {name!r}, {nearest_remedy(name, METRICS)}")
            if names.count(name) > 1:
                raise ValueError(f"{name} stands there twice")
        return names
