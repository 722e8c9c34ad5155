"""The gate, with evaluations made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_records import record
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.decision_report import decision_markdown
from registry.footprint import Footprint
from registry.gate import decide
from registry.parameters import RegisterParameters
from registry.policy import CategoryBar, ChampionBar, Check, Gate, Limits, gate_of, load_gate
from stage.errors import InputError, ParameterError

POLICY = Path(__file__).resolve().parents[2] / "mlflow" / "promotion.yaml"
EMBEDDED = load_gate(POLICY, "embedded")
PRODUCTION = load_gate(POLICY, "production").model_copy(update={"least_objects": 6})
figures = st.floats(min_value=-100, max_value=100)


def gate(check: dict[str, Any] | None = None, **further: Any) -> Gate:
    defaults = {"metric": "psnr", "direction": "higher", "baselines": ["copy_input"]}
    return Gate(name="test", checks=(Check.model_validate(defaults | (check or {})),), **further)


def against_champion(ask: str, margin: float, confidence: float = 0.95) -> Gate:
    return gate({"champion": ChampionBar.model_validate({"ask": ask, "margin": margin, "confidence": confidence})})


def test_first_model_passes_by_beating_the_named_baseline_alone():
    decision = decide(EMBEDDED, record(15.5, ssim=0.1))
    assert (decision.promoted, decision.outcome) == (True, "promoted")
    assert decision.reasons == ("unseen psnr 15.5000 beats copy_input's 15.0000 by more than 0",)


def test_first_model_that_only_equals_the_baseline_is_refused():
    decision = decide(EMBEDDED, record(15.0))
    assert (decision.promoted, decision.outcome) == (False, "refused")
    assert decision.reasons == ("unseen psnr 15.0000 does not beat copy_input's 15.0000 by more than 0",)


def test_margin_is_asked_on_top_of_the_baseline():
    assert not decide(gate({"margin": 0.5}), record(15.4)).promoted
    assert decide(gate({"margin": 0.5}), record(15.6)).promoted


def test_lower_is_better_where_the_gate_says_so():
    check = {"metric": "chamfer_l1", "direction": "lower", "baselines": [], "champion": {"margin": 0.01}}
    champion = record(chamfer_l1=0.3)
    assert decide(gate(check), record(chamfer_l1=0.305), champion).promoted
    refused = decide(gate(check), record(chamfer_l1=0.32), champion)
    assert not refused.promoted
    assert "0.0200 worse" in refused.reasons[0]


def test_the_interval_of_paired_differences_decides_and_not_the_means():
    """Objects differ by whole decibels, and the pairs by a tenth: only pairing sees that the model is better."""
    better = decide(against_champion("better", 0.0), record(gains=(0.1, 0.12, 0.09, 0.1, 0.11, 0.08)), record())
    assert better.promoted
    (check,) = better.checks
    assert (check.objects, check.wins, check.confidence) == (6, 6, 0.95)
    assert check.low is not None
    assert check.high is not None
    assert 0.08 < check.low < 0.1 < check.high < 0.12
    # The same mean advantage, of one lucky object: not shown.
    lucky = decide(against_champion("better", 0.0), record(gains=(1.0, -0.1, -0.1, -0.1, -0.05, -0.05)), record())
    assert not lucky.promoted
    assert lucky.checks[0].advantage == pytest.approx(0.1)
    assert lucky.reasons[0].startswith(
        "unseen psnr 20.1000 is not shown to be better by more than 0 than the champion's 20.0000"
    )


@pytest.mark.parametrize(("margin", "promoted"), [(0.3, True), (0.1, False)])
def test_not_worse_allows_the_margin_at_the_lower_end(margin: float, promoted: bool):
    gains = (-0.3, 0.1, -0.2, 0.0, 0.1, -0.1)
    assert decide(against_champion("not_worse", margin), record(gains=gains), record()).promoted is promoted


def test_a_looser_confidence_makes_a_narrower_interval():
    gains = (-0.9, 0.6, -0.3, 0.3, 0.5, -0.5)
    ends = [
        decide(against_champion("not_worse", 1, c), record(gains=gains), record()).checks[0].low for c in (0.5, 0.99)
    ]
    assert ends[0] > ends[1]


def test_later_model_of_the_embedded_gate_is_compared_with_the_champion_alone():
    decision = decide(EMBEDDED, record(14.5), record(14.0))
    assert decision.promoted
    assert [check.reference_name for check in decision.checks] == ["champion"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "not available", None, True, "20"])
def test_what_is_no_finite_number_fails_with_a_reason(value: Any):
    decision = decide(EMBEDDED, record(value))
    assert not decision.promoted
    assert decision.reasons == (
        "unseen psnr is required and missing or not a number",
        "unseen psnr of the model is missing or not a number, so it cannot be compared with copy_input",
    )
    assert decision.to_json()["checks"][0]["value"] is None


def test_a_required_figure_that_is_not_available_is_refused_with_its_reason():
    decision = decide(gate(required=("lpips", "geometry.unseen.chamfer_l1")), record())
    assert decision.reasons == (
        "unseen lpips is required and missing or not a number (not available: the package lpips is not installed)",
        "geometry.unseen.chamfer_l1 is required and missing or not a number",
    )


def test_a_figure_at_a_dotted_place_is_paired_where_objects_have_it_and_compared_plainly_where_not():
    paired = gate({"metric": "unseen.model.psnr", "baselines": [], "champion": {"margin": 0.1}})
    assert decide(paired, record(20.0), record(20.05)).checks[0].objects == 6
    of_the_set = gate({"metric": "unseen.model.fid", "direction": "lower", "baselines": [], "champion": {"margin": 1}})
    ours, theirs = (record() for _ in range(2))
    ours.metrics["unseen"]["model"]["fid"], theirs.metrics["unseen"]["model"]["fid"] = 30.5, 30.0
    decision = decide(of_the_set, ours, theirs)
    assert (decision.promoted, decision.checks[0].objects) == (True, None)
    assert "without an interval" in decision.reasons[0]
    ours.metrics["unseen"]["model"]["fid"] = 31.5
    assert not decide(of_the_set, ours, theirs).promoted


def test_a_figure_of_reconstructions_is_paired_by_theirs_and_not_by_the_mesh_the_model_made():
    check = {"metric": "reconstruction.unseen.chamfer_l1", "direction": "lower", "baselines": []}
    asked = gate({**check, "champion": {"margin": 0.01}})
    ours = record(chamfer_l1=0.9, reconstruction_chamfer_l1=0.305)
    theirs = record(chamfer_l1=0.1, reconstruction_chamfer_l1=0.3)
    for found, mean in ((ours, 0.305), (theirs, 0.3)):
        found.metrics["reconstruction"] = {"unseen": {"chamfer_l1": mean}}
    decision = decide(asked, ours, theirs)
    assert (decision.promoted, decision.checks[0].advantage) == (True, pytest.approx(-0.005))


def test_reconstructions_that_were_made_otherwise_compare_only_where_no_gate_asks_for_them():
    theirs = record(terms={"reconstruction": "500 steps"})
    ours = record(terms={"reconstruction": "2000 steps"})
    assert decide(EMBEDDED, ours, theirs).promoted
    check = {"metric": "reconstruction.unseen.chamfer_l1", "direction": "lower", "baselines": [], "champion": {}}
    assert "reconstruction (500 steps against 2000 steps)" in decide(gate(check), ours, theirs).reasons[0]


def test_objects_that_only_the_champion_manages_are_counted_against_the_model():
    ours = record(30.0)
    ours.objects.loc[0, "psnr"] = np.nan
    decision = decide(against_champion("not_worse", 0.0), ours, record())
    assert decision.reasons == ("unseen psnr is missing of 1 object on which the champion has it",)
    theirs = record()
    theirs.objects.loc[0, "psnr"] = np.nan
    assert decide(against_champion("not_worse", 0.0), record(30.0), theirs).checks[0].objects == 5


def test_a_gate_may_ask_for_a_number_of_objects():
    many = against_champion("not_worse", 0.0).model_copy(update={"least_objects": 7})
    assert decide(many, record(), record()).reasons == (
        "unseen psnr is known of 6 objects for both, and the gate test asks for 7",
    )


def test_no_category_may_fall_far_behind_though_the_mean_is_better():
    bars = {"champion": ChampionBar(margin=10.0), "categories": CategoryBar(max_regression=0.5)}
    decision = decide(gate(bars), record(gains=(-1.0, -1.0, -0.4, 3.0, 3.0, 3.0)), record())
    assert decision.reasons == (
        "unseen psnr by category: cup 0.8000 worse, beyond the 0.5 that a category may lose (2 judged)",
    )
    assert decide(gate(bars), record(gains=(-0.4, -0.5, -0.4, 3.0, 3.0, 3.0)), record()).promoted
    few = {**bars, "categories": CategoryBar(max_regression=0.5, least_objects=4)}
    assert "no category has 4 objects" in decide(gate(few), record(gains=(-9.0,) * 6), record()).reasons[1]


def test_without_categories_all_objects_are_one():
    ours, theirs = record(gains=(-1.0,) * 6), record()
    ours.objects.drop(columns="category", inplace=True)
    decision = decide(gate({"categories": CategoryBar(max_regression=0.5)}), ours, theirs)
    assert "objects without a category 1.0000 worse" in decision.reasons[0]


def test_an_object_that_only_the_champion_manages_counts_in_its_category_too():
    ours = record(30.0)
    ours.objects.loc[0, "psnr"] = np.nan
    decision = decide(gate({"categories": CategoryBar(max_regression=0.5)}), ours, record())
    assert decision.reasons == ("unseen psnr is missing of 1 object on which the champion has it",)


def test_limits_are_kept_or_the_model_is_refused():
    limited = gate(limits=Limits(size_mib=100, seconds_per_picture=2))
    assert decide(limited, record(), footprint=Footprint(99.5, 1.9)).promoted
    decision = decide(limited, record(), footprint=Footprint(120.0, 2.5))
    assert decision.reasons == (
        "size_mib 120 is not within the limit of 100",
        "seconds_per_picture 2.5 is not within the limit of 2",
    )
    assert decide(limited, record()).reasons[0] == "size_mib not available is not within the limit of 100"


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"data": "b" * 64}, r"data_sha256 \(bbbbbbbbbbbb against aaaaaaaaaaaa\)"),
        ({"protocol": "zero123"}, r"protocol \(zero123 against syncdreamer\)"),
        ({"views": 4}, r"views \(4 against 16\)"),
        ({"sampler": {"inference_steps": 50, "scheduler": "as saved"}}, r"sampler \(inference_steps 50 against 3\)"),
        ({"metrics": {"psnr": "other"}}, r"the definition of psnr \(other against p\)"),
    ],
)
def test_a_champion_evaluated_on_other_terms_refuses_and_says_which(terms: dict[str, Any], words: str):
    decision = decide(EMBEDDED, record(99.0), record(20.0, terms=terms))
    assert not decision.promoted
    assert decision.checks == ()
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(decision.reasons[0])


def test_the_definition_of_a_figure_that_nobody_compares_does_not_matter():
    other = record(terms={"metrics": {"psnr": "p", "lpips": "other"}})
    assert decide(EMBEDDED, record(), other).promoted


@pytest.mark.parametrize(
    ("psnr", "ssim", "failed"),
    [
        (17.0, 0.8, []),
        (15.5, 0.8, ["psnr/mean_image"]),
        (17.0, 0.72, ["ssim/mean_image"]),
        (14.0, 0.6, ["psnr/copy_input", "psnr/mean_image", "ssim/copy_input", "ssim/mean_image"]),
    ],
)
def test_production_asks_both_figures_of_all_baselines(psnr: float, ssim: float, failed: list[str]):
    decision = decide(PRODUCTION, record(psnr, ssim))
    assert [f"{c.metric}/{c.reference_name}" for c in decision.checks if not c.passed] == failed
    assert decision.promoted is (not failed)
    assert len(decision.reasons) == (len(failed) or 4)


def test_production_champion_must_be_matched_on_both_and_the_baselines_still_beaten():
    assert decide(PRODUCTION, record(17.0, 0.8), record(17.0, 0.8)).promoted
    assert not decide(PRODUCTION, record(18.0, 0.79), record(17.0, 0.8)).promoted
    # A champion below the baselines, promoted by a laxer gate, does not lower the bar.
    assert not decide(PRODUCTION, record(15.5, 0.72), record(15.2, 0.71)).promoted


@settings(deadline=None, max_examples=25)
@given(psnr=figures, champion=figures)
def test_a_better_model_never_does_worse_at_the_gate(psnr: float, champion: float):
    for reference in (None, record(champion)):
        if decide(EMBEDDED, record(psnr), reference).promoted:
            assert decide(EMBEDDED, record(psnr + 1), reference).promoted


@settings(deadline=None, max_examples=25)
@given(psnr=figures, ssim=figures)
def test_every_model_is_as_good_as_itself(psnr: float, ssim: float):
    assert decide(EMBEDDED, record(psnr, ssim), record(psnr, ssim)).promoted


def test_json_of_a_decision_has_the_promised_shape():
    empty = dict.fromkeys(("low", "high", "confidence", "objects", "wins"))
    assert decide(EMBEDDED, record(20.0)).to_json() == {
        "model": "",
        "version": "",
        "promoted": True,
        "outcome": "promoted",
        "gate": "embedded",
        "alias": None,
        "reasons": ["unseen psnr 20.0000 beats copy_input's 15.0000 by more than 0"],
        "checks": [
            {
                "metric": "psnr",
                "value": 20.0,
                "reference": 15.0,
                "reference_name": "copy_input",
                "margin": 0.0,
                "passed": True,
                "advantage": 5.0,
                **empty,
            }
        ],
        "previous_champion": None,
    }


def test_the_page_of_a_decision_has_reasons_numbers_and_interval():
    text = decision_markdown(decide(EMBEDDED, record(19.0), record(20.0)))
    assert "is not promoted" in text.splitlines()[0]
    assert "- unseen psnr 19.0000 is not shown to be no worse" in text
    assert "| psnr | 19 | champion | 20 | -1 | -1 … -1 (80%) | -0.5 | 6 | **failed** |" in text


CHECK = "{metric: psnr, direction: higher, baselines: [copy_input]}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gates: [", "is not YAML"),
        ("gates: {}", "has no gate 'test'; add it to gates"),
        ("gate: {}", r"unknown parameter .*gate; did you mean gates\?"),
        ("gates: {test: {checks: []}}", r"gates\.test\.checks = \[\]: tuple should have at least 1 item"),
        (f"gates: {{test: {{checks: [{CHECK}], baseline_always: true}}}}", r"did you mean baselines_always\?"),
        (
            f"gates: {{test: {{checks: [{CHECK[:-1]}, margn: 1}}]}}}}",
            r"unknown parameter .*checks\.0\.margn; did you mean margin\?",
        ),
        (f"gates: {{test: {{checks: [{CHECK.replace('higher', 'up')}]}}}}", r"checks\.0\.direction = 'up'"),
        (f"gates: {{test: {{checks: [{CHECK[:-1]}, margin: .nan}}]}}}}", r"checks\.0\.margin = nan"),
        (f"gates: {{tset: {{checks: [{CHECK}]}}}}", r"has no gate 'test'; did you mean tset\?"),
    ],
)
def test_a_faulty_policy_is_one_line_that_names_the_place(tmp_path: Path, text: str, message: str):
    path = tmp_path / "promotion.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message) as error:
        load_gate(path, "test")
    assert "\n" not in str(error.value)


def test_a_missing_policy_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match=r"no promotion policy .*promotion\.yaml; name one with register\.policy"):
        load_gate(tmp_path / "promotion.yaml", "embedded")


def test_the_policy_names_the_gate_of_a_model_and_the_parameters_may_name_another():
    root = POLICY.parents[1]
    assert gate_of(RegisterParameters(), root).name == "embedded"
    assert gate_of(RegisterParameters(gate="production"), root).name == "production"
    with pytest.raises(ParameterError, match="names no gate for the model 'other'; add it to models"):
        gate_of(RegisterParameters(model_name="other"), root)
