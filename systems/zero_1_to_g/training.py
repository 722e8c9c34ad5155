"""Zero-1-to-G as the training engine sees it: another system for each stage of its training."""

from systems.trainable import TrainableSystem
from systems.zero_1_to_g.autoencoder_training import Zero1ToGAutoencoder
from systems.zero_1_to_g.decoder_training import Zero1ToGDecoder
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.parameters import Zero1ToGParameters


def zero_1_to_g_training(parameters: Zero1ToGParameters, seed: int, image_size: int) -> TrainableSystem:
    """What the stage of the parameters trains.

    Args:
        parameters: modules, diffusion and losses.
        seed: of new weights.
        image_size: width and height of the training pictures, pixels.
    """
    match parameters.stage:
        case "autoencoder":
            return Zero1ToGAutoencoder(parameters, seed, image_size)
        case "decoder":
            return Zero1ToGDecoder(parameters, seed)
        case "attributes" | "joint":
            return Zero1ToGDiffusion(parameters, seed, image_size)
