"""A decision as a page of Markdown, for people: in the workspace, with the version's run and in Prefect."""

from registry.decision import CheckResult, Decision

_VERDICTS = {
    "promoted": "is champion",
    "refused": "is not promoted",
    "awaiting approval": "passed its gate and waits for a person's approval",
    "rejected": "passed its gate and was rejected by a person",
    "rolled back": "is champion again",
}
_HEADER = (
    "| figure | model | against | reference | advantage | interval | asked | objects | check |",
    "|---|--:|---|--:|--:|---|--:|--:|---|",
)


def decision_markdown(decision: Decision) -> str:
    """The decision with its reasons and numbers."""
    lines = [f"# {decision.model} version {decision.version} {_VERDICTS[decision.outcome]}", ""]
    gate = f"Gate: `{decision.gate}`. " if decision.gate else ""
    previous = f"Champion before: version {decision.previous_champion}." if decision.previous_champion else ""
    lines += [f"{gate}{previous}".strip(), ""] if gate or previous else []
    lines += [f"- {reason}" for reason in decision.reasons]
    if decision.checks:
        lines += ["", *_HEADER, *(_row(check) for check in decision.checks), ""]
        lines += [
            "Advantages are in the figure's unit, positive where the model is better; *asked* is what the gate wants."
        ]
    return "\n".join(lines) + "\n"


def _row(check: CheckResult) -> str:
    interval = ""
    if check.low is not None and check.high is not None and check.confidence is not None:
        interval = f"{check.low:+.4g} … {check.high:+.4g} ({check.confidence:.0%})"
    objects = "" if check.objects is None else str(check.objects)
    cells = [
        *(check.metric, _number(check.value), check.reference_name, _number(check.reference)),
        *("" if check.advantage is None else f"{check.advantage:+.4g}", interval, f"{check.margin:+g}"),
        *(objects, "passed" if check.passed else "**failed**"),
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
