"""Rollback: who serves afterwards, what is written down, and that the same model does not come back by itself."""

import json

import pytest
from mlflow.tracking import MlflowClient

from registry.decision_record import read_decision
from registry.parameters import RegisterParameters
from registry.promote import promote
from registry.rollback import PENDING_TAG, roll_back
from stage.errors import InputError, ParameterError
from stage.workspace import Workspace

PARAMETERS = RegisterParameters()
MODEL = PARAMETERS.model_name


@pytest.fixture
def third(three: Workspace) -> Workspace:
    """A registry whose third version is champion."""
    assert promote(PARAMETERS, three).promoted
    return three


def champion_of() -> str:
    return str(MlflowClient().get_registered_model(MODEL).aliases["champion"])


def test_the_champion_before_serves_again_and_both_versions_say_why(third: Workspace):
    decision = roll_back(third, MODEL, "it paints seams")
    assert (decision.outcome, decision.version, decision.previous_champion) == ("rolled back", "2", "3")
    assert champion_of() == "2"
    away, back = (MlflowClient().get_model_version(MODEL, number).tags for number in ("3", "2"))
    assert away["rollback.away"].startswith("it paints seams (20")
    assert (back["rollback.from"], back["rollback.reason"]) == ("3", "it paints seams")
    assert read_decision(third) == decision.to_json()
    assert "is champion again" in (third.root / "promotion.md").read_text()
    assert PENDING_TAG not in MlflowClient().get_registered_model(MODEL).tags


def test_rolling_back_twice_goes_back_twice(third: Workspace):
    roll_back(third, MODEL, "bad")
    assert roll_back(third, MODEL, "worse").version == "1"
    with pytest.raises(
        InputError, match=r"version 1 of .* replaced no champion that is left; name a version with --to"
    ):
        roll_back(third, MODEL, "worst")
    assert champion_of() == "1"


def test_a_rollback_is_rolled_back_by_naming_the_version(third: Workspace):
    roll_back(third, MODEL, "it paints seams")
    assert roll_back(third, MODEL, "it was the light", to="3").previous_champion == "2"
    assert champion_of() == "3"
    # Now the second is the one that was left, and nobody comes back to it unasked.
    assert roll_back(third, MODEL, "seams after all").version == "1"


def test_a_champion_before_that_was_deleted_is_one_line(third: Workspace):
    MlflowClient().delete_model_version(MODEL, "2")
    with pytest.raises(
        InputError, match=r"version 3 of .* replaced no champion that is left; name a version with --to"
    ):
        roll_back(third, MODEL, "bad")


def test_a_version_may_be_named(third: Workspace):
    roll_back(third, MODEL, "all of them", to="1")
    assert champion_of() == "1"


def test_what_was_rolled_back_is_not_promoted_again_but_against_the_gate(third: Workspace):
    roll_back(third, MODEL, "it paints seams")
    refused = promote(PARAMETERS, third, version="3")
    assert (refused.promoted, refused.version) == (False, "3")
    assert refused.reasons[0].startswith("version 3 was rolled back: it paints seams")
    assert promote(PARAMETERS, third, version="3", override="seams are mended in the viewer").promoted
    assert champion_of() == "3"
    roll_back(third, MODEL, "no, they are not")
    assert champion_of() == "2"


def test_a_rollback_that_was_begun_is_completed_and_goes_no_further(third: Workspace):
    step = {"away": "3", "to": "2", "reason": "it paints seams"}
    MlflowClient().set_registered_model_tag(MODEL, PENDING_TAG, json.dumps(step))
    MlflowClient().set_registered_model_alias(MODEL, "champion", "2")
    assert roll_back(third, MODEL, "again").reasons == ("rolled back from version 3: it paints seams",)
    assert champion_of() == "2"


def test_a_promotion_ends_a_rollback_that_was_begun(three: Workspace):
    MlflowClient().set_registered_model_tag(MODEL, PENDING_TAG, json.dumps({"away": "3", "to": "1", "reason": "old"}))
    assert promote(PARAMETERS, three).promoted
    assert roll_back(three, MODEL, "new").version == "2"


def test_refusals_name_thing_and_remedy(three: Workspace):
    with pytest.raises(ParameterError, match="gives no reason; say why with --reason"):
        roll_back(three, MODEL, " ")
    with pytest.raises(InputError, match=r"version 2 of .* is the champion already"):
        roll_back(three, MODEL, "bad", to="2")
    with pytest.raises(InputError, match=r"version 3 of .* never was champion; viewforge promote --version 3"):
        roll_back(three, MODEL, "bad", to="3")
    with pytest.raises(InputError, match="no model is registered as 'nobody'"):
        roll_back(three, "nobody", "bad")
    MlflowClient().delete_registered_model_alias(MODEL, "champion")
    with pytest.raises(InputError, match="has no champion to roll back"):
        roll_back(three, MODEL, "bad")


def test_what_was_rolled_back_is_not_rolled_back_to(third: Workspace):
    promote(PARAMETERS, third, version="2", override="compare them in use")
    assert roll_back(third, MODEL, "the third was better").version == "3"
    with pytest.raises(InputError, match=r"replaced no champion that is left; name a version with --to"):
        roll_back(third, MODEL, "both are bad")
    assert roll_back(third, MODEL, "both are bad", to="1").version == "1"
