"""Refinement as part of the splatter stage: real renders, batches of objects, what is published and what is done again."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from render_support import QUALITY, Rendered, contents

from blender_render import splatter_refinement, splatter_refinement_worker
from blender_render.parameters import QualityParameters, RefinementParameters, SplatterParameters
from blender_render.rendered_object import read_record, read_views
from blender_render.splatter import make_splatters
from blender_render.splatter_files import read_splatter_images
from blender_render.splatter_refinement import REFINED, refine_splatters
from geometry.cameras import project
from geometry.gaussians import Gaussians
from geometry.ply import read_ply
from stage.errors import ParameterError
from stage.executor import ExecutorParameters, Job
from stage.failures import FailureClass, Outcome
from stage.packs import object_folder, unpack_missing
from stage.parameters import validated
from stage.workspace import Workspace

SIZE = 32
REFINEMENT = RefinementParameters(
    steps=16, views=14, batch_views=3, validation_views=2, validate_every=4, objects_per_batch=2
)
PARAMETERS = SplatterParameters(
    resolution=SIZE,
    max_objects=2,
    check_views=3,
    quality=QUALITY,
    refinement=REFINEMENT,
    executor=ExecutorParameters(workers=1, threads=1),
    max_failure_rate=1.0,
)


def changed(**refinement: Any) -> SplatterParameters:
    """The parameters with another refinement."""
    return PARAMETERS.model_copy(update={"refinement": REFINEMENT.model_copy(update=refinement)})


@pytest.fixture(scope="module")
def workspace(procedural: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two objects' splatter images, refined; their catalogue is that of other tests, their scratch space is not."""
    place = Workspace(tmp_path_factory.mktemp("refined"))
    _share_renderings(place, procedural.workspace)
    make_splatters(PARAMETERS, 0, place)
    return place


