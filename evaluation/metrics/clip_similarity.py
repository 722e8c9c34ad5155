"""How alike two pictures are to CLIP: the cosine of its embeddings, where a trained CLIP is really here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from jaxtyping import Float
from PIL import Image

from evaluation.metrics.eight_bits import eight_bits
from geometry.perceptual import Unavailable

_BATCH = 16


@dataclass(frozen=True)
class ClipEncoder:
    """CLIP's image encoder with its own preparation of pictures (Radford et al. 2021)."""

    processor: Any
    network: Any

    def embeddings(self, pictures: Float[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t d"]:
        """Projected embeddings of unit length.

        Args:
            pictures: RGB in [0, 1]; rounded to 8 bits, for the preparation is defined on those.
        """
        images = [Image.fromarray(picture) for picture in eight_bits(pictures)]
        batches = [images[n : n + _BATCH] for n in range(0, len(images), _BATCH)]
        found = np.concatenate([self._embed(batch) for batch in batches])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def similarity(
        self, first: Float[np.ndarray, "t h w 3"], second: Float[np.ndarray, "t h w 3"]
    ) -> Float[np.ndarray, " t"]:
        """The cosine of each pair's embeddings; 1 for equal pictures."""
        return (self.embeddings(first) * self.embeddings(second)).sum(axis=1)

    def _embed(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "_ d"]:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            return self.network(pixels).image_embeds.double().numpy()


def find_clip(folder: str) -> ClipEncoder | Unavailable:
    """CLIP from a folder or from the local Hugging Face cache; nothing is downloaded or drawn at random.

    Weights are read from safetensors, or with PyTorch's unpickler of tensors alone.

    Args:
        folder: a folder as `save_pretrained` writes it, preparation included, or the name of a model in the cache.
    """
    if not _is_here(folder):
        return Unavailable(f"no CLIP in {folder}, neither a folder nor in the local Hugging Face cache")
    # Ten seconds, which nobody should wait for who has no CLIP.
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    try:
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        network, report = CLIPVisionModelWithProjection.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Unavailable(f"the CLIP in {folder} does not load ({reason})")
    if report["missing_keys"]:
        # What transformers fills with random numbers.
        return Unavailable(f"the CLIP in {folder} lacks {min(report['missing_keys'])}")
    return ClipEncoder(processor, network.eval())


def _is_here(folder: str) -> bool:
    if Path(folder).is_dir():
        return True
    try:
        return isinstance(try_to_load_from_cache(folder, "config.json"), str)
    except ValueError:
        return False
