"""Promotion: the gate decides whether a version becomes champion; the decision is written down either way.

`models:/<model>@champion` is what serves. Its move is the one write that counts: a promotion that is killed before it leaves the
old champion, after it the new one with all its reasons, and running it again completes it. Promotions of one model follow one
another (`registry.claims`).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from registry.approval import Approval, approved, check_approval
from registry.card_publication import publish_cards
from registry.claims import HeldClaim, claimed
from registry.client import CHALLENGER, CHAMPION, holders, open_registry, version_of
from registry.decision import CheckResult, Decision
from registry.decision_record import AWAY_TAG, SINCE_TAG, decision_tags, log_decision, now, write_decision
from registry.evaluation_record import EvaluationRecord
from registry.footprint import Footprint, measured
from registry.gate import decide, gated_metrics
from registry.lineage import SHARDS_TAG, UNKNOWN
from registry.parameters import RegisterParameters
from registry.policy import Gate, gate_of
from registry.reevaluate import comparable_record, refresh
from registry.rollback import forget_pending
from registry.version_records import download_pipeline, own_record
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace


def promote(
    parameters: RegisterParameters,
    workspace: Workspace,
    version: str | None = None,
    override: str | None = None,
    approval: Approval | None = None,
) -> Decision:
    """Make a version champion if the gate lets it; a refused one keeps its alias, and the reason is written down.

    A champion whose figures do not compare is evaluated again first. Tags the version with `promotion.*` and `previous_champion`,
    logs `promotion/version-N.md` to its run, and writes `promotion.json` and `promotion.md` at the workspace's root.

    Args:
        parameters: the registered model, the policy and its gate.
        workspace: whose registry.
        version: number of the version; the challenger when None.
        override: a person's reason to promote although the gate refuses.
        approval: what a person said of a version that awaits approval.

    Raises:
        InputError: when the policy, the model, the version or its evaluation is missing, or MLflow refuses.
        ParameterError: when the policy has no such gate, or override or approval give no reason.
        ViewforgeError: when another process promotes this model and does not end.
    """
    if override is not None and not override.strip():
        raise ParameterError("the override gives no reason", "say why the gate's refusal does not hold")
    if approval:
        check_approval(approval)
    gate = gate_of(parameters, workspace.root)
    with open_registry(workspace) as client:
        promotion = _Promotion(client, parameters, workspace, gate, override, approval)
        decision = promotion.of(_candidate(client, parameters.model_name, version))
        # The champion's too: it may have been evaluated again.
        champion = holders(client, decision.model).get(CHAMPION)
        publish_cards(client, decision.model, (decision.version, champion, decision.previous_champion))
    write_decision(decision, workspace)
    return decision


def _candidate(client: MlflowClient, model: str, version: str | None) -> ModelVersion:
    aliases = holders(client, model)
    chosen = version or aliases.get(CHALLENGER) or aliases.get(CHAMPION)
    if chosen is None:
        raise InputError(f"{model} has no challenger", "name a version, or register a model: viewforge run does it")
    return version_of(client, model, str(chosen))


@dataclass(frozen=True)
class _Promotion:
    """One version before its gate."""

    client: MlflowClient
    parameters: RegisterParameters
    workspace: Workspace
    gate: Gate
    override: str | None
    approval: Approval | None

    def of(self, candidate: ModelVersion) -> Decision:
        """What takes long, evaluating and measuring, comes before the claim; what moves aliases under it."""
        ours, stale, footprint = None, {}, None
        if not self._is_champion(candidate):
            ours = own_record(self.client, candidate)
            stale = self._refreshed(candidate, ours)
            footprint = self._footprint(candidate, ours)
        with claimed(self.client, candidate.name) as claim:
            # As it is now: another promotion may have ended in between.
            candidate = version_of(self.client, candidate.name, str(candidate.version))
            aliases = holders(self.client, candidate.name)
            if str(candidate.version) == aliases.get(CHAMPION):
                return _standing(self.client, candidate, aliases)
            ours = ours or own_record(self.client, candidate)
            decision = self._decided(candidate, ours, aliases.get(CHAMPION), footprint, stale)
            return self._applied(candidate, _unless_rolled_back(decision, candidate), aliases, claim)

    def _is_champion(self, candidate: ModelVersion) -> bool:
        return holders(self.client, candidate.name).get(CHAMPION) == str(candidate.version)

    def _refreshed(self, candidate: ModelVersion, ours: EvaluationRecord) -> dict[str, str]:
        """Why the champion has no figures that compare, by its version; empty where it has."""
        champion = holders(self.client, candidate.name).get(CHAMPION)
        if champion is None:
            return {}
        version = version_of(self.client, candidate.name, champion)
        why = refresh(self.client, version, ours, gated_metrics(self.gate), self.workspace)
        return {champion: why} if why else {}

    def _footprint(self, candidate: ModelVersion, ours: EvaluationRecord) -> Footprint | None:
        limits = self.gate.limits
        if limits.size_mib is None and limits.seconds_per_picture is None:
            return None
        sampler = ours.basis.get("sampler") or {}
        # Gigabytes of a real model, for which /tmp may be too small.
        parent = self.workspace.scratch / "promotion"
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="footprint-", dir=parent) as folder:
            return measured(download_pipeline(candidate, Path(folder)), sampler, limits)

    def _decided(
        self,
        candidate: ModelVersion,
        ours: EvaluationRecord,
        champion: str | None,
        footprint: Footprint | None,
        stale: dict[str, str],
    ) -> Decision:
        if champion is None:
            decision = decide(self.gate, ours, footprint=footprint)
        else:
            version = version_of(self.client, candidate.name, champion)
            theirs = comparable_record(self.client, version, ours, gated_metrics(self.gate))
            why = stale.get(champion, f"version {champion} became champion meanwhile; run it again")
            decision = decide(self.gate, ours, theirs, footprint, None if theirs else why)
            decision = _with_remark(decision, candidate, version) if theirs else decision
        return replace(decision, model=candidate.name, version=str(candidate.version))

    def _applied(
        self, candidate: ModelVersion, decision: Decision, aliases: dict[str, str], claim: HeldClaim
    ) -> Decision:
        """Write the decision to the version's tags and run, then move the aliases: a champion always has its reasons."""
        decision = approved(decision, candidate.tags, self.parameters, self.approval)
        # A reason that was not needed is not recorded as one.
        used = None if decision.promoted else self.override
        decision = _overridden(decision, used) if used else decision
        held = next((alias for alias, number in aliases.items() if number == decision.version), None)
        champion = aliases.get(CHAMPION)
        alias, previous = (CHAMPION, champion) if decision.promoted else (held, None)
        decision = replace(decision, alias=alias, previous_champion=previous)
        _set_tags(self.client, decision, decision_tags(decision, used, self.approval))
        log_decision(self.client, str(candidate.run_id), decision)
        if decision.promoted:
            claim.check()
            self.client.set_registered_model_alias(decision.model, CHAMPION, decision.version)
            _settle(self.client, decision, aliases)
        return decision


