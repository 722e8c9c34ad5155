"""Triangulation by COLMAP with known cameras, in a process of its own: its native libraries may end it, and nothing else then.

`python -m evaluation.metrics.colmap_process FOLDER` reads `FOLDER/images/00000.png` and on, and `FOLDER/cameras.npz` in the same
order: `c2w` (v, 4, 4), OpenGL axes, and `lens` (v, 4), fx fy cx cy in pixels. It writes `FOLDER/points.npy` (n, 3), world units.
One thread and fixed seeds: the same pictures give the same points.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from jaxtyping import Float

from geometry.cameras import invert_rigid, opencv_from_opengl
from stage.lifeline import die_with_parent

_SEED = 0
# Warnings tell of views without points, which is what is counted.
_ERRORS_ONLY = 2


def triangulate(folder: Path) -> Float[np.ndarray, "n 3"]:
    """The points that COLMAP finds: its SIFT, every pair matched and verified, triangulation with the cameras held.

    COLMAP's defaults otherwise, as liuyuan-pal/SyncDreamer `eval_colmap.py` takes them before its dense stereo.
    """
    database, images = folder / "database.db", folder / "images"
    pycolmap.set_random_seed(_SEED)
    with np.load(folder / "cameras.npz") as arrays:
        c2w, lenses = arrays["c2w"], arrays["lens"]
    _match(database, images, lenses)
    model = _posed(database, c2w)
    (folder / "model").mkdir()
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads, options.random_seed = 1, _SEED
    options.ba_refine_focal_length = options.ba_refine_principal_point = options.ba_refine_extra_params = False
    found = pycolmap.triangulate_points(model, database, images, folder / "model", options=options)
    return np.array([found.points3D[key].xyz for key in sorted(found.points3D)]).reshape(-1, 3)


def _match(database: Path, images: Path, lenses: Float[np.ndarray, "v 4"]) -> None:
    """Features and matches into the database; every picture with its own lens."""
    extraction, matching = pycolmap.FeatureExtractionOptions(), pycolmap.FeatureMatchingOptions()
    extraction.num_threads = matching.num_threads = 1
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model, reader.camera_params = "PINHOLE", ",".join(map(str, lenses[0]))
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = _SEED
    device = pycolmap.Device.cpu
    pycolmap.extract_features(
        database,
        images,
        camera_mode=pycolmap.CameraMode.PER_IMAGE,
        reader_options=reader,
        extraction_options=extraction,
        device=device,
    )
    with pycolmap.Database.open(database) as opened:
        for image in opened.read_all_images():
            camera = opened.read_camera(image.camera_id)
            camera.params = lenses[_number(image)]
            opened.update_camera(camera)
    pycolmap.match_exhaustive(database, matching_options=matching, verification_options=verification, device=device)


def _posed(database: Path, c2w: Float[np.ndarray, "v 4 4"]) -> Any:  # noqa: ANN401 - a pycolmap.Reconstruction
    """A reconstruction without points whose images stand where they were taken."""
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(database) as opened:
        images, cameras = opened.read_all_images(), opened.read_all_cameras()
    for camera in cameras:
        model.add_camera_with_trivial_rig(camera)
    for image in images:
        pose = invert_rigid(opencv_from_opengl(c2w[_number(image)]))
        blank = pycolmap.Image(name=image.name, camera_id=image.camera_id, image_id=image.image_id)
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(pose[:3, :3]), pose[:3, 3])
        model.add_image_with_trivial_frame(blank, rigid)
    return model


def _number(image: Any) -> int:  # noqa: ANN401 - a pycolmap.Image
    return int(Path(image.name).stem)


if __name__ == "__main__":
    die_with_parent()
    pycolmap.logging.minloglevel = _ERRORS_ONLY
    target = Path(sys.argv[1])
    np.save(target / "points.npy", triangulate(target))
