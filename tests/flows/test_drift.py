"""Why a stage would run again, in a workspace of two cheap stages: the reason names parameter, file and stage."""

import shutil
from pathlib import Path

import pytest
from mini_pipeline import PARAMETERS, mini_workspace, reproduced

from flows.drift import StageDrift, explain
from flows.graph import stage_order, stale_stages
from stage.errors import InputError
from stage.files import write_text
from stage.workspace import Workspace
from upkeep.repository import locked_stages, opened
from upkeep.stage_records import read_record, write_record


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace after its first run, both stages on record."""
    place = mini_workspace(tmp_path_factory.mktemp("drift") / "workspace")
    assert reproduced(place) == ["catalog", "train"]
    write_record(place, "catalog", 83.2)
    write_record(place, "train", 5.0)
    return place.root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Workspace:
    return Workspace(Path(shutil.copytree(made, tmp_path / "workspace")))


def said(drifts: list[StageDrift]) -> dict[str, list[str]]:
    return {drift.stage: [str(reason) for reason in drift.reasons] for drift in drifts}


def test_nothing_is_said_of_what_is_fresh(place: Workspace) -> None:
    assert explain(place.root) == []


def test_stages_that_never_ran_say_so(tmp_path: Path) -> None:
    place = mini_workspace(tmp_path / "workspace")
    assert said(explain(place.root)) == {"catalog": ["never ran"], "train": ["never ran", "upstream catalog"]}


def test_a_parameter_is_named_with_both_values(place: Workspace) -> None:
    write_text(place.parameters, PARAMETERS.replace("val: 0.1", "val: 0.2").replace("steps: 5", "steps: 6, batch: 2"))
    assert said(explain(place.root)) == {
        "catalog": ["parameter catalog.split.val: 0.1 -> 0.2"],
        "train": ["parameter train.batch: absent -> 2", "parameter train.steps: 5 -> 6", "upstream catalog"],
    }


def test_files_of_code_and_inputs_are_named(place: Workspace) -> None:
    write_text(place.root / "rooms" / "worker.py", "SAMPLES = 2\n")
    write_text(place.root / "inputs" / "objects" / "3.txt", "object 3\n")
    (place.root / "inputs" / "objects" / "0.txt").unlink()
    assert said(explain(place.root))["catalog"] == [
        "code rooms: 1 changed (worker.py)",
        "input inputs/objects: 1 added (3.txt), 1 removed (0.txt)",
    ]


def test_what_a_stage_read_and_made_is_compared_with_the_cache(place: Workspace) -> None:
    path = place.catalog / "1.txt"
    path.unlink()
    write_text(path, "damaged\n")
    assert said(explain(place.root)) == {
        "catalog": ["output data/catalog: modified: 1 changed (1.txt)"],
        "train": ["data data/catalog: 1 changed (1.txt)", "upstream catalog"],
    }


def test_a_single_file_is_named_alone(place: Workspace) -> None:
    definition = (
        (place.root / "dvc.yaml").read_text().replace("outs: [data/model, data/evaluation]", "outs: [data/model]")
    )
    one_file = f"{definition.rstrip()}\n    metrics: [data/evaluation/score]\n"
    write_text(place.root / "dvc.yaml", one_file)
    assert reproduced(place) == ["train"]
    write_text(place.evaluation / "score", "8\n")
    assert said(explain(place.root)) == {"train": ["output data/evaluation/score: modified"]}


def test_a_damaged_list_in_the_cache_is_as_good_as_none(place: Workspace) -> None:
    listing = locked_stages(place.root)["catalog"]["outs"][0]["md5"]
    (listed,) = (place.root / ".dvc" / "cache" / "files" / "md5" / listing[:2]).glob(listing[2:])
    listed.chmod(0o644)
    listed.write_text("[")
    write_text(place.catalog / "3.txt", "another\n")
    assert "which files is not known here" in said(explain(place.root))["train"][0]


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "params.yaml"])
def test_a_file_that_dvc_cannot_read_is_one_line(place: Workspace, name: str) -> None:
    write_text(place.root / name, "stages: [")
    for look in (explain, stage_order, stale_stages):
        with pytest.raises(InputError, match=f"'{name}'") as caught:
            look(place.root)
        assert "\n" not in str(caught.value)


def test_a_lost_cache_is_named(place: Workspace) -> None:
    shutil.rmtree(place.root / ".dvc" / "cache")
    assert said(explain(place.root))["catalog"] == ["output data/catalog: not in cache"]


def test_without_a_record_the_change_is_still_named(place: Workspace) -> None:
    shutil.rmtree(place.scratch)
    write_text(place.root / "rooms" / "worker.py", "SAMPLES = 2\n")
    (drift, _) = explain(place.root)
    assert [str(reason) for reason in drift.reasons] == ["code rooms, which files is not known here"]
    assert drift.seconds is None


def test_a_changed_command_is_named(place: Workspace) -> None:
    definition = (place.root / "dvc.yaml").read_text()
    write_text(place.root / "dvc.yaml", definition.replace("echo 7", "echo 8"))
    ((reason,),) = [drift.reasons for drift in explain(place.root)]
    assert reason.kind == "command"
    assert "echo 7" in reason.text
    assert reason.text.endswith("echo 8 > data/evaluation/score")


def test_the_last_duration_is_told(place: Workspace) -> None:
    write_text(place.parameters, PARAMETERS.replace("seed: 0", "seed: 1"))
    assert [(drift.stage, drift.seconds) for drift in explain(place.root)] == [("catalog", 83.2), ("train", 5.0)]


def test_the_same_stages_are_stale_as_in_the_flow(place: Workspace) -> None:
    write_text(place.root / "rooms" / "worker.py", "SAMPLES = 2\n")
    assert [drift.stage for drift in explain(place.root)] == list(stale_stages(place.root))


def test_a_workspace_may_be_named_from_elsewhere(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(place.root / "rooms" / "worker.py", "SAMPLES = 2\n")
    monkeypatch.chdir(place.root.parent)
    assert said(explain(Path("workspace")))["catalog"] == ["code rooms: 1 changed (worker.py)"]


def test_inputs_that_dvc_follows_are_no_stage(place: Workspace) -> None:
    with opened(place.root) as repo:
        repo.add("inputs/objects")
    assert stage_order(place.root) == ["catalog", "train"]
    write_text(place.root / "inputs" / "objects" / "3.txt", "object 3\n")
    assert [drift.stage for drift in explain(place.root)] == ["catalog", "train"]


def test_a_damaged_record_is_none(place: Workspace) -> None:
    write_text(place.scratch / "stages" / "train.json", "{")
    assert read_record(place, "train") is None
