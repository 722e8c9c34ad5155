"""The object of a photograph by a segmentation network of rembg, when it and its weights are on this machine.

pip install "viewforge[foreground]", and one of the files of `WEIGHTS` in `weights_folder()`. Nothing is ever downloaded: rembg's
classes that bear a network's name fetch their weights, also where a file has another checksum; those for weights of one's own,
which are used here, read the file that they are told.
"""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from stage.errors import InputError

WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "isnet-general-use.onnx": "dis_custom",
        "u2net.onnx": "u2net_custom",
        "silueta.onnx": "u2net_custom",
        "u2netp.onnx": "u2net_custom",
    }
)
"""Files of weights that are looked for, the best first, and rembg's session that scales pictures as each was trained with."""
_PACKAGES = ("rembg", "onnxruntime")


def weights_folder() -> Path:
    """Where rembg keeps weights: $U2NET_HOME, or .u2net in $XDG_DATA_HOME or at home (`rembg/sessions/base.py`)."""
    home = os.environ.get("U2NET_HOME") or str(Path(os.environ.get("XDG_DATA_HOME", "~")) / ".u2net")
    return Path(home).expanduser()


def installed_weights() -> Path | None:
    """The best weights that are there; None when there are none."""
    candidates = (weights_folder() / name for name in WEIGHTS)
    return next((path for path in candidates if path.is_file()), None)


def what_is_missing() -> str | None:
    """What keeps this machine from segmenting, in words; None when nothing does."""
    absent = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} of the extra 'foreground' not installed"
    if installed_weights() is None:
        return f"none of {', '.join(WEIGHTS)} in {weights_folder()}"
    return None


def foreground_mask(picture: Image.Image) -> tuple[Image.Image, str]:
    """The mask of what stands out of a picture, and the network that says so.

    Args:
        picture: RGB or RGBA, of which alpha is not looked at.

    Returns:
        L, of the picture's size, 255 where the object is; and the weights' name.

    Raises:
        InputError: when rembg or its weights are missing, the weights cannot be read, or nothing stands out.
    """
    missing, weights = what_is_missing(), installed_weights()
    if missing or weights is None:
        raise InputError(
            f"the foreground cannot be segmented: {missing}", "install them, or give a picture with transparency"
        )
    mask = _predicted(picture.convert("RGB"), weights)
    share = float(np.mean(np.asarray(mask) > 127))
    if not 0.0 < share < 1.0:
        found = "nothing" if share == 0.0 else "no background"
        raise InputError(f"{weights.name} finds {found} in the picture", "give a picture with transparency, or a mask")
    return mask, weights.stem


def _predicted(picture: Image.Image, weights: Path) -> Image.Image:
    # Seconds, and a minute the first time on a machine, when pymatting is compiled: only where it is used.
    import rembg

    try:
        session = rembg.new_session(WEIGHTS[weights.name], model_path=str(weights), providers=["CPUExecutionProvider"])
        # A network that sees the same everywhere makes rembg divide 0 by 0.
        with np.errstate(invalid="ignore", divide="ignore"):
            mask: Image.Image = session.predict(picture)[0]
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no class of their own
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{weights} cannot be used ({said})", "fetch the file again, or remove it") from None
    return mask
