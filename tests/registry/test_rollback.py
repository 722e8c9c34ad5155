"""Rollback: who serves afterwards, what is written down, and that the same model does not come back by itself."""

import json
from collections.abc import Callable

import pytest
from mlflow.tracking import MlflowClient

from registry.decision_record import read_decision
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.register import register
from registry.rollback import PENDING_TAG, roll_back
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name


@pytest.fixture
def third(champion: Workspace, train: Callable[..., str]) -> Workspace:
    """A registry whose third version is champion."""
    for name, psnr in (("second", 21.0), ("third", 22.0)):
        train(name, psnr=psnr)
        assert promote(PARAMETERS, champion).promoted
    return champion


def champion_of(client: MlflowClient) -> str:
    return str(client.get_registered_model(MODEL).aliases["champion"])


def test_the_champion_before_serves_again_and_both_versions_say_why(third: Workspace, client: MlflowClient):
    decision = roll_back(third, MODEL, "it paints seams")
    assert (decision.outcome, decision.version, decision.previous_champion) == ("rolled back", "2", "3")
    assert champion_of(client) == "2"
    away, back = (client.get_model_version(MODEL, number).tags for number in ("3", "2"))
    assert away["rollback.away"].startswith("it paints seams (20")
    assert (back["rollback.from"], back["rollback.reason"]) == ("3", "it paints seams")
    assert read_decision(third) == decision.to_json()
    assert "is champion again" in (third.root / "promotion.md").read_text()
    assert PENDING_TAG not in client.get_registered_model(MODEL).tags


def test_rolling_back_twice_goes_back_twice(third: Workspace, client: MlflowClient):
    roll_back(third, MODEL, "bad")
    assert roll_back(third, MODEL, "worse").version == "1"
    with pytest.raises(InputError, match=r"version 1 of .* replaced no champion; name a version with --to"):
        roll_back(third, MODEL, "worst")
    assert champion_of(client) == "1"


def test_a_version_may_be_named(third: Workspace, client: MlflowClient):
    roll_back(third, MODEL, "all of them", to="1")
    assert champion_of(client) == "1"


def test_what_was_rolled_back_is_not_promoted_again_but_against_the_gate(third: Workspace, client: MlflowClient):
    roll_back(third, MODEL, "it paints seams")
    assert str(register(PARAMETERS, third).version) == "3"
    refused = promote(PARAMETERS, third)
    assert (refused.promoted, refused.version) == (False, "3")
    assert refused.reasons[0].startswith("version 3 was rolled back: it paints seams")
    assert promote(PARAMETERS, third, override="seams are mended in the viewer").promoted
    assert champion_of(client) == "3"
    roll_back(third, MODEL, "no, they are not")
    assert champion_of(client) == "2"


def test_a_rollback_that_was_begun_is_completed_and_goes_no_further(third: Workspace, client: MlflowClient):
    step = {"away": "3", "to": "2", "reason": "it paints seams"}
    client.set_registered_model_tag(MODEL, PENDING_TAG, json.dumps(step))
    client.set_registered_model_alias(MODEL, "champion", "2")
    assert roll_back(third, MODEL, "again").reasons == ("rolled back from version 3: it paints seams",)
    assert champion_of(client) == "2"


def test_a_promotion_ends_a_rollback_that_was_begun(third: Workspace, train: Callable[..., str], client: MlflowClient):
    client.set_registered_model_tag(MODEL, PENDING_TAG, json.dumps({"away": "3", "to": "1", "reason": "old"}))
    train("fourth", psnr=23.0)
    assert promote(PARAMETERS, third).promoted
    assert roll_back(third, MODEL, "new").version == "3"


def test_refusals_name_thing_and_remedy(champion: Workspace, train: Callable[..., str], client: MlflowClient):
    with pytest.raises(ParameterError, match="gives no reason; say why with --reason"):
        roll_back(champion, MODEL, " ")
    with pytest.raises(InputError, match=r"version 1 of .* is the champion already"):
        roll_back(champion, MODEL, "bad", to="1")
    train("second", psnr=1.0)
    with pytest.raises(InputError, match=r"version 2 of .* never was champion; viewforge promote --version 2"):
        roll_back(champion, MODEL, "bad", to="2")
    with pytest.raises(InputError, match="no model is registered as 'nobody'"):
        roll_back(champion, "nobody", "bad")
    client.delete_registered_model_alias(MODEL, "champion")
    with pytest.raises(InputError, match="has no champion to roll back"):
        roll_back(champion, MODEL, "bad")
