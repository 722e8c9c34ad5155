"""A world whose every picture and depth is known in closed form, seen by any camera; and published sources made of it.

The cameras stand inside a sphere around the origin; its colour follows from the direction in which a camera looks. So what a
shard holds can be compared with what its own camera must see.
"""

import gzip
import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
from scene_support import png

from geometry.cameras import (
    Intrinsics,
    invert_rigid,
    look_at,
    ndc_from_intrinsics,
    opencv_from_opengl,
    pytorch3d_from_c2w,
)
from training.data.preparation.source_scenes import LoadedFrame, OpenedScene, SourceFrame, SourceScene

RADIUS = 10.0
# So steep that half a pixel shows.
_WAVES = 8 * np.array([[2.0, 0.5, 1.0], [0.7, -1.5, 2.0], [1.5, 1.5, -0.8]])


def seen(c2w: np.ndarray, lens: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """Picture and planar depth of the world in a pinhole camera."""
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    return seen_along(c2w, (columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy)


def seen_along(c2w: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same of rays (x, y, 1) in OpenCV's axes."""
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ opencv_from_opengl(c2w)[:3, :3].T
    directions = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    picture = np.rint(128 + 100 * np.sin(directions @ _WAVES.T)).astype(np.uint8)
    centre = c2w[:3, 3]
    a, b, c = (rays**2).sum(axis=-1), rays @ centre, centre @ centre - RADIUS**2
    return picture, ((-b + np.sqrt(b**2 - a * c)) / a).astype(np.float32)


def cameras(count: int, seed: int = 0) -> list[np.ndarray]:
    """c2w of cameras that stand apart and look about, not at the origin."""
    rng = np.random.default_rng(seed)
    return [look_at(rng.uniform(-1, 1, 3), rng.uniform(2, 4, 3) * [1, 1, 0.3]) for _ in range(count)]


def assert_shows_the_world(scene) -> None:
    """A scene as the published loader has it: its pictures are what its cameras see with its field of view."""
    lens = Intrinsics.from_fov(scene.fov, scene.images.shape[1])
    for image, depth, c2w in zip(scene.images, scene.depths, scene.c2w, strict=True):
        picture, expected = seen(c2w, lens)
        # Rounding and JPEG make half a level; half a pixel would make a whole one.
        assert np.abs(image.astype(float) - picture).mean() < 0.65
        known = depth > 0
        np.testing.assert_allclose(depth[known], expected[known], rtol=0.01)


def frames_of(scene: SourceScene) -> dict:
    """A scene's frames by name."""
    return {frame.name: frame for frame in scene.open().frames}


def bits_png(depth: np.ndarray) -> bytes:
    """Depth as CO3D stores it."""
    return png(depth.astype(np.float16).view(np.uint16))


def gzip_json(value) -> bytes:
    """A `.jgz`."""
    return gzip.compress(json.dumps(value).encode(), mtime=0)


def write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def co3d_frame(root: Path, sequence: str, number: int, c2w: np.ndarray, lens: Intrinsics, isotropic=True, scale=0.5):
    """Write a frame of the category `book`; its annotation."""
    stem = f"book/{sequence}/%s/frame{number:06d}.%s"
    picture, depth = seen(c2w, lens)
    mask = np.zeros(depth.shape, dtype=bool)
    mask[:, : lens.width // 2] = True
    # What the mask does not believe is nonsense.
    stored = np.where(mask, depth / scale, 7.0)
    paths = {
        "image": stem % ("images", "jpg"),
        "depth": stem % ("depths", "png"),
        "mask": stem % ("depth_masks", "png"),
    }
    write_file(root / paths["image"], png(picture, format="JPEG", quality=98, subsampling=0))
    write_file(root / paths["depth"], bits_png(stored))
    write_file(root / paths["mask"], png(mask))
    rotation, translation = pytorch3d_from_c2w(c2w)
    focal_length, principal_point = ndc_from_intrinsics(lens, isotropic)
    viewpoint = {
        "R": rotation.tolist(),
        "T": translation.tolist(),
        "focal_length": list(focal_length),
        "principal_point": list(principal_point),
        "intrinsics_format": "ndc_isotropic" if isotropic else "ndc_norm_image_bounds",
    }
    return {
        "sequence_name": sequence,
        "frame_number": number,
        "frame_timestamp": 0.1 * number,
        "image": {"path": paths["image"], "size": [lens.height, lens.width]},
        "depth": {"path": paths["depth"], "scale_adjustment": scale, "mask_path": paths["mask"]},
        "mask": None,
        "viewpoint": viewpoint,
        "meta": None,
    }


def write_annotations(root: Path, frames: list[dict], qualities: dict[str, float | None]) -> Path:
    """The annotations of the category `book`; its folder."""
    sequences = [
        {"sequence_name": name, "category": "book", "viewpoint_quality_score": quality}
        for name, quality in qualities.items()
    ]
    write_file(root / "book/frame_annotations.jgz", gzip_json(frames))
    write_file(root / "book/sequence_annotations.jgz", gzip_json(sequences))
    return root / "book"


def off_middle(width=400, height=300, focal=330.0, dx=12.0, dy=-7.5) -> Intrinsics:
    """A lens whose principal point is off its picture's middle."""
    return Intrinsics(focal, focal, width / 2 + dx, height / 2 + dy, width, height)


def co3d_set(root: Path, sequences: int = 2, views: int = 3) -> Path:
    """A category of CO3D version 2 whose pictures differ in size within a sequence; the folder of categories."""
    frames = []
    for sequence in range(sequences):
        for view, c2w in enumerate(cameras(views, seed=sequence), start=1):
            lens = off_middle(400 - 8 * view, 300 + 4 * view, 330.0 + view, 12.0 - view)
            frames.append(co3d_frame(root, f"{sequence}_2_3", view, c2w, lens))
    write_annotations(root, frames, {f"{sequence}_2_3": 0.5 + sequence for sequence in range(sequences)})
    return root


def clip_line(time: int, c2w: np.ndarray, lens: Intrinsics) -> str:
    """A line of a camera file."""
    focal = lens.fx / lens.width, lens.fy / lens.height, lens.cx / lens.width, lens.cy / lens.height
    world_to_camera = invert_rigid(opencv_from_opengl(c2w))[:3]
    return " ".join(map(repr, (time, *map(float, focal), 0.0, 0.0, *map(float, world_to_camera.ravel()))))


def write_clip(
    folder: Path, name: str, poses: list[np.ndarray], lens: Intrinsics, video="https://example.org/v"
) -> None:
    """A camera file with its frames beside it."""
    for number, c2w in enumerate(poses, start=1):
        picture = seen(c2w, lens)[0]
        write_file(folder / name / f"{1000 * number}.jpg", png(picture, format="JPEG", quality=98, subsampling=0))
    lines = [clip_line(1000 * number, c2w, lens) for number, c2w in enumerate(poses, start=1)]
    (folder / f"{name}.txt").write_text("\n".join([video, *lines]) + "\n")


def load(c2w: np.ndarray) -> LoadedFrame:
    """A small picture of the world."""
    return LoadedFrame(*seen(c2w, off_middle(40, 30, 33.0, 1.0, 1.0)))


def opened(number: int) -> OpenedScene:
    """Two of them."""
    lens = off_middle(40, 30, 33.0, 1.0, 1.0)
    return OpenedScene(
        [SourceFrame(f"{view}", c2w, lens, partial(load, c2w)) for view, c2w in enumerate(cameras(2, number))]
    )


def die() -> OpenedScene:
    """End the process that makes this scene, and it alone."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def scenes(count: int = 8) -> list[SourceScene]:
    """Scenes that other processes can be sent without more libraries than it takes to make them."""
    return [SourceScene("world", f"{number:02d}", partial(opened, number)) for number in range(count)]
