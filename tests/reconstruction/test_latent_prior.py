"""Our pipelines as priors: what they are told of cameras, what they predict, and what gradients they let pass."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prior_support import SIZE, camera, cascade_pipeline, input_view, zero123_pipeline, zeronvs_pipeline

from geometry.cameras import c2w_from_zero123, look_at_origin, zero123_from_c2w
from reconstruction.priors.latent_prior import CascadePrior, LatentPrior, predicted_noise, prior_of
from stage.errors import InputError
from systems.zero123.conditioning import relative_pose
from systems.zero123.pipeline import Zero123Pipeline
from systems.zeronvs.conditioning import pose_vector

PICTURE = input_view().picture[None]
PIPELINE = zero123_pipeline()


def zero123_prior(azimuth_deg: float = 0.0) -> LatentPrior:
    return prior_of(PIPELINE, PICTURE, camera(azimuth_deg))


@settings(max_examples=30)
@given(st.floats(-180, 180), st.floats(-60, 80), st.floats(1.2, 2.5), st.floats(-180, 180))
def test_poses_are_those_that_zero123_trains_with(azimuth: float, elevation: float, radius: float, of: float) -> None:
    prior, wanted = zero123_prior(of), camera(azimuth, elevation, radius)
    (told,) = prior.poses([wanted])
    # By way of the published file, the world-to-camera matrix of Zero-1-to-3's .npy.
    from_files = [c2w_from_zero123(zero123_from_c2w(c.c2w)) for c in (wanted, camera(of))]
    np.testing.assert_allclose(told, relative_pose(*from_files), atol=1e-5)


def test_the_input_itself_is_no_turn() -> None:
    assert zero123_prior(77.0).poses([camera(77.0)])[0].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-6)


def test_a_turn_by_hand() -> None:
    # 90° counter-clockwise seen from above, 30° higher, half a size farther.
    (told,) = zero123_prior(10.0).poses([camera(100.0, elevation_deg=50.0, radius=2.5)])
    assert told.tolist() == pytest.approx([-np.pi / 6, 1, 0, 0.5], abs=1e-6)


def test_zeronvs_is_told_transform_and_field_of_view() -> None:
    prior = prior_of(zeronvs_pipeline(), PICTURE, camera(0.0), scale=0.7)
    wanted = camera(40.0, size=64)
    expected = pose_vector("7dof_quantile_scale", wanted.c2w, camera(0.0).c2w, np.deg2rad(49.1), 0.7)
    np.testing.assert_allclose(prior.poses([wanted])[0], expected, atol=1e-6)


def test_without_its_scale_zeronvs_refuses() -> None:
    with pytest.raises(InputError, match="needs a scale"):
        prior_of(zeronvs_pipeline(), PICTURE, camera(0.0)).poses([camera(1.0)])


def test_shapes_and_white() -> None:
    prior = zero123_prior()
    assert prior.image_size == SIZE
    assert prior.latent_shape == (48, 4, 4)
    assert torch.equal(prior.white, prior.encode(torch.ones(1, 3, SIZE, SIZE))[0])
    torch.testing.assert_close(prior.decode(prior.white[None]), torch.ones(1, 3, SIZE, SIZE))


def test_gradients_pass_through_the_autoencoder_and_stop_at_the_denoiser() -> None:
    prior = zero123_prior()
    picture = PICTURE.clone().requires_grad_()
    latents = prior.encode(picture)
    decoded = prior.decode(latents)
    torch.testing.assert_close(decoded, PICTURE / 2 + 0.5)
    decoded.sum().backward()
    torch.testing.assert_close(picture.grad, torch.full_like(picture, 0.5))
    noisy = latents.detach().requires_grad_()
    predicted = prior.denoise(noisy, torch.tensor([500]), [camera(5.0)], 3.0)
    assert not predicted.requires_grad
    assert not any(p.requires_grad for p in prior.pipeline.unet.parameters())


def test_the_picture_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encoded = Zero123Pipeline.encoded

    def counted(self: Zero123Pipeline, *given: Any) -> Any:
        seen.append(1)
        return encoded(self, *given)

    monkeypatch.setattr(Zero123Pipeline, "encoded", counted)
    prior = zero123_prior()
    for _ in range(3):
        prior.denoise(torch.zeros(1, 48, 4, 4), torch.tensor([10]), [camera(5.0)], 3.0)
    assert len(seen) == 1


def test_rows_of_a_batch_have_their_own_timesteps_and_cameras() -> None:
    prior, noisy = zero123_prior(), torch.randn(2, 48, 4, 4, generator=torch.Generator().manual_seed(0))
    steps, cameras = torch.tensor([700, 50]), [camera(90.0), camera(-20.0)]
    together = prior.denoise(noisy, steps, cameras, 3.0)
    for row in range(2):
        alone = prior.denoise(noisy[row : row + 1], steps[row : row + 1], cameras[row : row + 1], 3.0)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_guidance_moves_the_noise_in_proportion() -> None:
    prior, noisy = zero123_prior(), torch.randn(1, 48, 4, 4, generator=torch.Generator().manual_seed(0))
    by = {s: prior.denoise(noisy, torch.tensor([400]), [camera(60.0)], s) for s in (1.0, 2.0, 3.0)}
    torch.testing.assert_close(by[3.0] - by[2.0], by[2.0] - by[1.0], rtol=1e-3, atol=1e-4)
    assert (by[2.0] - by[1.0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_noise_of_every_prediction(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 1, 4, 2, 2, generator=generator, dtype=torch.float64)
    alphas = torch.tensor(0.36, dtype=torch.float64).reshape(1, 1, 1, 1)
    noisy = 0.6 * clean + 0.8 * noise
    answers = {"epsilon": noise, "v_prediction": 0.6 * noise - 0.8 * clean, "sample": clean}
    torch.testing.assert_close(predicted_noise(answers[kind], noisy, alphas, kind), noise)
    with pytest.raises(InputError, match="predicts scores"):
        predicted_noise(noise, noisy, alphas, "scores")


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_the_noise_is_that_of_the_picture_which_the_sampler_sees(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, step = zero123_prior(), torch.tensor(300)
    config = PIPELINE.scheduler.config
    monkeypatch.setattr(PIPELINE, "scheduler", type(PIPELINE.scheduler).from_config(config, prediction_type=kind))
    noisy = torch.randn(1, 48, 4, 4, generator=torch.Generator().manual_seed(0))
    noise = prior.denoise(noisy, step[None], [camera(60.0)], 1.0)
    kept = prior.alphas_cumprod[300]
    told = prior._condition(prior.poses([camera(60.0)]))
    with torch.no_grad():
        given = torch.cat([noisy, told.latent], dim=1)
        answer = PIPELINE.unet(given, step, encoder_hidden_states=told.token).sample
    scheduler = PIPELINE.scheduler
    scheduler.set_timesteps(1000)
    # diffusers' own: x̂ of the step that DDIM would take from here.
    clean = scheduler.step(answer, step, noisy).pred_original_sample
    torch.testing.assert_close((noisy - (1 - kept).sqrt() * noise) / kept.sqrt(), clean, rtol=1e-3, atol=1e-4)


def test_another_picture_and_camera_are_another_prior() -> None:
    prior = zero123_prior()
    other = prior.knowing(-PICTURE, camera(120.0))
    assert other.pipeline is prior.pipeline
    assert other.poses([camera(120.0)])[0].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-6)
    noisy, steps = torch.zeros(1, 48, 4, 4), torch.tensor([300])
    assert not torch.equal(
        prior.denoise(noisy, steps, [camera(0.0)], 1.0), other.denoise(noisy, steps, [camera(120.0)], 1.0)
    )


def test_sampled_views_depend_on_seed_alone() -> None:
    prior = zero123_prior()
    both = prior.sample([camera(120.0), camera(240.0)], 2, 3.0, seed=4)
    assert both.shape == (2, 3, SIZE, SIZE)
    assert both.min() >= -1
    assert both.max() <= 1
    torch.testing.assert_close(prior.sample([camera(120.0)], 2, 3.0, seed=4), both[:1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(prior.sample([camera(120.0)], 2, 3.0, seed=5), both[:1], atol=1e-2)


def test_a_cascade_samples_its_prompts_once_for_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    sample = Zero123Pipeline.sample_poses

    def counted(self: Zero123Pipeline, images: Any, poses: Any, **options: Any) -> Any:
        made.append(len(poses))
        return sample(self, images, poses, **options)

    monkeypatch.setattr(Zero123Pipeline, "sample_poses", counted)
    prior = prior_of(cascade_pipeline(), PICTURE, camera(0.0))
    assert isinstance(prior, CascadePrior)
    noisy, steps = torch.zeros(2, 48, 4, 4), torch.tensor([300, 10])
    predicted = prior.denoise(noisy, steps, [camera(100.0), camera(-100.0)], 3.0)
    assert predicted.shape == noisy.shape
    assert sorted(made) == [1, 1, 3]
    # The same cells, seen a little differently: nothing is sampled, and the answer is another.
    again = prior.denoise(noisy, steps, [camera(95.0), camera(-95.0)], 3.0)
    assert len(made) == 3
    assert not torch.equal(again, predicted)
    # The order of cameras changes nothing.
    later = prior_of(cascade_pipeline(), PICTURE, camera(0.0))
    later.denoise(noisy[:1], steps[:1], [camera(-100.0)], 3.0)
    torch.testing.assert_close(later.denoise(noisy, steps, [camera(100.0), camera(-100.0)], 3.0), predicted)


def test_what_scores_no_single_views_is_no_prior() -> None:
    with pytest.raises(InputError, match="no prior of single views"):
        prior_of(object(), PICTURE, camera(0.0))  # type: ignore[arg-type]


def test_looking_from_the_same_side_asks_the_same() -> None:
    # A camera is told by its position alone, whatever its picture's size.
    prior = zero123_prior()
    wanted = camera(33.0, size=64)
    np.testing.assert_allclose(wanted.c2w, look_at_origin(np.deg2rad(70), np.deg2rad(33), 2.0))
    torch.testing.assert_close(prior.poses([wanted]), prior.poses([camera(33.0, size=16)]))
