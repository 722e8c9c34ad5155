"""The stages that train Zero-1-to-G's autoencoder and its decoder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from splatter_training_support import SIDE, autoencoder, decoder, parameters, views

from geometry.attribute_tensors import gaussians_of
from geometry.rasterizer import rasterize
from stage.errors import InputError, ParameterError
from systems.zero_1_to_g import decoder_training
from systems.zero_1_to_g.decoder_training import Backgrounds, DecoderBatch, Zero1ToGDecoder
from systems.zero_1_to_g.training import zero_1_to_g_training

WHITE = Backgrounds(torch.ones(2, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a new autoencoder."""
    path = tmp_path_factory.mktemp("pipeline") / "model"
    autoencoder().save(path)
    return path


def test_gradients_reach_the_decoder_through_the_rasteriser_and_nothing_else(folder: Path) -> None:
    system = decoder(folder, splatter=0.0, alpha=0.0)
    system(system.batch(views()), WHITE).loss.backward()
    trained = {name: p.grad for name, p in system.named_parameters() if p.requires_grad}
    assert all(name.startswith(("vae.decoder.", "vae.post_quant_conv.")) for name in trained)
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in trained.values())
    assert trained["vae.post_quant_conv.weight"].abs().max() > 0
    assert trained["vae.decoder.conv_out.weight"].abs().max() > 0
    assert all(p.grad is None for name, p in system.named_parameters() if name not in trained)
    assert sum(len(group) for group in system.parameter_groups().values()) == len(trained)


def test_the_loss_is_that_of_its_terms(folder: Path) -> None:
    batch = views()
    total = decoder(folder, splatter=2.0, rgb=3.0, alpha=4.0)
    parts = [
        decoder(folder, **{"splatter": 0.0, "rgb": 0.0, "alpha": 0.0, name: 1.0})
        for name in ("splatter", "rgb", "alpha")
    ]
    with torch.no_grad():
        splatter, rgb, alpha = (float(part(part.batch(batch), WHITE).loss) for part in parts)
        step = total(total.batch(batch), WHITE)
    assert float(step.loss) == pytest.approx(2 * splatter + 3 * rgb + 4 * alpha, rel=1e-5)
    assert float(step.errors.mean()) == pytest.approx(float(step.loss), rel=1e-6)
    assert step.timesteps.tolist() == [0, 0]
    assert total.timesteps_total == 1


