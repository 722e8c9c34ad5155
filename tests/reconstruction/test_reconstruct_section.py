"""The section `reconstruct` of params.yaml, and how the command line is laid over it."""

from pathlib import Path

import pytest
import yaml

from cli.reconstruction_run import Wanted
from evaluation.parameters import EvaluateParameters
from reconstruction.optimisation.parameters import SMALL_NEUS, ReconstructParameters
from reconstruction.optimisation.section import ReconstructSection, field_values
from stage.errors import ParameterError
from stage.parameters import load_section, validated
from stage.workspace import Workspace


def place(folder: Path, text: str) -> Workspace:
    (folder / "params.yaml").write_text(text)
    return Workspace(folder)


def wanted(
    method: str | None = None,
    steps: int | None = None,
    small: bool | None = None,
    seed: int | None = None,
    *assignments: str,
) -> Wanted:
    return Wanted(method, Path("model.glb"), steps, small, 2, None, seed, assignments)


def test_without_options_it_is_as_the_section_says(tmp_path: Path) -> None:
    text = "seed: 5\nreconstruct: {method: sds, small: true, sds: {guidance_scale: 4}, mesh: {resolution: 32}}"
    found = wanted().parameters(place(tmp_path, text))
    assert (found.method, found.loop.seed, found.loop.steps) == ("sds", 5, 300)
    assert (found.sds.guidance_scale, found.sds.levels) == (4.0, 6)
    assert (found.mesh.resolution, found.texture.size) == (32, 512)
    assert found.tracking.trackers == ("mlflow",)


def test_options_count_more_than_the_section(tmp_path: Path) -> None:
    text = "seed: 5\nreconstruct: {method: sds, small: true, loop: {steps: 9, seed: 6}}"
    workspace = place(tmp_path, text)
    assert wanted().parameters(workspace).loop.seed == 6
    found = wanted("neus", 12, False, 7, "neus.rays=3").parameters(workspace)
    assert (found.method, found.loop.steps, found.loop.seed) == ("neus", 12, 7)
    assert (found.neus.rays, found.neus.width, found.mesh.resolution) == (3, 256, 512)
    smaller = wanted("neus", None, True, None, "loop.seed=8").parameters(workspace)
    assert (smaller.neus, smaller.loop.steps, smaller.loop.seed) == (SMALL_NEUS, 9, 8)


def test_in_a_folder_that_is_no_workspace_it_is_as_published_and_reports_nowhere(tmp_path: Path) -> None:
    found = wanted().parameters(Workspace(tmp_path))
    published = ReconstructParameters().model_dump()
    assert {name: found.model_dump()[name] for name in published} == published
    assert found.tracking.trackers == ()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{metod: sjc}", r"unknown parameter .*params.yaml: reconstruct\.metod; did you mean method\?"),
        ("{sjc: {guidance: 3}}", r"did you mean guidance_scale\?"),
        ("{tracking: {tracker: []}}", r"did you mean trackers\?"),
        ("{small: 1}", r"reconstruct\.small = 1"),
        ("{method: nerf, small: true}", r"reconstruct\.method = 'nerf'"),
    ],
)
def test_mistakes_name_the_file_and_the_nearest(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        wanted().parameters(place(tmp_path, f"reconstruct: {section}"))


def test_an_alias_lets_an_evaluation_take_the_section(tmp_path: Path) -> None:
    text = "reconstruct: &reconstruct {method: sjc, small: true, tracking: {trackers: []}}\n"
    workspace = place(tmp_path, f"{text}evaluate:\n  reconstruct:\n    <<: *reconstruct\n    max_objects: 3\n")
    chosen = load_section(workspace.parameters, "evaluate", EvaluateParameters).reconstruct
    section = load_section(workspace.parameters, "reconstruct", ReconstructSection)
    assert chosen is not None
    assert chosen.max_objects == 3
    assert {name: getattr(chosen, name) for name in ReconstructSection.model_fields} == dict(section)


def test_a_field_depends_on_its_own_method_alone() -> None:
    values = field_values(ReconstructSection(method="anchored-sds"))
    assert set(values) == {"method", "loop", "anchored_sds"}
    assert set(values["loop"]) == {"steps", "clip_norm"}
    other = ReconstructSection.model_validate(
        {"method": "anchored-sds", "sjc": {"resolution": 9}, "loop": {"seed": 4}}
    )
    assert field_values(other) == values


def test_the_projects_own_section_is_valid_and_for_a_cpu() -> None:
    path = Path(__file__).resolve().parents[2] / "params.yaml"
    values = yaml.safe_load(path.read_text())
    section = validated(ReconstructSection, values["reconstruct"], "params.yaml: reconstruct")
    assert section.small
    assert section.neus == SMALL_NEUS
    assert "reconstruct" not in values["evaluate"]
