"""Parameters of ZeroNVS: those of Zero-1-to-3, whose network it is, and how it is told of cameras."""

from pydantic import Field, ValidationInfo, field_validator

from stage.errors import ParameterError
from systems.zero123.parameters import Zero123Parameters
from systems.zeronvs.modes import RELEASED_MODE, ConditioningMode, known_mode


class ZeroNvsParameters(Zero123Parameters):
    """ZeroNVS' modules, diffusion and conditioning.

    `pretrained` may name a `Zero123Pipeline` folder, from which ZeroNVS is fine-tuned as published, or a `ZeroNvsPipeline`
    folder of the same mode.
    """

    mode: ConditioningMode = RELEASED_MODE
    """How cameras become a pose vector (`conditioning`); the released model's is `7dof_quantile_scale`, the published YAML says
    `3dof`, and its script `7dof_qs`, which is none."""
    units_per_metre: float | None = Field(default=None, gt=0)
    """Scene units in a metre, the same in all data; `7dof_metric_scale` needs it, the other modes pass it over."""

    @field_validator("mode", mode="before")
    @classmethod
    def _is_known(cls, value: object) -> ConditioningMode:
        try:
            return known_mode(str(value))
        except ParameterError as error:
            raise ValueError(str(error)) from None

    @field_validator("units_per_metre")
    @classmethod
    def _is_given_where_needed(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and info.data.get("mode") == "7dof_metric_scale":
            raise ValueError(
                "the mode 7dof_metric_scale divides by the scene units in a metre, and nothing measures them"
            )
        return value
