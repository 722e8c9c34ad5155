"""A person's word: asked for after the gate, written down, and final until another is given."""

from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient

from registry.approval import Approval
from registry.parameters import RegisterParameters
from registry.promote import promote
from stage.errors import ParameterError
from stage.workspace import Workspace

ASKED = RegisterParameters(approval="required")
MODEL = ASKED.model_name
YES, NO = Approval(True, "looked at all galleries", "ada"), Approval(False, "the handles vanish", "ada")


def aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(MODEL).aliases.items()}


def tags(client: MlflowClient) -> dict[str, str]:
    return dict(client.get_model_version(MODEL, "2").tags)


@pytest.fixture
def better(champion: Workspace, train: Callable[..., str]) -> Workspace:
    """A workspace whose second version passes its gate."""
    train("second", psnr=21.0)
    return champion


def test_a_model_that_passed_waits_for_approval(better: Workspace, client: MlflowClient):
    decision = promote(ASKED, better)
    assert (decision.promoted, decision.outcome, decision.alias) == (False, "awaiting approval", "challenger")
    assert decision.reasons[0] == ("a person must agree: viewforge promote --version 2 --approve WHY, or --reject WHY")
    assert tags(client)["promotion.decision"] == "awaiting approval"
    assert aliases(client)["champion"] == "1"


def test_approved_it_becomes_champion(better: Workspace, client: MlflowClient):
    promote(ASKED, better)
    decision = promote(ASKED, better, "2", approval=YES)
    assert (decision.promoted, decision.reasons[0]) == (True, "approved by ada: looked at all galleries")
    assert aliases(client) == {"champion": "2"}
    assert tags(client)["promotion.approval"] == "approved by ada: looked at all galleries"
    assert tags(client)["promotion.decision"] == "promoted"


def test_rejected_it_stays_so_until_it_is_approved(better: Workspace, client: MlflowClient):
    assert promote(ASKED, better, "2", approval=NO).outcome == "rejected"
    again = promote(ASKED, better)
    assert (again.outcome, again.reasons[0]) == ("rejected", "rejected by ada: the handles vanish")
    assert aliases(client)["champion"] == "1"
    assert promote(ASKED, better, "2", approval=YES).promoted


def test_nobody_is_asked_about_what_the_gate_refuses(champion: Workspace, train: Callable[..., str]):
    train("second", psnr=18.0)
    assert promote(ASKED, champion).outcome == "refused"
    assert promote(ASKED, champion, "2", approval=YES).outcome == "refused"


@pytest.mark.parametrize("word", [Approval(True, " ", "ada"), Approval(False, "why", "")])
def test_a_word_gives_reason_and_name(better: Workspace, word: Approval):
    with pytest.raises(ParameterError, match="gives no reason or no name"):
        promote(ASKED, better, "2", approval=word)
