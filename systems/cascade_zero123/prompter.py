"""The prompts of batches: looked up, and sampled by the Base where they are not there yet.

What is sampled depends on the condition's picture, the pose and a seed alone, never on the batch that it happens to be sampled
in: all batches have one shape, and pictures are in 8 bits before they are used, kept or not.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from stage.seeds import derive_seed
from systems.array_cache import KEY_BYTES, Array, ArrayCache
from systems.cascade_zero123.base import Base
from systems.cascade_zero123.prompt_parameters import PromptParameters
from systems.cascade_zero123.prompts import PromptPoses, Prompts, prompt_offsets, prompt_poses
from systems.trainable import Views
from systems.zero123.compositing import on_white
from systems.zero123.parameters import Background

# What is sampled before it is written; a kill loses no more.
_WRITTEN_BYTES = 64 * 2**20
# How pictures come about; the number of steps that lie in memory and the bound of the disk change none.
_INDIFFERENT = {"near", "look_ahead", "cache_bytes"}


@dataclass(frozen=True)
class _Request:
    """One picture of the Base."""

    key: bytes
    condition: UInt8[Tensor, "h w 4"]
    pose: Float[np.ndarray, "4"]
    seed: int


class Prompter:
    """Asks a Base for prompts.

    Args:
        base: makes them.
        parameters: which ones, and how.
        seed: of the noise; the same view of the same object has the same noise for as long as the Base is the same.
        background: how conditions are put on white.
    """

    def __init__(self, base: Base, parameters: PromptParameters, seed: int, background: Background) -> None:
        self._base, self._parameters, self._seed, self._background = base, parameters, seed, background
        self._offsets = prompt_offsets(parameters.near)
        self._cache: ArrayCache | None = None
        self.sampled = 0
        """Pictures that the Base has made."""
        self.batches = 0
        """Batches that it made them in."""

    def keep_in(self, folder: Path) -> None:
        """Keep prompts on disk from now on; several processes may name the same folder."""
        if self._parameters.cache_bytes:
            self._cache = ArrayCache(folder, self._parameters.cache_bytes)

    @property
    def keeps(self) -> bool:
        """Whether prompts are kept, without which it is no use to `prepare`: the same in all processes."""
        return self._cache is not None

    def prepare(self, batches: Sequence[Views]) -> None:
        """Sample what some batches lack, together; nothing where prompts are not kept."""
        cache = self._ready_cache()
        if cache is None or cache.full:
            return
        requests = {request.key: request for views in batches for request in self._requests(views)}
        lacking = [requests[key] for key in cache.missing(requests)]
        if lacking:
            # More than there is room for would be gone before it is used.
            self._keep(cache, lacking[: cache.max_bytes // self._bytes_of(lacking[0])])

    def prompts(self, views: Views) -> Prompts:
        """The prompts of pairs of views, the condition last; on the device of their pictures."""
        requests = list(self._requests(views))
        cache = self._ready_cache()
        found = cache.read([request.key for request in requests]) if cache else {}
        sampled = self._sample([request for request in requests if request.key not in found])
        if cache:
            cache.write(sampled)
        pictures = torch.from_numpy(np.stack([(found | sampled)[request.key] for request in requests]))
        values = (pictures.to(views.rgba.device).float() / 127.5 - 1.0).unflatten(0, (len(views.uids), -1))
        poses = np.stack([poses.near for poses in self._poses(views)])
        return Prompts(values[:, 0], values[:, 1:], torch.from_numpy(poses).float().to(values.device))

    def _ready_cache(self) -> ArrayCache | None:
        if self._cache:
            settings = self._parameters.model_dump(mode="json", exclude=_INDIFFERENT)
            described = json.dumps([self._base.sha256, settings, self._background], sort_keys=True)
            self._cache.use(hashlib.sha256(described.encode()).hexdigest())
        return self._cache

    def _poses(self, views: Views) -> list[PromptPoses]:
        return [prompt_poses(target, condition, self._offsets) for target, condition in views.c2w.cpu().numpy()]

    def _requests(self, views: Views) -> Iterator[_Request]:
        """What a batch is to be shown: of each pair the coarse target, then the near views."""
        conditions = views.rgba[:, -1].cpu()
        for row, poses in enumerate(self._poses(views)):
            target, condition = views.numbers[row].tolist()
            seen = hashlib.blake2b(conditions[row].numpy().tobytes(), digest_size=32).digest()
            named = [(f"coarse view {target}", poses.coarse)]
            named += [(f"near {offset}", pose) for offset, pose in zip(self._offsets, poses.asked, strict=True)]
            for purpose, pose in named:
                seed = derive_seed(self._seed, f"{views.uids[row]} view {condition}", purpose)
                content = seen + pose.tobytes() + seed.to_bytes(8, "big")
                yield _Request(hashlib.blake2b(content, digest_size=KEY_BYTES).digest(), conditions[row], pose, seed)

    def _keep(self, cache: ArrayCache, requests: Sequence[_Request]) -> None:
        chunk = self._parameters.prompt_batch
        # Whole batches of the Base, none of which has to be filled up but the last.
        count = max(1, _WRITTEN_BYTES // (chunk * self._bytes_of(requests[0]))) * chunk
        for first in range(0, len(requests), count):
            cache.write(self._sample(requests[first : first + count]))

    def _sample(self, requests: Sequence[_Request]) -> dict[bytes, Array]:
        """Pictures by key; whatever comes twice is sampled once."""
        distinct = list({request.key: request for request in requests}.values())
        chunk = self._parameters.prompt_batch
        made: dict[bytes, Array] = {}
        for first in range(0, len(distinct), chunk):
            made |= self._sample_chunk(distinct[first : first + chunk])
            self.batches += 1
        self.sampled += len(made)
        return made

    def _sample_chunk(self, requests: Sequence[_Request]) -> Mapping[bytes, Array]:
        filled = [*requests, *[requests[-1]] * (self._parameters.prompt_batch - len(requests))]
        rgba = torch.stack([request.condition for request in filled]).float() / 255.0
        conditions = on_white(rgba[..., :3], rgba[..., 3:], self._background).permute(0, 3, 1, 2) * 2 - 1
        poses = torch.from_numpy(np.stack([request.pose for request in filled])).float()
        pictures = self._base.sample(conditions, poses, [request.seed for request in filled], self._parameters).numpy()
        return {request.key: picture for request, picture in zip(requests, pictures, strict=False)}

    @staticmethod
    def _bytes_of(request: _Request) -> int:
        """Size of a picture, which has no transparency."""
        return request.condition.numel() // 4 * 3
