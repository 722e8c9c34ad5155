"""Prompts of a Base that really samples: fresh or kept, alone or ahead, they are the same to the last bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prompt_support import SIZE, prompter, rows_of, same, scene
from torch import Generator

from stage.seeds import derive_seed
from systems.cascade_zero123.prompts import prompt_poses
from systems.trainable import Views
from systems.zero123.compositing import on_white
from systems.zero123.modules import Zero123Modules
from systems.zero123.pipeline import Zero123Pipeline


@pytest.fixture(scope="module")
def views() -> Views:
    return scene()


def test_the_base_is_asked_for_the_target_and_the_near_views(
    modules: Zero123Modules, views: Views, pipeline_of: Callable[..., Zero123Pipeline]
) -> None:
    """Each picture is what the pipeline makes of the condition at the pose, alone, to half a level of 8 bits."""
    asked, pair = prompter(modules), rows_of(views, [7])
    prompts = asked.prompts(pair)
    assert prompts.coarse.shape == (1, 3, SIZE, SIZE)
    assert prompts.near.shape == (1, 3, 3, SIZE, SIZE)
    target, condition = pair.c2w[0].numpy()
    poses = prompt_poses(target, condition, asked._offsets)
    torch.testing.assert_close(prompts.near_poses[0], torch.from_numpy(poses.near).float())
    rgba = pair.rgba[0, 1].float() / 255
    picture = on_white(rgba[..., :3], rgba[..., 3:]).permute(2, 0, 1)[None] * 2 - 1
    subject = f"object 0 view {pair.numbers[0, 1]}"
    purposes = [f"coarse view {pair.numbers[0, 0]}", *[f"near {offset}" for offset in asked._offsets]]
    made = torch.cat([prompts.coarse, prompts.near[0]])
    for purpose, pose, got in zip(purposes, [poses.coarse, *poses.asked], made, strict=True):
        chance = Generator().manual_seed(derive_seed(5, subject, purpose))
        alone = pipeline_of(modules)(
            picture, torch.from_numpy(pose).float()[None], num_inference_steps=3, eta=1.0, generator=chance
        )
        torch.testing.assert_close((got + 1) / 2, alone.images[0], atol=0.5 / 255 + 1e-4, rtol=0)


def test_a_picture_does_not_depend_on_its_neighbours(modules: Zero123Modules, views: Views) -> None:
    """Nor on its place among them, to the last bit, though a batch of another shape rounds otherwise."""
    few, many = prompter(modules), prompter(modules)
    alone = few.prompts(rows_of(views, [5]))
    crowd = many.prompts(rows_of(views, [9, 1, 5, 30]))
    assert torch.equal(crowd.coarse[2], alone.coarse[0])
    assert torch.equal(crowd.near[2], alone.near[0])


def test_all_batches_of_the_base_have_one_shape(
    modules: Zero123Modules, views: Views, spy_on: Callable[..., Any]
) -> None:
    """Two rows a picture under guidance."""
    made = prompter(modules)
    spy = spy_on(made._base.unet)
    made.prompts(rows_of(views, [0, 4, 8]))
    assert {len(given) for given in spy.inputs} == {16}
    assert len(spy.inputs) == 2 * 3, "12 pictures in batches of 8, three steps each"


def test_kept_prompts_equal_fresh_ones(modules: Zero123Modules, views: Views, tmp_path: Path) -> None:
    batches = [rows_of(views, rows) for rows in ([0, 13, 2], [13, 20, 33], [1, 0, 35])]
    fresh = [prompter(modules).prompts(batch) for batch in batches]
    ahead = prompter(modules)
    ahead.keep_in(tmp_path)
    ahead.prepare(batches)
    sampled = ahead.sampled
    later = prompter(modules)
    later.keep_in(tmp_path)
    for number in (1, 2, 0):
        assert same(ahead.prompts(batches[number]), fresh[number])
        assert same(later.prompts(batches[number]), fresh[number])
    assert ahead.sampled == sampled
    assert later.sampled == 0


def test_nothing_is_sampled_twice(modules: Zero123Modules, views: Views, tmp_path: Path) -> None:
    """Rows 0 to 11 are the pairs of one object: 12 coarse targets and 4 conditions with 3 near views each."""
    made = prompter(modules)
    made.keep_in(tmp_path)
    whole = rows_of(views, list(range(12)))
    made.prepare([whole, whole])
    assert made.sampled == 12 + 4 * 3
    parts = [made.prompts(rows_of(views, rows)) for rows in ([0, 1, 2], [3, 4, 5])]
    assert same(parts[1], prompter(modules).prompts(rows_of(views, [3, 4, 5])))
    assert made.sampled == 24


def test_what_decides_a_picture_decides_whether_it_is_found(
    modules: Zero123Modules, views: Views, tmp_path: Path
) -> None:
    """The object's content, the seed, the sampler; and the Base, of which one generation is kept at a time."""
    pair = rows_of(views, [3])
    changed = pair.rgba.clone()
    changed[0, 1, 0, 0] = torch.tensor([1, 2, 3, 255])

    def sampled_anew(batch: Views, **changes: Any) -> int:
        made = prompter(modules, **changes)
        made.keep_in(tmp_path)
        made.prompts(batch)
        return made.sampled

    assert [sampled_anew(pair), sampled_anew(pair)] == [4, 0]
    assert sampled_anew(replace(pair, rgba=changed)) == 4
    assert sampled_anew(replace(pair, uids=("another",))) == 4
    assert sampled_anew(pair, seed=6) == 4
    target = pair.rgba.clone()
    target[:, 0] = 0
    assert sampled_anew(replace(pair, rgba=target)) == 0, "the Base does not see the target"
    assert sampled_anew(pair, near=[{"azimuth_deg": 45}, {"azimuth_deg": 90}]) == 1, "45° is there"
    assert sampled_anew(pair, guidance_scale=2.0) == 4
    with torch.no_grad():
        modules.cc_projection.linear.bias += 0.1
    assert sampled_anew(pair, guidance_scale=2.0) == 4
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_file_changes_no_prompt(modules: Zero123Modules, views: Views, tmp_path: Path) -> None:
    batch = rows_of(views, [0, 14])
    made = prompter(modules)
    made.keep_in(tmp_path)
    first = made.prompts(batch)
    for path in tmp_path.glob("*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])
    assert same(made.prompts(batch), first)
    assert made.sampled == 16


def test_no_more_is_sampled_ahead_than_is_kept(modules: Zero123Modules, views: Views, tmp_path: Path) -> None:
    made = prompter(modules, cache_bytes=10 * 3 * SIZE**2)
    made.keep_in(tmp_path)
    made.prepare([views])
    assert made.sampled == 10
    nothing = prompter(modules, cache_bytes=0)
    nothing.keep_in(tmp_path / "none")
    nothing.prepare([views])
    assert not nothing.keeps
    assert nothing.sampled == 0
    assert same(nothing.prompts(rows_of(views, [2])), made.prompts(rows_of(views, [2])))


def test_sampling_leaves_the_frameworks_generator_alone(modules: Zero123Modules, views: Views) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    prompter(modules).prompts(rows_of(views, [0]))
    assert torch.equal(torch.rand(1), expected)


def test_half_precision_is_near_and_kept_apart(modules: Zero123Modules, views: Views, tmp_path: Path) -> None:
    pair, one, other = rows_of(views, [6]), prompter(modules), prompter(modules, precision="bf16")
    for made in (one, other):
        made.keep_in(tmp_path)
    torch.testing.assert_close(other.prompts(pair).near, one.prompts(pair).near, atol=0.2, rtol=0)
    assert one.sampled == other.sampled == 4


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_kept_prompts_equal_fresh_ones_on_a_gpu(
    modules: Zero123Modules, views: Views, tmp_path: Path, precision: str
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    for part in (modules.unet, modules.cc_projection, modules.image_encoder, modules.vae):
        part.to("cuda")
    batches = [rows_of(views, rows) for rows in ([0, 13, 2], [13, 20, 33])]
    batches = [replace(batch, rgba=batch.rgba.cuda()) for batch in batches]
    ahead = prompter(modules, precision=precision)
    ahead.keep_in(tmp_path)
    ahead.prepare([replace(batch, rgba=batch.rgba.cpu()) for batch in reversed(batches)])
    sampled = ahead.sampled
    for batch in batches:
        assert same(ahead.prompts(batch), prompter(modules, precision=precision).prompts(batch))
        assert ahead.prompts(batch).near.device.type == "cuda"
    assert ahead.sampled == sampled
