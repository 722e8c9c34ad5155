"""How to sample: the options that every system's pipeline takes beside its pictures and cameras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from jaxtyping import Float
from torch import Tensor

from stage.errors import InputError
from systems.zero123.parameters import Background, NullCondition
from systems.zero123.schedulers import Generators

OutputType: TypeAlias = Literal["pt", "np", "pil", "latent"]
StepCallback: TypeAlias = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any] | None]

CALLBACK_INPUTS = ("latents",)
"""What a callback can be given."""


@dataclass(frozen=True)
class SamplerOptions:
    """How to sample: the keywords that every pipeline's call takes beside its pictures and cameras.

    Raises:
        InputError: when a value is none that there is.
    """

    guidance_scale: float = 3.0
    """Classifier-free guidance; 1 does without."""
    num_inference_steps: int = 50
    """Steps of the scheduler."""
    eta: float = 1.0
    """DDIM's share of fresh noise; 0 is deterministic. Other schedulers pass it over."""
    num_images_per_pose: int = 1
    """Pictures drawn of each view, beside each other in the result."""
    batch_size: int | None = None
    """Most pictures that a module sees at once, twice as many in the UNet under guidance; all when None. The random numbers do
    not depend on it."""
    null_condition: NullCondition = "after_projection"
    """The condition that guidance leads away from; see `guidance.conditioned`."""
    drop_first_step: bool = False
    """Leave out DDIM's noisiest timestep as the original does; see `schedulers.original_timesteps`."""
    background: Background = "alpha"
    """How PIL images are put on white; see `compositing.on_white`."""
    generator: Generators = None
    """Source of noise, on the CPU so that devices agree; or one for each picture."""
    latents: Float[Tensor, "k c y x"] | None = None
    """Standard normal noise to start from, in place of the generator's."""
    output_type: OutputType = "pt"
    """`pt`, `np`, `pil` or `latent`."""
    return_dict: bool = True
    """Whether the images come in a `SampledViews` or in a tuple."""
    callback_on_step_end: StepCallback | None = None
    """Called as callback(pipeline, step, timestep, {"latents": …}) after each step; a dictionary that it returns replaces the
    latents."""
    callback_on_step_end_tensor_inputs: Sequence[str] = CALLBACK_INPUTS
    """What the callback is given: latents, or nothing."""

    def __post_init__(self) -> None:
        repeats, batch_size = self.num_images_per_pose, self.batch_size
        if repeats < 1 or (batch_size is not None and batch_size < 1):
            raise InputError(f"{repeats} images per pose in batches of {batch_size}", "give 1 or more of each")
        _check_choices("output type", [self.output_type], get_args(OutputType))
        _check_choices("null condition", [self.null_condition], get_args(NullCondition))
        _check_choices("callback input", self.callback_on_step_end_tensor_inputs, CALLBACK_INPUTS)


def _check_choices(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InputError(f"no {what} {name}", f"take {', '.join(known)}")
