"""An asset's triangles on disk: `surface.safetensors` with `vertices` (v, 3) float32 and `faces` (f, 3) int32."""

from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Int32
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from stage.errors import InputError

Triangles: TypeAlias = tuple[Float32[np.ndarray, "v 3"], Int32[np.ndarray, "f 3"]]
_NAME = "surface.safetensors"


def write_triangles(folder: Path, triangles: Triangles) -> None:
    """Write vertices and faces; the same ones give the same bytes."""
    vertices, faces = (np.ascontiguousarray(part) for part in triangles)
    save_file({"vertices": vertices, "faces": faces}, folder / _NAME)


def read_triangles(folder: Path) -> Triangles:
    """Read vertices and faces.

    Raises:
        InputError: when the file is missing or damaged.
    """
    try:
        tensors = load_file(folder / _NAME)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / _NAME} cannot be read ({error})", "delete its folder and run again") from None
    return tensors["vertices"], tensors["faces"]
