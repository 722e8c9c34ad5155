"""Parameters of scoring folders of pictures: `viewforge evaluate --predictions`, or a YAML file given with `--parameters`."""

from pydantic import Field, field_validator

from evaluation.folders.layout import view_name
from evaluation.folders.meshes import Alignment
from evaluation.folders.pictures import Filter
from evaluation.metrics.parameters import MetricParameters
from evaluation.parameters import GeometryParameters
from stage.executor import ExecutorParameters
from stage.parameters import Parameters


class FolderParameters(Parameters):
    """What is scored, and how what differs is treated."""

    input_view: str | None = None
    """The view that the system was given: not scored, and copied as the baseline `copy_input`; all views are scored when null."""
    resize: Filter | None = None
    """Filter that brings predictions of another size to the truth's; another size is refused when null."""
    sample: int = Field(default=0, ge=0)
    """Which strip of views, where there are several of an object."""
    align: Alignment = "none"
    """Frame of the meshes (`evaluation.folders.meshes`)."""
    yaw_deg: dict[str, float] = Field(default_factory=dict)
    """Degrees by which an object's true mesh is turned about Z, counter-clockwise seen from above; 0 of an object without."""
    metrics: MetricParameters = MetricParameters()
    """Figures about pictures."""
    geometry: GeometryParameters = GeometryParameters()
    """Figures about meshes, where both folders have some."""
    max_missing: int = Field(default=0, ge=0)
    """Objects of the truth that may lack a figure before the command ends with status 1. The figures are written either way."""
    executor: ExecutorParameters = ExecutorParameters(recycle_after=100_000, memory_limit_gib=4.0)
    """Worker processes that score."""

    @field_validator("input_view", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        """`000` and 0 are the same view."""
        return None if value is None else view_name(str(value))

    def decisive(self) -> dict[str, object]:
        """The values that figures depend on, as JSON; those of one object's mesh are added where it is scored."""
        return self.model_dump(mode="json", exclude={"executor", "max_missing", "yaw_deg"})
