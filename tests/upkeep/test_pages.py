"""README and docs: every link leads somewhere, every command and option is one that there is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.main import app

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM: Any = get_command(app)
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def headings(page: Path) -> set[str]:
    """The anchors that a page's headings have."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
            missing.append(link)
    assert missing == []


def commands(page: Path) -> Iterator[tuple[Any, list[str]]]:
    """The commands that a page names, each with the words after it."""
    for said in re.findall(r"(?<![\w./-])viewforge ([a-z][^\n`|#;]*)", page.read_text()):
        found, words = PROGRAM, said.split()
        while words and words[0] in getattr(found, "commands", {}):
            found = found.commands[words.pop(0)]
        if found is not PROGRAM:
            yield found, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_each_option_is_one_of_its_command(page: Path) -> None:
    unknown = []
    for command, words in commands(page):
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        given = {match[0] for word in words if (match := re.match(r"--?[a-z][a-z0-9-]*", word.strip("[(")))}
        unknown += [f"{command.name} {name}" for name in sorted(given - known - {"--help"})]
    assert unknown == []


def test_options_are_found() -> None:
    found = [word for page in PAGES for _, words in commands(page) for word in words if word.startswith("--")]
    assert len(found) > 100
