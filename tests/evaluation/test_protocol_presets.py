"""Published protocols by name, lists of objects, and which views are scored."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from evaluation_support import asset

from blender_render.camera_sets import View
from blender_render.protocols import PROTOCOLS
from catalog.table import Asset
from evaluation.object_names import named, object_category
from evaluation.parameters import EvaluateParameters, PresetName
from evaluation.preset_details import preset_details
from evaluation.protocol import ObjectViews
from evaluation.protocol_presets import PRESETS
from evaluation.scores import target_poses
from evaluation.sizes import at_size
from geometry.cameras import Intrinsics, look_at_origin
from stage.errors import InputError, ParameterError
from stage.parameters import validated
from stage.workspace import Workspace

ASSETS = [asset(uid, "test") for uid in ("c3", "a1", "b2")]


def test_every_name_is_a_protocol_with_a_source_and_cameras_that_exist() -> None:
    assert set(get_args(PresetName)) == set(PRESETS)
    for name, preset in PRESETS.items():
        parameters = EvaluateParameters(preset=name)
        PROTOCOLS[parameters.protocol].check(parameters.protocol, parameters.views)
        assert preset.name == name
        assert preset.source
        assert preset_details(parameters)["differences"] == {}


def test_a_preset_gives_way_to_what_is_given() -> None:
    plain = EvaluateParameters(preset="syncdreamer")
    assert (plain.source, plain.protocol, plain.views, plain.resolution) == ("gso", "syncdreamer", 16, 256)
    assert plain.score_input
    assert plain.quality.samples == 128
    given = EvaluateParameters(preset="syncdreamer", resolution=None, views=4, objects=("a", "b"))
    assert (given.views, given.resolution) == (4, None)
    assert preset_details(given)["differences"] == {
        "views": [16, 4],
        "resolution": [256, None],
        "objects": [None, ["a", "b"]],
    }
    assert preset_details(EvaluateParameters()) is None
    few = EvaluateParameters(preset="syncdreamer", max_objects=5)
    assert preset_details(few)["differences"] == {"max_objects": [None, 5]}


def test_a_presets_light_gives_way_value_by_value() -> None:
    given = EvaluateParameters.model_validate({"preset": "syncdreamer", "quality": {"device": "cpu"}})
    assert (given.quality.device, given.quality.samples) == ("cpu", 128)
    assert preset_details(given)["differences"] == {}
    fewer = EvaluateParameters.model_validate({"preset": "syncdreamer", "quality": {"samples": 8}})
    assert preset_details(fewer)["differences"] == {"quality.samples": [128, 8]}
    written = fewer.model_dump(mode="json")
    assert EvaluateParameters.model_validate(written) == fewer


def test_a_list_of_objects_is_not_cut_by_a_preset() -> None:
    assert EvaluateParameters(preset="zero123").max_objects == 20
    listed = EvaluateParameters(preset="zero123", objects=tuple(f"o{n}" for n in range(30)))
    assert listed.max_objects is None
    assert preset_details(listed)["differences"].keys() == {"objects", "max_objects"}
    assert EvaluateParameters(preset="zero123", objects="list.txt", max_objects=5).max_objects == 5


def test_without_a_preset_nothing_is_filled_in() -> None:
    assert EvaluateParameters(preset=None) == EvaluateParameters()
    assert EvaluateParameters().resolution is None
    assert not EvaluateParameters().score_input


def test_a_preset_on_other_objects_is_refused() -> None:
    said = r"evaluate\.source = 'heldout': .*the preset zero123 is of the source gso; set that, or preset to null"
    with pytest.raises(ParameterError, match=said):
        validated(EvaluateParameters, {"preset": "zero123", "source": "heldout"}, "params.yaml: evaluate")


def test_an_unknown_preset_is_one_line() -> None:
    with pytest.raises(ParameterError, match=r"evaluate\.preset = 'sync'.*'zero123', 'syncdreamer'"):
        validated(EvaluateParameters, {"preset": "sync"}, "evaluate")


def test_objects_are_chosen_by_title_or_uid_in_the_sources_order(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert named(ASSETS, None, workspace) == ASSETS
    assert [a.uid for a in named(ASSETS, ("object b2", "c3"), workspace)] == ["c3", "b2"]
    (tmp_path / "list.txt").write_text("# of a paper\nobject a1\n\n  b2  # twice as hard\n")
    assert [a.uid for a in named(ASSETS, "list.txt", workspace)] == ["a1", "b2"]


def test_names_that_are_not_there_are_told(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(InputError, match=r"names x1, x2, x3 and 1 more, which the source does not have"):
        named(ASSETS, ("a1", "x4", "x3", "x2", "x1"), workspace)
    with pytest.raises(InputError, match=r"none\.txt cannot be read"):
        named(ASSETS, "none.txt", workspace)
    with pytest.raises(InputError, match=r"evaluate\.objects names no object; name some"):
        named(ASSETS, (), workspace)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty\.txt names no object"):
        named(ASSETS, "empty.txt", workspace)


def test_an_objects_category_is_the_publishers_before_a_free_word() -> None:
    def kind(tags: tuple[str, ...], categories: tuple[str, ...]) -> str:
        return object_category(Asset(**{**vars(ASSETS[0]), "tags": tags, "categories": categories}))

    assert kind(("vase", "blue"), ("Kitchen",)) == "Kitchen"
    assert kind(("vase", "blue"), ()) == "vase"
    assert kind((), ()) == ""


def test_the_input_is_a_target_where_the_protocol_says_so() -> None:
    c2w = np.stack([look_at_origin(1.0, 0.5 * number, 1.5) for number in range(3)])
    lens = Intrinsics.from_fov(0.9, 2)
    cameras = tuple(View(camera, lens) for camera in c2w)
    pictures = np.random.default_rng(0).random((3, 2, 2, 3))
    plain, all_scored = (
        ObjectViews(ASSETS[0], pictures, cameras),
        ObjectViews(ASSETS[0], pictures, cameras, first_target=0),
    )
    assert np.array_equal(plain.targets, pictures[1:])
    assert plain.target_cameras == cameras[1:]
    assert np.array_equal(all_scored.targets, pictures)
    assert all_scored.target_cameras == cameras
    assert [pose.view for pose in target_poses(c2w, 0)] == [0, 1, 2]
    assert target_poses(c2w, 0)[0].azimuth_deg == 0
    assert target_poses(c2w, 0)[1:] == target_poses(c2w)


def test_a_picture_at_another_size_keeps_its_mean() -> None:
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    assert at_size(picture, 8) is picture
    small = at_size(picture, 4)
    assert small.shape == (4, 4, 3)
    assert small.mean() == pytest.approx(picture.mean(), abs=0.02)
    np.testing.assert_allclose(at_size(np.full((8, 8, 3), 0.3, np.float32), 20), 0.3, atol=1e-6)
