"""Requests: what is tried again and after which wait, what ends at once and what it says, and where the token goes."""

import gzip
import time

import pytest
from fault_server import (
    FaultServer,
    MakeClient,
    PassingTime,
    end_after,
    instead,
    redirect,
    reset_after,
    stall_after,
    status,
)

from catalog.http_client import HUB
from catalog.http_errors import DownloadError
from stage.failures import FailureClass


def failure(client: MakeClient, url: str, **parameters: object) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        client(**parameters).get_bytes(url)
    assert "\n" not in str(caught.value)
    return caught.value


def test_json_and_bytes(server: FaultServer, client: MakeClient) -> None:
    url = server.serve("/list.json", b'{"a": [1]}')
    assert client().get_json(url) == {"a": [1]}
    assert client().get_bytes(url) == b'{"a": [1]}'


@pytest.mark.parametrize(
    ("code", "failure_class", "remedy"),
    [
        (404, FailureClass.MISSING, "check the address; the publisher may have withdrawn it"),
        (410, FailureClass.MISSING, "check the address; the publisher may have withdrawn it"),
        (400, FailureClass.DOWNLOAD, "check the address"),
        (401, FailureClass.DOWNLOAD, "it may only be read with an account there"),
        (403, FailureClass.DOWNLOAD, "it may only be read with an account there"),
        (304, FailureClass.DOWNLOAD, "check the address"),
    ],
)
def test_a_refusal_is_one_line_at_once(
    code: int, failure_class: FailureClass, remedy: str, server: FaultServer, client: MakeClient
) -> None:
    server.fail("/a.glb", *[status(code)] * 5)
    error = failure(client, server.url("/a.glb?signature=secret#part"))
    assert error.failure is failure_class
    assert f"{server.url('/a.glb')} answers {code} " in str(error)
    assert str(error).endswith(f"; {remedy}")
    assert "secret" not in str(error)
    assert len(server.asked("/a.glb")) == 1


@pytest.mark.parametrize("code", [401, 403])
def test_a_locked_file_of_the_hub_asks_for_a_token(code: int, server: FaultServer, client: MakeClient) -> None:
    server.fail("/datasets/x", status(code))
    error = failure(client, f"{HUB}/datasets/x", hf_endpoint=server.url(""))
    assert str(error).endswith("; set HF_TOKEN to a token that may read it")


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_server_that_recovers_is_asked_again(
    code: int, server: FaultServer, client: MakeClient, passing_time: PassingTime
) -> None:
    url = server.serve("/a", b"data")
    server.fail("/a", status(code), status(code))
    assert client(first_wait_seconds=8).get_bytes(url) == b"data"
    assert passing_time.slept == [4, 8], "half of 8 and 16 seconds, as chance takes nothing here"


def test_attempts_come_to_an_end(server: FaultServer, client: MakeClient, passing_time: PassingTime) -> None:
    server.fail("/a", *[status(503)] * 9)
    error = failure(client, server.url("/a"), attempts=5, first_wait_seconds=100, max_wait_seconds=300)
    assert (error.failure, error.status) == (FailureClass.DOWNLOAD, 503)
    assert "run again later" in str(error)
    assert len(server.asked("/a")) == 5
    assert passing_time.slept == [50, 100, 150, 150], "no wait is longer than the cap"


@pytest.mark.parametrize(
    "headers", [{"RateLimit": '"resolvers";r=0;t=87'}, {"Retry_After": "87"}, {"X_RateLimit_Reset": "87"}]
)
def test_the_wait_that_a_server_asks_for_is_kept(
    headers: dict[str, str], server: FaultServer, client: MakeClient, passing_time: PassingTime
) -> None:
    url = server.serve("/a", b"data")
    server.fail("/a", status(429, **headers))
    assert client().get_bytes(url) == b"data"
    assert passing_time.slept == [87]


def test_a_wait_beyond_all_measure_is_cut(server: FaultServer, client: MakeClient, passing_time: PassingTime) -> None:
    url = server.serve("/a", b"data")
    server.fail("/a", status(503, Retry_After="86400"))
    client(max_wait_seconds=300).get_bytes(url)
    assert passing_time.slept == [300]


def test_a_pause_holds_for_the_next_request_too(
    server: FaultServer, client: MakeClient, passing_time: PassingTime
) -> None:
    url = server.serve("/b", b"data")
    server.fail("/a", status(429, Retry_After="87"))
    one = client(attempts=1)
    with pytest.raises(DownloadError):
        one.get_bytes(server.url("/a"))
    assert passing_time.slept == []
    one.get_bytes(url)
    assert passing_time.slept == [87]


def test_a_broken_connection_is_tried_again(server: FaultServer, client: MakeClient) -> None:
    url = server.serve("/a", b"data" * 1000)
    server.fail("/a", reset_after(100), end_after(100), reset_after(0))
    assert client().get_bytes(url) == b"data" * 1000
    assert len(server.asked("/a")) == 4


