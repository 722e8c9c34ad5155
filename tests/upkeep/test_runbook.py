"""The runbook: every message in it is one that the code has, every command one that there is, every drill a file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.main import get_command

from cli.main import app
from flows.deploying import _ZOMBIES, DEFINITION
from training.launching.exit_reason import Kind

PROJECT = Path(__file__).resolve().parents[2]
RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
ROOMS = (
    "stage",
    "catalog",
    "blender_render",
    "training",
    "evaluation",
    "registry",
    "upkeep",
    "services",
    "flows",
    "cli",
)
MESSAGES = re.findall(r"^Message: `(.*)`$", RUNBOOK, flags=re.MULTILINE)
GAP = "…"


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a module, what is put into it as a gap."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)


@pytest.fixture(scope="module")
def said() -> str:
    """All strings of the code, one after the other."""
    files = [path for room in ROOMS for path in sorted((PROJECT / room).rglob("*.py"))]
    return "\n".join(text for path in files for text in texts(ast.parse(path.read_text())))


def test_it_has_messages() -> None:
    assert len(MESSAGES) > 25


@pytest.mark.parametrize("message", MESSAGES)
def test_each_message_is_the_codes(message: str, said: str) -> None:
    parts = [re.escape(part) for part in message.split(GAP)]
    # A hash is cut by the code, which puts a gap of its own after what it puts in.
    assert re.search(f"{GAP}+".join(parts), said), message


def test_each_command_is_one_that_there_is() -> None:
    # The name of an automation is no command.
    pieces = set(code_pieces()) - automations()
    named = {match[1] for piece in pieces if (match := re.match(r"viewforge ([a-z]+)", piece))}
    assert {"status", "verify", "recover", "deploy", "rollback"} <= named
    assert named <= set(get_command(app).commands)  # type: ignore[attr-defined]


def test_each_option_is_one_of_its_command() -> None:
    seen = 0
    for page in (RUNBOOK, (PROJECT / "docs" / "data-versions.md").read_text()):
        for piece in code_pieces(page):
            words = piece.partition("#")[0].split()
            if words[:1] != ["viewforge"]:
                continue
            command = get_command(app)
            for word in words[1:]:
                if word.startswith("--"):
                    known = {option for parameter in command.params for option in parameter.opts}
                    assert word.rstrip(",") in known, piece
                    seen += 1
                else:
                    command = getattr(command, "commands", {}).get(word, command)
    assert seen > 10


def test_each_drill_is_a_file() -> None:
    drills = re.findall(r"`(tests/\S+\.py)`", RUNBOOK)
    assert len(drills) >= 5
    assert [drill for drill in drills if not (PROJECT / drill).is_file()] == []


def automations() -> set[str]:
    """What watches on the server: names of prefect.yaml, and the one of `viewforge deploy`."""
    deployments = yaml.safe_load(DEFINITION.read_text())["deployments"]
    return {trigger["name"] for each in deployments for trigger in each.get("triggers", [])} | {_ZOMBIES}


def test_each_automation_is_in_it() -> None:
    assert len(automations()) == 3
    assert automations() <= set(code_pieces())


def test_each_reason_of_a_trainings_end_is_in_it() -> None:
    assert set(get_args(Kind)) - {"finished"} <= set(code_pieces())


def code_pieces(page: str = RUNBOOK) -> list[str]:
    """What is in backticks, and the indented lines."""
    return [*re.findall(r"`([^`]+)`", page), *re.findall(r"^    (\S.*)$", page, flags=re.MULTILINE)]
