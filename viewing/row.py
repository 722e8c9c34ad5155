"""Pictures side by side in one PNG."""

from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from stage.files import replacing


def write_row(path: Path, images: Float[Tensor, "n 3 h w"]) -> None:
    """Images in [0, 1] side by side as a PNG, atomically."""
    row = (images.permute(2, 0, 3, 1).flatten(1, 2).clamp(0, 1) * 255).round().byte().numpy()
    with replacing(path) as temporary:
        Image.fromarray(row).save(temporary, format="PNG")
