"""Reconstructions of evaluated objects: scored beside the assets, kept, named where there are none, and off by default."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from box_views_support import VIEWS, KnownAnswers, boxes, object_views, surfaces
from evaluation_support import asset, object_scores
from known_gaussians_support import KnownGaussians

from evaluation import reconstructor as room
from evaluation.mesh_figures import MeshFigures, definitions, unavailable
from evaluation.parameters import EvaluateParameters, ReconstructionParameters
from evaluation.predictions import _INDIFFERENT, Prediction, sampling_recipe
from evaluation.reconstruction_figures import (
    reconstruction_details,
    reconstruction_lines,
    reconstruction_problems,
    reconstruction_summary,
    with_reconstructions,
)
from evaluation.reconstruction_tasks import check_reconstruction, field_key, posed_views
from evaluation.reconstructor import Reconstructor, with_seed
from evaluation.report import build_report
from evaluation.scores import per_object_table
from stage.errors import InputError, ParameterError, StageFailedError
from stage.files import write_json
from stage.packs import object_folder
from stage.parameters import validated
from stage.workspace import Workspace

FIGURES = {"samples": 3000, "points": 3000, "grid": 32}
NEUS = {
    "small": True,
    "loop": {"steps": 3, "checkpoint_every": 1000, "preview_every": 0},
    "neus": {"rays": 48, "foreground_rays": 16, "layers": 2, "width": 16, "learning_rate": 8e-3, "warm_up": 0},
    "mesh": {"resolution": 24},
    "figures": FIGURES,
}
NAMES = tuple(definitions(ReconstructionParameters(figures=FIGURES).figures))
Made = Callable[..., Reconstructor]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def chosen(**further: object) -> ReconstructionParameters:
    return ReconstructionParameters.model_validate({**NEUS, **further})


@pytest.fixture
def reconstructor(tmp_path: Path) -> Made:
    """Of boxes b1 to b3, of which b3 has no true triangles; the model's answers are the true views."""

    def made(parameters: ReconstructionParameters | None = None, **answers: frozenset[str]) -> Reconstructor:
        true = surfaces(tmp_path, "b1", "b2", failures={"b3": "timeout: 600 s"})
        sampler = KnownAnswers(tmp_path, **answers)
        return Reconstructor(sampler, parameters or chosen(), true, "model", tmp_path / "reconstructions")

    return made


