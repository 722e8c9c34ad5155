"""Shards in the layout of ZeroNVS, written and read: what its published loaders and stock `webdataset` take unchanged.

A frame is three files, `<category>/<scene>/frame000001.png`, `…_depth.png` and `…_metadata.json`, numbered from 1; pictures are
RGB. Depth is planar z: the bits of 16-bit floats in a 16-bit grey PNG, 0 where it is invalid. `zeronvs_cameras` has the
metadata. Source: kylesargent/zeronvs_diffusion `README.md` and `ldm/data/webdataset_co3d.py`.

Shards are `train-000000.tar` …, that is `dataset_url: …/train-{shard:06d}.tar` there; the same scenes give the same bytes.
"""

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from geometry.cameras import Intrinsics
from stage.errors import InputError
from stage.files import remove_leftovers, replacing
from training.data.archive_folders import folders_in_archive
from training.data.pictures import decoded
from training.data.zeronvs_cameras import CameraForm, camera_from, metadata_of

_NAME = re.compile(r"[A-Za-z0-9][\w.\-]*", re.ASCII)
FRAME = re.compile(r"(frame\d{6})(?:\.png|_depth\.png|_metadata\.json)")
_FARTHEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Scene:
    """One scene: pictures of one size, cameras, and depth."""

    category: str
    name: str
    pictures: UInt8[np.ndarray, "v h w 3"]
    """sRGB."""
    c2w: Float[np.ndarray, "v 4 4"]
    """OpenGL axes."""
    intrinsics: tuple[Intrinsics, ...]
    """Of each view, pixels."""
    depth: Float[np.ndarray, "v h w"]
    """Planar z in the units of `c2w`, 0 where it is unknown."""

    @property
    def key(self) -> str:
        """Its folder in a shard."""
        return f"{self.category}/{self.name}"


@dataclass(frozen=True)
class EncodedScene:
    """A scene as the files that a shard holds."""

    key: str
    """Its folder in a shard."""
    samples: tuple[dict[str, str | bytes], ...]
    """As WebDataset's `TarWriter` takes them."""


def encode_depth(depth: Float[np.ndarray, "h w"]) -> bytes:
    """A 16-bit grey PNG of the bits of 16-bit floats.

    Raises:
        ValueError: when a depth is negative, not finite or above 65504, which a 16-bit float cannot hold.
    """
    if not ((depth >= 0) & (depth <= _FARTHEST)).all():
        raise ValueError(f"its depth leaves 0 to {_FARTHEST:g}, the range of 16-bit floats")
    return _png(np.ascontiguousarray(depth, dtype=np.float16).view(np.uint16))


def decode_depth(data: bytes) -> Float[np.ndarray, "h w"]:
    """Depth as 32-bit floats; what is negative or not finite becomes 0, invalid, as in ZeroNVS's loader.

    Raises:
        ValueError: when it is no PNG of 16-bit grey.
    """
    image = decoded(data)
    if not image.mode.startswith("I"):
        raise ValueError(f"its depth is a picture of mode {image.mode}, not of 16-bit grey")
    bits = np.asarray(image).astype(np.uint16)
    depth = np.ascontiguousarray(bits).view(np.float16).astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0.0))


