"""Telling weights that still want `viewforge weights import` from pipeline folders of ours."""

import json
from pathlib import Path

from stage.errors import InputError

OURS = ("Zero123Pipeline", "ZeroNvsPipeline", "CascadePipeline", "Zero1ToGGridPipeline")
"""The classes that our folders name in `model_index.json`."""


def pipeline_class(folder: Path) -> str | None:
    """The class that a diffusers folder names; None when it is no such folder, or is damaged."""
    try:
        return str(json.loads((folder / "model_index.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_foreign(path: Path, wanted: str) -> None:
    """Refuse a checkpoint file, or a diffusers folder of another class, where a pipeline of ours is wanted.

    Args:
        path: what is given.
        wanted: the class of `OURS` that is asked for.

    Raises:
        InputError: with the command that converts it, or that it is another system's.
    """
    found = pipeline_class(path)
    if path.is_file():
        kind = "file of weights"
    elif found in (None, wanted):
        return
    elif found in OURS:
        raise InputError(f"{path} holds a {found}, not a {wanted}", f"name a folder of {wanted}")
    else:
        kind = f"folder of {found}"
    raise InputError(
        f"{path} is a {kind}, not a pipeline of ours",
        f"convert it with viewforge weights import {path} --output DIR, and name DIR",
    )
