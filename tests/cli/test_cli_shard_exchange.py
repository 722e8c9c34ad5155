"""`viewforge shards export` and `import` as a person calls them."""

import json

import numpy as np
import pytest
from PIL import Image

from geometry.cameras import look_at_origin, zero123_from_c2w


@pytest.fixture
def release(tmp_path):
    """Two published objects of which one lacks a pose."""
    rng = np.random.default_rng(0)
    for uid in ("aa11", "bb22"):
        folder = tmp_path / "release" / uid
        folder.mkdir(parents=True)
        for view in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)).save(folder / f"{view:03d}.png")
            np.save(folder / f"{view:03d}.npy", zero123_from_c2w(look_at_origin(1.0, 0.5 * view, 2.0)))
    (tmp_path / "release/bb22/004.npy").unlink()
    return tmp_path / "release"


def test_import_says_what_it_left_out_and_what_comes_next(viewforge, release):
    result = viewforge("shards", "import", "--format", "views_release", release, "w", cwd=release.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "import: 1 of 2 objects, in w",
        "import: 1 left out, missing: bb22: 004.npy missing",
        "import: next, viewforge shard --workspace w",
    ]


@pytest.mark.slow
def test_a_published_set_goes_all_the_way_round(viewforge, release):
    """Imported, sharded, exported in both layouts, and imported again."""
    root = release.parent
    viewforge("shards", "import", "--format", "views_release", release, "w", cwd=root)
    result = viewforge("shard", "--workspace", "w", cwd=root)
    assert result.stdout.endswith("shard: 1 objects in 1 shards\n"), result.stderr
    result = viewforge("shards", "export", "--layout", "zero123", "folders", "--workspace", "w", cwd=root)
    assert result.stdout == "export: 1 objects of 12 views in folders; set total_view to 12\n", result.stderr
    assert json.loads((root / "folders/valid_paths.json").read_text()) == ["aa11"]
    for number in range(12):
        with (
            Image.open(root / f"folders/aa11/{number:03d}.png") as image,
            Image.open(release / f"aa11/{number:03d}.png") as original,
        ):
            np.testing.assert_array_equal(np.asarray(image), np.asarray(original))
        ours = np.load(root / f"folders/aa11/{number:03d}.npy")
        np.testing.assert_allclose(ours, np.load(release / f"aa11/{number:03d}.npy"), atol=1e-12)
    result = viewforge("shards", "export", "--layout", "zeronvs", "scenes", "-w", "w", "--side", 8, cwd=root)
    (shard,) = sorted((root / "scenes").iterdir())
    pattern = "scenes/train-{shard:06d}.tar"
    assert result.stdout == f"export: 1 shards in scenes: dataset_url {pattern}\n", result.stderr
    result = viewforge("shards", "import", "--format", "zeronvs", shard, "again", cwd=root)
    assert "import: 1 of 1 objects, in again" in result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "--format", "zeronvs", "nowhere.tar", "w"), "no archive nowhere.tar; name an existing file"),
        (
            ("import", "--format", "zero_1_to_g", "here", "w"),
            "splatter images in a folder of their own; name it with --splat",
        ),
        (("export", "--layout", "zero123", "out"), "no shard index data/shards/index.parquet; run viewforge shard"),
        (("export", "--layout", "zeronvs", "out"), "no rendered objects data/renders/objects.parquet; run viewforge"),
        (
            ("export", "--layout", "zero_1_to_g", "out"),
            "no splatter images data/splatters/splatters.parquet; run viewforge",
        ),
    ],
)
def test_a_mistake_is_one_line(viewforge, tmp_path, arguments, words):
    result = viewforge("shards", *arguments, cwd=tmp_path)
    (line,) = result.stderr.strip().splitlines()
    assert result.returncode == 1
    assert line.startswith("viewforge: ")
    assert words in line
