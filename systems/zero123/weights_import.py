"""Public weights to a pipeline folder of ours, with a record of where they come from.

Reads a checkpoint file in the original format or a community's diffusers folder; writes a pipeline folder with safetensors and
`provenance.json`. Nothing of the source is run. Other systems of the same network name their pipeline in a `Target`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import CLIPVisionModelWithProjection

from stage.errors import InputError
from stage.files import file_sha256, replacing_folder, write_json
from systems.zero123.community_folder import load_encoder, modules_from_folder
from systems.zero123.conditioning import POSE_DIMENSIONS
from systems.zero123.foreign_weights import OURS, pipeline_class
from systems.zero123.ldm_checkpoint import read_checkpoint
from systems.zero123.ldm_configuration import read_configuration
from systems.zero123.ldm_import import Which, modules_from_ldm
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline import Zero123Pipeline
from systems.zero123.view_pipeline import ViewPipeline

PROVENANCE = "provenance.json"
DOWNLOAD = "download.json"
_RECORDS = frozenset({PROVENANCE, DOWNLOAD})


@dataclass(frozen=True)
class ImportOptions:
    """How to read a source.

    Args:
        configuration: the YAML file of a checkpoint; the published network when None.
        which: a checkpoint's own UNet weights, or their running mean, which the authors sample with.
        image_encoder: transformers folder to take the image encoder from; the source's own when None.
        variant: of a folder's files.
        ignored: classes of a checkpoint to read past, beyond the known ones.
        seed: of the pose columns where the source is image-variations.
    """

    configuration: Path | None = None
    which: Which = "ema"
    image_encoder: Path | None = None
    variant: str | None = None
    ignored: tuple[str, ...] = ()
    seed: int = 0


def zero123_pipeline(modules: Zero123Modules) -> Zero123Pipeline:
    """Zero-1-to-3 of some modules."""
    return Zero123Pipeline(
        unet=modules.unet,
        cc_projection=modules.cc_projection,
        image_encoder=modules.image_encoder,
        vae=modules.vae,
        scheduler=modules.scheduler,
    )


@dataclass(frozen=True)
class Target:
    """The system that a source is read as.

    Args:
        pose_dimensions: length of its pose vector.
        pipeline: puts its modules together.
        facts: what the record says of it beside the source.
    """

    pose_dimensions: int = POSE_DIMENSIONS
    pipeline: Callable[[Zero123Modules], ViewPipeline] = zero123_pipeline
    facts: Mapping[str, Any] = field(default_factory=dict)


def import_weights(
    source: Path,
    output: Path,
    options: ImportOptions,
    target: Target = Target(),
) -> dict[str, Any]:
    """Write the pipeline folder of a source.

    Args:
        source: a checkpoint file, or a diffusers folder, which Zero-1-to-3 alone has.
        output: folder to write; one that is there already gives way when the new one is whole.
        options: how to read the source.
        target: the system that it is read as.

    Returns:
        The record that `provenance.json` holds.

    Raises:
        InputError: when the source is none of these, does not fit, or cannot be read safely.
    """
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise InputError(f"{output} holds the source {source}", "name another folder with --output")
    encoder = load_encoder(options.image_encoder) if options.image_encoder else None
    if source.is_dir():
        _refuse_own(source)
        modules = modules_from_folder(source, variant=options.variant, encoder=encoder, seed=options.seed)
        record: dict[str, Any] = {"format": "diffusers", "variant": options.variant}
    else:
        modules, record = _read_ldm(source, options, encoder, target.pose_dimensions)
    record |= _origin(source) | {"image_encoder": _origin(options.image_encoder) if options.image_encoder else None}
    record |= target.facts
    with replacing_folder(output) as temporary:
        target.pipeline(modules).save_pretrained(temporary, safe_serialization=True)
        write_json(temporary / PROVENANCE, record)
    return record


def _read_ldm(
    source: Path, options: ImportOptions, encoder: CLIPVisionModelWithProjection | None, pose_dimensions: int
) -> tuple[Zero123Modules, dict[str, Any]]:
    checkpoint = read_checkpoint(source, options.ignored)
    modules = modules_from_ldm(
        checkpoint.weights,
        read_configuration(options.configuration),
        options.which,
        source,
        encoder=encoder,
        seed=options.seed,
        pose_dimensions=pose_dimensions,
    )
    record = {
        "format": "ldm",
        "weights": options.which,
        "step": checkpoint.step,
        "read_past": list(checkpoint.passed_over),
    }
    return modules, record


def recorded_step(folder: Path) -> int | None:
    """The optimiser steps behind the weights of an imported folder, where they are known."""
    try:
        step = json.loads((folder / PROVENANCE).read_text()).get("step")
    except (OSError, ValueError, AttributeError):
        return None
    return step if isinstance(step, int) else None


def _refuse_own(folder: Path) -> None:
    kind = pipeline_class(folder)
    if kind is None:
        raise InputError(
            f"{folder} is no diffusers pipeline", "give a checkpoint file or a folder with model_index.json"
        )
    if kind in OURS:
        raise InputError(
            f"{folder} is a pipeline of ours already", "use it as it is: --model, train.zero123.pretrained"
        )


def _origin(source: Path) -> dict[str, Any]:
    """Name and checksums of a source, and its repository and commit where it was downloaded."""
    folder = source if source.is_dir() else source.parent
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in sorted(_files(source))}
    origin: dict[str, Any] = {"source": source.resolve().name, "sha256": files}
    try:
        download = json.loads((folder / DOWNLOAD).read_text())
        return origin | {"repository": download["repository"], "commit": download["commit"]}
    except (OSError, ValueError, KeyError, TypeError):
        return origin


def _files(source: Path) -> Iterable[Path]:
    if source.is_file():
        return [source]
    return [
        path
        for path in source.rglob("*")
        if path.is_file()
        and path.name not in _RECORDS
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    ]
