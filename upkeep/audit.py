"""Whether what is pinned has known vulnerabilities: `make audit`, or `python -m upkeep.audit` in the repository.

pip-audit asks PyPI about every version in `constraints.txt`, npm its registry about `viewing/npm/package-lock.json`. What is
found and does not concern us is ignored by name, with a reason and a day after which it is looked at again
(`[tool.viewforge.audit]` in `pyproject.toml`). An answer that does not come is a failure; so is a package that the service does
not know, which pip-audit calls clean, and one that is installed in another version than is audited.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from pydantic import Field

from stage.errors import InputError, ViewforgeError
from stage.parameters import Parameters, validated

PROJECT = Path(__file__).resolve().parents[1]
_REMEDY = "run make audit where pypi.org and registry.npmjs.org can be reached"
_TIMEOUT_SECONDS = 900
_NAMED = 5
# What comes with Python, and the project.
_OWN = {"pip", "setuptools", "wheel", "viewforge"}


class Ignored(Parameters):
    """A vulnerability that does not concern us."""

    id: str = Field(pattern=r"^(PYSEC|GHSA|CVE)-[\w-]+$")
    """Its identifier, as pip-audit or npm prints it."""
    package: str = Field(min_length=1)
    """The package that has it."""
    reason: str = Field(min_length=20)
    """Why nobody can use it against us, in a sentence."""
    until: date
    """Last day on which this is believed; then somebody looks again."""


class Elsewhere(Parameters):
    """A package that the vulnerability service does not know."""

    package: str = Field(min_length=1)
    """Its name."""
    reason: str = Field(min_length=20)
    """Where it comes from, and who says when it is vulnerable."""


class AuditPolicy(Parameters):
    """What an audit passes over."""

    ignored: tuple[Ignored, ...] = ()
    """Vulnerabilities."""
    elsewhere: tuple[Elsewhere, ...] = ()
    """Packages."""


def read_policy(path: Path = PROJECT / "pyproject.toml") -> AuditPolicy:
    """The policy of `[tool.viewforge.audit]`.

    Raises:
        ParameterError: when an entry lacks its reason or its day.
    """
    tools = tomllib.loads(path.read_text())["tool"]
    return validated(AuditPolicy, tools.get("viewforge", {}).get("audit", {}), f"{path}: tool.viewforge.audit")


def python_report(constraints: Path) -> Mapping[str, Any]:
    """What pip-audit says about exact versions, as its JSON.

    Raises:
        InputError: when the service cannot be reached.
    """
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    report = _answer([sys.executable, "-m", "pip_audit", "--requirement", str(constraints), *options], PROJECT)
    if "dependencies" not in report:
        raise InputError("the vulnerability service of pypi.org gives no answer that is one", _REMEDY)
    return report


def npm_report(folder: Path) -> Mapping[str, Any]:
    """What npm says about the packages of a lock file, as its JSON.

    Raises:
        InputError: when npm is missing, or its registry cannot be reached.
    """
    if shutil.which("npm") is None:
        raise InputError("without npm its packages are not audited", "apt-get install -y npm")
    report = _answer(["npm", "audit", "--package-lock-only", "--json"], folder)
    if "vulnerabilities" not in report:
        raise InputError("npm's registry gives no answer about vulnerabilities", _REMEDY)
    return report


def _answer(command: Sequence[str], folder: Path) -> Mapping[str, Any]:
    """The JSON that a command prints, whatever status it ends with: that of a find is not 0."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        report = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise InputError(f"no answer in {_TIMEOUT_SECONDS} s", _REMEDY) from None
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["it says nothing"]
        raise InputError(f"nothing was audited: {lines[-1][:300]}", _REMEDY) from None
    return report if isinstance(report, dict) else {}


def python_problems(report: Mapping[str, Any], policy: AuditPolicy, today: date) -> Iterator[str]:
    """What in pip-audit's report needs somebody, a line each."""
    passed = {entry.package for entry in policy.elsewhere}
    unknown = sorted(each["name"] for each in report["dependencies"] if "skip_reason" in each)
    if strange := [name for name in unknown if name not in passed]:
        more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
        yield (
            f"the service knows nothing of {len(strange)} of {len(report['dependencies'])} packages: "
            f"{', '.join(strange[:_NAMED])}{more}; {_REMEDY}, or name them in tool.viewforge.audit.elsewhere"
        )
    for each in report["dependencies"]:
        for found in each.get("vulns", ()):
            names = {found["id"], *found.get("aliases", ())}
            remedy = f"take {found['fix_versions'][0]}" if found.get("fix_versions") else "no version mends it yet"
            yield from _unless_ignored(f"{each['name']} {each['version']}", names, remedy, policy, today)


def pinned(constraints: Path) -> dict[str, str]:
    """Version by name, normalised, as a file of constraints has them.

    Raises:
        InputError: when a line is no `name==version`.
    """
    found: dict[str, str] = {}
    for line in constraints.read_text().splitlines():
        name, mark, version = line.partition("==")
        if mark:
            found[canonicalize_name(name)] = version
        elif line.strip() and not line.startswith("#"):
            raise InputError(f"{constraints}: {line} pins no version", "make lock")
    return found


def unpinned(installed: Mapping[str, str], constraints: Mapping[str, str]) -> Iterator[str]:
    """What is installed and is not what is pinned, a line each.

    Args:
        installed: version by normalised name; of a version as `2.13.0+cpu` the part after the plus is the machine's own.
        constraints: the pinned ones.
    """
    for name, version in sorted(installed.items()):
        wanted = constraints.get(name)
        if name not in _OWN and version.partition("+")[0] != wanted:
            yield f"{name} {version} is installed and {wanted or 'nothing'} pinned; install constraints.txt, or make lock"


def npm_problems(report: Mapping[str, Any], policy: AuditPolicy, today: date) -> Iterator[str]:
    """What in npm's report needs somebody, a line each; an advisory is named at the package that has it."""
    for package, found in report["vulnerabilities"].items():
        for advisory in found["via"]:
            if isinstance(advisory, dict):
                names = {str(advisory["url"]).rpartition("/")[2]}
                yield from _unless_ignored(package, names, "npm audit fix in viewing/npm", policy, today)


def _unless_ignored(package: str, names: set[str], remedy: str, policy: AuditPolicy, today: date) -> Iterator[str]:
    bare = package.partition(" ")[0]
    entry = next((each for each in policy.ignored if each.id in names and each.package == bare), None)
    if entry is None:
        yield f"{package} has {', '.join(sorted(names))}; {remedy}"
    elif today > entry.until:
        yield f"{package} has {entry.id}, which was ignored until {entry.until}; look again, or {remedy}"


def main() -> None:
    """Audit both; exit status 1 and a line for each thing that needs somebody.

    Raises:
        ViewforgeError: when something was found.
    """
    policy, today = read_policy(), date.today()
    installed = {str(canonicalize_name(each.metadata["Name"])): each.version for each in distributions()}
    problems = list(unpinned(installed, pinned(PROJECT / "constraints.txt")))
    for report, judged, place in (
        (python_report, python_problems, PROJECT / "constraints.txt"),
        (npm_report, npm_problems, PROJECT / "viewing" / "npm"),
    ):
        try:
            problems += judged(report(place), policy, today)
        except InputError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"audit: {problem}", file=sys.stderr)
    if problems:
        raise ViewforgeError("the dependencies are not known to be sound", "see above")
    print("audit: no known vulnerability that is not explained")


if __name__ == "__main__":
    try:
        main()
    except ViewforgeError as error:
        sys.exit(f"viewforge: {error}")
