"""The released `zeronvs.ckpt` to a pipeline folder of ours, and back: Zero-1-to-3's format with a wider `cc_projection`.

The file does not say under which mode it was trained. The YAML file beside it, `zeronvs_config.yaml` of kylesargent/ZeroNVS,
does, in `model.params.conditioning_config.params`.
"""

from pathlib import Path
from typing import Any

import yaml

from stage.errors import InputError
from systems.zero123.ldm_configuration import read_configuration
from systems.zero123.ldm_export import export_ldm, modules_of, require_ckpt
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline_folder import read_pipeline
from systems.zero123.weights_import import ImportOptions, Target, recorded_step
from systems.zero123.weights_import import import_weights as import_as
from systems.zeronvs.conditioning import pose_dimensions
from systems.zeronvs.modes import RELEASED_MODE, ConditioningMode, known_mode
from systems.zeronvs.pipeline import ZeroNvsPipeline


def import_weights(source: Path, output: Path, options: ImportOptions, mode: str | None = None) -> dict[str, Any]:
    """Write the `ZeroNvsPipeline` folder of a checkpoint file.

    Args:
        source: a checkpoint file in LDM's format.
        output: folder to write; one that is there already gives way when the new one is whole.
        options: how to read the source.
        mode: of its conditioning; that of the YAML file when None, and without one the released model's.

    Returns:
        The record that `provenance.json` holds.

    Raises:
        InputError: when the source is no checkpoint, does not fit, or cannot be read safely.
        ParameterError: when there is no such mode.
    """
    if source.is_dir():
        raise InputError(
            f"{source} is a folder, and ZeroNVS is published as a checkpoint file",
            "give the .ckpt; a folder of Zero-1-to-3 is imported with --system zero123, to be fine-tuned",
        )
    chosen = known_mode(mode or _mode_of(options.configuration))

    def pipeline(modules: Zero123Modules) -> ZeroNvsPipeline:
        return ZeroNvsPipeline(
            modules.unet, modules.cc_projection, modules.image_encoder, modules.vae, modules.scheduler, mode=chosen
        )

    return import_as(source, output, options, Target(pose_dimensions(chosen), pipeline, {"mode": chosen}))


def export_folder(folder: Path, output: Path) -> None:
    """Write a `ZeroNvsPipeline` folder as a checkpoint, its mode in the configuration beside it.

    Raises:
        InputError: when the folder holds no such pipeline, or the format has no place for it.
    """
    require_ckpt(output)
    pipeline = read_pipeline(ZeroNvsPipeline, folder)
    mode: ConditioningMode = pipeline.config.mode
    conditioning = {"mode": mode, "embedding_dim": pose_dimensions(mode)}
    export_ldm(modules_of(pipeline), output, recorded_step(folder), conditioning)


def _mode_of(configuration: Path | None) -> str:
    """What a YAML file says, or the released mode where it says nothing."""
    if configuration is None:
        return RELEASED_MODE
    read_configuration(configuration)
    section = yaml.safe_load(configuration.read_text())["model"]["params"].get("conditioning_config")
    try:
        return str(section["params"]["mode"]) if section else RELEASED_MODE
    except (KeyError, TypeError):
        raise InputError(f"{configuration} names no conditioning mode", "give it with --mode") from None
