"""What DVC passes over in a workspace: work in progress and what servers write, and no input folder of the same name."""

from pathlib import Path

import pytest

from flows.workspaces import PROJECT, chosen_parameters, prepare
from stage.workspace import Workspace
from upkeep.repository import opened


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = Workspace(tmp_path_factory.mktemp("ignored") / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, []))
    return place


@pytest.mark.parametrize("name", ["scratch", "mlflow", ".prefect", ".services", ".store", ".dvc-remote", "runs"])
def test_what_servers_and_stages_write_is_passed_over_and_inputs_are_not(place: Workspace, name: str) -> None:
    own, of_inputs = place.root / name / "file", place.root / "inputs" / "objects" / name.lstrip(".") / "file"
    for path in (own, of_inputs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    with opened(place.root) as repo:
        assert repo.dvcignore.is_ignored_file(str(own))
        assert not repo.dvcignore.is_ignored_file(str(of_inputs))


def test_a_workspace_of_before_passes_over_what_has_come_since(tmp_path: Path) -> None:
    """What a person wrote there stays."""
    place = Workspace(tmp_path / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, []))
    ignores = place.root / ".dvcignore"
    ignores.write_text("scratch/\n/inputs/objects/drafts/")
    prepare(place)
    found = ignores.read_text().splitlines()
    assert found[:2] == ["scratch/", "/inputs/objects/drafts/"]
    assert "/.dvc-remote/" in found
    assert "/scratch/" not in found, "it is there without the slash"
    prepare(place)
    assert ignores.read_text().splitlines() == found


def test_a_definition_that_is_made_anew_leaves_a_gate_that_was_changed(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "workspace")
    prepare(place, chosen_parameters(PROJECT / "params.yaml", None, []))
    gate = place.mlflow / "promotion.yaml"
    gate.write_text("own: gate\n")
    (place.root / "dvc.yaml").unlink()
    prepare(place)
    assert (place.root / "dvc.yaml").is_file()
    assert gate.read_text() == "own: gate\n"
