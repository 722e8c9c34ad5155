"""Parameters of what is kept: the section `retention` of params.yaml. None of them makes a stage stale."""

from pydantic import Field

from stage.parameters import Parameters


class RetentionParameters(Parameters):
    """What `viewforge gc` lists, and with `--delete` removes."""

    days: int = Field(default=30, ge=1)
    """Runs and logged models that no version needs are kept so long after they ended; deleted runs too, in MLflow's bin."""
    versions: int | None = Field(default=None, ge=1)
    """Newest versions that are kept; all when null. Those with an alias, former champions, those that await approval and those
    tagged `keep` are kept whatever their age."""
    scratch_days: int = Field(default=30, ge=1)
    """Work in scratch that nobody touched for so long goes; a stage that needs it makes it again, or unpacks it."""
    predictions_days: int = Field(default=30, ge=1)
    """The same of an evaluation's kept predictions."""
    logs_days: int = Field(default=30, ge=1)
    """The same of the older logs of services."""