def test_a_stalled_body_is_a_timeout(server: FaultServer, client: MakeClient) -> None:
    url = server.serve("/a", b"data" * 1000)
    server.fail("/a", stall_after(100))
    started = time.monotonic()
    assert client(read_timeout_seconds=0.3).get_bytes(url) == b"data" * 1000
    assert 0.3 <= time.monotonic() - started < 3
    server.fail("/a", stall_after(100))
    assert "ReadTimeout" in str(failure(client, url, read_timeout_seconds=0.3, attempts=1))


def test_nobody_listening_is_a_failure_that_may_pass(client: MakeClient, passing_time: PassingTime) -> None:
    gone = FaultServer()
    gone.close()
    error = failure(client, gone.url("/a"), attempts=3)
    assert error.failure is FailureClass.DOWNLOAD
    assert "ConnectError" in str(error)
    assert len(passing_time.slept) == 2


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a", "/a", "", "http://[::1", "http://127.0.0.1:port/a"])
def test_what_is_no_address_is_not_tried_again(url: str, client: MakeClient, passing_time: PassingTime) -> None:
    assert failure(client, url).failure is FailureClass.DOWNLOAD
    assert passing_time.slept == []


def test_what_is_no_json_says_so(server: FaultServer, client: MakeClient) -> None:
    url = server.serve("/list.json", b"<html>")
    with pytest.raises(DownloadError, match=r"/list\.json answers no JSON: .*; check the address") as caught:
        client().get_json(url)
    assert caught.value.failure is FailureClass.PARSE


def test_an_answer_that_swells_is_refused(server: FaultServer, client: MakeClient) -> None:
    packed = gzip.compress(bytes(10_000_000))
    url = server.serve("/a", packed, Content_Encoding="gzip")
    assert len(packed) < 20_000
    with pytest.raises(DownloadError, match="larger than the limit of 20000 bytes"):
        client().get(url, max_bytes=20_000)
    assert len(client().get_bytes(url)) == 10_000_000


def test_the_hubs_address_is_replaced(
    server: FaultServer, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve("/datasets/x/resolve/main/a", b"mirrored")
    url = f"{HUB}/datasets/x/resolve/main/a"
    assert client(hf_endpoint=server.url("/")).get_bytes(url) == b"mirrored"
    monkeypatch.setenv("HF_ENDPOINT", server.url(""))
    assert client().get_bytes(url) == b"mirrored"
    assert client().address(f"{HUB}.example.org/a") == f"{HUB}.example.org/a"
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert client().address(url) == url


def test_the_token_goes_to_the_hub_alone(
    server: FaultServer, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_secret\n")
    one = client(hf_endpoint=server.url(""))
    server.serve("/a", b"data")
    one.get_bytes(f"{HUB}/a")
    one.get_bytes(server.url("/a", host="localhost"))
    assert [seen.headers.get("Authorization") for seen in server.asked("/a")] == ["Bearer hf_secret", None]


def test_the_token_does_not_follow_a_redirect_to_another_host(server: FaultServer, client: MakeClient) -> None:
    server.serve("/there", b"data")
    server.fail("/a", redirect(server.url("/there", host="localhost")), redirect("/there"))
    one = client(token="hf_secret", hf_endpoint=server.url(""))
    assert one.get_bytes(f"{HUB}/a") == b"data"
    assert one.get_bytes(f"{HUB}/a") == b"data"
    assert [seen.headers.get("Authorization") for seen in server.asked("/a")] == ["Bearer hf_secret"] * 2
    other, same = server.asked("/there")
    assert other.headers["Host"].startswith("localhost")
    assert other.headers.get("Authorization") is None
    assert same.headers.get("Authorization") == "Bearer hf_secret", "a redirect within the host keeps it"


def test_a_token_is_not_shown(server: FaultServer, client: MakeClient) -> None:
    server.fail("/a", status(500), instead(b""))
    error = failure(client, server.url("/a").replace("//", "//user:password@"), attempts=1, token="hf_secret")
    assert "password" not in str(error)
    assert "hf_secret" not in str(error)


def test_a_mirror_is_asked_in_place_of_a_base(server: FaultServer, client: MakeClient) -> None:
    server.serve("/raw/x", b"raw")
    server.serve("/raw/deep/x", b"never")
    server.serve("/deep/x", b"deep")
    mirrors = {"https://files.example/": server.url("/raw/"), "https://files.example/deep": server.url("/deep")}
    one = client(token="hf_secret", mirrors=mirrors)
    assert one.get_bytes("https://files.example/x") == b"raw"
    assert one.get_bytes("https://files.example/deep/x") == b"deep"
    assert one.address("https://files.example.evil/x") == "https://files.example.evil/x"
    assert {seen.headers["Authorization"] for seen in server.seen} == {None}


def test_a_mirror_of_the_hub_gets_no_token(server: FaultServer, client: MakeClient) -> None:
    server.serve("/mirror/x", b"x")
    one = client(token="hf_secret", mirrors={"https://huggingface.co": server.url("/mirror")})
    assert one.get_bytes("https://huggingface.co/x") == b"x"
    assert server.seen[0].headers["Authorization"] is None
