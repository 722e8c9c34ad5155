"""The promotion gate: what a model must show before it becomes champion. Pure: records in, decision out.

Against the champion the figures of the same objects are paired, and the bootstrap over objects says how sure the mean advantage
is (`evaluation.statistics`). Against baselines means are compared.
"""

from collections.abc import Iterator

import pandas as pd

from evaluation.statistics import paired_difference
from registry.decision import CheckResult, Decision, from_checks
from registry.evaluation_record import EvaluationRecord
from registry.footprint import Footprint
from registry.policy import Check, Gate

CHAMPION_NAME = "champion"


def gated_metrics(gate: Gate) -> list[str]:
    """The figures that a gate compares with the champion's, so that they must have been measured alike."""
    return [check.metric for check in gate.checks if check.champion or check.categories]


def decide(
    gate: Gate,
    ours: EvaluationRecord,
    theirs: EvaluationRecord | None = None,
    footprint: Footprint | None = None,
    stale: str | None = None,
) -> Decision:
    """Whether a model may become champion.

    Args:
        gate: what is asked.
        ours: the model's evaluation.
        theirs: the champion's; None when there is no champion, or with `stale`.
        footprint: what the model costs; None where the gate has no limits.
        stale: why there is no evaluation of the champion that compares, where there is a champion.
    """
    if theirs is not None and stale is None:
        stale = _unlike(gate, ours, theirs)
    if stale is not None:
        return Decision(gate.name, promoted=False, checks=(), reasons=(stale,))
    results = [r for check in gate.checks for r in _results(gate, check, ours, theirs)]
    results += list(_within_limits(gate, footprint))
    missing = tuple(_missing_reason(ours, metric) for metric in gate.required if ours.figure(metric, "unseen") is None)
    return from_checks(gate.name, tuple(results), missing)


def _unlike(gate: Gate, ours: EvaluationRecord, theirs: EvaluationRecord) -> str | None:
    """Why figures of champion and model do not compare; None when they do."""
    differences = ours.differences(theirs, gated_metrics(gate))
    if not differences:
        return None
    return (
        f"the champion was evaluated on other terms than this model, so their figures do not compare: {'; '.join(differences)}; "
        "promote from a workspace whose evaluation is this model's, which evaluates the champion again"
    )


def _results(
    gate: Gate, check: Check, ours: EvaluationRecord, theirs: EvaluationRecord | None
) -> Iterator[CheckResult]:
    if theirs is None or gate.baselines_always:
        if not check.baselines:
            yield _present(check, ours)
        for name in check.baselines:
            yield _against_baseline(check, ours, name)
    if theirs is not None and check.champion:
        yield _against_champion(gate, check, ours, theirs)
    if theirs is not None and check.categories:
        yield _in_categories(check, ours, theirs)


def _present(check: Check, ours: EvaluationRecord) -> CheckResult:
    """Of a figure without baselines the first model is asked that it has it."""
    value = ours.figure(check.metric, check.subset)
    reason = (
        f"{_what(check)} is {value:.4f}" if value is not None else _missing_reason(ours, check.metric, check.subset)
    )
    return CheckResult(check.metric, value, None, "none", 0.0, value is not None, reason)


def _against_baseline(check: Check, ours: EvaluationRecord, name: str) -> CheckResult:
    value, reference = ours.figure(check.metric, check.subset), ours.figure(check.metric, check.subset, name)
    if value is None or reference is None:
        return _incomparable(check, ours, value, reference, name, check.margin)
    advantage = _sign(check) * (value - reference)
    passed = advantage > check.margin
    reason = (
        f"{_what(check)} {value:.4f} {'beats' if passed else 'does not beat'} {name}'s {reference:.4f} "
        f"by more than {check.margin:g}"
    )
    return CheckResult(check.metric, value, reference, name, check.margin, passed, reason, advantage)


def _incomparable(
    check: Check, ours: EvaluationRecord, value: float | None, reference: float | None, name: str, margin: float
) -> CheckResult:
    whose, why = ("the model", ours.why_missing(check.metric)) if value is None else (name, "")
    reason = f"{_what(check)} of {whose} is missing or not a number{why}, so it cannot be compared with {name}"
    return CheckResult(check.metric, value, reference, name, margin, passed=False, reason=reason)


def _against_champion(gate: Gate, check: Check, ours: EvaluationRecord, theirs: EvaluationRecord) -> CheckResult:
    assert check.champion  # noqa: S101 - the caller asked
    asked = check.champion.margin if check.champion.ask == "better" else 0.0 - check.champion.margin
    value, reference = (record.figure(check.metric, check.subset) for record in (ours, theirs))
    if value is None or reference is None:
        return _incomparable(check, ours, value, reference, CHAMPION_NAME, asked)
    pairs = _pairs(check, ours, theirs)
    if pairs is None:
        return _of_the_set(check, value, reference, asked)
    lost = int(pairs["ours"].isna().sum())
    pairs = pairs.dropna()
    if lost or len(pairs) < gate.least_objects:
        reason = _too_few(check, gate, len(pairs), lost)
        return CheckResult(
            check.metric, value, reference, CHAMPION_NAME, asked, passed=False, reason=reason, objects=len(pairs)
        )
    return _paired(check, pairs, value, reference, asked)


def _too_few(check: Check, gate: Gate, pairs: int, lost: int) -> str:
    if lost:
        return _lost(check, lost)
    return (
        f"{_what(check)} is known of {pairs} objects for both, and the gate {gate.name} asks for {gate.least_objects}"
    )


