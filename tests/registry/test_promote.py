"""Promotion with MLflow on SQLite: who is champion, why, and what is written down."""

import json
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient

from registry.decision_record import read_decision
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name


def aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(MODEL).aliases.items()}


def tags(client: MlflowClient, version: str) -> dict[str, str]:
    return dict(client.get_model_version(MODEL, version).tags)


def test_the_first_model_that_beats_the_baseline_becomes_champion(workspace: Workspace, client: MlflowClient):
    register(PARAMETERS, workspace)
    assert read_decision(workspace) is None
    decision = promote(PARAMETERS, workspace)
    assert (decision.promoted, decision.alias, decision.previous_champion) == (True, "champion", None)
    assert aliases(client) == {"champion": "1"}
    assert tags(client, "1")["promotion.decision"] == "promoted"
    assert "previous_champion" not in tags(client, "1")
    assert read_decision(workspace) == json.loads((workspace.root / "promotion.json").read_text())
    assert read_decision(workspace) == decision.to_json()


def test_a_worse_model_stays_challenger_and_the_reason_is_written_down(
    champion: Workspace, train: Callable[..., str], client: MlflowClient
):
    assert train("second", psnr=18.0) == "2"
    decision = promote(PARAMETERS, champion)
    reason = (
        "unseen psnr 18.0000 is not shown to be no worse by more than 0.5 than the champion's 20.0000: 2.0000 worse, "
        "80% interval -2.0000 to -2.0000, better on 0 of 6 objects"
    )
    assert (decision.promoted, decision.alias, decision.reasons) == (False, "challenger", (reason,))
    assert aliases(client) == {"champion": "1", "challenger": "2"}
    noted = tags(client, "2")
    assert (noted["promotion.decision"], noted["promotion.gate"]) == ("refused", "embedded")
    assert noted["promotion.reasons"] == reason
    assert json.loads(noted["promotion.checks"])[0]["reference"] == 20.0
    assert read_decision(champion) == decision.to_json()


def test_a_better_model_replaces_the_champion_and_remembers_it(
    champion: Workspace, train: Callable[..., str], client: MlflowClient
):
    train("second", psnr=21.0)
    decision = promote(PARAMETERS, champion)
    assert (decision.promoted, decision.previous_champion) == (True, "1")
    assert aliases(client) == {"champion": "2"}
    assert tags(client, "2")["previous_champion"] == "1"


def test_a_persons_reason_overrides_the_gate_and_is_recorded(
    champion: Workspace, train: Callable[..., str], client: MlflowClient
):
    train("second", psnr=18.0)
    decision = promote(PARAMETERS, champion, override="the old one is biased")
    assert decision.promoted
    assert decision.reasons[0] == "promoted by override: the old one is biased"
    assert decision.reasons[1].startswith("the gate refused: unseen psnr 18.0000 is not shown to be no worse")
    assert not decision.checks[0].passed
    assert aliases(client) == {"champion": "2"}
    assert tags(client, "2")["promotion.override"] == "the old one is biased"


def test_an_override_that_is_not_needed_changes_nothing(
    champion: Workspace, train: Callable[..., str], client: MlflowClient
):
    train("second", psnr=21.0)
    decision = promote(PARAMETERS, champion, override="just in case")
    assert not any("override" in reason for reason in decision.reasons)
    assert tags(client, "2")["promotion.override"] == ""


def test_the_champion_is_told_so_and_nothing_changes(champion: Workspace, client: MlflowClient):
    before = tags(client, "1")
    again = promote(PARAMETERS, champion)
    why = "unseen psnr 20.0000 beats copy_input's 15.0000 by more than 0"
    assert again.reasons == ("version 1 is the champion already", why)
    assert (again.promoted, again.alias, again.checks[0].reference) == (True, "champion", 15.0)
    assert promote(PARAMETERS, champion) == again
    assert tags(client, "1") == before
    assert aliases(client) == {"champion": "1"}