def _png(picture: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG")
    return stream.getvalue()


def write_scenes(
    folder: Path, split: str, scenes: Iterable[Scene], form: CameraForm = "co3d", max_bytes: int = 256 * 2**20
) -> list[Path]:
    """Write scenes as shards of a split; older shards of it are removed.

    Args:
        folder: receives `<split>-000000.tar` ….
        split: the shards' name.
        scenes: in the order of the shards; one is in memory at a time.
        form: which of ZeroNVS's loaders is to read them.
        max_bytes: a shard is closed when it has so many.

    Returns:
        The shards.

    Raises:
        InputError: naming the scene that the layout cannot hold, or that comes twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    # First, so that a write that fails leaves no mixture of two sets.
    for old in folder.glob(f"{split}-[0-9]*.tar"):
        old.unlink()
    written: list[Path] = []
    queue = _encoded(scenes, form)
    while write_shard(path := shard_path(folder, split, len(written)), queue, max_bytes):
        written.append(path)
    return written


def shard_path(folder: Path, split: str, number: int) -> Path:
    """A shard's file."""
    return folder / f"{split}-{number:06d}.tar"


def write_shard(path: Path, scenes: Iterator[EncodedScene], max_bytes: int) -> bool:
    """Write one shard of the next scenes, until it has `max_bytes`; without a next scene there is no shard: False."""
    # It imports PyTorch, which takes seconds that readers need not wait for.
    import webdataset

    first = next(scenes, None)
    if first is None:
        return False
    size = 0
    with replacing(path) as temporary, webdataset.TarWriter(str(temporary), mtime=0, encoder=False) as archive:
        for scene in chain([first], scenes):
            size += sum(archive.write(sample) for sample in scene.samples)
            if size >= max_bytes:
                break
    return True


def _encoded(scenes: Iterable[Scene], form: CameraForm) -> Iterator[EncodedScene]:
    seen: set[str] = set()
    for scene in scenes:
        if scene.key in seen:
            raise InputError(f"the scene {scene.key} comes twice", "give each scene its own name")
        seen.add(scene.key)
        yield encode_scene(scene, form)


def encode_scene(scene: Scene, form: CameraForm = "co3d") -> EncodedScene:
    """A scene's files.

    Args:
        scene: the scene.
        form: which of ZeroNVS's loaders is to read it.

    Raises:
        InputError: naming the frame that the layout cannot hold.
    """
    return EncodedScene(scene.key, tuple(_samples(scene, form)))


def _samples(scene: Scene, form: CameraForm) -> Iterator[dict[str, str | bytes]]:
    """The WebDataset samples of a scene: three a frame, for a key ends at its first dot."""
    if not (_NAME.fullmatch(scene.category) and _NAME.fullmatch(scene.name)):
        raise InputError(f"{scene.key!r} is no folder's name", "use letters, digits, dots, hyphens and underscores")
    frames = zip(scene.pictures, scene.depth, scene.c2w, scene.intrinsics, strict=True)
    for number, (picture, depth, c2w, intrinsics) in enumerate(frames, start=1):
        key = f"{scene.key}/frame{number:06d}"
        try:
            if picture.shape[:2] != (intrinsics.height, intrinsics.width) or depth.shape != picture.shape[:2]:
                raise ValueError("its picture, depth and intrinsics differ in size")  # noqa: TRY301 - told as the rest is
            yield {"__key__": key, "png": _png(picture)}
            yield {"__key__": f"{key}_depth", "png": encode_depth(depth)}
            yield {"__key__": f"{key}_metadata", "json": metadata_of(c2w, intrinsics, form)}
        except ValueError as error:
            raise InputError(f"{key} cannot be written: {error}", "leave the scene out, or mend it") from None


def read_scenes(shard: Path) -> Iterator[Scene]:
    """The scenes of a shard, one after the other.

    Raises:
        InputError: naming the shard and the key where it is damaged or incomplete.
    """
    for key, files in folders_in_archive(shard):
        yield read_scene(shard, key, files)


def read_scene(shard: Path, key: str, files: dict[str, bytes]) -> Scene:
    """A scene from the files of its folder.

    Frames need not be numbered without gaps. A scene without any depth has 0 everywhere.

    Args:
        shard: where it is from, for messages.
        key: its folder; the last two parts are its category and name.
        files: content by name.

    Raises:
        InputError: naming shard and key where a file is missing or damaged, or pictures differ in size.
    """
    stems = frame_stems(files)
    if not stems:
        raise _damaged(shard, key, "it has no frame")
    has_depth = any(name.endswith("_depth.png") for name in files)
    frames = [_frame(shard, f"{key}/{stem}", files, has_depth) for stem in stems]
    sizes = {picture.shape[:2] for picture, *_ in frames}
    if len(sizes) > 1:
        raise _damaged(shard, key, "its pictures differ in size")
    pictures, depths, poses, lenses = zip(*frames, strict=True)
    category, _, name = key.rpartition("/")
    return Scene(category.rpartition("/")[2], name, np.stack(pictures), np.stack(poses), lenses, np.stack(depths))


def frame_stems(files: Iterable[str]) -> list[str]:
    """The frames, `frame000001` …, that any of a scene's files belongs to."""
    return sorted({match[1] for name in files if (match := FRAME.fullmatch(name))})


Frame = tuple[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "h w"], Float[np.ndarray, "4 4"], Intrinsics]


def _frame(shard: Path, key: str, files: dict[str, bytes], has_depth: bool) -> Frame:
    stem = key.rpartition("/")[2]
    try:
        picture = np.asarray(decoded(files[f"{stem}.png"]).convert("RGB"))
        height, width = picture.shape[:2]
        c2w, intrinsics, scale = camera_from(files[f"{stem}_metadata.json"], width, height)
        depth = np.zeros((height, width), dtype=np.float32)
        if has_depth:
            depth = decode_depth(files[f"{stem}_depth.png"]) * np.float32(scale)
    except KeyError as error:
        raise _damaged(shard, key, f"{error.args[0]} is missing") from None
    except ValueError as error:
        raise _damaged(shard, key, str(error)) from None
    if depth.shape != picture.shape[:2]:
        raise _damaged(shard, key, "its depth and its picture differ in size")
    return picture, depth, c2w, intrinsics


def _damaged(shard: Path, key: str, what: str) -> InputError:
    return InputError(f"{shard}: {key}: {what}", "leave the scene out, or download the shard again")
