"""Reconstructions of COLMAP: poses, lenses and, of each picture, the points that were seen in it.

Binary or text, of any version that pycolmap reads. Poses are world-to-camera in OpenCV axes; a pixel's centre lies at
half-integers, as here. A lens with distortion becomes the pinhole that COLMAP's own undistortion makes of it. Source: COLMAP
`doc/format.rst`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from geometry.cameras import Intrinsics, invert_rigid, opencv_from_opengl
from stage.errors import InputError
from stage.failures import FailureClass, ObjectFailedError
from training.data.preparation.colmap_files import check_whole

if TYPE_CHECKING:
    import pycolmap

_PLACES = ("sparse/0", "sparse", ".")
_MODELS = ("cameras.bin", "cameras.txt")


@dataclass(frozen=True)
class Shot:
    """A picture of a reconstruction."""

    name: str
    """Its file, relative to the folder of pictures."""
    c2w: Float[np.ndarray, "4 4"]
    """OpenGL axes."""
    camera: dict[str, Any]
    """Its lens, in pycolmap's words, which other processes can be told."""
    points: Float[np.ndarray, "n 3"]
    """World points that were seen in it."""


def model_folder(folder: Path) -> Path | None:
    """Where a reconstruction's files lie in or below a folder: in `sparse/0`, in `sparse`, or in itself."""
    places = (folder / place for place in _PLACES)
    return next((place for place in places if any((place / name).is_file() for name in _MODELS)), None)


# A model holds all pictures of its scene, of which one after the other is asked for.
@lru_cache(maxsize=1)
def shots(model: Path) -> tuple[Shot, ...]:
    """The registered pictures of a reconstruction, by name.

    Raises:
        ObjectFailedError: when it is damaged.
    """
    check_whole(model, _parameters_of)
    try:
        reconstruction = _library().Reconstruction(model)
        return tuple(sorted(_registered(reconstruction), key=lambda shot: shot.name))
    # What its reader throws at damaged files.
    except (ValueError, IndexError, MemoryError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ObjectFailedError(FailureClass.PARSE, f"the reconstruction {model} is damaged: {reason}") from None


def _parameters_of(model: int) -> int:
    """How many numbers the lens of a camera model has."""
    library = _library()
    return len(library.Camera.create_from_model_id(1, library.CameraModelId(model), 1.0, 1, 1).params)


def _registered(reconstruction: "pycolmap.Reconstruction") -> Iterator[Shot]:
    for image in reconstruction.images.values():
        if not image.has_pose:
            continue
        world_to_camera = np.vstack([image.cam_from_world().matrix(), [0.0, 0.0, 0.0, 1.0]])
        seen = [point.point3D_id for point in image.get_observation_points2D()]
        points = np.array([reconstruction.points3D[number].xyz for number in seen]).reshape(-1, 3)
        # Its numbers lie in the reconstruction's memory, which does not outlive it.
        numbers = [float(number) for number in image.camera.params]
        camera = {**image.camera.todict(), "model": image.camera.model_name, "params": numbers}
        yield Shot(image.name, opencv_from_opengl(invert_rigid(world_to_camera)), camera, points)


def pinhole(shot: Shot, width: int, height: int) -> Intrinsics:
    """The lens of a picture that is stored with this size, once its distortion is taken out; pixels of that picture.

    Raises:
        ValueError: when the lens is none.
    """
    library = _library()
    camera = _resized(shot, width, height)
    if not camera.is_undistorted():
        camera = library.undistort_camera(library.UndistortCameraOptions(), camera)
    fx, fy, cx, cy = (
        camera.focal_length_x,
        camera.focal_length_y,
        camera.principal_point_x,
        camera.principal_point_y,
    )
    return Intrinsics(fx, fy, cx, cy, camera.width, camera.height)


def undistorted(shot: Shot, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as its `pinhole` sees it."""
    camera = _resized(shot, picture.shape[1], picture.shape[0])
    if camera.is_undistorted():
        return picture
    library = _library()
    bitmap, _ = library.undistort_image(
        library.UndistortCameraOptions(), library.Bitmap.from_array(np.ascontiguousarray(picture)), camera
    )
    pixels: UInt8[np.ndarray, "H W 3"] = bitmap.to_array()
    return pixels


def _resized(shot: Shot, width: int, height: int) -> "pycolmap.Camera":
    """A shot's lens for its picture at another size, as smaller copies of the pictures have."""
    camera = _library().Camera(**shot.camera)
    if not camera.verify_params() or camera.width < 1 or camera.height < 1:
        raise ValueError("its lens is damaged")
    if (camera.width, camera.height) != (width, height):
        camera.rescale(width, height)
    return camera


def check_installed() -> None:
    """Make sure of pycolmap before there is much to do.

    Raises:
        InputError: when it is not installed.
    """
    _library()


def _library() -> Any:  # noqa: ANN401 - the module pycolmap
    try:
        import pycolmap
    except ImportError:
        raise InputError("pycolmap is not installed", "pip install 'viewforge[colmap]'") from None
    return pycolmap
