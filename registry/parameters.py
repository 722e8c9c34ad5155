"""Parameters of registering and promoting."""

from pydantic import Field

from stage.parameters import Parameters


class RegisterParameters(Parameters):
    """Under which name a model is registered, and which gate it must pass."""

    model_name: str = Field(default="viewforge-zero123", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")
    """Name of the registered model in MLflow."""
    gate: str = "embedded"
    """Name of a gate in the policy: `embedded` for the few minutes' training of the default, `production` for real runs."""
    policy: str = "mlflow/promotion.yaml"
    """The policy file, relative to the workspace."""