def _share_renderings(place: Workspace, source: Workspace) -> None:
    """Lead to the catalogue and the renderings of another workspace, but not to what the stage writes."""
    for folder in (source.catalog, source.renders, source.scratch / "catalog", source.scratch / "assets"):
        if folder.exists():
            target = place.root / folder.relative_to(source.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(folder)


@pytest.fixture(scope="module")
def uids(workspace: Workspace) -> list[str]:
    return sorted(pd.read_parquet(workspace.splatters / "splatters.parquet")["uid"])


@pytest.fixture
def refined(workspace: Workspace, uids: list[str]) -> Path:
    """The refined folder of the first object."""
    return object_folder(workspace.scratch / REFINED, uids[0])


def test_refined_objects_have_the_files_of_closed_forms_and_no_pictures(workspace: Workspace, uids: list[str]) -> None:
    assert len(uids) == 2
    expected = {"fused.ply", "splatter.safetensors", "record.json", "transforms.json"}
    for uid in uids:
        folder = object_folder(workspace.scratch / REFINED, uid)
        assert {path.name for path in folder.iterdir()} == expected | {f"splatter_{view}.ply" for view in range(6)}
        assert list(folder.parent.glob("*.state.safetensors")) == []


def test_the_record_tells_the_course_and_the_scores_before_and_after(workspace: Workspace, refined: Path) -> None:
    record = read_record(refined)
    course = record["refinement"]
    assert (course["step"], course["stopped"], course["kept"]) == (16, "steps", "refined")
    assert course["best_score"] > course["start_score"]
    assert course["after"]["psnr"] > course["before"]["psnr"] + 0.3
    assert set(course["after"]) == {"psnr", "ssim", "alpha_iou"}
    assert course["lpips"] == "not used"
    assert 0 < course["depth_shift"] < REFINEMENT.depth_reach
    assert len(record["quality"]["fused"]["psnr"]) == 3
    assert np.mean(record["quality"]["fused"]["psnr"]) == pytest.approx(course["after"]["psnr"], abs=1e-3)
    assert record["gaussians"] == len(read_ply(refined / "fused.ply"))
    closed = read_record(object_folder(workspace.scratch / "splatters", refined.name))
    assert course["before"]["psnr"] == pytest.approx(np.mean(closed["quality"]["fused"]["psnr"]), abs=1e-3)


def test_what_is_published_is_refined(workspace: Workspace, refined: Path, tmp_path: Path) -> None:
    unpack_missing(workspace.splatters, tmp_path, [refined.name])
    assert contents(object_folder(tmp_path, refined.name)) == contents(refined)
    table = pd.read_parquet(workspace.splatters / "splatters.parquet").set_index("uid")
    scores = read_record(refined)["quality"]["fused"]["psnr"]
    assert table.loc[refined.name, "psnr"] == pytest.approx(np.mean(scores))


def test_every_gaussian_is_still_in_its_pixel_and_the_background_has_none(workspace: Workspace, refined: Path) -> None:
    start = read_splatter_images(object_folder(workspace.scratch / "splatters", refined.name), 6)
    rows, columns = np.mgrid[:SIZE, :SIZE].reshape(2, -1) + 0.5
    for view, before, after in zip(read_views(refined), start, read_splatter_images(refined, 6), strict=True):
        empty = before.opacities < 1e-3
        seen, _ = project(after.means[~empty], view.c2w, view.intrinsics)
        assert np.abs(seen - np.stack([columns, rows], axis=1)[~empty]).max() < 0.5
        np.testing.assert_array_equal(after.opacities[empty], before.opacities[empty])
        assert (after.means[~empty] != before.means[~empty]).any()


def test_a_second_run_does_nothing(workspace: Workspace, refined: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in refined.iterdir()}
    make_splatters(PARAMETERS, 0, workspace)
    assert {path: path.stat().st_mtime_ns for path in refined.iterdir()} == before


def test_other_settings_refine_again_and_render_nothing(workspace: Workspace, refined: Path) -> None:
    closed = object_folder(workspace.scratch / "splatters", refined.name)
    rendered = {path: path.stat().st_mtime_ns for path in closed.rglob("*")}
    before = contents(refined)
    make_splatters(changed(steps=4), 0, workspace)
    assert read_record(refined)["refinement"]["step"] == 4
    assert {path: path.stat().st_mtime_ns for path in closed.rglob("*")} == rendered
    make_splatters(changed(objects_per_batch=1), 0, workspace)
    assert contents(refined) == before


def test_lpips_that_is_not_there_is_said_once(
    workspace: Workspace, uids: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = closed_forms_alone(workspace, uids, tmp_path)
    weights = REFINEMENT.weights.model_copy(update={"lpips": 0.1})
    assert refine_splatters(dict.fromkeys(uids, "any"), changed(weights=weights, steps=1), 0, place) == []
    reason = "not available: the package lpips is not installed"
    assert capfd.readouterr().err.count(f"LPIPS is {reason}; refinement goes on without it") == 1
    for uid in uids:
        assert read_record(object_folder(place.scratch / REFINED, uid))["refinement"]["lpips"] == reason


def closed_forms_alone(workspace: Workspace, uids: list[str], root: Path) -> Workspace:
    """A workspace with copies of the closed forms."""
    place = Workspace(root)
    for uid in uids:
        _copy(object_folder(workspace.scratch / "splatters", uid), object_folder(place.scratch / "splatters", uid))
    return place


def payload(workspace: Workspace, uids: list[str], root: Path) -> dict[str, Any]:
    """What a worker is told, writing below `root`."""
    objects = [
        {
            "uid": uid,
            "fingerprint": "any",
            "closed_form": str(object_folder(workspace.scratch / "splatters", uid)),
            "output": str(object_folder(root, uid)),
        }
        for uid in uids
    ]
    refinement = changed(checkpoint_every=3).refinement.model_dump()
    return {"objects": objects, "refinement": refinement, "seed": 0, "lpips": "", "output": objects[0]["output"]}


def without_record(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "record.json"}


def test_a_worker_that_was_killed_goes_on_where_it_was(
    workspace: Workspace, refined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, steps = payload(workspace, [refined.name], tmp_path), []
    original = splatter_refinement_worker.advance

    def counted(refinements: Any) -> None:
        steps.append(refinements[0].course.step)
        if len(steps) == 6:
            raise KeyboardInterrupt
        original(refinements)

    monkeypatch.setattr(splatter_refinement_worker, "advance", counted)
    with pytest.raises(KeyboardInterrupt):
        splatter_refinement_worker.refine_objects(told)
    assert list(object_folder(tmp_path, refined.name).parent.glob("*.state.safetensors"))
    answers = splatter_refinement_worker.refine_objects(told)
    assert steps == [*range(6), *range(3, 16)]
    assert answers[refined.name]["failure"] == ""
    assert without_record(object_folder(tmp_path, refined.name)) == without_record(refined)


def test_an_object_whose_pictures_are_damaged_fails_alone(
    workspace: Workspace, uids: list[str], tmp_path: Path
) -> None:
    told = payload(workspace, uids, tmp_path)
    damaged = tmp_path / "damaged"
    copied = object_folder(workspace.scratch / "splatters", uids[0])
    _copy(copied, damaged)
    (damaged / "views" / "002.png").unlink()
    told["objects"][0]["closed_form"] = str(damaged)
    answers = splatter_refinement_worker.refine_objects(told)
    assert "002.png" in answers[uids[0]]["message"]
    assert answers[uids[0]]["failure"] == str(FailureClass.ERROR)
    assert answers[uids[1]]["failure"] == ""
    assert without_record(object_folder(tmp_path, uids[1])) == without_record(
        object_folder(workspace.scratch / REFINED, uids[1])
    )
    assert not object_folder(tmp_path, uids[0]).exists()


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


def test_one_that_cannot_be_refined_is_a_row_and_its_batch_goes_on(
    workspace: Workspace, uids: list[str], tmp_path: Path
) -> None:
    place = closed_forms_alone(workspace, uids, tmp_path)
    (object_folder(place.scratch / "splatters", uids[0]) / "fused.ply").write_bytes(b"ply\n")
    failed = refine_splatters(dict.fromkeys(uids, "any"), PARAMETERS, 0, place)
    assert [(outcome.uid, outcome.failure) for outcome in failed] == [(uids[0], FailureClass.ERROR)]
    assert "fused.ply" in failed[0].message
    assert read_record(object_folder(place.scratch / REFINED, uids[1]))["refinement"]["kept"] == "refined"
    rows = [json.loads(line) for line in (place.scratch / REFINED / "ledger.jsonl").read_text().splitlines()]
    # Together, and the one that failed once more alone.
    assert [(row["uid"], bool(row["failure"])) for row in rows] == [(uids[0], True), (uids[1], False), (uids[0], True)]
    assert set(rows[1]["phases"]) == {"read", "optimise", "write"}


class BrokenOff:
    """An executor whose worker dies after the first object of a batch of several."""

    def run(self, handler: str, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield a crash for each batch of several, and what the worker makes of one alone."""
        assert handler == "blender_render.splatter_refinement_worker:refine_objects"
        for job in jobs:
            told = job.message()
            several = len(told["objects"]) > 1
            answers = splatter_refinement_worker.refine_objects({**told, "objects": told["objects"][:1]})
            yield Outcome(job.uid, FailureClass.CRASH if several else None, "died", "", 2, 1.0, 1, answers)


def test_what_a_broken_batch_left_undone_is_done_alone(
    workspace: Workspace, uids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = closed_forms_alone(workspace, uids, tmp_path)
    monkeypatch.setattr(splatter_refinement, "executor_for", lambda _: BrokenOff())
    assert refine_splatters(dict.fromkeys(uids, "any"), changed(steps=2), 0, place) == []
    for uid in uids:
        assert read_record(object_folder(place.scratch / REFINED, uid))["refinement"]["step"] == 2


def test_a_closed_form_that_is_not_beaten_is_published_as_it_is(
    workspace: Workspace, uids: list[str], tmp_path: Path
) -> None:
    told = payload(workspace, uids[:1], tmp_path)
    told["refinement"]["learning_rates"] = dict.fromkeys(told["refinement"]["learning_rates"], 0.0)
    splatter_refinement_worker.refine_objects(told)
    kept = object_folder(tmp_path, uids[0])
    course = read_record(kept)["refinement"]
    assert (course["kept"], course["best_step"]) == ("closed form", 0)
    assert course["before"] == course["after"]
    assert course["depth_shift"] == 0
    closed = object_folder(workspace.scratch / "splatters", uids[0])
    for image, start in zip(read_splatter_images(kept, 6), read_splatter_images(closed, 6), strict=True):
        _assert_same(image, start)
    assert len(read_ply(kept / "fused.ply")) == len(read_ply(closed / "fused.ply"))


def _assert_same(one: Gaussians, other: Gaussians) -> None:
    for name in ("means", "quaternions", "scales", "opacities", "colours"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6)


def test_the_pictures_are_other_than_the_check_views(workspace: Workspace, refined: Path) -> None:
    folder = object_folder(workspace.scratch / "splatters", refined.name) / "views"
    places = np.stack([view.c2w[:3, 3] for view in read_views(folder)])
    assert len(places) == REFINEMENT.views + 3
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(len(places))
    assert apart.min() > 1e-3
    with Image.open(folder / "008.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (SIZE, SIZE))


def test_something_must_be_left_to_learn_from() -> None:
    with pytest.raises(ParameterError, match="validation_views must be less than views"):
        validated(SplatterParameters, {"refinement": {"views": 4, "validation_views": 4}}, "params.yaml: splatter")


@pytest.mark.slow
@pytest.mark.minutes(1.5)
@pytest.mark.timeout(900)
def test_refinement_gains_three_decibels_on_unseen_views(procedural: Rendered, tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    _share_renderings(place, procedural.workspace)
    refinement = RefinementParameters(steps=150)
    parameters = PARAMETERS.model_copy(
        update={
            "resolution": 128,
            "max_objects": 1,
            "check_views": 8,
            "refinement": refinement,
            # With fewer samples the noise of the pictures bounds what can be gained.
            "quality": QualityParameters(device="cpu"),
        }
    )
    make_splatters(parameters, 0, place)
    uid = pd.read_parquet(place.splatters / "splatters.parquet")["uid"][0]
    course = read_record(object_folder(place.scratch / REFINED, uid))["refinement"]
    assert course["after"]["psnr"] > course["before"]["psnr"] + 3.0
    assert course["after"]["alpha_iou"] > course["before"]["alpha_iou"]
