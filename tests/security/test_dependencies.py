"""Dependencies: all pinned, audited with reasons, and listed in a bill of materials that meets its schema."""

import json
import re
import sysconfig
import tomllib
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stage.errors import InputError, ParameterError
from upkeep import audit, sbom

PROJECT = Path(__file__).resolve().parents[2]
TODAY = date(2026, 11, 22)
REASON = "only its server is affected, which is never started here"
# Extras for machines with a GPU, whose wheels depend on the machine.
FOR_A_GPU = {"xformers", "nvidia-ml-py", "bitsandbytes"}


def declared() -> list[Requirement]:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    project = content["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for texts in lists for text in texts]


def test_every_declared_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    versions = audit.pinned(PROJECT / "constraints.txt")
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        if name not in FOR_A_GPU:
            assert name in versions, f"{name} is not in constraints.txt: make lock"
            assert requirement.specifier.contains(versions[name]), f"{requirement} and {name}=={versions[name]}"


def test_what_the_build_needs_is_exact() -> None:
    content = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", text) for text in content["build-system"]["requires"])


def test_what_is_installed_in_another_version_than_is_pinned_is_named() -> None:
    installed = {"torch": "2.13.0+cpu", "numpy": "1.26.3", "strange": "1", "viewforge": "0.1.0"}
    assert list(audit.unpinned(installed, {"torch": "2.13.0", "numpy": "1.26.4"})) == [
        "numpy 1.26.3 is installed and 1.26.4 pinned; install constraints.txt, or make lock",
        "strange 1 is installed and nothing pinned; install constraints.txt, or make lock",
    ]


def test_npms_packages_are_pinned_with_their_hashes() -> None:
    lock = json.loads((PROJECT / "viewing" / "npm" / "package-lock.json").read_text())
    packages = {place: package for place, package in lock["packages"].items() if place}
    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def policy(**values: Any) -> audit.AuditPolicy:
    return audit.AuditPolicy.model_validate(values)


FOUND: dict[str, Any] = {
    "dependencies": [
        {"name": "sound", "version": "1.0", "vulns": []},
        {
            "name": "leaky",
            "version": "2.0",
            "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"], "description": ""}],
        },
    ],
    "fixes": [],
}
IGNORED = {"id": "CVE-2026-1", "package": "leaky", "reason": REASON, "until": date(2026, 12, 31)}


def test_what_is_found_is_named_with_its_remedy() -> None:
    assert list(audit.python_problems(FOUND, policy(), TODAY)) == ["leaky 2.0 has CVE-2026-1, PYSEC-2026-1; take 2.1"]


def test_what_is_explained_passes_until_its_day() -> None:
    explained = policy(ignored=[IGNORED])
    assert list(audit.python_problems(FOUND, explained, TODAY)) == []
    assert list(audit.python_problems(FOUND, explained, date(2026, 12, 31))) == []
    (late,) = audit.python_problems(FOUND, explained, date(2027, 1, 1))
    assert "ignored until 2026-12-31; look again" in late
    other = policy(ignored=[{**IGNORED, "package": "sound"}])
    assert len(list(audit.python_problems(FOUND, other, TODAY))) == 1


def test_a_package_that_the_service_does_not_know_is_not_clean() -> None:
    """pip-audit ends with status 0 where it knows nothing of any package."""
    report = {
        "dependencies": [{"name": "bpy", "skip_reason": "Dependency not found on PyPI"}, FOUND["dependencies"][0]]
    }
    (problem,) = audit.python_problems(report, policy(), TODAY)
    assert problem.startswith("the service knows nothing of 1 of 2 packages: bpy;")
    known = policy(elsewhere=[{"package": "bpy", "reason": REASON}])
    assert list(audit.python_problems(report, known, TODAY)) == []


def test_npms_advisories_are_named_and_explained_alike() -> None:
    advisory = {"source": 1, "name": "webgpu", "url": "https://github.com/advisories/GHSA-aaaa-bbbb-cccc"}
    report = {"vulnerabilities": {"webgpu": {"via": [advisory]}, "splat-transform": {"via": ["webgpu"]}}}
    assert list(audit.npm_problems(report, policy(), TODAY)) == [
        "webgpu has GHSA-aaaa-bbbb-cccc; npm audit fix in viewing/npm"
    ]
    entry = {**IGNORED, "id": "GHSA-aaaa-bbbb-cccc", "package": "webgpu"}
    assert list(audit.npm_problems(report, policy(ignored=[entry]), TODAY)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": "because"}, "ignored.0.reason"),
        ({"until": "some day"}, "ignored.0.until"),
        ({"id": "leaky"}, "ignored.0.id"),
        ({"expires": "2026-12-31"}, "unknown parameter"),
    ],
)
def test_an_entry_without_reason_or_day_is_refused(change: dict[str, str], message: str, tmp_path: Path) -> None:
    values = {**{key: str(value) for key, value in IGNORED.items()}, **change}
    text = ", ".join(f'{key} = "{value}"' for key, value in values.items())
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.viewforge.audit]\nignored = [{{ {text} }}]\n")
    with pytest.raises(ParameterError, match=message):
        audit.read_policy(path)


def test_the_repositorys_own_policy_is_read_and_names_what_is_pinned() -> None:
    own, names = audit.read_policy(), audit.pinned(PROJECT / "constraints.txt")
    assert {each.package for each in (*own.ignored, *own.elsewhere)} <= names.keys()


def test_a_service_that_is_away_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "constraints.txt"
    path.write_text("certifi==2026.10.18\n")
    with pytest.raises(InputError, match=r"^nothing was audited: .*run make audit where pypi\.org") as error:
        audit.python_report(path)
    assert "\n" not in str(error.value)


def test_the_bill_of_npms_packages_has_their_hashes() -> None:
    lock = json.loads((PROJECT / "viewing" / "npm" / "package-lock.json").read_text())
    components = {each["purl"]: each for each in sbom.npm_components(lock)}
    converter = components["pkg:npm/%40playcanvas/splat-transform@2.7.1"]
    assert (converter["group"], converter["name"]) == ("@playcanvas", "splat-transform")
    assert converter["licenses"] == [{"license": {"id": "MIT"}}]
    assert all(len(each["hashes"][0]["content"]) == 128 for each in components.values())


def test_a_bill_that_breaks_the_schema_is_refused() -> None:
    with pytest.raises(InputError, match="breaks CycloneDX's schema"):
        sbom.check('{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"name": "of no type"}]}')


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bill_lists_all_that_is_installed_and_nothing_of_this_machine() -> None:
    text = sbom.bill_of_materials()
    bill = json.loads(text)
    assert bill["metadata"]["component"]["name"] == "viewforge"
    assert "serialNumber" not in bill
    listed = {canonicalize_name(each["name"]) for each in bill["components"]}
    # Once somebody has imported setuptools, what it brings along is on the path, too.
    here = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    installed = {canonicalize_name(each.metadata["Name"]) for each in distributions(path=here)} - {"viewforge"}
    assert len(installed) > 100
    assert installed <= listed
    assert "splat-transform" in listed
    (root,) = (each for each in bill["dependencies"] if each["ref"] == bill["metadata"]["component"]["bom-ref"])
    assert any("splat-transform" in reference for reference in root["dependsOn"])
    assert str(PROJECT) not in text
