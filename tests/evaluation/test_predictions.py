"""Kept predictions: exact, found under their own key alone, and sampled in groups that do not depend on what was there."""

import json
import tracemalloc
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_support import asset
from tiny_pipelines_support import save_tiny_pipeline

from blender_render.camera_sets import View
from catalog.table import Asset
from evaluation.parameters import EvaluateParameters
from evaluation.predictions import _INDIFFERENT, Prediction, PredictionStore, prediction_key, sampling_recipe
from evaluation.protocol import ObjectViews, Selection, Subset
from evaluation.sampler import Answered, Failed, Sampler
from evaluation.sampling import load_for_sampling, predict
from evaluation.timing import Timing
from geometry.cameras import Intrinsics, look_at_origin
from geometry.gaussians import Gaussians
from stage.errors import InputError
from stage.files import folder_sha256
from stage.workspace import Workspace

SIZE, SEED = 16, 3
PARAMETERS = EvaluateParameters(inference_steps=2, batch_size=4, eta=0.5, guidance_scale=2.0)
UIDS = ("a1", "b2", "c3", "d4", "e5")


def object_views(uid: str, targets: int = 3) -> ObjectViews:
    random = np.random.default_rng(int(uid, 16))
    pictures = random.random((targets + 1, SIZE, SIZE, 3)).astype(np.float32)
    lens = Intrinsics.from_fov(0.9, SIZE)
    cameras = [View(look_at_origin(1.2, 0.7 * number + random.random(), 1.6), lens) for number in range(targets + 1)]
    return ObjectViews(asset(uid, "test"), pictures, tuple(cameras))


class MadeSubset(Subset):
    """Objects without files, of which one may be damaged."""

    damaged = ""

    def read(self, asset: Asset) -> ObjectViews:
        """Random pictures."""
        if asset.uid == self.damaged:
            raise InputError(f"{asset.uid} is damaged", "mend it")
        return object_views(asset.uid)

    def cameras(self, asset: Asset) -> tuple[View, ...]:
        """Random cameras."""
        return object_views(asset.uid).cameras

    def warnings(self, asset: Asset) -> list[str]:  # noqa: ARG002 - there are none
        """None."""
        return []

    def data_sha256(self) -> str:
        """Nothing."""
        return ""


def subset(uids: tuple[str, ...] = UIDS) -> MadeSubset:
    return MadeSubset(Selection("unseen", tuple(asset(uid, "test") for uid in uids)), ())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline") / "model"
    save_tiny_pipeline(folder)
    return folder


def recipe_of(model: Path, parameters: EvaluateParameters, seed: int) -> str:
    return sampling_recipe(folder_sha256(model), parameters, seed)


def sampler(model: Path, root: Path, **further: object) -> Sampler:
    parameters = PARAMETERS.model_copy(update=further)
    pipeline = load_for_sampling(model)
    return Sampler(pipeline, parameters, SEED, recipe_of(model, parameters, SEED), root)


def pictures(answers: list[Answered | Failed]) -> np.ndarray:
    return np.stack([answer.prediction.pictures for answer in answers])


def test_what_is_kept_is_read_back_to_the_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    gaussians = Gaussians(
        means=random.normal(size=(5, 3)),
        quaternions=random.normal(size=(5, 4)),
        scales=random.uniform(0.1, 1, (5, 3)),
        opacities=random.random(5),
        colours=random.random((5, 3)),
    )
    made = Prediction(random.random((2, 4, 4, 3)).astype(np.float32), gaussians, 0.25)
    store = PredictionStore(tmp_path)
    store.write("a1", "key", made)
    found = store.read("a1", "key")
    assert np.array_equal(found.pictures, made.pictures)
    assert found.seconds == 0.25
    for each in fields(Gaussians):
        assert np.array_equal(getattr(found.gaussians, each.name), getattr(gaussians, each.name))
    assert store.read("a1", "other key") is None
    assert store.read("b2", "key") is None
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    assert store.read("a1", "key") is None


def test_a_key_follows_everything_that_decides_an_answer(model: Path, tmp_path: Path) -> None:
    views = object_views("a1")
    recipe = recipe_of(model, PARAMETERS, SEED)
    key = prediction_key(recipe, [views], [None])
    assert prediction_key(recipe_of(model, PARAMETERS, SEED), [object_views("a1")], [None]) == key
    touched = views.views.copy()
    touched[0, 3, 3] += 1 / 255
    moved = (replace(views.cameras[0], c2w=look_at_origin(1.1, 0, 1.6)), *views.cameras[1:])
    others = [
        prediction_key(recipe, [replace(views, views=touched)], [None]),
        prediction_key(recipe, [replace(views, cameras=moved)], [None]),
        prediction_key(recipe, [replace(views, asset=asset("a2", "test"))], [None]),
        prediction_key(recipe, [views], [0.7]),
        prediction_key(recipe, [views, object_views("b2")], [None, None]),
        *(
            prediction_key(recipe_of(model, PARAMETERS.model_copy(update=change), seed), [views], [None])
            for change, seed in (
                ({"inference_steps": 3}, SEED),
                ({"guidance_scale": 1.0}, SEED),
                ({"scheduler": "dpm"}, SEED),
                ({"objects_per_batch": 2}, SEED),
                ({}, SEED + 1),
            )
        ),
    ]
    other_model = tmp_path / "model"
    save_tiny_pipeline(other_model, seed=1)
    others.append(prediction_key(recipe_of(other_model, PARAMETERS, SEED), [views], [None]))
    assert len({key, *others}) == len(others) + 1


