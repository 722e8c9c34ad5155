"""Refiner-0123 as plain Zero-1-to-3 weights, for whatever samples or distils one network.

It was trained with the tokens of prompts beside that of the source. Alone it sees the source's as Zero-1-to-3 does, which is how
the released script validates it and what its converter is for.
"""

from pathlib import Path

from stage.files import replacing_folder
from systems.cascade_zero123.pipeline import CascadePipeline
from systems.zero123.ldm_export import export_ldm
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline_folder import read_pipeline


def export_refiner(folder: Path, output: Path) -> None:
    """Write the Refiner of a cascade as a Zero-1-to-3 pipeline folder, or in the original format where `output` ends in .ckpt.

    Raises:
        InputError: when the folder holds no cascade, or the original format has no place for its networks.
    """
    refiner = read_pipeline(CascadePipeline, folder).refiner
    if output.suffix == ".ckpt":
        parts = (refiner.unet, refiner.cc_projection, refiner.image_encoder, refiner.vae, refiner.scheduler)
        export_ldm(Zero123Modules(*parts), output)
        return
    with replacing_folder(output) as temporary:
        refiner.save_pretrained(temporary, safe_serialization=True)
