"""How views are fused: a section of parameters, and what the pipeline takes."""

from typing import Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt

from stage.parameters import Parameters

WeightRule: TypeAlias = Literal["paper", "released"]
FreshNoise: TypeAlias = Literal["shared", "each"]


class ViewFusionParameters(Parameters):
    """Which views a view is made from, and how much each of them says (docs/systems/viewfusion.md)."""

    weights: WeightRule = "paper"
    """By what the conditions weigh: `paper` by their distance on the sphere alone, `released` on an orbit by how many views there
    are already, towards a single view by the angle."""
    tau_c: PositiveFloat = 0.5
    """Of `paper`: how fast the input's share falls with its distance from the wanted view. Published: 0.5."""
    tau_g: PositiveFloat = 1.0
    """Of `paper`: how evenly the generated views share the rest. Published: 1.0."""
    inference_temperature: PositiveFloat = 0.5
    """Of `released`: how fast the input's share falls. Published: 0.5."""
    auto_temperature: PositiveFloat | None = None
    """Of `released`: how evenly the generated views share the rest; when null as published, 0.5 on an orbit of one input and 1.0
    otherwise."""
    window_deg: float | None = Field(default=125.0, gt=0, le=360)
    """Generated views farther from the wanted one than this are left out; none are when null. Released: 125."""
    max_conditions: PositiveInt | None = None
    """Most views that a view is made from, the nearest ones; all inputs are always among them. All in the window when null. It
    bounds time, and changes the pictures."""
    chunk: PositiveInt | None = None
    """Most rows that the denoiser sees at once, one for each condition and one for guidance; the sampler's batch size when null.
    It bounds memory, and changes nothing but the last bits. A cascade's Base sees twice as many."""
    step_deg: float = Field(default=10.0, gt=0, le=180)
    """Most that one view turns from the last one on the way towards a single view. Published: 10, and 22.5 for 16 views."""
    noise: FreshNoise = "shared"
    """DDIM's fresh noise (eta above 0): one draw a step for all conditions, or `each` its own, as in the released script for
    orbits; the mean of several has less noise than the step asks for."""
