"""The stages `attributes` and `joint` as the engine sees them."""

from pathlib import Path

import pytest
import torch
from attribute_diffusion_support import SIDE, parameters, system, views

from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.zero_1_to_g.diffusion_training import Zero1ToGDiffusion
from systems.zero_1_to_g.pipeline import Zero1ToGPipeline
from systems.zero_1_to_g.training import zero_1_to_g_training


def test_every_trained_weight_is_in_one_group() -> None:
    made = system()
    groups = made.parameter_groups()
    members = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(members) == sorted(id(p) for p in made.parameters() if p.requires_grad)
    embedding = {id(parameter) for parameter in made.unet.class_embedding.parameters()}
    assert {id(parameter) for parameter in groups["camera_embedding"]} == embedding
    assert made.learning_rate_factors() == {"camera_embedding": 10.0}
    assert system(embedding_factor=1.0).learning_rate_factors() == {"camera_embedding": 1.0}


def test_the_autoencoder_stays_and_the_encoder_where_it_is_told_to() -> None:
    frozen = system(image_encoder={**parameters().image_encoder.model_dump(), "train": False})
    assert not any(parameter.requires_grad for parameter in frozen.image_encoder.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.vae.parameters())
    assert all(parameter.requires_grad for parameter in frozen.unet.parameters())


def test_predictions_follow_from_their_seeds() -> None:
    made = system()
    batch = made.batch(views(azimuth_deg=50.0))
    first, again, other = (made.predict(batch, seeds, 2, 1.0) for seeds in ([1, 2], [1, 2], [1, 3]))
    assert first.shape == (2, 3, SIDE, SIDE)
    assert first.min() >= 0.0
    assert first.max() <= 1.0
    assert torch.equal(first, again)
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_the_picture_is_that_of_the_first_view() -> None:
    made = system()
    batch = made.batch(views(azimuth_deg=50.0))
    predicted = made.predict(batch, [1, 2], 2, 1.0)
    straight = made.batch(views())
    torch.testing.assert_close(made.predict(straight, [1, 2], 2, 1.0), predicted, atol=1e-3, rtol=0)


def test_what_is_compared_when_compiled_needs_no_splatter_images() -> None:
    made = system()
    without = views()
    batch = made.stand_in(type(without)(**{**vars(without), "splatters": None}))
    assert batch.attributes.shape == made.batch(without).attributes.shape
    assert torch.isfinite(made(batch, made.draw([1, 2])).loss)


def test_splatter_images_have_to_be_of_the_layout() -> None:
    three = {"azimuths_deg": [0.0, 120.0, 240.0], "elevations_deg": [0.0] * 3}
    with pytest.raises(InputError, match=r"2 views and train.zero_1_to_g.layout has 3"):
        system(layout=three).batch(views())


@pytest.mark.parametrize("stage", ["attributes", "joint"])
def test_a_saved_system_is_a_pipeline_that_the_next_stage_starts_from(stage: str, tmp_path: Path) -> None:
    made = system(stage=stage)
    made.save(tmp_path / "first")
    pipeline = load_pipeline(tmp_path / "first")
    assert isinstance(pipeline, Zero1ToGPipeline)
    assert pipeline.unet.config.cross_attribute is (stage == "joint")
    following = zero_1_to_g_training(parameters(stage="joint", pretrained=str(tmp_path / "first")), 5, SIDE)
    assert isinstance(following, Zero1ToGDiffusion)
    # New cross-attribute attention adds nothing yet, so both sample the same.
    batch = made.batch(views())
    following.eval()
    assert torch.equal(following.predict(batch, [1, 2], 2, 1.0), made.predict(batch, [1, 2], 2, 1.0))
    assert following.unet.config.cross_attribute is True
