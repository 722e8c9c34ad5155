"""A scene of coloured balls as photographs, in the folder layouts of DTU and of Mip-NeRF 360."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

from geometry.cameras import Intrinsics, look_at, opencv_from_opengl, project
from stage.files import write_text

WIDTH, HEIGHT = 80, 60
# Off the middle, and pixels that are not square.
LENS = Intrinsics(90.0, 88.0, 42.0, 29.0, WIDTH, HEIGHT)
BALLS = np.array([[0.0, 0.0, 0.0], [0.25, 0.0, 0.1], [-0.2, 0.2, 0.0], [0.0, -0.25, 0.2]])
COLOURS = ((255, 0, 0), (0, 200, 0), (0, 0, 255), (250, 160, 0))
_RADIUS = 4


@dataclass(frozen=True)
class MadeScene:
    """Where its cameras stand and its balls lie, in the frame and the units of its files."""

    c2w: np.ndarray
    """(v, 4, 4), OpenGL axes."""
    balls: np.ndarray
    pictures: list[Image.Image]


def made_scene(views: int, unit: float = 1.0) -> MadeScene:
    """Cameras on a wobbling ring around the balls, in a frame that is turned, moved and of another unit."""
    azimuths = 2 * np.pi * np.arange(views) / views
    eyes = np.stack([2 * np.cos(azimuths), 2 * np.sin(azimuths), 1 + 0.3 * np.sin(3 * azimuths)], axis=1)
    c2w = np.stack([look_at(eye, np.zeros(3)) for eye in eyes])
    turn = Rotation.from_euler("xyz", [100, 20, -35], degrees=True).as_matrix()
    place = np.array([3.0, -1.0, 2.0])
    moved = c2w.copy()
    moved[:, :3, :3] = turn @ c2w[:, :3, :3]
    moved[:, :3, 3] = unit * (c2w[:, :3, 3] @ turn.T + place)
    balls = unit * (BALLS @ turn.T + place)
    return MadeScene(moved, balls, [_picture(camera, balls) for camera in moved])


def _picture(c2w: np.ndarray, balls: np.ndarray) -> Image.Image:
    pixels, depth = project(balls, c2w, LENS)
    image = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for number in np.argsort(-depth):
        # Pillow's coordinates are of pixels' corners, ours too: a centre at (x, y) is the same place.
        x, y = pixels[number] - 0.5
        draw.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=COLOURS[number])
    return image


def write_dtu(folder: Path, views: int = 30) -> MadeScene:
    """`image/` and `cameras.npz`: the unit sphere of its `scale_mat` lies around the balls."""
    scene = made_scene(views, unit=100.0)
    K = np.eye(4)
    K[:3, :3] = LENS.matrix()
    scale = np.diag([150.0, 150.0, 150.0, 1.0])
    scale[:3, 3] = scene.balls[0]
    (folder / "image").mkdir(parents=True)
    cameras = {}
    for number, (c2w, picture) in enumerate(zip(scene.c2w, scene.pictures, strict=True)):
        picture.save(folder / "image" / f"{number:06d}.png")
        # A projection is the same one at any multiple.
        cameras[f"world_mat_{number}"] = 7.0 * K @ np.linalg.inv(opencv_from_opengl(c2w))
        cameras[f"scale_mat_{number}"] = scale
    np.savez(folder / "cameras.npz", **cameras)
    return scene


def write_mip_nerf_360(folder: Path, views: int) -> MadeScene:
    """COLMAP's text files of pictures of eight times the size, and `images_8`."""
    scene = made_scene(views, unit=5.0)
    numbers = [8 * value for value in (LENS.fx, LENS.fy, LENS.cx, LENS.cy)]
    lens = f"1 PINHOLE {8 * WIDTH} {8 * HEIGHT} {' '.join(map(str, numbers))}\n"
    lines = []
    # Not in the order of their names.
    for number in reversed(range(views)):
        name = f"DSC{number:04d}.png"
        world_to_camera = np.linalg.inv(opencv_from_opengl(scene.c2w[number]))
        quaternion = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat()[[3, 0, 1, 2]]
        pose = " ".join(repr(float(value)) for value in (*quaternion, *world_to_camera[:3, 3]))
        lines.append(f"{views - number} {pose} 1 {name}\n\n")
        (folder / "images_8").mkdir(parents=True, exist_ok=True)
        scene.pictures[number].save(folder / "images_8" / name)
    write_text(folder / "sparse" / "0" / "cameras.txt", lens)
    write_text(folder / "sparse" / "0" / "images.txt", "".join(lines))
    write_text(folder / "sparse" / "0" / "points3D.txt", "")
    return scene