def test_a_key_does_not_follow_a_target_that_the_model_never_sees_or_other_metrics(model: Path) -> None:
    views = object_views("a1")
    touched = views.views.copy()
    touched[2] = 0
    changed = PARAMETERS.model_copy(update={"max_objects": 3, "gallery_objects": 1, "training_objects": 2})
    recipe = recipe_of(model, PARAMETERS, SEED)
    assert recipe_of(model, changed, SEED) == recipe
    assert prediction_key(recipe, [replace(views, views=touched)], [None]) == prediction_key(recipe, [views], [None])
    assert set(EvaluateParameters.model_fields) >= _INDIFFERENT


@pytest.mark.parametrize("mode", [None, "7dof"])
def test_objects_together_are_what_they_are_alone_up_to_rounding(mode: str | None, tmp_path: Path) -> None:
    save_tiny_pipeline(tmp_path / "model", mode)
    alone = pictures(list(sampler(tmp_path / "model", tmp_path / "alone").answers(subset())))
    together = pictures(
        list(sampler(tmp_path / "model", tmp_path / "together", objects_per_batch=2).answers(subset()))
    )
    assert alone.shape == (5, 3, SIZE, SIZE, 3)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    # Pictures of different objects differ by far more.
    assert np.abs(alone[0] - alone[1]).mean() > 1e-3


def test_one_by_one_is_what_predict_gives(model: Path, tmp_path: Path) -> None:
    answers = list(sampler(model, tmp_path).answers(subset(("a1", "b2"))))
    for answer in answers:
        expected = predict(load_for_sampling(model), object_views(answer.views.asset.uid), PARAMETERS, SEED)
        assert np.array_equal(answer.prediction.pictures, expected.pictures)


def test_a_half_finished_group_is_sampled_again_as_a_whole_with_the_same_bits(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = pictures(list(sampler(model, tmp_path / "whole", objects_per_batch=2).answers(subset())))
    cut = sampler(model, tmp_path / "cut", objects_per_batch=2)
    written: list[str] = []
    write = PredictionStore.write

    def dies_at_the_fourth(store: PredictionStore, uid: str, key: str, prediction: Prediction) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(uid)
        write(store, uid, key, prediction)

    monkeypatch.setattr(PredictionStore, "write", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        list(cut.answers(subset()))
    assert written == ["a1", "b2", "c3"]
    again: list[str] = []
    monkeypatch.setattr(
        PredictionStore, "write", lambda store, uid, key, made: (again.append(uid), write(store, uid, key, made))
    )
    assert np.array_equal(pictures(list(cut.answers(subset()))), undisturbed)
    assert again == ["c3", "d4", "e5"]
    list(cut.answers(subset()))
    assert again == ["c3", "d4", "e5"]


def test_a_damaged_object_is_left_out_and_told(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeSubset, "damaged", "b2")
    answers = list(sampler(model, tmp_path, objects_per_batch=2).answers(subset(("a1", "b2", "c3"))))
    assert [type(answer) for answer in answers] == [Answered, Failed, Answered]
    assert answers[1].outcome.message == "b2 is damaged; mend it"


def test_timing_tells_the_median_and_of_which_model(model: Path, tmp_path: Path) -> None:
    timing = Timing.of(model, "hash")
    assert timing.document()["median_seconds_per_picture"] is None
    for seconds in (0.5, 0.1, None, 0.2):
        timing.note(Prediction(np.zeros((1, 2, 2, 3)), seconds=seconds))
    document = timing.document()
    assert document["median_seconds_per_picture"] == 0.2
    assert document["objects"] == 3
    assert document["model_bytes"] == sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    (answer,) = sampler(model, tmp_path).answers(subset(("a1",)))
    assert answer.prediction.seconds > 0


def test_the_timing_is_a_file_beside_the_renders(model: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    timing = Timing.of(model, folder_sha256(model))
    timing.write(workspace)
    assert json.loads((workspace.scratch / "evaluation" / "timing.json").read_text()) == timing.document()


def test_memory_does_not_grow_with_the_number_of_objects(model: Path, tmp_path: Path) -> None:
    asked = sampler(model, tmp_path, inference_steps=1, guidance_scale=1.0)

    def peak(count: int) -> int:
        many = subset(tuple(f"{number:04x}" for number in range(1, count + 1)))
        tracemalloc.start()
        for answer in asked.answers(many):
            assert isinstance(answer, Answered)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(2)
    few, more = peak(4), peak(20)
    # An object's views and prediction are 21 kB; 16 more of them that were kept would be 340 kB.
    assert more < few + 100_000
