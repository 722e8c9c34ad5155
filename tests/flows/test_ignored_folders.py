"""What DVC passes over in a workspace: work in progress and what servers write, and no input folder of the same name."""

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
