"""The gate, with figures made by hand."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.gate import Check, Gate, decide, load_gate
from stage.errors import InputError, ParameterError

POLICY = Path(__file__).resolve().parents[2] / "mlflow" / "promotion.yaml"
EMBEDDED = load_gate(POLICY, "embedded")
PRODUCTION = load_gate(POLICY, "production")
figures = st.floats(min_value=-100, max_value=100)


def metrics(psnr: Any, ssim: Any = 0.8, lpips: Any = 0.3, data: str = "data") -> dict[str, Any]:
    return {
        "data_sha256": data,
        "unseen": {
            "model": {"psnr": psnr, "ssim": ssim, "lpips": lpips},
            "copy_input": {"psnr": 15.0, "ssim": 0.7, "lpips": 0.4},
            "mean_image": {"psnr": 16.0, "ssim": 0.75, "lpips": 0.5},
        },
    }


def gate(**check: Any) -> Gate:
    defaults = {"metric": "psnr", "higher_is_better": True, "baselines": ["copy_input"]}
    return Gate(name="test", checks=(Check(**(defaults | check)),))


def test_first_model_passes_by_beating_the_named_baseline_alone():
    decision = decide(EMBEDDED, metrics(15.5, ssim=0.1))
    assert decision.promoted
    assert decision.reasons == ("unseen psnr 15.5000 beats copy_input's 15.0000 by more than 0",)


def test_first_model_that_only_equals_the_baseline_is_refused():
    decision = decide(EMBEDDED, metrics(15.0))
    assert not decision.promoted
    assert decision.reasons == ("unseen psnr 15.0000 does not beat copy_input's 15.0000 by more than 0",)


def test_margin_is_asked_on_top_of_the_baseline():
    assert not decide(gate(margin=0.5), metrics(15.4)).promoted
    assert decide(gate(margin=0.5), metrics(15.6)).promoted


def test_lower_is_better_for_lpips():
    lpips = gate(metric="lpips", higher_is_better=False, champion_tolerance=0.01)
    assert decide(lpips, metrics(0, lpips=0.39)).promoted
    assert not decide(lpips, metrics(0, lpips=0.41)).promoted
    assert decide(lpips, metrics(0, lpips=0.305), metrics(0, lpips=0.3)).promoted
    assert not decide(lpips, metrics(0, lpips=0.32), metrics(0, lpips=0.3)).promoted


@pytest.mark.parametrize(("psnr", "promoted"), [(20.5, True), (20.0, True), (19.9, True), (19.7, False)])
def test_later_model_may_be_behind_the_champion_by_the_tolerance(psnr: float, promoted: bool):
    assert decide(EMBEDDED, metrics(psnr), metrics(20.0)).promoted is promoted


def test_later_model_of_the_embedded_gate_is_compared_with_the_champion_alone():
    decision = decide(EMBEDDED, metrics(14.5), metrics(14.0))
    assert decision.promoted
    assert [check.reference_name for check in decision.checks] == ["champion"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "not available", None, True, "20"])
def test_what_is_no_finite_number_fails_with_a_reason(value: Any):
    decision = decide(EMBEDDED, metrics(value))
    assert not decision.promoted
    assert decision.reasons == (
        "unseen psnr of the model is missing or not a number, so it cannot be compared with copy_input",
    )
    assert decision.to_json()["checks"][0]["value"] is None


def test_missing_figures_fail_on_either_side():
    nothing: dict[str, Any] = {"data_sha256": "data"}
    assert not decide(EMBEDDED, nothing).promoted
    decision = decide(EMBEDDED, metrics(20.0), nothing)
    assert not decision.promoted
    assert "psnr of champion is missing" in decision.reasons[0]


def test_other_evaluation_data_refuses_and_says_what_to_do():
    decision = decide(EMBEDDED, metrics(99.0, data="new"), metrics(20.0, data="old"))
    assert not decision.promoted
    assert decision.checks == ()
    (reason,) = decision.reasons
    assert "other data (old) than this model (new)" in reason
    assert "evaluate the champion on this data" in reason


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
    decision = decide(PRODUCTION, metrics(psnr, ssim))
    assert [f"{c.metric}/{c.reference_name}" for c in decision.checks if not c.passed] == failed
    assert decision.promoted is (not failed)
    assert len(decision.reasons) == (len(failed) or 4)


def test_production_champion_must_be_matched_on_both_and_the_baselines_still_beaten():
    assert decide(PRODUCTION, metrics(17.0, 0.8), metrics(17.0, 0.8)).promoted
    assert not decide(PRODUCTION, metrics(18.0, 0.79), metrics(17.0, 0.8)).promoted
    # A champion below the baselines, promoted by a laxer gate, does not lower the bar.
    assert not decide(PRODUCTION, metrics(15.5, 0.72), metrics(15.2, 0.71)).promoted


@given(psnr=figures, champion=figures)
def test_a_better_model_never_does_worse_at_the_gate(psnr: float, champion: float):
    for reference in (None, metrics(champion)):
        if decide(EMBEDDED, metrics(psnr), reference).promoted:
            assert decide(EMBEDDED, metrics(psnr + 1), reference).promoted


@given(psnr=figures, ssim=figures)
def test_every_model_is_as_good_as_itself(psnr: float, ssim: float):
    assert decide(EMBEDDED, metrics(psnr, ssim), metrics(psnr, ssim)).promoted


def test_json_of_a_decision_has_the_promised_shape():
    assert decide(EMBEDDED, metrics(20.0)).to_json() == {
        "model": "",
        "version": "",
        "promoted": True,
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
            }
        ],
        "previous_champion": None,
    }


CHECK = "{metric: psnr, higher_is_better: true, baselines: [copy_input]}"


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
        (f"gates: {{test: {{checks: [{CHECK.replace('psnr', 'fid')}]}}}}", r"checks\.0\.metric = 'fid'"),
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