def test_a_scene_that_is_turned_as_a_whole_is_the_same_to_the_decoder(folder: Path) -> None:
    system = decoder(folder)
    straight, turned = system.batch(views()), system.batch(views(turn=1.3))
    # The splatter images are of half precision, in another frame each.
    assert (straight.attributes - turned.attributes).abs().max() < 0.02
    with torch.no_grad():
        losses = [float(system(batch, WHITE).loss) for batch in (straight, turned)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_what_is_shown_is_the_decoded_object_from_the_first_supervising_camera(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that loses nothing shows the true Gaussians."""
    system, given = decoder(folder), views(turn=0.8)
    monkeypatch.setattr(system, "decoded", lambda attributes: attributes)
    (shown, _) = system.predict(system.batch(given), [0, 0], steps=1, guidance_scale=1.0)
    assert given.splatters is not None
    true = gaussians_of(given.splatters.channels[0].float())
    lens = system.batch(given).supervision[0].intrinsics[:1]
    expected = rasterize(true, given.c2w[0, :1].double().numpy(), lens).rgb[0].permute(2, 0, 1)
    assert (shown - expected).abs().max() < 0.02
    assert float((shown - expected).square().mean()) < 1e-5


def test_values_beyond_the_range_make_the_gaussians_of_its_ends(folder: Path) -> None:
    system, azimuth = decoder(folder), torch.tensor(0.3)
    images = torch.full((1, 5, 3, 2, 2), 5.0, requires_grad=True)
    made = system._gaussians(images, azimuth)
    ends = system._gaussians(torch.ones(1, 5, 3, 2, 2), azimuth)
    for name in ("means", "scales", "opacities", "quaternions", "colours"):
        torch.testing.assert_close(getattr(made, name), getattr(ends, name))
    made.colours.sum().backward()
    assert images.grad is not None
    assert not images.grad.any()


def test_backgrounds_are_each_samples_own(folder: Path) -> None:
    system = decoder(folder)
    both = system.draw([5, 6]).colours
    assert torch.equal(both[1], system.draw([6]).colours[0])
    assert not torch.equal(both[0], both[1])
    assert ((both >= 0) & (both <= 1)).all()


def test_geometry_counts_from_its_step_on_and_after_a_kill(folder: Path) -> None:
    system = decoder(folder, normal=1.0, depth=1.0, geometry_from_step=3)
    batch = system.batch(views())
    with torch.no_grad():
        before = float(system(batch, WHITE).loss)
        system.stepped(3, dict)
        after = float(system(batch, WHITE).loss)
        resumed = decoder(folder, normal=1.0, depth=1.0, geometry_from_step=3)
        resumed.states()["course"].load_state_dict(system.states()["course"].state_dict())
        again = float(resumed(batch, WHITE).loss)
    assert after > before
    assert again == after


def test_without_other_views_the_condition_supervises(folder: Path) -> None:
    system, given = decoder(folder), views()
    alone = replace(given, rgba=given.rgba[:, -1:], c2w=given.c2w[:, -1:], intrinsics=given.intrinsics[:, -1:])
    assert [len(each.c2w) for each in system.batch(given).supervision] == [2, 2]
    (first, _) = system.batch(alone).supervision
    np.testing.assert_allclose(first.c2w[0], given.c2w[0, -1])


def test_a_saved_decoder_is_the_one_that_was_trained(folder: Path, tmp_path: Path) -> None:
    system = decoder(folder)
    with torch.no_grad():
        system.vae.decoder.conv_out.bias += 0.5
    system.save(tmp_path / "decoded")
    again = decoder(tmp_path / "decoded")
    for name, weight in system.vae.state_dict().items():
        assert torch.equal(again.vae.state_dict()[name], weight), name
    # The other modules are those of the folder that it began with.
    for weights in ("unet/diffusion_pytorch_model.safetensors", "image_encoder/model.safetensors"):
        assert (tmp_path / "decoded" / weights).read_bytes() == (folder / weights).read_bytes()
    assert (tmp_path / "decoded" / "model_index.json").read_bytes() == (folder / "model_index.json").read_bytes()


def test_what_is_compared_when_compiled_needs_no_splatter_images(folder: Path) -> None:
    system = decoder(folder)
    batch = system.stand_in(replace(views(), splatters=None))
    assert batch.attributes.shape == (2, 6, 5, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.isfinite(system(batch, WHITE).loss)


def test_samples_without_splatter_images_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"no splatter images; run viewforge splatter"):
        decoder(folder).batch(replace(views(), splatters=None))


@pytest.mark.parametrize("stage", ["autoencoder", "decoder"])
def test_a_stand_in_has_nothing_to_train(stage: str, tmp_path: Path) -> None:
    settings = parameters(stage=stage, autoencoder={"kind": "space_to_depth", "factor": 4})
    with pytest.raises(ParameterError, match=r"SpaceToDepth has no"):
        zero_1_to_g_training(settings, 0, SIDE)


def test_lpips_that_is_not_there_is_said_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = decoder_training.find_lpips_network()
    if not isinstance(found, decoder_training.Unavailable):
        pytest.skip("LPIPS is installed here")
    system = decoder(folder, lpips=2.0)
    assert f"LPIPS is not available: {found.reason}" in capsys.readouterr().err
    with torch.no_grad():
        assert float(system(system.batch(views()), WHITE).loss) == float(
            decoder(folder)(system.batch(views()), WHITE).loss
        )


class Distance(torch.nn.Module):
    """In the place of LPIPS: the same for all pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([0.25]))

    def forward(self, made: torch.Tensor, _: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return self.weight.expand(len(made))


def test_lpips_takes_part_frozen_where_it_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = decoder(folder)
    monkeypatch.setattr(decoder_training, "find_lpips_network", Distance)
    system = decoder(folder, lpips=2.0)
    batch = system.batch(views())
    with torch.no_grad():
        assert float(system(batch, WHITE).loss) == pytest.approx(float(plain(batch, WHITE).loss) + 0.5, rel=1e-5)
    assert not system.lpips.weight.requires_grad
    assert all(parameter is not system.lpips.weight for parameter in system.parameter_groups()["decoder"])


def test_a_few_steps_bring_the_loss_down(folder: Path) -> None:
    system = decoder(folder)
    batch = system.batch(views(samples=1))
    background = Backgrounds(torch.full((1, 3), 0.5))
    optimizer = torch.optim.AdamW(system.parameter_groups()["decoder"], lr=1e-3)
    losses = []
    for _ in range(5):
        loss = system(batch, background).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_the_autoencoders_loss_is_its_formula() -> None:
    system = autoencoder(autoencoder={"kind": "kl", "block_channels": (8, 16), "norm_groups": 4, "kl_weight": 0.1})
    batch, draws = system.batch(views()), system.draw([3, 4])
    assert batch.shape == (2, 3, SIDE, SIDE, 4)
    with torch.no_grad():
        step = system(batch, draws)
        errors = []
        for sample, colour, noise in zip(batch, draws.backgrounds, draws.posterior, strict=True):
            for rgba in sample:
                picture = (rgba[..., :3] * rgba[..., 3:] + colour * (1 - rgba[..., 3:])).permute(2, 0, 1) * 2 - 1
                posterior = system.vae.encode(picture[None]).latent_dist
                mean, log_variance = posterior.mean, posterior.logvar
                decoded = system.vae.decode(mean + (0.5 * log_variance).exp() * noise).sample
                divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
                errors.append(((decoded - picture) ** 2).mean() + 0.1 * divergence / picture.numel())
    assert float(step.loss) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-4)
    np.testing.assert_allclose(step.errors, torch.stack(errors).view(2, 3).mean(1), rtol=1e-4)


def test_all_of_the_autoencoder_learns_and_shows_its_target() -> None:
    system = autoencoder()
    batch = system.batch(views())
    system(batch, system.draw([0, 1])).loss.backward()
    assert all(p.grad is not None for p in system.parameter_groups()["autoencoder"])
    assert len(system.parameter_groups()["autoencoder"]) == len(list(system.parameters()))
    shown = system.predict(batch, [0, 1], steps=1, guidance_scale=1.0)
    with torch.no_grad():
        alpha = batch[:, 0, ..., 3:]
        on_white = (batch[:, 0, ..., :3] * alpha + 1 - alpha).permute(0, 3, 1, 2) * 2 - 1
        expected = (system.vae(on_white).sample + 1) / 2
    torch.testing.assert_close(shown, expected.clamp(0, 1))


def test_a_decoder_begins_with_the_autoencoder_that_was_saved(folder: Path) -> None:
    system: Zero1ToGDecoder = decoder(folder)
    batch: DecoderBatch = system.batch(views())
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    with torch.no_grad():
        latents = vae.encode(batch.attributes.flatten(0, 2)).latent_dist.mode()
        expected = vae.decode(latents).sample.unflatten(0, batch.attributes.shape[:3])
        torch.testing.assert_close(system.decoded(batch.attributes), expected)
