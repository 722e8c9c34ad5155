"""Sampling with Zero-1-to-G's first generation, and the folders of Zero123++ that it begins with."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from grid_support import SIDE, SIZE, grid_parameters, grid_training
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from stage.errors import InputError
from systems.pipelines import load_pipeline
from systems.zero_1_to_g.grid.codes import encoded
from systems.zero_1_to_g.grid.pipeline import Zero1ToGGridPipeline
from systems.zero_1_to_g.grid.training import Zero1ToGGridTraining
from systems.zero_1_to_g.grid.weights import zero123plus_modules

LEVEL = torch.zeros(1)


@pytest.fixture(scope="module")
def pipeline() -> Zero1ToGGridPipeline:
    training = grid_training()
    made = training.pipeline(training.scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def sampled(pipeline: Zero1ToGGridPipeline, images: Any, count: int = 1, seed: int = 1, **options: Any) -> Tensor:
    chosen = {"num_inference_steps": 3, "guidance_scale": 2.0, "eta": 0.0, **options}
    chances = [torch.Generator().manual_seed(seed + row) for row in range(count)]
    return pipeline.sample_splatters(images, LEVEL.expand(count), generator=chances, **chosen)


def test_one_call_gives_gaussians(pipeline: Zero1ToGGridPipeline) -> None:
    made = pipeline(Image.new("RGB", (40, 40), "red"), num_inference_steps=2, guidance_scale=1.0)
    assert made.splatters.shape == (1, 6, 14, SIDE, SIDE)
    assert 0 < len(made.gaussians[0]) <= 6 * SIDE * SIDE


def test_bounded_batches_change_nothing(pipeline: Zero1ToGGridPipeline) -> None:
    """Each picture has its own noise, and does not see the others."""
    images = pictures(3)
    together = sampled(pipeline, images, 3)
    torch.testing.assert_close(sampled(pipeline, images, 3, batch_size=2), together, atol=1e-4, rtol=0)
    torch.testing.assert_close(sampled(pipeline, images[1:2], 1, seed=2), together[1:2], atol=1e-4, rtol=0)


def test_the_picture_and_the_seed_decide(pipeline: Zero1ToGGridPipeline) -> None:
    base = sampled(pipeline, pictures(1))
    assert torch.equal(base, sampled(pipeline, pictures(1)))
    assert not torch.equal(base, sampled(pipeline, pictures(1, seed=5)))
    assert not torch.equal(base, sampled(pipeline, pictures(1), seed=7))
    assert not torch.equal(base, sampled(pipeline, pictures(1), guidance_scale=1.0))


def test_guidance_leads_away_from_grey_and_no_embedding(
    pipeline: Zero1ToGGridPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null rows first: the tokens of "", and the latent of a grey picture under the same noise."""
    asked: list[dict[str, Tensor]] = []
    forward = pipeline.unet.forward

    def spied(sample: Tensor, timestep: Tensor, tokens: Tensor, reference: Tensor) -> Any:
        asked.append({"sample": sample, "tokens": tokens, "reference": reference})
        return forward(sample, timestep, tokens, reference=reference)

    monkeypatch.setattr(pipeline.unet, "forward", spied)
    sampled(pipeline, pictures(1), num_inference_steps=1)
    (seen,) = asked
    assert torch.equal(seen["sample"][0], seen["sample"][1])
    torch.testing.assert_close(seen["tokens"][0], pipeline.prompt.text)
    difference = seen["tokens"][1] - seen["tokens"][0]
    # The first token takes nothing of the picture, the third two thirds.
    assert float(difference[0].abs().max()) == 0
    torch.testing.assert_close(difference[2], 2 * difference[1], atol=1e-5, rtol=1e-4)
    assert not torch.equal(seen["reference"][0], seen["reference"][1])
    asked.clear()
    sampled(pipeline, pictures(1), num_inference_steps=1, guidance_scale=1.0)
    assert len(asked[0]["sample"]) == 1


def test_codes_come_out_where_they_are_asked_for(pipeline: Zero1ToGGridPipeline) -> None:
    codes = sampled(pipeline, pictures(1), output_type="latent")
    assert codes.shape == (1, 48, 12, 8)
    assert encoded(pipeline.vae, torch.zeros(1, 6, 3, SIZE, SIZE)).shape == codes.shape
    with torch.no_grad():
        torch.testing.assert_close(sampled(pipeline, pictures(1)), pipeline.splatter_decoder(codes))


def test_transparent_pictures_are_put_on_the_background_of_the_training() -> None:
    training = grid_training(condition_background=0.5)
    pipeline = training.pipeline(training.scheduler)
    made = pipeline._tensor(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "alpha")
    torch.testing.assert_close(made, torch.zeros(1, 3, SIZE, SIZE), atol=1 / 127, rtol=0)


