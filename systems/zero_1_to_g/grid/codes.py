"""Codes: six views as one latent of the autoencoder, in the range that Zero123++'s denoiser works in.

codes = encoded(vae, pictures)                       # the posterior's mode
kept = KeptCodes(folder, max_bytes=20 * 10**9)       # what was encoded once is read
codes = kept.codes(vae, pictures)

Source: mengxuyiGit/LGM, branch `zero123plus_v2_autodecoder`, `core/models_zero123plus_code.py`, `encode_image`.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stage.files import json_sha256
from systems.array_cache import KEY_BYTES, ArrayCache
from systems.zero123.modules import Autoencoder
from systems.zero_1_to_g.grid.layout import grid_of, scaled_image, scaled_latents

# Of how codes are made; another number disowns those that are kept.
_MADE = "grid codes 1"


def encoded(
    vae: Autoencoder, pictures: Float[Tensor, "b 6 3 h w"], noise: Float[Tensor, "b c y x"] | None = None
) -> Float[Tensor, "b c y x"]:
    """Codes of six views.

    Args:
        vae: the autoencoder.
        pictures: in [−1, 1] on grey, in the grid's order.
        noise: picks a sample of the posterior; its mode when None.
    """
    posterior = vae.encode(scaled_image(grid_of(pictures)).to(vae.dtype)).latent_dist
    latents = posterior.mode() if noise is None else posterior.mode() + posterior.std * noise
    return scaled_latents(latents * vae.config.scaling_factor)


class KeptCodes:
    """Codes on disk, by the pictures that they are of and the weights that made them; shared by processes and later runs.

    Args:
        folder: where they lie.
        max_bytes: bound on them.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._cache = ArrayCache(folder, max_bytes)
        self._ready = False
        self.encoded = 0
        """Codes that were not there."""

    @torch.no_grad()
    def codes(self, vae: Autoencoder, pictures: Float[Tensor, "b 6 3 h w"]) -> Float[Tensor, "b c y x"]:
        """Codes of six views, the posterior's modes; on the device of the pictures."""
        if not self._ready:
            self._cache.use(_generation(vae))
            self._ready = True
        keys = [_key(each) for each in pictures]
        found = self._cache.read(keys)
        lacking = {key: row for row, key in enumerate(keys) if key not in found}
        # One at a time: a code does not depend on the batch that it is first met in.
        made = {key: encoded(vae, pictures[row : row + 1])[0].float().cpu().numpy() for key, row in lacking.items()}
        self.encoded += len(made)
        self._cache.write(made)
        return torch.from_numpy(np.stack([(found | made)[key] for key in keys])).to(pictures.device)


def _key(pictures: Float[Tensor, "6 3 h w"]) -> bytes:
    values = np.ascontiguousarray(pictures.detach().float().cpu().numpy())
    return hashlib.blake2b(str(values.shape).encode() + values.tobytes(), digest_size=KEY_BYTES).digest()


def _generation(vae: Autoencoder) -> str:
    """Of all codes that the same autoencoder makes; where it was read from does not count."""
    config = {name: value for name, value in vae.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(f"{_MADE} {json_sha256(config)}".encode())
    for name, value in sorted(vae.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
