"""Promotion: the gate decides whether a version becomes champion; the decision is written down either way.

`models:/<model>@champion` is what serves. Moving an alias has no compare-and-set in MLflow, so promotions of one model
must not run at once; the flow sees to that.
"""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.client import CHALLENGER, CHAMPION, holders, open_registry, version_of
from registry.gate import CheckResult, Decision, Gate, decide, load_gate
from registry.parameters import RegisterParameters
from stage.errors import InputError, ParameterError
from stage.files import write_json
from stage.workspace import Workspace

DECISION_FILE = "promotion.json"


def promote(
    parameters: RegisterParameters, workspace: Workspace, version: str | None = None, override: str | None = None
) -> Decision:
    """Make a version champion if the gate lets it; a refused one keeps its alias, and the reason is written down.

    Tags the version with `promotion.*` and `previous_champion`, and writes `promotion.json` at the workspace's root.

    Args:
        parameters: the registered model, the policy and its gate.
        workspace: whose registry.
        version: number of the version; the challenger when None.
        override: a person's reason to promote although the gate refuses.

    Raises:
        InputError: when the policy, the model, the version or its evaluation is missing, or MLflow refuses.
        ParameterError: when the policy has no such gate, or the override gives no reason.
    """
    if override is not None and not override.strip():
        raise ParameterError("the override gives no reason", "say why the gate's refusal does not hold")
    gate = load_gate(workspace.root / parameters.policy, parameters.gate)
    with open_registry(workspace) as client:
        aliases = holders(client, parameters.model_name)
        candidate = _candidate(client, parameters.model_name, version, aliases)
        if str(candidate.version) == aliases.get(CHAMPION):
            decision = _standing(client, candidate, aliases)
        else:
            decision = _decided(client, candidate, gate, aliases.get(CHAMPION))
            # A reason that was not needed is not recorded as one.
            used = None if decision.promoted else override
            decision = _applied(client, _overridden(decision, used), aliases, used)
    write_json(workspace.root / DECISION_FILE, decision.to_json())
    return decision


def read_decision(workspace: Workspace) -> dict[str, Any] | None:
    """The last decision in this workspace, as `promotion.json` holds it; None before the first."""
    path = workspace.root / DECISION_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def _candidate(client: MlflowClient, model: str, version: str | None, aliases: dict[str, str]) -> ModelVersion:
    chosen = version or aliases.get(CHALLENGER) or aliases.get(CHAMPION)
    if chosen is None:
        raise InputError(f"{model} has no challenger", "name a version, or register a model: viewforge run does it")
    return version_of(client, model, str(chosen))


def _metrics(version: ModelVersion) -> dict[str, Any]:
    """The figures that a version was registered with; empty when it was registered by other means."""
    metrics: dict[str, Any] = json.loads(version.tags.get("evaluation.metrics", "{}"))
    return metrics


def _decided(client: MlflowClient, candidate: ModelVersion, gate: Gate, champion: str | None) -> Decision:
    metrics = _metrics(candidate)
    if not metrics:
        raise InputError(f"version {candidate.version} of {candidate.name} carries no evaluation", "register it again")
    champion_metrics = _metrics(version_of(client, candidate.name, champion)) if champion else None
    return replace(decide(gate, metrics, champion_metrics), model=candidate.name, version=str(candidate.version))


def _overridden(decision: Decision, override: str | None) -> Decision:
    if override is None:
        return decision
    refusal = tuple(f"the gate refused: {reason}" for reason in decision.reasons)
    return replace(decision, promoted=True, reasons=(f"promoted by override: {override.strip()}", *refusal))


def _applied(client: MlflowClient, decision: Decision, aliases: dict[str, str], override: str | None) -> Decision:
    """Write the decision to the version's tags, then move the aliases: a champion always has its reasons."""
    champion = aliases.get(CHAMPION)
    held = next((alias for alias, number in aliases.items() if number == decision.version), None)
    alias = CHAMPION if decision.promoted else held
    decision = replace(decision, alias=alias, previous_champion=champion if decision.promoted else None)
    for key, value in _tags(decision, override).items():
        client.set_model_version_tag(decision.model, decision.version, key, value)
    if decision.promoted:
        client.set_registered_model_alias(decision.model, CHAMPION, decision.version)
        _drop_challenger(client, decision, aliases)
    return decision


def _drop_challenger(client: MlflowClient, decision: Decision, aliases: dict[str, str]) -> None:
    if aliases.get(CHALLENGER) == decision.version:
        client.delete_registered_model_alias(decision.model, CHALLENGER)


def _tags(decision: Decision, override: str | None) -> dict[str, str]:
    outcome = "promoted" if decision.promoted else "refused"
    tags = {
        "promotion.decision": outcome,
        "promotion.gate": decision.gate,
        "promotion.reasons": "\n".join(decision.reasons),
        "promotion.checks": json.dumps([asdict(check) for check in decision.checks]),
        "promotion.override": override or "",
        "promotion.time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return tags | ({"previous_champion": decision.previous_champion} if decision.previous_champion else {})


def _standing(client: MlflowClient, champion: ModelVersion, aliases: dict[str, str]) -> Decision:
    """The decision that made the present champion; nothing changes but an alias left by an interrupted promotion."""
    tags = champion.tags
    decision = Decision(
        gate=tags.get("promotion.gate", ""),
        promoted=True,
        checks=tuple(CheckResult(**check) for check in json.loads(tags.get("promotion.checks", "[]"))),
        reasons=(
            f"version {champion.version} is the champion already",
            *tags.get("promotion.reasons", "").splitlines(),
        ),
        model=champion.name,
        version=str(champion.version),
        alias=CHAMPION,
        previous_champion=tags.get("previous_champion"),
    )
    _drop_challenger(client, decision, aliases)
    return decision
