"""Google Scanned Objects from a Fuel server: the paged list, the models in the layout of the source `gso`, and a second run."""

import io
import zipfile
from pathlib import Path

import pytest
from fault_server import FaultServer, MakeClient, reset_after, status
from publishers import FUEL_PATH, serve_model, serve_page

from catalog.archive import ArchiveParameters
from catalog.downloads import Task, each
from catalog.folder import uid_of
from catalog.gso import gso_assets
from catalog.gso_fuel import fetch_model, model_names, model_url
from catalog.http_client import HttpClient
from catalog.http_errors import DownloadError
from catalog.parameters import CatalogParameters
from catalog.source_parameters import FuelParameters
from stage.failures import FailureClass, Outcome
from stage.workspace import Workspace


def parameters(server: FaultServer, **values: object) -> FuelParameters:
    return FuelParameters.model_validate({"base_url": server.url("/"), "per_page": 2, **values})


def fetch(names: list[str], root: Path, client: HttpClient, server: FaultServer) -> dict[str, Outcome]:
    def task(name: str) -> Task:
        url = model_url(name, parameters(server))
        return Task(
            name, lambda stop: {"folder": fetch_model(name, url, root, client, ArchiveParameters(), None, stop).name}
        )

    return {outcome.uid: outcome for outcome in each(map(task, names), workers=2, stage="test", total=len(names))}


def pages_asked(server: FaultServer) -> int:
    return len(server.asked(FUEL_PATH))


def test_pages_are_followed_as_long_as_the_server_names_a_next_one(server: FaultServer, client: MakeClient) -> None:
    serve_page(server, 1, ["Mug", "Cup"], Link='</1.0/models?page=2>; rel="next", </1.0/models?page=3>; rel="last"')
    serve_page(server, 2, ["Jug"], Link='</1.0/models?page=3>; rel="next"')
    serve_page(server, 3, ["Pan", "Pot"], Link='</1.0/models?page=1>; rel="first"')
    assert model_names(client(), parameters(server)) == ["Cup", "Jug", "Mug", "Pan", "Pot"]
    assert pages_asked(server) == 3


@pytest.mark.parametrize("end", ["empty", "none", "404", "the same again"])
def test_without_links_the_list_ends_where_nothing_new_comes(
    end: str, server: FaultServer, client: MakeClient
) -> None:
    serve_page(server, 1, ["Mug", "Cup"])
    serve_page(server, 2, ["Jug"])
    if end != "404":
        server.serve(
            f"{FUEL_PATH}?page=3&per_page=2",
            {"empty": b"[]", "none": b"null", "the same again": b'[{"name": "Jug"}]'}[end],
        )
    if end == "none":
        with pytest.raises(DownloadError, match="answers no list of models; check base_url and owner"):
            model_names(client(), parameters(server))
    else:
        assert model_names(client(), parameters(server)) == ["Cup", "Jug", "Mug"]
    assert pages_asked(server) == 3


def test_an_owner_that_is_unknown_is_an_error(server: FaultServer, client: MakeClient) -> None:
    with pytest.raises(DownloadError) as caught:
        model_names(client(), parameters(server, owner="No body"))
    assert caught.value.failure is FailureClass.MISSING
    assert "/1.0/No%20body/models answers 404" in str(caught.value)


def test_a_list_may_be_cut_short(server: FaultServer, client: MakeClient) -> None:
    serve_page(server, 1, ["Mug", "Cup"])
    serve_page(server, 2, ["Jug", "Pan"])
    assert model_names(client(), parameters(server, max_models=2)) == ["Cup", "Mug"]
    assert pages_asked(server) == 1


def test_models_arrive_in_the_layout_of_the_source(server: FaultServer, client: MakeClient, tmp_path: Path) -> None:
    for name in ("Mug", "Cup_2"):
        serve_model(server, name)
    server.fail(f"{FUEL_PATH}/Mug.zip", reset_after(50))
    outcomes = fetch(["Mug", "Cup_2"], tmp_path / "gso", client(), server)
    assert outcomes["Mug"].result == {"folder": "Mug"}
    rows = gso_assets(CatalogParameters(source="gso", path="gso"), Workspace(tmp_path))
    assert [(row.uid, row.title) for row in rows] == [(uid_of(name), name) for name in ("Cup_2", "Mug")]
    assert "Cups" in (tmp_path / "gso" / "Mug" / "metadata.pbtxt").read_text()
    assert (tmp_path / "gso" / "Mug" / "materials" / "textures" / "texture.png").read_bytes() == b"png Mug"
    assert list((tmp_path / "gso" / ".archives").iterdir()) == []


def test_a_second_run_asks_nobody(server: FaultServer, client: MakeClient, tmp_path: Path) -> None:
    serve_model(server, "Mug")
    fetch(["Mug"], tmp_path, client(), server)
    again = fetch(["Mug"], tmp_path, client(), server)
    assert again["Mug"].result == {"folder": "Mug"}
    assert len(server.seen) == 1


def test_bad_models_are_rows_and_are_tried_again(server: FaultServer, client: MakeClient, tmp_path: Path) -> None:
    def zip_of(name: str, data: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, data)
        return buffer.getvalue()

    serve_model(server, "Mug")
    serve_model(server, "Page", b"<html>")
    serve_model(server, "Other", zip_of("readme.txt", b""))
    serve_model(server, "Evil", zip_of("../../outside", b""))
    server.fail(f"{FUEL_PATH}/Gone.zip", status(404))
    names = ["Mug", "Page", "Other", "Evil", "Gone", "..", "a/b", "", ".hidden", "C:x", "n" * 300]
    outcomes = fetch(names, tmp_path / "gso", client(), server)
    failures = {name: outcomes[name].failure for name in names}
    assert failures == {
        "Mug": None,
        "Page": FailureClass.PARSE,
        "Other": FailureClass.EMPTY,
        "Evil": FailureClass.UNSAFE,
        "Gone": FailureClass.MISSING,
        **dict.fromkeys(["..", "a/b", "", ".hidden", "C:x", "n" * 300], FailureClass.UNSAFE),
    }
    assert "Other.zip holds no meshes/model.obj" in outcomes["Other"].message
    assert sorted(path.name for path in (tmp_path / "gso").iterdir()) == [".archives", "Mug"]
    assert not (tmp_path / "outside").exists()
    for name in ("Page", "Other", "Evil", "Gone"):
        serve_model(server, name)
    again = fetch(["Page", "Other", "Evil", "Gone"], tmp_path / "gso", client(), server)
    assert all(outcome.ok for outcome in again.values())


def test_an_archive_that_was_not_yet_unpacked_is_not_asked_for_again(
    server: FaultServer, client: MakeClient, tmp_path: Path
) -> None:
    url = serve_model(server, "Mug")
    client().download(url, tmp_path / ".archives" / "Mug.zip")
    assert fetch(["Mug"], tmp_path, client(), server)["Mug"].ok
    assert len(server.seen) == 1
    assert (tmp_path / "Mug" / "meshes" / "model.obj").is_file()
