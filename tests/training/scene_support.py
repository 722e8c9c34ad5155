"""Scenes and published folders made by our own code, for tests of layouts and importers."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from geometry.cameras import Intrinsics, look_at_origin, zero123_from_c2w
from training.data.zeronvs_layout import Scene


def scene(name="1_2_3", category="book", views=3, size=(16, 12), seed=0) -> Scene:
    """A scene of noise, whose depth 16-bit floats hold exactly; size is width and height."""
    rng = np.random.default_rng(seed)
    width, height = size
    lens = Intrinsics(14.0, 14.0, width / 2, height / 2, width, height)
    depth = rng.uniform(0.1, 9.0, (views, height, width)).astype(np.float16).astype(np.float32)
    depth[:, :2] = 0.0
    return Scene(
        category,
        name,
        rng.integers(0, 256, (views, height, width, 3), dtype=np.uint8),
        np.stack([look_at_origin(1.0 + 0.1 * view, 0.5 * view, 2.0 + 0.2 * view) for view in range(views)]),
        (lens,) * views,
        depth,
    )


def png(picture: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=options.pop("format", "PNG"), **options)
    return stream.getvalue()


def npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def published_object(seed: int, views: int = 12, size: int = 16) -> dict[str, bytes]:
    """The files of one folder of `views_release`."""
    rng = np.random.default_rng(seed)
    files = {}
    for view in range(views):
        c2w = look_at_origin(rng.uniform(0.2, 2.9), rng.uniform(-3.0, 3.0), rng.uniform(1.5, 2.2))
        files[f"{view:03d}.png"] = png(rng.integers(0, 256, (size, size, 4), dtype=np.uint8))
        files[f"{view:03d}.npy"] = npy(zero123_from_c2w(c2w))
    return files


def write_files(root: Path, folders: dict[str, dict[str, bytes]]) -> Path:
    """Folders of files below a root."""
    for folder, files in folders.items():
        (root / folder).mkdir(parents=True)
        for name, data in files.items():
            (root / folder / name).write_bytes(data)
    return root


def write_archive(path: Path, files: dict[str, bytes] | list[tuple[str, bytes]]) -> Path:
    """A tar of files in this order, compressed as its suffix says."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def archive_files(path: Path) -> dict[str, bytes]:
    """The files of a tar by name, in its order."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
