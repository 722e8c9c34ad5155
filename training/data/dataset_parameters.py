"""Parameters of what a training reads: which shard sets, in which mixture and order, and how they are brought."""

import math
import re
from typing import Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from stage.errors import ParameterError
from stage.parameters import Parameters
from stage.secrets import shown
from training.data.orders import Order
from training.data.shard_store import StreamParameters

_PER_SCENE = re.compile(r"[1-9][0-9]*_per_scene")


class DatasetParameters(Parameters):
    """One shard set of the mixture."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    """What it is called in messages; the order of its samples is seeded with it."""
    place: str = Field(min_length=1)
    """Folder, relative to the workspace, or URL: http(s)://, s3://, whatever fsspec knows; a
    secret part of it is the name of a variable, as `https://${USER}:${PASSWORD}@host/shards` or `?${SIGNATURE}`. Of ZeroNVS's
    shards a folder, or a pattern of their paths: `/data/co3d/{shard:06d}.tar` or `/data/co3d/{000000..000126}.tar`."""
    layout: Literal["object", "zeronvs"] = "object"
    """What the shards hold: objects, as the stage `shard` writes them, or ZeroNVS's scenes (`training.data.zeronvs_layout`)."""
    shards: int | None = Field(default=None, ge=1)
    """How many shards a pattern stands for."""
    scenes: int | None = Field(default=None, ge=1)
    """How many scenes the shards must hold, as far as they are trained on; null takes what there is."""
    probability: float = Field(default=1.0, gt=0, le=1)
    """Share of the training pairs that are drawn from it; those of all sets sum to 1."""
    draws: int = Field(default=1, ge=1)
    """Pairs in a row from each object that is read; several save reading."""
    rate: float | str | None = None
    """Instead of `draws`, ZeroNVS' rate: ⌊rate × its views⌋ pairs of each object, or k for the text `k_per_scene`."""

    @property
    def where(self) -> str:
        """Where its parameters are written, for messages."""
        return f"train.data.datasets: {self.name}"

    @field_serializer("place")
    def _without_secrets(self, place: str) -> str:
        """For whoever notes the parameters: a URL may hold a signature or a password."""
        return shown(place) if "://" in place else place

    @field_validator("rate")
    @classmethod
    def _of_a_view_or_a_scene(cls, rate: float | str | None) -> float | str | None:
        valid = _PER_SCENE.fullmatch(rate) if isinstance(rate, str) else rate is None or 0 < rate < math.inf
        if not valid:
            raise ValueError("give a number of pairs per view, or a text such as 2_per_scene")
        return rate

    @model_validator(mode="after")
    def _draws_or_a_rate(self) -> Self:
        if self.rate is not None and "draws" in self.model_fields_set:
            raise ParameterError(f"{self.where} has draws and a rate", "give one of them")
        return self

    @model_validator(mode="after")
    def _counts_of_scenes_alone(self) -> Self:
        if self.layout == "object" and not self.shards == self.scenes is None:
            raise ParameterError(
                f"{self.where} states shards or scenes",
                "set layout: zeronvs, or leave them to the index of the shards",
            )
        return self


class CacheParameters(Parameters):
    """Copies of remote shards on the local disk, shared by all processes of a machine."""

    folder: str = "scratch/shard_cache"
    """Folder, relative to the workspace; several workspaces may share one."""
    max_bytes: int = Field(default=20 * 10**9, ge=0)
    """Bound on the copies, bytes; 0 keeps none, and each object is asked for where it is."""


class DataParameters(Parameters):
    """What a training reads."""

    datasets: tuple[DatasetParameters, ...] = Field(
        default=(DatasetParameters(name="objects", place="data/shards"),), min_length=1
    )
    """The shard sets; the workspace's own when nothing else is said."""
    published: str | None = None
    """Instead of `datasets`, a training configuration of ZeroNVS, such as `sd-objaverse-finetune-c_concat-256.yaml`: a path,
    relative to the workspace. Each `dataset_config_*` of its training is a set (`training.data.published_mixture`)."""
    depth_estimator: str | None = None
    """For views of ZeroNVS's shards, whose depth may have holes: a folder of the transformers library with a MiDaS (DPT) or
    Depth-Anything network, which makes it dense before the view's scale is taken; null takes depth as stored."""
    order: Order = "full"
    """`full` permutes all objects; `window` reads shuffled shards from front to back, for remote sets larger than the cache."""
    window: int = Field(default=4096, ge=1)
    """How far the order `window` shifts objects from their place in the shards, objects."""
    workers: int = Field(default=0, ge=0)
    """Processes that read and decode, beside each training process; 0 does it in between its steps."""
    prefetch: int = Field(default=2, ge=1)
    """Batches that each worker is ahead."""
    size: int | None = Field(default=None, ge=1)
    """Width and height in pixels to which the middle square of every picture is made smaller; null takes pictures as stored."""
    fetchers: int = Field(default=4, ge=0)
    """Threads that bring the remote shards which come next into the cache; 0 leaves that to whoever reads them."""
    kept_bytes: int = Field(default=64 * 2**20, ge=0)
    """Decoded pictures that each process which reads keeps of each set on the disk, bytes: a small set is decoded once."""
    max_failure_rate: float = Field(default=0.01, ge=0, le=1)
    """Share of all objects that may be damaged; others stand in for them."""
    cache: CacheParameters = CacheParameters()
    """Copies of remote shards."""
    streams: StreamParameters = StreamParameters()
    """How patiently a server is asked."""

    @model_validator(mode="after")
    def _a_mixture(self) -> Self:
        # No ValueError, in whose message the values would be quoted, addresses and all.
        total = sum(dataset.probability for dataset in self.datasets)
        if abs(total - 1) > 1e-6:
            raise ParameterError(f"the probabilities of train.data.datasets sum to {total:g}", "make them sum to 1")
        if len({dataset.name for dataset in self.datasets}) < len(self.datasets):
            raise ParameterError("two of train.data.datasets have the same name", "give each its own")
        if self.published and "datasets" in self.model_fields_set:
            raise ParameterError("train.data has datasets and published", "give one of them")
        return self