def test_a_promotion_killed_between_the_two_aliases_is_finished_by_the_next(champion: Workspace, client: MlflowClient):
    client.set_registered_model_alias(MODEL, "challenger", "1")
    assert promote(PARAMETERS, champion).promoted
    assert aliases(client) == {"champion": "1"}


def test_a_named_version_can_be_brought_back(champion: Workspace, train: Callable[..., str], client: MlflowClient):
    train("second", psnr=20.1)
    promote(PARAMETERS, champion)
    train("third", psnr=5.0)
    decision = promote(PARAMETERS, champion, version="1")
    assert (decision.version, decision.promoted, decision.previous_champion) == ("1", True, "2")
    assert aliases(client) == {"champion": "1", "challenger": "3"}, "another challenger keeps its alias"


def test_the_production_gate_asks_more(workspace: Workspace, finish: Callable[..., None]):
    finish("first", psnr=15.5)
    register(PARAMETERS, workspace)
    decision = promote(RegisterParameters(gate="production"), workspace)
    assert [c.reference_name for c in decision.checks if not c.passed] == ["mean_image"]
    assert promote(PARAMETERS, workspace).promoted


def test_nothing_registered_is_one_line(workspace: Workspace):
    with pytest.raises(InputError, match=r"no model is registered as 'viewforge-zero123'; register one first"):
        promote(PARAMETERS, workspace)


def test_an_unknown_version_is_answered_with_those_there_are(champion: Workspace):
    with pytest.raises(InputError, match=r"has no version '7'; its versions are 1"):
        promote(PARAMETERS, champion, version="7")


def test_an_unknown_gate_is_answered_with_the_nearest(workspace: Workspace):
    with pytest.raises(ParameterError, match=r"has no gate 'prodution'; did you mean production\?"):
        promote(RegisterParameters(gate="prodution"), workspace)


def test_a_missing_policy_is_one_line(workspace: Workspace):
    with pytest.raises(InputError, match=r"no promotion policy .*nowhere\.yaml"):
        promote(RegisterParameters(policy="nowhere.yaml"), workspace)


def test_an_override_must_give_its_reason(workspace: Workspace):
    with pytest.raises(ParameterError, match="gives no reason"):
        promote(PARAMETERS, workspace, override=" ")


def test_a_version_registered_by_other_means_is_one_line(champion: Workspace, client: MlflowClient):
    version = client.create_model_version(MODEL, champion.model.as_uri())
    with pytest.raises(InputError, match="carries no evaluation"):
        promote(PARAMETERS, champion, version=str(version.version))


def test_no_challenger_is_one_line(workspace: Workspace, client: MlflowClient):
    client.create_registered_model(MODEL)
    with pytest.raises(InputError, match="has no challenger"):
        promote(PARAMETERS, workspace)


def test_a_champion_that_came_meanwhile_is_not_given_the_reason_of_the_one_before(
    champion: Workspace, train: Callable[..., str], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
):
    train("second", psnr=20.5)
    train("third", psnr=21.0)

    def slow(*_: object) -> str:
        client.set_registered_model_alias(MODEL, "champion", "2")
        return "the champion, version 1, cannot be evaluated again"

    monkeypatch.setattr("registry.promote.refresh", slow)
    monkeypatch.setattr("registry.promote.comparable_record", lambda *_: None)
    decision = promote(PARAMETERS, champion, version="3")
    assert decision.reasons == ("version 2 became champion meanwhile; run it again",)


def test_a_refusal_says_where_the_champion_may_know_what_the_model_has_not_seen(
    champion: Workspace, train: Callable[..., str]
):
    (champion.shards / "index.parquet").write_text("another split")
    train("second", psnr=18.0)
    remark = "version 1 learnt from other shards than version 2, and may know objects that are unseen here"
    assert promote(PARAMETERS, champion).reasons[1:] == (remark,)
    train("third", psnr=22.0)
    assert remark not in promote(PARAMETERS, champion).reasons
