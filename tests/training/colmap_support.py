"""Reconstructions as COLMAP writes them, made by pycolmap itself of cameras and points that are known."""

from pathlib import Path

import numpy as np
from preparation_support import RADIUS, seen_along, write_file
from scene_support import png

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl

DISTORTED = {"model": "SIMPLE_RADIAL", "width": 400, "height": 300, "params": [330.0, 203.0, 148.0, 0.08]}


def pinhole_camera(lens: Intrinsics) -> dict:
    """A lens in pycolmap's words."""
    params = [lens.fx, lens.fy, lens.cx, lens.cy]
    return {"model": "PINHOLE", "width": lens.width, "height": lens.height, "params": params}


def points_on_the_sphere(count: int = 400) -> np.ndarray:
    """Points of the world's surface, known alike to every test."""
    directions = np.random.default_rng(5).normal(size=(count, 3))
    return RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def write_model(folder: Path, poses: list[np.ndarray], lens: Intrinsics | dict, names: list[str], text=False) -> Path:
    """A reconstruction of the world's points in which each picture saw those within its borders."""
    import pycolmap

    model = pycolmap.Reconstruction()
    values = pinhole_camera(lens) if isinstance(lens, Intrinsics) else lens
    camera = pycolmap.Camera(camera_id=1, **values)
    model.add_camera_with_trivial_rig(camera)
    tracks: dict[int, list] = {}
    points = points_on_the_sphere()
    for number, (c2w, name) in enumerate(zip(poses, names, strict=True), start=1):
        world_to_camera = invert_rigid(opencv_from_opengl(c2w))
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(world_to_camera[:3, :3]), world_to_camera[:3, 3])
        keypoints = []
        for index, point in enumerate(points):
            pixel = camera.img_from_cam(pose * point) if (pose * point)[2] > 0 else None
            if pixel is not None and (pixel > 0).all() and pixel[0] < camera.width and pixel[1] < camera.height:
                tracks.setdefault(index, []).append((number, len(keypoints)))
                keypoints.append(pixel)
        image = pycolmap.Image(name, np.array(keypoints).reshape(-1, 2), 1, number)
        model.add_image_with_trivial_frame(image, pose)
    for index, elements in tracks.items():
        track = pycolmap.Track([pycolmap.TrackElement(*element) for element in elements])
        model.add_point3D(points[index], track, np.zeros(3, np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    (model.write_text if text else model.write)(folder)
    return folder


def write_pictures(folder: Path, poses: list[np.ndarray], camera: dict, names: list[str]) -> None:
    """What a lens with distortion sees."""
    import pycolmap

    lens = pycolmap.Camera(**camera)
    rows, columns = np.mgrid[: lens.height, : lens.width] + 0.5
    rays = lens.cam_from_img(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(*rows.shape, -1)
    for c2w, name in zip(poses, names, strict=True):
        write_file(folder / name, png(seen_along(c2w, rays[..., 0], rays[..., 1])[0]))
