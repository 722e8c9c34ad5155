"""The promotion gate: what a model must show before it becomes champion, and the decision with its reasons.

The policy file holds named gates. `decide` is pure: metrics in, decision out.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from stage.errors import InputError, ParameterError
from stage.parameters import Parameters, nearest_remedy, validated


class Check(Parameters):
    """One metric that is compared with baselines, and with the champion once there is one."""

    metric: Literal["psnr", "ssim", "lpips"]
    """The figure."""
    higher_is_better: bool
    """Its direction: yes for PSNR and SSIM, no for LPIPS."""
    subset: Literal["unseen", "training"] = "unseen"
    """Objects it is taken over."""
    baselines: tuple[str, ...] = Field(min_length=1)
    """Baselines to beat, by their names in metrics.json."""
    margin: float = Field(default=0.0, ge=0)
    """The model must be better than each baseline by more than this, in the metric's unit."""
    champion_tolerance: float = Field(default=0.0, ge=0)
    """The model may be worse than the champion by this much, in the metric's unit."""


class Gate(Parameters):
    """All checks must pass."""

    name: str
    """Its name in the policy."""
    checks: tuple[Check, ...] = Field(min_length=1)
    """What is compared."""
    baselines_always: bool = False
    """Whether later models must beat the baselines too, or only the first; yes where a laxer gate's champion may stand."""


class Policy(Parameters):
    """The policy file."""

    gates: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Gates by name."""


@dataclass(frozen=True)
class CheckResult:
    """One comparison. `margin` is the advantage over the reference that was asked for: negative where worse is tolerated."""

    metric: str
    value: float | None
    reference: float | None
    reference_name: str
    margin: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class Decision:
    """What the gate says and, once a registry acted on it, which version holds which alias.

    `reasons` are the failed checks of a refusal, or all checks of a promotion.
    """

    gate: str
    promoted: bool
    checks: tuple[CheckResult, ...]
    reasons: tuple[str, ...]
    model: str = ""
    version: str = ""
    alias: str | None = None
    previous_champion: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The content of promotion.json."""
        values = asdict(self)
        values["reasons"] = list(self.reasons)
        values["checks"] = [{k: v for k, v in asdict(c).items() if k != "reason"} for c in self.checks]
        return values


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


def decide(gate: Gate, metrics: Mapping[str, Any], champion_metrics: Mapping[str, Any] | None = None) -> Decision:
    """Whether a model may become champion.

    Args:
        gate: what is asked.
        metrics: the model's metrics.json.
        champion_metrics: the champion's; None when there is no champion.
    """
    if champion_metrics is not None and not _same_data(metrics, champion_metrics):
        return Decision(gate.name, promoted=False, checks=(), reasons=(_other_data(metrics, champion_metrics),))
    results = tuple(r for check in gate.checks for r in _results(gate, check, metrics, champion_metrics))
    failed = tuple(result.reason for result in results if not result.passed)
    return Decision(gate.name, not failed, results, failed or tuple(result.reason for result in results))


def _same_data(metrics: Mapping[str, Any], champion_metrics: Mapping[str, Any]) -> bool:
    data = metrics.get("data_sha256")
    return data is not None and data == champion_metrics.get("data_sha256")


def _other_data(metrics: Mapping[str, Any], champion_metrics: Mapping[str, Any]) -> str:
    ours, theirs = (str(m.get("data_sha256"))[:12] for m in (metrics, champion_metrics))
    return (
        f"the champion was evaluated on other data ({theirs}) than this model ({ours}), so their figures do not compare; "
        "evaluate the champion on this data and register it again, promote that version with an override, then this one"
    )


def _results(
    gate: Gate, check: Check, metrics: Mapping[str, Any], champion_metrics: Mapping[str, Any] | None
) -> Iterator[CheckResult]:
    value = _figure(metrics, check, "model")
    if champion_metrics is None or gate.baselines_always:
        for name in check.baselines:
            yield _compared(check, value, name, _figure(metrics, check, name), check.margin)
    if champion_metrics is not None:
        reference = _figure(champion_metrics, check, "model")
        yield _compared(check, value, "champion", reference, 0.0 - check.champion_tolerance)


def _figure(metrics: Mapping[str, Any], check: Check, whose: str) -> float | None:
    """A finite figure, or None where it is missing, "not available" or NaN."""
    figures = metrics.get(check.subset)
    row = figures.get(whose) if isinstance(figures, Mapping) else None
    value = row.get(check.metric) if isinstance(row, Mapping) else None
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and value is not None else None


def _compared(check: Check, value: float | None, name: str, reference: float | None, margin: float) -> CheckResult:
    what = f"{check.subset} {check.metric}"
    if value is None or reference is None:
        whose = "the model" if value is None else name
        reason = f"{what} of {whose} is missing or not a number, so it cannot be compared with {name}"
        return CheckResult(check.metric, value, reference, name, margin, passed=False, reason=reason)
    advantage = value - reference if check.higher_is_better else reference - value
    if name == "champion":
        passed = advantage >= margin
        verdict = f"{'is not' if passed else 'is'} worse than the champion's {reference:.4f} by more than {-margin:g}"
    else:
        passed = advantage > margin
        verdict = f"{'beats' if passed else 'does not beat'} {name}'s {reference:.4f} by more than {margin:g}"
    return CheckResult(check.metric, value, reference, name, margin, passed, f"{what} {value:.4f} {verdict}")
