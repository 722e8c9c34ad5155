"""Base-0123: the frozen Zero-1-to-3 that makes the prompts, and how it follows the Refiner's average."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from diffusers import ConfigMixin, DDIMScheduler
from jaxtyping import Float, UInt8
from torch import Generator, Tensor, nn

from stage.errors import InputError
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline import Zero123Pipeline

_ENCODER_SETTINGS = ("hidden_act", "image_size", "layer_norm_eps", "num_attention_heads", "patch_size")
_FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16}


class Base(nn.Module):
    """A copy of what is trained of a Zero-1-to-3; what is frozen there anyway is shared.

    Args:
        modules: those that it starts from; the copied ones may be trained on.
    """

    def __init__(self, modules: Zero123Modules) -> None:
        super().__init__()
        self.unet, self.cc_projection = _frozen(modules.unet), _frozen(modules.cc_projection)
        encoder = modules.image_encoder
        self.image_encoder = _frozen(encoder) if any(p.requires_grad for p in encoder.parameters()) else None
        # Not registered, for they are the other system's.
        self._shared = (encoder, modules.vae, DDIMScheduler.from_config(modules.scheduler.config))
        self._sha256 = ""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - it never trains
        """It stays as it samples."""
        return super().train(False)

    @property
    def parts(self) -> Zero123Modules:
        """All five parts, a scheduler of its own among them, since schedulers keep what they were set to."""
        encoder, vae, scheduler = self._shared
        own = DDIMScheduler.from_config(scheduler.config)
        return Zero123Modules(self.unet, self.cc_projection, self.image_encoder or encoder, vae, own)

    @property
    def sha256(self) -> str:
        """Hash of everything that decides its pictures: weights of all parts, settings of network, latents and noise."""
        self._sha256 = self._sha256 or _hash(self.parts)
        return self._sha256

    @torch.no_grad()
    def refresh(self, averages: Mapping[str, Tensor]) -> None:
        """Become the Refiner's average.

        Args:
            averages: by the names of the trained system's parameters, such as `unet.conv_in.weight`.
        """
        for name, parameter in self.named_parameters():
            parameter.copy_(averages[name])
        self._sha256 = ""

    @torch.no_grad()
    def sample(
        self,
        conditions: Float[Tensor, "n 3 h w"],
        poses: Float[Tensor, "n 4"],
        seeds: Sequence[int],
        settings: PromptParameters,
    ) -> UInt8[Tensor, "n 3 h w"]:
        """The view at each pose from its condition, on the CPU and in 8 bits, as it is kept; one seed a picture.

        Args:
            conditions: pictures in [−1, 1] on white.
            poses: T of each wanted view relative to its condition.
            seeds: of the noise.
            settings: steps, guidance, number format.
        """
        device = self.unet.device
        parts = self.parts
        pipeline = Zero123Pipeline(parts.unet, parts.cc_projection, parts.image_encoder, parts.vae, parts.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        number_format = _FORMATS.get(settings.precision)
        with torch.autocast(device.type, dtype=number_format, enabled=number_format is not None):
            images: Tensor = pipeline(
                conditions.to(device),
                poses,
                guidance_scale=settings.guidance_scale,
                num_inference_steps=settings.inference_steps,
                eta=settings.eta,
                generator=[Generator().manual_seed(seed) for seed in seeds],
            ).images
        return (images * 255.0).round().to(torch.uint8)


class BaseState:
    """What a checkpoint holds of a Base: its hash, and its weights unless it is fixed.

    They are neither the trained weights nor their average, but what the average was at the last refresh.

    Args:
        base: the Base.
        refreshed: whether it follows the Refiner; a fixed one is the same at each attempt of a run.
    """

    def __init__(self, base: Base, refreshed: bool) -> None:
        self._base, self._refreshed = base, refreshed

    def state_dict(self) -> dict[str, Any]:
        """The state, its tensors on the CPU."""
        weights = {name: p.detach().cpu() for name, p in self._base.named_parameters()} if self._refreshed else {}
        return {"sha256": self._base.sha256, "weights": weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the Base of a checkpoint.

        Raises:
            InputError: when it was another one.
        """
        if self._refreshed:
            self._base.refresh(state["weights"])
        if self._base.sha256 != state["sha256"]:
            raise InputError(
                "the checkpoint's Base-0123 had other weights",
                "restore train.cascade_zero123.pretrained, or start anew",
            )


def _frozen(module: Any) -> Any:  # noqa: ANN401 - any module, of the same type
    return _copied(module).requires_grad_(False).eval()


def _copied(module: Any) -> Any:  # noqa: ANN401 - likewise
    if not isinstance(module, ConfigMixin):
        return copy.deepcopy(module)
    # A deep copy of tensors without bytes, as a dry run has, brings the process down when it is freed.
    with torch.random.fork_rng(devices=[]):
        made = type(module)(**_settings(module))
    made.load_state_dict(module.state_dict())
    return made


def _hash(parts: Zero123Modules) -> str:
    digest = hashlib.sha256()
    for name, part in vars(parts).items():
        digest.update(f"{name} {json.dumps(_settings(part), sort_keys=True, default=str)}\n".encode())
        for key, tensor in part.state_dict().items() if isinstance(part, nn.Module) else ():
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(part: object) -> dict[str, Any]:
    """What weights do not tell, such as the heads of an attention."""
    if isinstance(part, ConfigMixin):
        return {key: value for key, value in part.config.items() if not key.startswith("_")}
    return {key: getattr(part.config, key) for key in _ENCODER_SETTINGS}  # type: ignore[attr-defined]
