"""Zero-1-to-G's first generation on the engine: a kill changes no bit, codes are encoded once, stages follow one another."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from engine_support import Told, killed_after, trained
from grid_engine_support import OBJECTS, grid_engine, grid_run, grid_shards

from stage.workspace import Workspace
from training.assembly import view_choice
from training.data.loader import PlannedLoader
from training.data.mixture import Mixed
from training.data.plan import Plan
from training.data.reader import ShardReader


@pytest.fixture(scope="module")
def boxes(render_boxes: Callable[..., Workspace], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("grid")
    return grid_shards(render_boxes, root / "workspace", root / "splatters").shards


def equal(one: Told, other: Told) -> bool:
    same = [torch.equal(other.averages[name], value) for name, value in one.averages.items()]
    return one.losses == other.losses and one.averages.keys() == other.averages.keys() and all(same)


@pytest.mark.parametrize(("stage", "kept"), [("decoder", None), ("unet", "found"), ("unet", "empty")])
def test_a_killed_run_resumes_to_the_same_bits(boxes: Path, tmp_path: Path, stage: str, kept: str | None) -> None:
    """In the decoder's epochs of mixed codes and of plain ones; with the codes that were kept, and without."""
    loss = {"lambda_splatter": 0.0, "lambda_rendering": float(kept != "empty")}
    run = grid_run(stage, codes="cache", loss=loss) if kept else grid_run(stage)
    undisturbed = trained(grid_engine(run, boxes, tmp_path / "whole", kept and tmp_path / "found"), tmp_path / "whole")
    killed_after(3, tmp_path / "whole", tmp_path / "cut")
    resumed = trained(grid_engine(run, boxes, tmp_path / "cut", kept and tmp_path / kept), tmp_path / "cut")
    assert resumed.done == 3
    assert len(undisturbed.losses) == 6
    assert equal(undisturbed, resumed)


def test_each_object_is_encoded_once(boxes: Path, tmp_path: Path) -> None:
    run = grid_run("unet", steps=2, codes="cache", loss={"lambda_splatter": 0.0, "lambda_rendering": 0.0})
    first = grid_engine(run, boxes, tmp_path / "a", tmp_path / "kept")
    first.run()
    second = grid_engine(run, boxes, tmp_path / "b", tmp_path / "kept")
    second.run()
    assert first.system.kept.encoded == OBJECTS  # type: ignore[attr-defined]
    assert second.system.kept.encoded == 0  # type: ignore[attr-defined]


def test_batches_know_their_epoch(boxes: Path, tmp_path: Path) -> None:
    """Two batches make an epoch of four objects; in every second one the decoder's codes are mixed."""
    run = grid_run("decoder")
    source = {"objects": ShardReader(boxes, "train", splatters=True)}
    batches = iter(PlannedLoader(Plan((Mixed("objects", OBJECTS),), batch_size=2, seed=1), source, view_choice(run)))
    epochs = [next(batches).part(slice(None), torch.device("cpu")).epoch for _ in range(6)]
    assert epochs == [0, 0, 1, 1, 2, 2]


def test_the_views_that_a_step_takes(boxes: Path) -> None:
    """The six of the grid, those for supervision by chance, the input last."""
    choice = view_choice(grid_run("decoder"))
    assert (choice.fixed, choice.drawn, choice.last) == ((1, 2, 3, 4, 5, 6), 1, (0,))
    assert len(view_choice(grid_run("decoder"), targets=1)) == 8


def test_splatter_images_are_read_where_they_count(boxes: Path) -> None:
    assert grid_run("decoder").splatters
    assert not grid_run("unet", loss={"lambda_splatter": 0.0}).splatters