@pytest.fixture
def optimised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Subjects of the optimisations that are begun."""
    subjects: list[str] = []
    optimise = room.optimise

    def noted(task, *arguments, **options):
        subjects.append(task.subject)
        return optimise(task, *arguments, **options)

    monkeypatch.setattr(room, "optimise", noted)
    return subjects


@pytest.mark.slow
def test_true_views_become_the_asset(reconstructor: Made) -> None:
    neus = {"rays": 128, "foreground_rays": 64, "layers": 2, "width": 32, "learning_rate": 8e-3, "warm_up": 0}
    learnt = chosen(loop={"steps": 600, "preview_every": 0}, neus=neus, mesh={"resolution": 40})
    begun = chosen(loop={"steps": 3, "preview_every": 0}, neus=neus, mesh={"resolution": 40})
    sphere, found = (reconstructor(each).figures(boxes("b1"))["b1"].values for each in (begun, learnt))
    print(found)
    assert found["chamfer_l1"] < min(0.05, sphere["chamfer_l1"] / 2)
    assert found["iou_points"] > max(0.75, sphere["iou_points"])
    assert found["normal_consistency"] > 0.8


def test_what_is_kept_is_not_made_again(reconstructor: Made, optimised: list[str], tmp_path: Path) -> None:
    found = reconstructor().figures(boxes("b1"))["b1"]
    assert found.missing == {}
    assert tuple(found.values) == NAMES
    assert optimised == ["b1"]
    # The same again, and another mesh of the same field, whose checkpoint has all steps.
    assert reconstructor().figures(boxes("b1"))["b1"] == found
    assert optimised == ["b1"]
    coarse = reconstructor(chosen(mesh={"resolution": 20})).figures(boxes("b1"))["b1"]
    assert coarse != found
    folder = object_folder(tmp_path / "reconstructions" / "unseen", "b1")
    (work,) = (folder / "work").iterdir()
    assert [path.name for path in (work / "checkpoints").iterdir()] == ["step-00000003"]
    assert optimised == ["b1", "b1"]
    # A mesh that somebody touched is not the one that was made; the field is.
    (folder / "mesh.ply").write_bytes(b"ply")
    assert reconstructor(chosen(mesh={"resolution": 20})).figures(boxes("b1"))["b1"] == coarse


@pytest.mark.parametrize(
    ("further", "again"),
    [
        ({"tracking": {"trackers": []}}, False),
        ({"mesh": {"resolution": 99}}, False),
        ({"max_objects": 3}, False),
        ({"texture": {"faces": 4}}, False),
        ({"sjc": {"guidance_scale": 3.0}}, False),
        ({"loop": {**NEUS["loop"], "checkpoint_every": 1}}, False),
        ({"loop": {**NEUS["loop"], "steps": 4}}, True),
        ({"neus": {**NEUS["neus"], "mask_weight": 0.5}}, True),
        ({"method": "sjc"}, True),
        ({"loop": {**NEUS["loop"], "seed": 1}}, True),
    ],
)
def test_what_decides_a_field_and_nothing_else_makes_it_anew(
    tmp_path: Path, further: dict[str, object], again: bool
) -> None:
    views = object_views("b1", tmp_path)
    keys = {
        field_key(views, Prediction(views.targets), EvaluateParameters(), each, "model")
        for each in (chosen(), chosen(**further))
    }
    assert len(keys) == 1 + again


def test_of_neus_the_views_count_and_of_a_prior_its_weights(tmp_path: Path) -> None:
    views = object_views("b1", tmp_path)
    touched = views.targets.copy()
    touched[0, 0, 0] = 0.5

    def key(method: str, pictures: np.ndarray, model: str, shown: str = "model") -> str:
        asked = chosen(method=method, views=shown)
        return field_key(views, Prediction(pictures), EvaluateParameters(), asked, model)

    assert key("neus", views.targets, "one") == key("neus", views.targets, "two") != key("neus", touched, "one")
    assert key("neus", views.targets, "one", "truth") == key("neus", touched, "one", "truth")
    assert key("sds", views.targets, "one") == key("sds", touched, "one") != key("sds", touched, "two")


def test_views_that_neus_is_fitted_to_are_the_input_and_the_answers(tmp_path: Path) -> None:
    views = object_views("b1", tmp_path)
    answers = 0.5 * views.views
    for shown in (views, replace(views, first_target=0)):
        posed = posed_views(shown, Prediction(answers[shown.first_target :]), chosen())
        assert len(posed) == VIEWS
        np.testing.assert_allclose(posed.images[0], views.condition, atol=1e-6)
        np.testing.assert_allclose(posed.images[1:], answers[1:], atol=1e-6)
        # Half of white is no background, and the input has its alpha.
        assert posed.masks[1:].min() == 1.0
        assert 0.1 < float(posed.masks[0].mean()) < 0.9
    true = posed_views(views, Prediction(answers[1:]), chosen(views="truth"))
    np.testing.assert_allclose(true.images, views.views, atol=1e-6)
    assert posed.masks[0].equal(true.masks[0])


def test_objects_that_fail_are_named_and_counted(
    reconstructor: Made, optimised: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(task, parameters):
        if task.subject == "b1":
            raise InputError("the field is empty: its density is at most 0", "look at the previews")
        return coloured_mesh(task, parameters)

    coloured_mesh = room.coloured_mesh
    monkeypatch.setattr(room, "coloured_mesh", failing)
    found = reconstructor(silent=frozenset({"b4"})).figures(boxes("b1", "b2", "b3", "b4"))
    assert list(found) == ["b1", "b2", "b3", "b4"]
    assert "the field is empty" in found["b1"].note
    assert found["b2"].missing == {}
    assert found["b3"].note == "not available: the asset gave no triangles: timeout: 600 s"
    assert found["b4"].note == "not available: the model has no answer: numbers are not finite"
    summary = reconstruction_summary(found, NAMES)
    assert (summary["objects"], summary["failed"]) == (4, 3)
    assert set(summary["measured"].values()) == {1}
    # What would fail again is not tried again, and nothing is tried whose truth is not there.
    assert optimised == ["b1", "b2"]
    assert reconstructor().figures(boxes("b1"))["b1"] == found["b1"]
    assert optimised == ["b1", "b2"]


@pytest.mark.parametrize(("kind", "attempts"), [("not_finite", 1), ("gpu_memory", 2), ("host_memory", 2)])
def test_an_optimisation_that_breaks_costs_its_object_alone(
    reconstructor: Made, monkeypatch: pytest.MonkeyPatch, kind: str, attempts: int
) -> None:
    tried: list[str] = []

    def broken(task, folder, *_, **__):
        tried.append(task.subject)
        raise StageFailedError("neus of b1, step 3: broken", f"lower something; a checkpoint is in {folder}", kind)

    monkeypatch.setattr(room, "optimise", broken)
    for _ in range(2):
        found = reconstructor().figures(boxes("b1"))["b1"]
        # Without the remedy, which names a folder of this machine.
        assert found.note == "not available: neus of b1, step 3: broken"
    assert len(tried) == attempts


def test_a_full_disk_is_a_failure_of_the_stage(reconstructor: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_, **__):
        raise StageFailedError("no space left", "make room", "disk")

    monkeypatch.setattr(room, "optimise", full)
    with pytest.raises(StageFailedError, match="no space left"):
        reconstructor().figures(boxes("b1"))


def test_answers_that_show_nothing_are_carved_away_but_the_input(reconstructor: Made, optimised: list[str]) -> None:
    """White answers are views that show nothing; the input still has its alpha, so that there is something to fit."""
    found = reconstructor(blank=frozenset({"b1"})).figures(boxes("b1"))["b1"]
    assert optimised == ["b1"]
    assert found.values or "empty" in found.note


def test_only_the_first_objects_are_reconstructed(reconstructor: Made, optimised: list[str]) -> None:
    assert list(reconstructor(chosen(max_objects=1)).figures(boxes("b1", "b2"))) == ["b1"]
    assert optimised == ["b1"]


def test_while_it_is_off_no_answer_is_sampled_anew() -> None:
    """Parameters that are no part of the recipe, and the recipe of those that are."""
    off, on = EvaluateParameters(), EvaluateParameters(reconstruct=chosen())
    assert off.reconstruct is None
    assert "reconstruct" in _INDIFFERENT
    assert sampling_recipe("model", on, 0) == sampling_recipe("model", off, 0)
    assert "reconstruct" not in off.model_dump(exclude=_INDIFFERENT)


def test_the_run_has_its_seed_unless_one_is_given() -> None:
    assert with_seed(chosen(), 7).loop.seed == 7
    assert with_seed(chosen(loop={"seed": 3}), 7).loop.seed == 3
    # Steps are the method's, whatever the seed.
    assert with_seed(ReconstructionParameters(method="sds"), 7).loop.steps == 600


def test_mistakes_in_the_parameters_name_the_nearest() -> None:
    with pytest.raises(ParameterError, match=r"evaluate\.reconstruct\.metod; did you mean method\?"):
        validated(EvaluateParameters, {"reconstruct": {"metod": "sjc"}}, "params.yaml: evaluate")
    with pytest.raises(ParameterError, match=r"reconstruct\.figures\.sample; did you mean samples\?"):
        validated(EvaluateParameters, {"reconstruct": {"figures": {"sample": 3}}}, "params.yaml: evaluate")


def test_what_has_no_true_mesh_or_no_prior_is_refused_before_anything_is_sampled() -> None:
    photographs = EvaluateParameters(source="dtu", path="dtu", reconstruct=chosen())
    with pytest.raises(
        InputError, match=r"dtu is photographs and has no true meshes; set evaluate\.reconstruct to null"
    ):
        check_reconstruction(object(), photographs)  # type: ignore[arg-type]
    of_gaussians = KnownGaussians([], 16)
    asked = EvaluateParameters(reconstruct=ReconstructionParameters(method="sjc"))
    with pytest.raises(InputError, match=r"KnownGaussians is no prior that sjc could ask"):
        check_reconstruction(of_gaussians, asked)
    check_reconstruction(of_gaussians, EvaluateParameters(reconstruct=chosen()))
    check_reconstruction(object(), EvaluateParameters())  # type: ignore[arg-type]


def known(value: float) -> MeshFigures:
    return MeshFigures(dict.fromkeys(NAMES, value))


def test_means_have_intervals_and_the_table_the_reasons() -> None:
    lost = unavailable(chosen().figures, "the field is empty")
    found = {"b1": known(0.1), "b2": known(0.3), "b3": lost}
    summary = reconstruction_summary(found, NAMES)
    assert summary["chamfer_l1"] == 0.2
    low, high = summary["intervals"]["chamfer_l1"]
    assert 0.1 <= low < 0.2 < high <= 0.3
    assert reconstruction_summary({"b3": lost}, NAMES)["chamfer_l1"] == "not available"
    assert reconstruction_lines({}) == []
    assert reconstruction_lines({"reconstruction": {"unseen": summary}}) == [
        "unseen: Chamfer distance 0.2000, volume IoU 0.2000 of 2 of 3 objects"
    ]
    assert reconstruction_summary({"b3": lost}, NAMES)["intervals"] == {}
    table = per_object_table([object_scores(uid, "unseen", 16.0, 17.0, 19.0) for uid in ("b1", "b2", "b3", "b4")])
    wide = with_reconstructions(table, {"unseen": found}, NAMES)
    pd.testing.assert_frame_equal(wide[table.columns], table)
    model = wide[wide["method"] == "model"].set_index("uid")
    assert list(model["reconstruction_chamfer_l1"])[:2] == [0.1, 0.3]
    assert np.isnan(model.loc["b3", "reconstruction_chamfer_l1"])
    assert model.loc["b3", "reconstruction"] == "not available: the field is empty"
    # Nobody asked about b4.
    assert pd.isna(model.loc["b4", "reconstruction"])
    assert wide[wide["method"] != "model"]["reconstruction_iou_grid"].isna().all()
    (problem,) = reconstruction_problems("unseen", found, {"b3": asset("b3", "test").title})
    assert (problem.title, problem.what) == ("object b3", "reconstruction not available: the field is empty")


def test_the_report_shows_reconstructions_beside_published_ones(evaluated: Workspace) -> None:
    before = build_report(evaluated, None)
    assert "Reconstructions beside" not in before
    assert 'href="#reconstructions"' not in before
    folder, parameters = evaluated.evaluation, chosen(method="sjc")
    found = {"b1": known(0.0321), "b2": unavailable(parameters.figures, "the field is <empty>")}
    unseen = [object_scores("b1", "unseen", 16.0, 17.0, 19.0), object_scores("b2", "unseen", 20.0, 15.0, 19.0)]
    table = per_object_table([*unseen, object_scores("a1", "training", 22.0, 16.0, 17.0)])
    with_reconstructions(table, {"unseen": found}, NAMES).to_parquet(folder / "per_object.parquet", index=False)
    metrics, details = (json.loads((folder / name).read_text()) for name in ("metrics.json", "details.json"))
    metrics["reconstruction"] = {"unseen": reconstruction_summary(found, NAMES)}
    details["reconstruction"] = reconstruction_details(parameters)
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "details.json", details)
    page = build_report(evaluated, None)
    section = page.partition('id="reconstructions"')[2].partition('id="problems"')[0]
    assert "reconstructed by SJC in 3 steps from its input view, with the model for a prior" in section
    assert "1 of 2 unseen objects has no mesh" in section
    assert section.count("1 of 2</td>") == len(NAMES)
    assert "the field is &lt;empty&gt;" in section
    assert section.index("title &lt;b2&gt;") < section.index("title &lt;b1&gt;")
    assert "0.0321<small>0.0321 … 0.0321</small>" in section
    # SyncDreamer's table names the figures of ours that are defined as its own; Zero-1-to-3's has none.
    synced = section.partition("SyncDreamer, reconstruction")[2]
    assert "<small>CD L1</small>" in synced
    assert ".0261" in synced
    assert section.index("SyncDreamer, reconstruction") < section.index("Zero-1-to-3, reconstruction")
    assert "none of ours" in section.partition("Zero-1-to-3, reconstruction")[2]