def _lost(check: Check, lost: int) -> str:
    return f"{_what(check)} is missing of {lost} object{'s' if lost > 1 else ''} on which the champion has it"


def _pairs(check: Check, ours: EvaluationRecord, theirs: EvaluationRecord) -> pd.DataFrame | None:
    """Figures of the objects that the champion has; None where objects have not this figure."""
    mine, champions = (record.of_objects(check.metric, check.subset) for record in (ours, theirs))
    if mine is None or champions is None:
        return None
    return pd.DataFrame({"theirs": champions}).join(mine.rename("ours"), how="left")


def _paired(check: Check, pairs: pd.DataFrame, value: float, reference: float, asked: float) -> CheckResult:
    assert check.champion  # noqa: S101 - the caller asked
    sign, bar = _sign(check), check.champion
    found = paired_difference(sign * pairs["ours"].to_numpy(), sign * pairs["theirs"].to_numpy(), bar.confidence)
    passed = found.low > asked if bar.ask == "better" else found.low >= asked
    verdict = _verdict(bar.ask, passed, bar.margin)
    reason = (
        f"{_what(check)} {value:.4f} {verdict} the champion's {reference:.4f}: {_words(found.mean)}, "
        f"{bar.confidence:.0%} interval {found.low:+.4f} to {found.high:+.4f}, better on {found.wins} of {found.count} objects"
    )
    return CheckResult(
        *(check.metric, value, reference, CHAMPION_NAME, asked, passed, reason, found.mean, found.low, found.high),
        *(bar.confidence, found.count, found.wins),
    )


def _of_the_set(check: Check, value: float, reference: float, asked: float) -> CheckResult:
    """A figure of a whole set, as FID, has no interval over objects."""
    assert check.champion  # noqa: S101 - the caller asked
    advantage = _sign(check) * (value - reference)
    better = check.champion.ask == "better"
    passed = advantage > asked if better else advantage >= asked
    verdict = _verdict(check.champion.ask, passed, check.champion.margin)
    reason = (
        f"{_what(check)} {value:.4f} {verdict} the champion's {reference:.4f}: {_words(advantage)}, "
        "a figure of the whole set, without an interval"
    )
    return CheckResult(check.metric, value, reference, CHAMPION_NAME, asked, passed, reason, advantage)


def _verdict(ask: str, passed: bool, margin: float) -> str:
    if ask == "better":
        return f"is {'' if passed else 'not '}shown to be better by more than {margin:g} than"
    return f"is {'' if passed else 'not shown to be '}no worse by more than {margin:g} than"


def _in_categories(check: Check, ours: EvaluationRecord, theirs: EvaluationRecord) -> CheckResult:
    """The category that fell furthest behind, among those with objects enough."""
    assert check.categories  # noqa: S101 - the caller asked
    bar, asked = check.categories, 0.0 - check.categories.max_regression
    pairs = _pairs(check, ours, theirs)
    if pairs is None:
        reason = f"{_what(check)} is no figure of objects, so categories cannot be told apart"
        return CheckResult(check.metric, None, None, "categories", asked, passed=False, reason=reason)
    lost = int(pairs["ours"].isna().sum())
    if lost and not check.champion:
        reason = _lost(check, lost)
        return CheckResult(check.metric, None, None, "categories", asked, passed=False, reason=reason)
    advantages = _sign(check) * (pairs["ours"] - pairs["theirs"]).dropna()
    groups = advantages.groupby(ours.categories(check.subset).reindex(advantages.index, fill_value=""))
    means = groups.mean()[groups.size() >= bar.least_objects]
    if means.empty:
        reason = f"{_what(check)}: no category has {bar.least_objects} objects, so none is judged"
        return CheckResult(check.metric, None, None, "categories", asked, passed=True, reason=reason)
    name, worst = means.idxmin(), float(means.min())
    passed = worst >= asked
    reason = (
        f"{_what(check)} by category: {name or 'objects without a category'} {_words(worst)}, "
        f"{'within' if passed else 'beyond'} the {bar.max_regression:g} that a category may lose ({len(means)} judged)"
    )
    return CheckResult(check.metric, None, None, f"category {name}", asked, passed, reason, worst)


def _within_limits(gate: Gate, footprint: Footprint | None) -> Iterator[CheckResult]:
    for name in ("size_mib", "seconds_per_picture"):
        limit = getattr(gate.limits, name)
        if limit is None:
            continue
        value = getattr(footprint, name) if footprint else None
        passed = value is not None and value <= limit
        words = f"{value:.4g}" if value is not None else "not available"
        reason = f"{name} {words} is {'within' if passed else 'not within'} the limit of {limit:g}"
        yield CheckResult(name, value, limit, "limit", 0.0, passed, reason)


def _missing_reason(ours: EvaluationRecord, metric: str, subset: str = "unseen") -> str:
    what = metric if "." in metric else f"{subset} {metric}"
    return f"{what} is required and missing or not a number{ours.why_missing(metric)}"


def _what(check: Check) -> str:
    return check.metric if "." in check.metric else f"{check.subset} {check.metric}"


def _words(advantage: float) -> str:
    if advantage == 0:
        return "equal"
    return f"{abs(advantage):.4f} {'better' if advantage > 0 else 'worse'}"


def _sign(check: Check) -> float:
    return 1.0 if check.direction == "higher" else -1.0