def test_a_callback_sees_and_replaces_codes(pipeline: Zero1ToGGridPipeline) -> None:
    seen: list[Tensor] = []

    def callback(_: Any, step: int, __: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(inputs["latents"])
        return {"latents": torch.zeros_like(inputs["latents"])} if step == 2 else {}

    codes = sampled(pipeline, pictures(1), callback_on_step_end=callback, output_type="latent")
    assert len(seen) == 3
    assert float(codes.abs().max()) == 0


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        ([], {}, "neither a tensor nor PIL images"),
        (torch.zeros(1, 3, SIZE, SIZE), {"output_type": "pil"}, "ask for one, as pt"),
        (torch.zeros(3, SIZE, SIZE), {}, r"images have shape \(3, 16, 16\)"),
        (torch.zeros(1, 3, SIZE, SIZE), {"latents": torch.zeros(1, 4, 2, 2)}, r"give \(1, 48, 12, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused(
    pipeline: Zero1ToGGridPipeline, images: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        sampled(pipeline, images, **options)


@pytest.fixture(scope="module")
def zero123plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the layout of sudo-ai/zero123plus-v1.1, of tiny modules."""
    folder = tmp_path_factory.mktemp("zero123plus")
    torch.manual_seed(3)
    UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
        cross_attention_dim=16,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    vision = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "intermediate_size": 16}
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(**vision, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)
    ).save_pretrained(folder / "vision_encoder")
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(
        str(folder / "tokenizer" / "vocab.json"), str(folder / "tokenizer" / "merges.txt"), model_max_length=7
    ).save_pretrained(folder / "tokenizer")
    text = {"vocab_size": 3, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    CLIPTextModel(
        CLIPTextConfig(**text, num_attention_heads=2, max_position_embeddings=7, bos_token_id=0, eos_token_id=1)
    ).save_pretrained(folder / "text_encoder")
    EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", prediction_type="v_prediction"
    ).save_pretrained(folder / "scheduler")
    clip = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    for name, extractor in (
        ("feature_extractor_clip", clip),
        ("feature_extractor_vae", {"image_mean": [0.5] * 3, "image_std": [0.8] * 3}),
    ):
        (folder / name).mkdir()
        (folder / name / "preprocessor_config.json").write_text(json.dumps(extractor))
    index = {"_class_name": "Zero123PlusPipeline", "ramping_coefficients": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_folder_of_zero123plus_is_taken_over(zero123plus: Path, tmp_path: Path) -> None:
    """Its text encoder is asked once; its decoder's colours are those of its autoencoder."""
    changes = {"pretrained": str(zero123plus), "decoder": {"splatter_size": SIDE}}
    training = Zero1ToGGridTraining(grid_parameters(**changes), 0, SIZE).eval()
    assert training._code_shape == (4, 24, 16)
    text = CLIPTextModel.from_pretrained(zero123plus / "text_encoder").eval()
    with torch.no_grad():
        # Start, end, and the end again for padding.
        expected = text(torch.tensor([[0, 1, 1, 1, 1, 1, 1]])).last_hidden_state[0]
    torch.testing.assert_close(training.prompt.text, expected)
    embedding = torch.ones(1, 16)
    torch.testing.assert_close(training.prompt(embedding)[0, 6], expected[6] + 0.75)
    vae = AutoencoderKL.from_pretrained(zero123plus / "vae")
    assert torch.equal(training.splatter_decoder.decoder.conv_out.weight, vae.decoder.conv_out.weight)
    training.save(tmp_path / "ours")
    loaded = load_pipeline(tmp_path / "ours")
    assert type(loaded.scheduler).__name__ == "EulerAncestral"
    assert loaded.scheduler.config.timestep_spacing == "trailing"
    loaded.set_progress_bar_config(disable=True)
    assert sampled(loaded, pictures(1)).shape == (1, 6, 14, SIDE, SIDE)
    assert not (tmp_path / "ours" / "text_encoder").exists()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("model_index.json", {"ramping_coefficients": [0.0]}, "1 ramping coefficients for 7 tokens"),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "predicts epsilon, not v"),
        ("feature_extractor_vae/preprocessor_config.json", {"image_std": [0.5] * 3}, "feature_extractor_vae has mean"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    zero123plus: Path, tmp_path: Path, name: str, change: dict[str, Any], said: str
) -> None:

    folder = tmp_path / "folder"
    shutil.copytree(zero123plus, folder)
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=said):
        zero123plus_modules(folder, grid_parameters().decoder, 0)


def test_weights_that_are_not_there_are_not_drawn(zero123plus: Path, tmp_path: Path) -> None:

    folder = tmp_path / "folder"
    shutil.copytree(zero123plus, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(InputError, match=f"{folder} cannot be loaded"):
        zero123plus_modules(folder, grid_parameters().decoder, 0)
