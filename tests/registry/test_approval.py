"""A person's word: asked for after the gate, written down, and final until another is given."""

import pytest
from mlflow.tracking import MlflowClient

from registry.approval import Approval
from registry.parameters import RegisterParameters
from registry.promote import promote
from stage.errors import ParameterError
from stage.workspace import Workspace

ASKED = RegisterParameters(approval="required")
NOT_ASKED = RegisterParameters()
MODEL = ASKED.model_name
YES, NO = Approval(True, "looked at all galleries", "ada"), Approval(False, "the handles vanish", "ada")


def aliases() -> dict[str, str]:
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(MODEL).aliases.items()}


def tags() -> dict[str, str]:
    return dict(MlflowClient().get_model_version(MODEL, "3").tags)


def test_a_model_that_passed_waits_for_approval(three: Workspace):
    decision = promote(ASKED, three)
    assert (decision.promoted, decision.outcome, decision.alias) == (False, "awaiting approval", "challenger")
    assert decision.reasons[0] == ("a person must agree: viewforge promote --version 3 --approve WHY, or --reject WHY")
    assert tags()["promotion.decision"] == "awaiting approval"
    assert aliases()["champion"] == "2"


def test_approved_it_becomes_champion(three: Workspace):
    promote(ASKED, three)
    decision = promote(ASKED, three, "3", approval=YES)
    assert (decision.promoted, decision.reasons[0]) == (True, "approved by ada: looked at all galleries")
    assert aliases() == {"champion": "3"}
    assert tags()["promotion.approval"] == "approved by ada: looked at all galleries"
    assert tags()["promotion.decision"] == "promoted"


def test_rejected_it_stays_so_until_it_is_approved(three: Workspace):
    assert promote(ASKED, three, "3", approval=NO).outcome == "rejected"
    again = promote(ASKED, three)
    assert (again.outcome, again.reasons[0]) == ("rejected", "rejected by ada: the handles vanish")
    assert aliases()["champion"] == "2"
    assert promote(ASKED, three, "3", approval=YES).promoted


def test_rejected_it_stays_so_though_nobody_need_approve_or_the_gate_refused_in_between(three: Workspace):
    promote(NOT_ASKED, three, "3", approval=NO)
    assert promote(NOT_ASKED, three).outcome == "rejected"
    MlflowClient().set_model_version_tag(MODEL, "3", "promotion.decision", "refused")
    assert promote(ASKED, three).outcome == "rejected"
    assert aliases()["champion"] == "2"


@pytest.mark.parametrize(
    ("word", "kept"), [(None, "unseen psnr 22.0000 is no worse"), (NO, "rejected by ada: the handles vanish")]
)
def test_an_override_is_a_word_already(three: Workspace, word: Approval | None, kept: str):
    promote(ASKED, three, "3", approval=word)
    decision = promote(ASKED, three, "3", override="the old one crashes")
    assert (decision.promoted, decision.reasons[0]) == (True, "promoted by override: the old one crashes")
    assert decision.reasons[1].startswith(kept)
    assert tags()["promotion.override"] == "the old one crashes"
    assert aliases() == {"champion": "3"}


def test_nobody_is_asked_about_what_the_gate_refuses(three: Workspace):
    assert promote(ASKED, three, "1").outcome == "refused"
    assert promote(ASKED, three, "1", approval=YES).outcome == "refused"


@pytest.mark.parametrize("word", [Approval(True, " ", "ada"), Approval(False, "why", "")])
def test_a_word_gives_reason_and_name(three: Workspace, word: Approval):
    with pytest.raises(ParameterError, match="gives no reason or no name"):
        promote(ASKED, three, "3", approval=word)
