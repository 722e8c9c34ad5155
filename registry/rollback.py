"""Rollback: the champion of before serves again. Written down on both versions, and serialised with promotions.

What is meant is written first, as a tag of the registered model, so that a rollback that was killed is completed by the next
call and never goes one version too far.
"""

import json
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.card_publication import publish_cards
from registry.claims import HeldClaim, claimed
from registry.client import CHAMPION, holders, open_registry, version_of
from registry.decision import Decision
from registry.decision_record import AWAY_TAG, SINCE_TAG, log_decision, now, write_decision
from registry.version_records import has_run
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PENDING_TAG = "rollback.pending"


@dataclass(frozen=True)
class _Step:
    """One rollback."""

    away: str
    to: str
    reason: str


def roll_back(workspace: Workspace, model: str, reason: str, to: str | None = None) -> Decision:
    """Make an earlier champion the champion again.

    The version that is left is tagged `rollback.away` with the reason; the gate refuses it from then on without an override. The
    other is tagged `rollback.from`, `rollback.reason` and `rollback.time`.

    Args:
        workspace: whose registry.
        model: the registered model.
        reason: why.
        to: number of the version; the one that the present champion replaced when None.

    Raises:
        InputError: when there is no champion, no earlier one, or `to` never was one.
        ParameterError: when no reason is given.
        ViewforgeError: when another process promotes this model and does not end.
    """
    if not reason.strip():
        raise ParameterError("the rollback gives no reason", "say why with --reason")
    with open_registry(workspace) as client:
        holders(client, model)
        with claimed(client, model) as claim:
            step = _pending(client, model, to) or _step(client, model, reason.strip(), to)
            target = version_of(client, model, step.to)
            decision = _decision(target, step)
            _move(client, target, step, decision, claim)
        publish_cards(client, model, (step.to, step.away))
    write_decision(decision, workspace)
    return decision


def _step(client: MlflowClient, model: str, reason: str, to: str | None) -> _Step:
    champion = holders(client, model).get(CHAMPION)
    if champion is None:
        raise InputError(f"{model} has no champion to roll back", "promote a version: viewforge promote")
    target = to or _earlier(client, model, champion)
    if not target:
        raise InputError(
            f"version {champion} of {model} replaced no champion that is left", "name a version with --to"
        )
    if target == champion:
        raise InputError(f"version {champion} of {model} is the champion already", "name another version with --to")
    tags = version_of(client, model, target).tags
    if to and not tags.get(SINCE_TAG) and tags.get("promotion.decision") != "promoted":
        raise InputError(f"version {to} of {model} never was champion", f"viewforge promote --version {to}")
    return _Step(champion, str(target), reason)


def _earlier(client: MlflowClient, model: str, champion: str) -> str | None:
    """The nearest champion before, that was not rolled back itself."""
    tags = {str(version.version): version.tags for version in client.search_model_versions(f"name = '{model}'")}
    seen, target = {champion}, tags[champion].get("previous_champion")
    while target in tags and target not in seen:
        if not tags[target].get(AWAY_TAG):
            return str(target)
        seen, target = {*seen, target}, tags[target].get("previous_champion")
    return None


def _pending(client: MlflowClient, model: str, to: str | None) -> _Step | None:
    """A rollback that was begun and not completed, where the aliases are as it left them and it is the one that is asked for."""
    value = client.get_registered_model(model).tags.get(PENDING_TAG)
    step = _Step(**json.loads(value)) if value else None
    if step is None or to not in (None, step.to):
        return None
    return step if holders(client, model).get(CHAMPION) in (step.away, step.to) else None


def forget_pending(client: MlflowClient, model: str) -> None:
    """Drop a rollback that was begun and not completed: a promotion came after it."""
    if PENDING_TAG in client.get_registered_model(model).tags:
        client.delete_registered_model_tag(model, PENDING_TAG)


def _decision(target: ModelVersion, step: _Step) -> Decision:
    return Decision(
        gate="",
        promoted=True,
        checks=(),
        reasons=(f"rolled back from version {step.away}: {step.reason}",),
        outcome="rolled back",
        model=target.name,
        version=step.to,
        alias=CHAMPION,
        previous_champion=step.away,
    )


def _move(client: MlflowClient, target: ModelVersion, step: _Step, decision: Decision, claim: HeldClaim) -> None:
    """Each write may be repeated; the champion's alias moves after all that explains it."""
    model, time = target.name, now()
    client.set_registered_model_tag(model, PENDING_TAG, json.dumps(asdict(step)))
    client.set_model_version_tag(model, step.away, AWAY_TAG, f"{step.reason} ({time}, to version {step.to})")
    for key, value in {"from": step.away, "reason": step.reason, "time": time}.items():
        client.set_model_version_tag(model, step.to, f"rollback.{key}", value)
    client.set_model_version_tag(model, step.to, AWAY_TAG, "")
    if has_run(client, target):
        log_decision(client, str(target.run_id), decision)
    claim.check()
    client.set_registered_model_alias(model, CHAMPION, step.to)
    client.delete_registered_model_tag(model, PENDING_TAG)
