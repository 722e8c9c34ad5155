"""Attribution: exactly the objects that were used, in words that Markdown shows as they are."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from catalog.attribution import attribution, model_objects, selected_objects, shard_objects, uncredited
from catalog.table import Asset, write_table
from stage.errors import InputError
from stage.files import file_sha256, write_json, write_text
from stage.workspace import Workspace

DUCK = Asset(
    "d" * 32, "objaverse", "d.glb", "0" * 64, "", 9, "glb", "Y", "by", "Ann", "Duck", (), "train", True, "",
    page="https://sketchfab.com/3d-models/duck",
)  # fmt: skip
OTHERS = [
    replace(DUCK, uid="1" * 32, title="Apple", split="test"),
    replace(DUCK, uid="2" * 32, title="Boat", licence="cc0", author="unknown", page=""),
    replace(DUCK, uid="3" * 32, title="Crane", licence="???", author=""),
    replace(DUCK, uid="4" * 32, title="Left out").excluded("too large"),
    replace(DUCK, uid="5" * 32, title="Could not be rendered"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A catalogue of six, of which four are in the shards, one of these not for training."""
    workspace = Workspace(tmp_path / "workspace")
    write_table(workspace.catalog / "catalog.parquet", [DUCK, *OTHERS])
    _write_index(workspace.shards, [DUCK, *OTHERS[:3]])
    return workspace


def _write_index(shards: Path, assets: list[Asset]) -> None:
    shards.mkdir(parents=True, exist_ok=True)
    rows = [{"shard": "train-000000.tar", "key": asset.uid, "split": asset.split} for asset in assets]
    pd.DataFrame(rows).to_parquet(shards / "index.parquet")


def _write_model(workspace: Workspace) -> Path:
    model = workspace.root / "model"
    index = file_sha256(workspace.shards / "index.parquet")
    write_json(model / "provenance.json", {"shards_sha256": {"objects": index}})
    return model


def titles(assets: list[Asset]) -> set[str]:
    return {asset.title for asset in assets}


def test_the_selected_objects_are_those_of_the_catalogue(workspace: Workspace) -> None:
    assert titles(selected_objects(workspace)) == {"Duck", "Apple", "Boat", "Crane", "Could not be rendered"}


def test_of_a_shard_set_only_what_is_in_it(workspace: Workspace) -> None:
    assert titles(shard_objects(workspace, workspace.shards)) == {"Duck", "Apple", "Boat", "Crane"}
    assert titles(shard_objects(workspace, workspace.shards, "test")) == {"Apple"}


def test_of_a_model_only_what_it_was_trained_on(workspace: Workspace) -> None:
    model = _write_model(workspace)
    assert titles(model_objects(workspace, model, workspace.shards)) == {"Duck", "Boat", "Crane"}


def test_other_shards_than_the_model_saw_are_refused(workspace: Workspace) -> None:
    model = _write_model(workspace)
    _write_index(workspace.shards, [DUCK])
    with pytest.raises(
        InputError, match=r"was trained on another shard set than .*; name the right one with --shards"
    ):
        model_objects(workspace, model, workspace.shards)


def test_a_model_of_several_shard_sets_is_refused(workspace: Workspace) -> None:
    """A list of one of them would leave out the others' authors."""
    model = _write_model(workspace)
    index = file_sha256(workspace.shards / "index.parquet")
    write_json(model / "provenance.json", {"shards_sha256": {"objects": index, "scenes": "another"}})
    with pytest.raises(
        InputError, match="several shard sets: objects, scenes; list the objects of each with --shards"
    ):
        model_objects(workspace, model, workspace.shards)


def test_a_catalogue_that_lacks_an_object_of_the_shards_is_refused(workspace: Workspace) -> None:
    """A list that silently left somebody out would be worse than none."""
    write_table(workspace.catalog / "catalog.parquet", OTHERS)
    with pytest.raises(InputError, match=rf"lacks 1 objects of .*index\.parquet, {DUCK.uid} among them; name the"):
        shard_objects(workspace, workspace.shards)


@pytest.mark.parametrize("content", ["", "PAR1", "no parquet at all, but long enough to be one"])
def test_a_damaged_index_is_one_line(workspace: Workspace, content: str) -> None:
    write_text(workspace.shards / "index.parquet", content)
    with pytest.raises(InputError, match=r"index\.parquet is damaged: .*; run viewforge shard again") as caught:
        shard_objects(workspace, workspace.shards)
    assert "\n" not in str(caught.value)


def test_a_missing_index_or_model_says_what_to_run(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shard index .*; run viewforge shard first"):
        shard_objects(workspace, tmp_path)
    with pytest.raises(InputError, match=r"no .*provenance\.json; name the folder of a pipeline"):
        model_objects(workspace, tmp_path, workspace.shards)
    for content in ("{}", "[]", "nothing", json.dumps({"shards_sha": 1})):
        write_text(tmp_path / "provenance.json", content)
        with pytest.raises(InputError, match="does not say what the model was trained on; run viewforge train"):
            model_objects(workspace, tmp_path, workspace.shards)


def test_the_list_names_title_author_source_and_licence() -> None:
    text = attribution([DUCK, *OTHERS[:3]], "the shards data/shards")
    assert text.startswith("# Attribution: the shards data/shards\n\n4 objects. The objects were scaled")
    assert "| CC-BY-4.0 | 2 | yes | yes | yes |" in text
    assert "| unknown | 1 | no | no | yes |" in text
    ducks = "https://sketchfab.com/3d-models/duck"
    section = (
        "## CC-BY-4.0\n\n<https://creativecommons.org/licenses/by/4.0/>\n\n"
        f"- “Apple” by Ann, <{ducks}>, `{'1' * 32}`\n- “Duck” by Ann, <{ducks}>, `{'d' * 32}`\n"
    )
    assert section in text
    assert f"- “Boat”, author unknown, source objaverse, `{'2' * 32}`" in text
    assert "Author unknown, though the licence asks, or may ask, to name them: **1**." in text


def test_the_order_of_the_objects_does_not_matter() -> None:
    assets = [DUCK, *OTHERS]
    assert attribution(assets, "x") == attribution(assets[::-1], "x")


def test_only_those_whose_licence_asks_for_a_name_are_uncredited() -> None:
    assert titles(uncredited([DUCK, *OTHERS])) == {"Crane"}


def test_other_people_s_words_stay_words() -> None:
    evil = replace(DUCK, title="<script>alert(1)</script>\n# [x](http://x) | `a`", author="*B_o_b*")
    (line,) = [line for line in attribution([evil], "x").splitlines() if line.startswith("- ")]
    assert r"\<script\>alert(1)\</script\> # \[x\](http://x) \| \`a\`" in line
    assert r"by \*B\_o\_b\*," in line


def test_an_address_that_is_none_is_not_linked() -> None:
    for page in ("javascript:alert(1)", "https://a b", "https://a>b"):
        text = attribution([replace(DUCK, page=page)], "x")
        assert "source objaverse" in text
        assert page not in text
