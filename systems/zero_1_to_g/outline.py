"""Zero-1-to-G's networks as they will be loaded or made, for whoever wants their shapes and not their weights.

Called within a `FakeTensorMode` they take no memory, as those of `systems.zero123.outline`; schedules are made without it.
"""

from pathlib import Path
from typing import Any

from torch import nn

from stage.errors import InputError
from systems.zero123.outline import INDEX, model_of_shapes, published_modules
from systems.zero_1_to_g.initialisation import attribute_unet_from
from systems.zero_1_to_g.modules import Networks, first_networks, folder_networks, holds_attributes
from systems.zero_1_to_g.parameters import Zero1ToGParameters


def outlined_networks(parameters: Zero1ToGParameters) -> Networks:
    """The networks that a stage of the denoiser begins with.

    Raises:
        InputError: when their folder is not there, or a configuration in it is missing or damaged.
        ParameterError: as `systems.zero_1_to_g.modules.first_networks`.
    """
    folder = parameters.pretrained
    if folder and not (Path(folder) / INDEX).is_file():
        raise InputError(f"{folder} is no diffusers pipeline", "put one there, or change train.zero_1_to_g.pretrained")
    return first_networks(parameters, 0, _shapes)


def published_networks(parameters: Zero1ToGParameters) -> Networks:
    """Those that begin with Stable Diffusion image-variations, as published."""
    published = published_modules()
    joins = parameters.cross_attribute and parameters.stage == "joint"
    unet = attribute_unet_from(published.unet, 0, parameters.cross_view, joins)
    return unet, published.image_encoder, published.vae


def stored_networks(folder: Path) -> dict[str, nn.Module]:
    """The networks that the files of a folder of ours hold by the name of their folder; none of one that is converted."""
    if not holds_attributes(folder):
        return {}
    return dict(zip(("unet", "image_encoder", "vae"), folder_networks(folder, _shapes), strict=True))


def _shapes(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - as `model_of_shapes`
    try:
        return model_of_shapes(kind, folder)
    except (OSError, ValueError, TypeError, LookupError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} cannot be read: {reason}", "restore it, or make it again") from None
