"""Losses told apart by the diffusion time of their samples: a mean over all of them hides which ones are learnt."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class TimestepLosses:
    """Sums of the losses of equal ranges of [0, T), on the device where they are, so that no step waits for them.

    Args:
        timesteps: T.
        buckets: how many ranges; no more than T.
    """

    def __init__(self, timesteps: int, buckets: int) -> None:
        self._timesteps, self._buckets = timesteps, min(buckets, timesteps)
        self._sums: Float[Tensor, "2 k"] | None = None

    def add(self, errors: Float[Tensor, " b"], timesteps: Int[Tensor, " b"]) -> None:
        """Count samples in."""
        if self._sums is None:
            self._sums = torch.zeros(2, self._buckets, device=errors.device)
        bucket = timesteps * self._buckets // self._timesteps
        values = errors.detach().float()
        self._sums.index_add_(1, bucket, torch.stack([values, torch.ones_like(values)]))

    def take(self) -> Float[Tensor, "2 k"]:
        """Sums and numbers of the samples since the last time, which start again at none."""
        taken = torch.zeros(2, self._buckets) if self._sums is None else self._sums
        self._sums = None
        return taken

    def means(self, sums: Float[Tensor, "2 k"]) -> dict[str, float]:
        """Mean loss by the name of its range, `loss/t000-099`; a range without a sample is left out."""
        totals, counts = sums.tolist()
        return {
            self._name(bucket): total / count
            for bucket, (total, count) in enumerate(zip(totals, counts, strict=True))
            if count
        }

    def _name(self, bucket: int) -> str:
        first, last = (
            -(-bucket * self._timesteps // self._buckets),
            -(-(bucket + 1) * self._timesteps // self._buckets) - 1,
        )
        digits = len(str(self._timesteps - 1))
        return f"loss/t{first:0{digits}d}-{last:0{digits}d}"