def _with_remark(decision: Decision, candidate: ModelVersion, champion: ModelVersion) -> Decision:
    """A refusal that also says where the comparison may favour the champion: its training objects are not in its record."""
    ours, theirs = (version.tags.get(SHARDS_TAG, UNKNOWN) for version in (candidate, champion))
    if decision.promoted or ours == theirs or UNKNOWN in (ours, theirs):
        return decision
    remark = (
        f"version {champion.version} learnt from other shards than version {candidate.version}, and may know objects that are "
        "unseen here"
    )
    return replace(decision, reasons=(*decision.reasons, remark))


def _unless_rolled_back(decision: Decision, candidate: ModelVersion) -> Decision:
    """A version that people rolled back is refused, whatever its figures say."""
    why = candidate.tags.get(AWAY_TAG)
    if not why:
        return decision
    kept = () if decision.promoted else decision.reasons
    reasons = (f"version {candidate.version} was rolled back: {why}", *kept)
    return replace(decision, promoted=False, outcome="refused", reasons=reasons)


def _overridden(decision: Decision, override: str) -> Decision:
    kept = decision.reasons
    if decision.outcome == "refused":
        kept = tuple(f"the gate refused: {reason}" for reason in kept)
    elif decision.outcome == "awaiting approval":
        kept = kept[1:]
    reasons = (f"promoted by override: {override.strip()}", *kept)
    return replace(decision, promoted=True, outcome="promoted", reasons=reasons)


def _set_tags(client: MlflowClient, decision: Decision, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        client.set_model_version_tag(decision.model, decision.version, key, value)


def _settle(client: MlflowClient, decision: Decision, aliases: dict[str, str]) -> None:
    """What follows the champion's alias, now or in the next attempt."""
    # An override outlives the rollback that it overrode.
    _set_tags(client, decision, {SINCE_TAG: now(), AWAY_TAG: "", "promotion.decision": decision.outcome})
    forget_pending(client, decision.model)
    if aliases.get(CHALLENGER) == decision.version:
        client.delete_registered_model_alias(decision.model, CHALLENGER)


def _standing(client: MlflowClient, champion: ModelVersion, aliases: dict[str, str]) -> Decision:
    """The decision that made the present champion; nothing changes but what an interrupted promotion left undone."""
    tags = champion.tags
    decision = Decision(
        gate=tags.get("promotion.gate", ""),
        promoted=True,
        checks=tuple(CheckResult(**check) for check in json.loads(tags.get("promotion.checks", "[]"))),
        reasons=(
            f"version {champion.version} is the champion already",
            *tags.get("promotion.reasons", "").splitlines(),
        ),
        outcome="promoted",
        model=champion.name,
        version=str(champion.version),
        alias=CHAMPION,
        previous_champion=tags.get("previous_champion"),
    )
    if tags.get("promotion.decision") != "promoted" or aliases.get(CHALLENGER) == decision.version:
        _settle(client, decision, aliases)
    return decision
