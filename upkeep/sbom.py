"""The software bill of materials: `make sbom`, or `python -m upkeep.sbom [sbom.json]`, in the environment that it is about.

CycloneDX JSON of viewforge itself, of every Python distribution that is installed, and of the npm packages of the viewer with the
hashes of their lock file. cyclonedx-py reads the environment; the schema is checked with CycloneDX's own validator. The same
environment gives the same bytes: there is no serial number, and no time unless SOURCE_DATE_EPOCH says one.
"""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stage.errors import InputError, ViewforgeError
from stage.files import write_text

PROJECT = Path(__file__).resolve().parents[1]
SCHEMA_VERSION = "1.6"
_LOCK = PROJECT / "viewing" / "npm" / "package-lock.json"
_TIMEOUT_SECONDS = 600


def bill_of_materials(interpreter: str = sys.executable, lock: Path = _LOCK) -> str:
    """The bill of an environment, as CycloneDX JSON.

    Args:
        interpreter: the environment's Python.
        lock: of npm's packages.

    Raises:
        InputError: when cyclonedx-py fails, or what was made does not meet the schema.
    """
    bill = _python_bill(interpreter)
    packages = list(npm_components(json.loads(lock.read_text())))
    bill["components"] += packages
    _root(bill)["dependsOn"] = sorted([*_root(bill).get("dependsOn", ()), *(each["bom-ref"] for each in packages)])
    bill["dependencies"] += [{"ref": each["bom-ref"]} for each in packages]
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    check(text)
    return text


def _python_bill(interpreter: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "bill.json"
        options = ["--sv", SCHEMA_VERSION, "--output-reproducible", "--no-validate", "-o", str(made)]
        command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(PROJECT / "pyproject.toml")]
        done = subprocess.run(
            [*command, *options, interpreter], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it says nothing"]
            raise InputError(f"cyclonedx-py cannot read {interpreter}: {lines[-1]}", "run make setup")
        bill: dict[str, Any] = json.loads(made.read_text())
    return bill


def _root(bill: dict[str, Any]) -> dict[str, Any]:
    """What viewforge itself depends on."""
    reference = bill["metadata"]["component"]["bom-ref"]
    found: dict[str, Any] = next(each for each in bill["dependencies"] if each["ref"] == reference)
    return found


def npm_components(lock: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The packages of an npm lock file (version 3) as components of CycloneDX.

    Source: docs.npmjs.com, package-lock-json; the package URL's type npm (package-url/purl-spec).
    """
    for place, package in sorted(lock["packages"].items()):
        if not place:
            continue
        name = place.rpartition("node_modules/")[2]
        group, _, short = name.rpartition("/")
        scope = f"{quote(group, safe='')}/" if group else ""
        purl = f"pkg:npm/{scope}{short}@{package['version']}"
        yield {
            "type": "library",
            "bom-ref": purl,
            **({"group": group} if group else {}),
            "name": short,
            "version": package["version"],
            "purl": purl,
            **({"licenses": [{"license": {"id": package["license"]}}]} if "license" in package else {}),
            **({"hashes": [_hash(package["integrity"])]} if "integrity" in package else {}),
        }


def _hash(integrity: str) -> dict[str, str]:
    """Of npm's `sha512-<base64>`."""
    _, _, content = integrity.partition("-")
    return {"alg": "SHA-512", "content": base64.b64decode(content).hex()}


def check(text: str) -> None:
    """Refuse a bill that does not meet CycloneDX's schema.

    Raises:
        InputError: saying where.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if error := JsonStrictValidator(SchemaVersion.from_version(SCHEMA_VERSION)).validate_str(text):
        raise InputError(f"the bill of materials breaks CycloneDX's schema: {str(error.data)[:300]}", "report it")


def main() -> None:
    """Write the bill to the path that is given, or to `sbom.json`."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "sbom.json")
    text = bill_of_materials()
    write_text(path, text)
    print(f"sbom: {len(json.loads(text)['components'])} components in {path}")


if __name__ == "__main__":
    try:
        main()
    except ViewforgeError as error:
        sys.exit(f"viewforge: {error}")
