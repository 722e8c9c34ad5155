"""Parameters of registering and promoting."""

from typing import Literal

from pydantic import Field

from stage.parameters import Parameters


class RegisterParameters(Parameters):
    """Under which name a model is registered, and which gate it must pass."""

    model_name: str = Field(default="viewforge-zero123", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    """Name of the registered model in MLflow."""
    gate: str | None = None
    """Name of a gate in the policy: `embedded` for the few minutes' training of the default, `production` for real runs. The one
    that the policy names for the model when null."""
    policy: str = "mlflow/promotion.yaml"
    """The policy file, relative to the workspace."""
    approval: Literal["none", "required"] = "none"
    """Whether a person must agree before a model that passed its gate becomes champion (docs/promotion.md)."""
    data: Literal["push", "check", "leave"] = "check"
    """Of a newly registered version: bring its data to the DVC remote, say whether they are there, or neither
    (docs/data-versions.md)."""
    approval_seconds: int = Field(default=86_400, ge=1)
    """How long a flow waits for that person; afterwards it fails, and `viewforge promote --approve` still does it."""
