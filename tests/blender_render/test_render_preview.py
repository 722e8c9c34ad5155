"""The preview: a sheet an object, and a page that shows what became of each, failures with their reasons."""

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from PIL import Image
from render_support import SMALL, Rendered, contents

from blender_render.preview import look, write_preview
from blender_render.status import Status, failure_table, object_statuses
from catalog.licences import licence_of
from catalog.table import Asset, read_table, write_table
from stage.errors import InputError
from stage.failures import FailureClass
from stage.workspace import Workspace

BROWSER = shutil.which("chromium")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
GOOD = {"good 0.obj", "good 1.obj", "good 2.obj", "half transparent.obj", "stray vertex.ply", "two colours.ply"}


@pytest.fixture(scope="module")
def previewed(neighbours: Rendered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preview of good objects among bad ones."""
    folder = tmp_path_factory.mktemp("preview")
    counts = write_preview(folder, SMALL, 0, neighbours.workspace)
    assert sum(counts.values()) == len(neighbours.assets)
    return folder


def cards(folder: Path) -> dict[str, dict[str, object]]:
    """What the page knows of each object, by title."""
    text = (folder / "index.html").read_text()
    found = re.search(r'id="objects">(.*?)</script>', text, re.DOTALL)
    assert found
    return {card["title"]: card for card in json.loads(found[1])}


def test_every_object_is_on_the_page_with_what_became_of_it(neighbours: Rendered, previewed: Path) -> None:
    found = cards(previewed)
    assert found.keys() == {asset.title for asset in neighbours.assets}
    assert {title for title, card in found.items() if card["sheet"]} >= GOOD
    assert found["good 0.obj"]["status"] == Status.RENDERED
    assert re.fullmatch(r"8 views, \d+\.\d% covered · 4 faces · \d+\.\d s, \d+ MiB", str(found["good 0.obj"]["facts"]))
    for title, failure in {
        "no bytes.glb": FailureClass.PARSE,
        "no faces.obj": FailureClass.EMPTY,
        "not a number.obj": FailureClass.DEGENERATE,
        "invisible.obj": FailureClass.BLANK,
        "gone.obj": FailureClass.MISSING,
        "changed.obj": FailureClass.CHECKSUM,
    }.items():
        card = found[title]
        assert (card["status"], card["failure"], card["sheet"]) == (Status.FAILED, failure, "")
        assert card["message"]


def test_the_tail_of_standard_error_is_shown(neighbours: Rendered, tmp_path: Path) -> None:
    """As of a worker that wrote to it before it failed."""
    root = Path(shutil.copytree(neighbours.workspace.root, tmp_path / "workspace"))
    ledger = root / "scratch" / "renders" / "ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    for row in rows:
        row["stderr_tail"] = "x" * 5000 + "\n</script><b>the cause</b>" if row["failure"] else ""
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_preview(tmp_path / "preview", SMALL, 0, Workspace(root))
    shown = str(cards(tmp_path / "preview")["no faces.obj"]["stderr"])
    assert shown.endswith("\n</script><b>the cause</b>")
    assert len(shown) == 2000
    assert "</script><b>" not in (tmp_path / "preview" / "index.html").read_text()


def test_a_sheet_shows_all_views_on_white(neighbours: Rendered, previewed: Path) -> None:
    sheet = previewed / str(cards(previewed)["good 0.obj"]["sheet"])
    with Image.open(sheet) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * 130 - 2, 6 * 130 - 2, 3)
    assert cards(previewed)["good 0.obj"]["size"] == [pixels.shape[1], pixels.shape[0]]
    with Image.open(neighbours.folder("good 0.obj") / "007.png") as view:
        rgba = np.asarray(view) / 255.0
    expected = (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).repeat(4, axis=0).repeat(4, axis=1)
    shown = pixels[130:258, 130:258] / 255.0
    assert np.abs(shown - expected).max() < 2 / 255
    assert (pixels[130:, 2 * 130 :] == 255).all()


def test_a_second_preview_draws_nothing_again_and_removes_strays(neighbours: Rendered, previewed: Path) -> None:
    sheets = {path: path.stat().st_mtime_ns for path in previewed.glob("sheets/*/*.png")}
    page = (previewed / "index.html").read_bytes()
    stray = previewed / "sheets" / "00" / "of-nobody.png"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"")
    write_preview(previewed, SMALL, 0, neighbours.workspace)
    assert {path: path.stat().st_mtime_ns for path in previewed.glob("sheets/*/*.png")} == sheets
    assert (previewed / "index.html").read_bytes() == page


def test_renderings_of_before_a_change_say_so(neighbours: Rendered, tmp_path: Path) -> None:
    changed = SMALL.model_copy(update={"resolution": 33})
    counts = write_preview(tmp_path, changed, 0, neighbours.workspace)
    assert counts[Status.STALE] >= len(GOOD)
    assert counts[Status.WAITING] == len(neighbours.assets) - counts[Status.STALE]


def test_from_the_published_outputs_alone(neighbours: Rendered, tmp_path: Path) -> None:
    """As after `dvc pull`: the pictures come from the packs, the failures from the table."""
    workspace = Workspace(tmp_path / "pulled")
    shutil.copytree(neighbours.workspace.root / "data", workspace.root / "data")
    write_preview(tmp_path / "preview", SMALL, 0, workspace)
    found = cards(tmp_path / "preview")
    assert {title for title, card in found.items() if card["sheet"]} >= GOOD
    assert (found["no faces.obj"]["status"], found["no faces.obj"]["failure"]) == (Status.FAILED, FailureClass.EMPTY)


def test_a_look_at_published_outputs_brings_back_what_it_shows(neighbours: Rendered, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "pulled")
    shutil.copytree(neighbours.workspace.root / "data", workspace.root / "data")
    (workspace.root / "params.yaml").write_text(json.dumps({"render": SMALL.model_dump(mode="json")}))
    seen = look(workspace)
    assert {status.asset.uid: status.status for status in seen.statuses} == {
        status.asset.uid: status.status for status in _statuses(neighbours)
    }
    assert seen.overview.size == (8 * 130 - 2, 130 - 2)
    shown = [status.asset.title for status in seen.statuses if status.status.has_views]
    with Image.open(neighbours.folder(shown[2]) / "000.png") as view:
        alpha = np.asarray(view)[..., 3].repeat(4, axis=0).repeat(4, axis=1)
    tile = np.asarray(seen.overview)[:128, 2 * 130 : 2 * 130 + 128]
    assert ((tile != 255).any(axis=2) <= (alpha > 0)).all()
    assert (tile != 255).any()


def test_a_damaged_picture_leaves_the_others_their_sheets(neighbours: Rendered, tmp_path: Path) -> None:
    root = Path(shutil.copytree(neighbours.workspace.root, tmp_path / "workspace"))
    (root / neighbours.folder("good 1.obj").relative_to(neighbours.workspace.root) / "003.png").write_bytes(b"half")
    write_preview(tmp_path / "preview", SMALL, 0, Workspace(root))
    found = cards(tmp_path / "preview")
    assert found["good 1.obj"]["sheet"] == ""
    assert found["good 0.obj"]["sheet"]


def test_before_the_first_rendering_all_objects_wait(neighbours: Rendered, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new")
    with pytest.raises(InputError, match=r"no catalogue .*; run viewforge catalog first"):
        write_preview(tmp_path / "preview", SMALL, 0, workspace)
    assert not (tmp_path / "preview").exists()
    write_table(workspace.catalog / "catalog.parquet", neighbours.assets)
    counts = write_preview(tmp_path / "preview", SMALL, 0, workspace)
    assert counts == {Status.WAITING: len(neighbours.assets)}


def test_failures_are_counted_by_class(neighbours: Rendered) -> None:
    rows = failure_table(object_statuses(neighbours.farm(), neighbours.assets))
    assert [row["objects"] for row in rows] == sorted((row["objects"] for row in rows), reverse=True)
    counts = {row["failure"]: row["objects"] for row in rows}
    assert counts[FailureClass.EMPTY] == 1
    assert sum(counts.values()) == sum(card.status is Status.FAILED for card in _statuses(neighbours))
    assert all(row["message"] and row["example"] for row in rows)


def _statuses(neighbours: Rendered) -> list:
    return object_statuses(neighbours.farm(), neighbours.assets)


@pytest.fixture(scope="module")
def labelled(neighbours: Rendered, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Asset]]:
    """The preview under two licences, with a title that would be markup."""
    root = Path(shutil.copytree(neighbours.workspace.root, tmp_path_factory.mktemp("labelled") / "workspace"))
    workspace = Workspace(root)
    rows = read_table(workspace.catalog / "catalog.parquet")
    rows = [
        replace(row, licence=("by", "cc0")[number % 2], author=f"author {number}") for number, row in enumerate(rows)
    ]
    rows = [replace(row, title="<b>good</b> 0") if row.title == "good 0.obj" else row for row in rows]
    write_table(workspace.catalog / "catalog.parquet", rows)
    write_preview(root / "preview", SMALL, 0, workspace)
    return root / "preview", rows


@pytest.fixture
def dom(labelled: tuple[Path, list[Asset]], tmp_path: Path):
    """The page as the browser has it under given filters."""

    def loaded(page: Path = labelled[0] / "index.html", **filters: str) -> str:
        quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
        quiet = (*quiet, "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}")
        quiet = (*quiet, "--window-size=1600,6000", "--virtual-time-budget=3000")
        address = page.as_uri() + ("#" + urlencode(filters) if filters else "")
        command = [str(BROWSER), "--headless", "--no-sandbox", *quiet, "--dump-dom", address]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return loaded


@in_a_browser
def test_without_a_filter_all_cards_are_there(labelled, dom) -> None:
    text = dom()
    assert shown(text) == {row.uid for row in labelled[1]}
    assert "&lt;b&gt;good&lt;/b&gt; 0" in text
    assert "<b>good</b>" not in text.split("<main")[1].split("</main>")[0]
    assert f'<option value="failed">failed ({text.count("status failed")})</option>' in text
    assert f"{len(labelled[1])} of {len(labelled[1])}" in text
    assert all(
        not found.startswith(("http:", "https:", "//")) for found in re.findall(r'(?:src|href)="([^"]*)"', text)
    )


@in_a_browser
@pytest.mark.parametrize(
    "filters",
    [
        {"status": "failed"},
        {"failure": "parse"},
        {"licence": "CC0-1.0"},
        {"search": "GOOD obj"},
        {"search": "author 1"},
        {"status": "failed", "licence": "CC-BY-4.0"},
        {"search": "no such thing"},
    ],
    ids=str,
)
def test_filters_show_what_they_should(labelled, dom, filters: dict[str, str]) -> None:
    known = cards(labelled[0])
    words = filters.get("search", "").lower().split()
    expected = {
        card["uid"]
        for card in known.values()
        if all(card[field] == value for field, value in filters.items() if field != "search")
        and all(
            word in f"{card['title']}\n{card['uid']}\n{card['author']}\n{card['message']}".lower() for word in words
        )
    }
    assert bool(expected) == (filters != {"search": "no such thing"})
    assert expected < {row.uid for row in labelled[1]}
    assert shown(dom(**filters)) == expected
    assert {licence_of(row.licence).identifier for row in labelled[1]} == {"CC0-1.0", "CC-BY-4.0"}


@in_a_browser
def test_the_page_alone_shows_thumbnails(labelled, dom, tmp_path: Path) -> None:
    """As when it is passed on without its folder of sheets."""
    alone = tmp_path / "alone.html"
    shutil.copy(labelled[0] / "index.html", alone)
    pictures = [card["thumbnail"] for card in cards(labelled[0]).values() if card["sheet"]]
    assert len(pictures) >= len(GOOD)
    with Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2]))) as picture:
        assert picture.size == (min(6, SMALL.views) * 65 - 1, 64)
        assert (np.asarray(picture.convert("RGB")) < 200).any()
    text = dom(page=alone)
    assert shown(text) == {row.uid for row in labelled[1]}
    assert sorted(re.findall(r'<img[^>]* src="([^"]*)"', text)) == sorted(pictures)


def shown(text: str) -> set[str]:
    """The objects whose cards are on the page."""
    return set(re.findall(r'<article data-uid="(\w+)"', unescape(text)))


def test_the_command_writes_it_and_says_where(neighbours: Rendered, tmp_path: Path, viewforge) -> None:
    root = Path(shutil.copytree(neighbours.workspace.root, tmp_path / "workspace"))
    (root / "params.yaml").write_text(json.dumps({"render": SMALL.model_dump(mode="json")}))
    result = viewforge("render", "preview", "--workspace", root)
    assert result.returncode == 0, result.stderr
    assert f"preview: open {(root / 'scratch' / 'preview' / 'index.html').as_uri()}" in result.stdout
    assert re.search(r"\d+ failed", result.stdout)
    assert cards(root / "scratch" / "preview").keys() == {asset.title for asset in neighbours.assets}
    before = contents(root / "data" / "renders")
    assert viewforge("render", "preview", "-w", root, "--out", tmp_path / "elsewhere").returncode == 0
    assert (tmp_path / "elsewhere" / "index.html").is_file()
    assert contents(root / "data" / "renders") == before
