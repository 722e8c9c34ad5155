"""Telling weights that still want `viewforge weights import` from pipeline folders of ours."""

import json
from pathlib import Path

from stage.errors import InputError

# The class that our folders name in `model_index.json`.
_OURS = "Zero123Pipeline"


def pipeline_class(folder: Path) -> str | None:
    """The class that a diffusers folder names; None when it is no such folder, or is damaged."""
    try:
        return str(json.loads((folder / "model_index.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_foreign(path: Path) -> None:
    """Refuse a checkpoint file, or a diffusers folder of another class, where a pipeline of ours is wanted.

    Raises:
        InputError: with the command that converts it.
    """
    if path.is_file():
        kind = "file of weights"
    elif (found := pipeline_class(path)) not in (None, _OURS):
        kind = f"folder of {found}"
    else:
        return
    raise InputError(
        f"{path} is a {kind}, not a pipeline of ours",
        f"convert it with viewforge weights import {path} --output DIR, and name DIR",
    )
