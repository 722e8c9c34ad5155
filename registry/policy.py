"""The promotion policy: named gates, and which of them a registered model must pass. `mlflow/promotion.yaml` holds it.

A figure is named as in the evaluation's tables (`psnr`, over the objects of a check's subset), or by its dotted place in
`metrics.json` (`geometry.unseen.chamfer_l1`, `unseen.model.fid`).
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from registry.parameters import RegisterParameters
from stage.errors import InputError, ParameterError
from stage.parameters import Parameters, nearest_remedy, validated


class ChampionBar(Parameters):
    """What a model must show against the champion, by the paired bootstrap over the objects that both were scored on."""

    ask: Literal["not_worse", "better"] = "not_worse"
    """`not_worse`: the interval's lower end is at least −margin. `better`: it is above the margin."""
    margin: float = Field(default=0.0, ge=0)
    """In the metric's unit."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the two-sided interval of the mean advantage."""


class CategoryBar(Parameters):
    """No category of objects may fall far behind the champion, however well the others do."""

    max_regression: float = Field(ge=0)
    """The mean over a category's objects may be worse than the champion's by this much, in the metric's unit."""
    least_objects: int = Field(default=3, ge=1)
    """Categories of fewer objects are not judged."""


class Check(Parameters):
    """One figure that is compared with baselines, and with the champion once there is one."""

    metric: str = Field(min_length=1)
    """The figure."""
    direction: Literal["higher", "lower"]
    """Which is better."""
    subset: Literal["unseen", "training"] = "unseen"
    """Objects it is taken over; of no meaning where the metric is a dotted place."""
    baselines: tuple[str, ...] = ()
    """Baselines to beat in the mean, by their names in metrics.json."""
    margin: float = Field(default=0.0, ge=0)
    """The model must be better than each baseline by more than this, in the metric's unit."""
    champion: ChampionBar | None = None
    """What is asked against the champion; nothing when null."""
    categories: CategoryBar | None = None
    """What is asked of each category of objects against the champion; nothing when null."""


class Limits(Parameters):
    """What a model may cost, measured where it is promoted."""

    size_mib: float | None = Field(default=None, gt=0)
    """Bytes of the pipeline's files, in MiB."""
    seconds_per_picture: float | None = Field(default=None, gt=0)
    """Median time of sampling one picture as the evaluation sampled, on the promoting machine."""


class Gate(Parameters):
    """All checks must pass, all required figures be there and all limits be kept."""

    name: str
    """Its name in the policy."""
    checks: tuple[Check, ...] = Field(min_length=1)
    """What is compared."""
    required: tuple[str, ...] = ()
    """Figures that the model must have as numbers, though nothing compares them."""
    baselines_always: bool = False
    """Whether later models must beat the baselines too, or only the first; yes where a laxer gate's champion may stand."""
    least_objects: int = Field(default=1, ge=1)
    """Objects that model and champion must both have been scored on, for every figure that objects have."""
    limits: Limits = Limits()
    """Size and latency."""


class Policy(Parameters):
    """The policy file."""

    models: dict[str, str] = Field(default_factory=dict)
    """The gate of each registered model, by its name."""
    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Gates by name."""


def gate_of(parameters: RegisterParameters, root: Path) -> Gate:
    """The gate that a registered model must pass: the one that the parameters name, or else the policy's for it.

    Args:
        parameters: model, gate and policy file.
        root: the workspace's.

    Raises:
        InputError: when the policy file is missing.
        ParameterError: when it is no policy, or names no gate for the model, or has none of that name.
    """
    path = root / parameters.policy
    if parameters.gate:
        return load_gate(path, parameters.gate)
    models = validated(Policy, _read(path), place=str(path)).models
    if parameters.model_name not in models:
        raise ParameterError(
            f"{path} names no gate for the model {parameters.model_name!r}", "add it to models, or set register.gate"
        )
    return load_gate(path, models[parameters.model_name])


def load_gate(path: Path, name: str) -> Gate:
    """The named gate of a policy file.

    Raises:
        InputError: when the file is missing.
        ParameterError: when it is no policy, has no such gate, or the gate has an unknown key or a bad value.
    """
    gates = validated(Policy, _read(path), place=str(path)).gates
    if name not in gates:
        raise ParameterError(
            f"{path} has no gate {name!r}", nearest_remedy(name, gates) if gates else "add it to gates"
        )
    place = f"{path}: gates.{name}"
    values = {"name": name, **gates[name]}
    if isinstance(values.get("checks"), list):
        # Each by itself, so that an unknown key is answered with the nearest key of a check.
        values["checks"] = [validated(Check, c, f"{place}.checks.{i}") for i, c in enumerate(values["checks"])]
    return validated(Gate, values, place)


def _read(path: Path) -> Any:  # noqa: ANN401 - any YAML value
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"no promotion policy {path}", "name one with register.policy") from None
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not YAML: {str(error).splitlines()[0]}", "mend the file") from None
