"""How ZeroNVS's published loaders read a shard (kylesargent/zeronvs_diffusion `ldm/data/webdataset_co3d.py`, `_re10k.py`).

Their rules, key by key, over stock webdataset: a key is `…/<category>/<scene>/frame%06d`, with `_depth` or `_metadata` behind it;
the shorter side of a picture is asserted, its middle square taken; depth is the bits of 16-bit floats, times the scene's
`scale_adjustment`, which like the field of view is the first frame's; PyTorch3D's axes become OpenGL's by signs of rows.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image


@dataclass
class PublishedScene:
    """What a loader has of a scene before it draws pairs."""

    uid: str
    images: np.ndarray
    depths: np.ndarray
    c2w: np.ndarray
    fov: float


@dataclass
class _Files:
    images: dict[int, bytes] = field(default_factory=dict)
    depths: dict[int, bytes] = field(default_factory=dict)
    metadata: dict[int, dict] = field(default_factory=dict)


def published_scenes(shard: Path, form: str, side: int = 256) -> Iterator[PublishedScene]:
    """The scenes of a shard; the published loaders themselves never yield the last one."""
    current, files = None, _Files()
    for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
        *_, category, scene, frame = sample["__key__"].split("/")
        uid = f"{category}_{scene}"
        if current not in (None, uid):
            yield _scene(current, files, form, side)
            files = _Files()
        current = uid
        is_depth = frame.endswith("_depth")
        assert frame.startswith("frame")
        index = int(frame.removeprefix("frame").removesuffix("_depth").removesuffix("_metadata")) - 1
        if "png" in sample:
            (files.depths if is_depth else files.images)[index] = sample["png"]
        if "json" in sample:
            files.metadata[index] = json.loads(sample["json"])
        assert "png" in sample or "json" in sample
    yield _scene(current, files, form, side)


def _scene(uid: str, files: _Files, form: str, side: int) -> PublishedScene:
    order = sorted(files.images)
    assert set(files.images) == set(files.metadata) == set(files.depths)
    read = _re10k_camera if form == "re10k" else _co3d_camera
    cameras = np.array([read(files.metadata[index]) for index in order])
    homogeneous = np.concatenate([cameras, np.broadcast_to([[[0, 0, 0, 1]]], (len(order), 1, 4))], axis=1)
    first = files.metadata[next(iter(files.metadata))]
    scale = 1.0 if form == "re10k" else first["scale_adjustment"]
    depths = [np.clip(_crop(_depth(files.depths[index]), side), 0, None) * scale for index in order]
    images = [_crop(np.asarray(Image.open(io.BytesIO(files.images[index]))), side) for index in order]
    return PublishedScene(uid, np.stack(images), np.stack(depths), np.linalg.inv(homogeneous), _fov(first, form))


def _crop(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    assert min(height, width) == side
    top, left = (height - side) // 2, (width - side) // 2
    bottom, right = height - top - (height - side) % 2, width - left - (width - side) % 2
    assert (bottom - top, right - left) == (side, side)
    return image[top:bottom, left:right]


def _depth(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        bits = np.array(image, dtype=np.uint16)
    return np.frombuffer(bits, dtype=np.float16).astype(np.float32).reshape(bits.shape)


def _co3d_camera(values: dict) -> np.ndarray:
    camera = np.concatenate([np.array(values["R"]).T, np.array(values["T"])[:, None]], axis=1)
    camera[0] *= -1
    camera[1] *= -1
    # To here OpenCV's axes, from here OpenGL's.
    camera[1] *= -1
    camera[2] *= -1
    return camera


def _re10k_camera(values: dict) -> np.ndarray:
    return np.linalg.inv(np.array(values["extrinsics"]))[:3]


def _fov(values: dict, form: str) -> float:
    if form == "re10k":
        camtopix = np.linalg.inv(np.array(values["intrinsics"]))
        assert np.abs(camtopix[0, 0] - camtopix[1, 1]) < 1e-5
        return 2 * np.arctan2(camtopix[0, 2], camtopix[0, 0])
    assert tuple(values["principal_point"]) == (0.0, 0.0)
    return min(2 * np.arctan2(1, focal) for focal in values["focal_length"])
