"""Parameters of the `shard` stage."""

import os
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from blender_render.view_codecs import Encoding
from stage.files import json_sha256
from stage.parameters import Parameters

# What a process encodes, or copies, while another one starts (two seconds): fewer bytes than this are not worth one.
_ENCODED_MEANWHILE = 32 * 2**20
_COPIED_MEANWHILE = 2**30
# Raised when the same parameters begin to mean other bytes, of shards or index.
_FORMAT = 2
# The same for sets with depth alone, whose cameras.json tells of it.
_DEPTH_FORMAT = 1
_SMALL_SHARD = 64 * 2**20
_LARGE_SHARD = 256 * 2**20
# From here on a set has so many shards of either size that more of them make it no easier to mix or to share out.
_LARGE_SET = 8 * 2**30


class ShardParameters(Parameters):
    """Parameters of the `shard` stage."""

    output_root: str | None = None
    """Folder or URL (s3://bucket/shards) for the tars; null keeps them in `data/shards/`, which otherwise has the index alone."""
    max_bytes: int | None = Field(default=None, ge=2**10)
    """Size at which a shard is closed, bytes; null takes 64 MiB, and 256 MiB as soon as the set has 8 GiB."""
    encoding: Encoding = "as_rendered"
    """Of the pictures: the render's own files, or PNG, lossless WebP, or JPEG on white with its alpha apart."""
    size: int | None = Field(default=None, ge=1)
    """Width and height in pixels that pictures are made smaller to; null keeps them as rendered."""
    quality: int = Field(default=95, ge=1, le=100)
    """Of JPEG."""
    include: tuple[Literal["depth", "splatter"], ...] = ()
    """What else an object's sample holds: `000.depth.png` … as rendered, with scene scales in `cameras.json`, and
    `splatter.safetensors` where there is one."""
    workers: int = Field(default=0, ge=0)
    """Processes that write; 0 takes one per CPU core, or for little work as many threads. The bytes do not depend on it."""

    @model_validator(mode="after")
    def _made_smaller_by_an_encoding(self) -> "ShardParameters":
        if self.size and self.encoding == "as_rendered":
            raise ValueError("size needs an encoding other than as_rendered")
        if self.size and "depth" in self.include:
            raise ValueError("depth is kept as rendered, so pictures beside it cannot be made smaller")
        return self

    @field_validator("output_root")
    @classmethod
    def _without_secrets(cls, root: str | None) -> str | None:
        parts = urlsplit(root or "")
        if parts.password:
            raise ValueError("credentials come from the environment, not from the URL")
        if parts.scheme in ("http", "https"):
            raise ValueError("nothing can be written over http; a web server may serve what is written elsewhere")
        if "?" in (root or "") or "#" in (root or ""):
            raise ValueError("a folder to write into has no query")
        return root

    def shard_bytes(self, total: float) -> int:
        """Size at which a shard is closed.

        Args:
            total: bytes of the whole set, what is to be written included.
        """
        return self.max_bytes or (_SMALL_SHARD if total < _LARGE_SET else _LARGE_SHARD)

    def recipe(self) -> str:
        """Hash of all that the bytes of a shard set depend on, beside its objects."""
        decisive = self.model_dump(exclude={"workers", "quality", "output_root"})
        quality = self.quality if self.encoding == "jpeg_alpha" else None
        formats = [_FORMAT, _DEPTH_FORMAT] if "depth" in self.include else _FORMAT
        return json_sha256({**decisive, "quality": quality, "format": formats})

    def processes(self, work: int) -> int:
        """How many processes write.

        Args:
            work: bytes of the pictures to be written.
        """
        meanwhile = _COPIED_MEANWHILE if self.encoding == "as_rendered" else _ENCODED_MEANWHILE
        return self.workers or max(1, min(len(os.sched_getaffinity(0)), work // meanwhile))

    def threads(self) -> int:
        """How many threads write where a single process does."""
        return self.workers or len(os.sched_getaffinity(0))
