"""What is said of texts with secrets, and parameters that hold some."""

import os
import time
from pathlib import Path

import mlflow
import pytest
from canaries_support import CANARY, VARIABLES, leaks_in
from fault_server import FaultServer, status
from hypothesis import given
from hypothesis import strategies as st

from cli import main
from stage.errors import InputError, ParameterError, ViewforgeError
from stage.failures import FailureClass, ObjectFailedError
from stage.output_root import OutputRoot
from stage.parameters import overridden, read_parameters
from stage.secrets import HIDDEN, redacted, secret_in, shown
from stage.workspace import Workspace
from training.data.shard_store import StreamParameters
from training.data.streams import open_store
from training.tracking.mlflow_place import use_mlflow

QUICK = StreamParameters(attempts=1, first_wait_seconds=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MLflow at http://ada:word@host:5000: away", "MLflow at http://host:5000: away"),
        ("postgresql+asyncpg://ada:w%40rd@db/prefect", "postgresql+asyncpg://db/prefect"),
        ("GET https://s3/b/k?X-Amz-Signature=abc&x=1 failed", "GET https://s3/b/k failed"),
        ("url: /b/k?versionId=7&X-Amz-Signature=abc", f"url: /b/k?versionId=7&X-Amz-Signature={HIDDEN}"),
        ("Authorization: Bearer abcdefgh12", f"Authorization: Bearer {HIDDEN}"),
        ("http://host:5000/#/experiments/1?token=abc", "http://host:5000/#/experiments/1"),
        ("http://ada:wo#rd?@host/a", "http://host/a"),
        ("sqlite:////work/mlflow.db and /plain/path", "sqlite:////work/mlflow.db and /plain/path"),
        ("as https://${USER}:${PASSWORD}@host/shards", "as https://${USER}:${PASSWORD}@host/shards"),
    ],
)
def test_texts_lose_their_secrets_and_nothing_else(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_values_of_secret_variables_are_hidden_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{CANARY}%2Fword@host")
    for value in (*VARIABLES.values(), f"{CANARY}/word", f"{CANARY}%2Fword"):
        if CANARY in value:
            assert CANARY not in redacted(f"a library says {value!r} for no reason")
    assert redacted("viewer reads shards") == "viewer reads shards"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("PREFECT_API_AUTH_STRING", f"admin:{CANARY}", CANARY),
        ("PREFECT_SERVER_ENCRYPTION_KEY", CANARY, CANARY),
        ("MLFLOW_CRYPTO_KEK_PASSPHRASE", CANARY, CANARY),
        ("PGPASSWORD", CANARY, CANARY),
    ],
)
def test_secrets_of_the_servers_are_known(name: str, value: str, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert redacted(f"admin cannot log in with {secret!r}") == f"admin cannot log in with '{HIDDEN}'"


def test_long_words_cost_no_more_than_their_length() -> None:
    """A line of a stage may be a megabyte of digits; its redaction must not hold up the run for an hour."""
    line = "0a1b2c3d" * 125_000
    began = time.perf_counter()
    assert redacted(line) == line
    assert secret_in({"line": line}) is None
    assert time.perf_counter() - began < 10


@given(
    st.text(
        alphabet=st.characters(codec="ascii", exclude_characters="/ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f'\"<>"), min_size=9
    )
)
def test_no_password_of_an_address_survives(password: str) -> None:
    # Set apart from the rest of the text, in which parts of it might stand by chance.
    hidden = f"\x01{password}"
    for text in (redacted(f"see https://ada:{hidden}@host/a now"), shown(f"https://ada:{hidden}@host/a")):
        assert "\x01" not in text


def test_errors_and_rows_hold_no_secret() -> None:
    for error in (
        ViewforgeError(f"no answer from http://ada:{CANARY}@host", "start it"),
        ObjectFailedError(FailureClass.DOWNLOAD, f"https://host/a?sig={CANARY}"),
    ):
        assert CANARY not in str(error)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("train: {data: {datasets: [{place: 'https://ada:word@host/set'}]}}", "train.data.datasets.0.place"),
        (
            "train: {data: {datasets: [{place: 'https://host/set?X-Amz-Signature=abc'}]}}",
            "train.data.datasets.0.place",
        ),
        ("catalog: {hf_token: abc}", "catalog.hf_token"),
        ("notes: {mine: hf_abcdefghijklmnopqrstuvwxyz}", "notes.mine"),
        ("tracking: {database_password: word}", "tracking.database_password"),
        ("render: {output_root: 's3://key:word@bucket/renders'}", "render.output_root"),
    ],
)
def test_parameters_with_a_secret_are_refused_by_name(content: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(ParameterError) as error:
        read_parameters(path)
    message = str(error.value)
    assert message.startswith(f"{path}: {name} holds ")
    assert "environment" in message
    assert not any(secret in message for secret in ("word@", "abc"))


def test_an_assignment_with_a_secret_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"train\.place holds an address"):
        overridden({}, ["train.place=https://ada:word@host/set"])


@pytest.mark.parametrize(
    "values",
    [
        {"place": "https://${USER}:${PASSWORD}@host/set?${SIGNATURE}"},
        {"token": "${TOKEN}", "tokens": 77, "password": "", "secret": None},
        {"place": "https://host/set", "other": "sftp://ada@host/set"},
        {"key": "blue", "monkey": "x", "negative_prompt": "a token of love"},
    ],
)
def test_what_holds_no_secret_passes(values: dict[str, object]) -> None:
    assert secret_in(values) is None


def test_the_repositorys_own_parameters_hold_none() -> None:
    root = Path(__file__).resolve().parents[2]
    for path in (root / "params.yaml", *sorted((root / "configs").glob("*.yaml"))):
        read_parameters(path)


def test_values_that_hold_themselves_end(tmp_path: Path) -> None:
    """A hundred thousand copies of each other in ten lines, and one that is its own part."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join([*lines, "loop: &loop [*loop]"]))
    read_parameters(path)


def test_a_refused_server_of_shards_is_named_without_its_secrets(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARDS_PASSWORD", VARIABLES["SHARDS_PASSWORD"])
    monkeypatch.setenv("SHARDS_SIGNATURE", VARIABLES["SHARDS_SIGNATURE"])
    server.fail("/set/index.parquet", status(403))
    place = server.url("/set").replace("//", "//reader:${SHARDS_PASSWORD}@") + "?${SHARDS_SIGNATURE}"
    with pytest.raises(ViewforgeError, match="403") as error:
        open_store(place, QUICK).index()
    assert server.url("/set") in str(error.value)
    assert CANARY not in str(error.value)
    (asked,) = server.asked("/set/index.parquet")
    assert asked.path.endswith(f"?{VARIABLES['SHARDS_SIGNATURE']}")
    assert asked.headers["Authorization"].startswith("Basic ")


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARDS_PASSWORD", raising=False)
    with pytest.raises(InputError, match=r"\$\{SHARDS_PASSWORD\}@host/set names the variable SHARDS_PASSWORD"):
        open_store("https://reader:${SHARDS_PASSWORD}@host/set")


@pytest.mark.parametrize("verbose", [False, True])
def test_whatever_a_library_raises_is_shown_without_secrets(
    verbose: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing() -> None:
        raise RuntimeError(f"cannot connect to postgresql://mlflow:{CANARY}@database/mlflow")

    monkeypatch.setattr(main, "app", failing)
    if verbose:
        monkeypatch.setenv("VIEWFORGE_VERBOSE", "1")
    with pytest.raises(SystemExit) as ended:
        main.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert "RuntimeError: cannot connect to postgresql://database/mlflow" in said
    assert CANARY not in said


def test_a_tracking_servers_password_leaves_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow prints the address of every run."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:w%2Ford@127.0.0.1:9/mlflow")
    before = mlflow.get_tracking_uri()
    try:
        assert use_mlflow(Workspace(tmp_path)) == "http://127.0.0.1:9/mlflow"
        assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("ada", "w/ord")
        assert "ada" not in os.environ["MLFLOW_TRACKING_URI"]
        assert use_mlflow(Workspace(tmp_path)) == "http://127.0.0.1:9/mlflow"
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.parametrize("url", [f"s3://key:{CANARY}@bucket/renders", f"nosuch://ada:{CANARY}@host/renders"])
def test_an_output_root_that_fails_is_named_without_its_secrets(url: str) -> None:
    with pytest.raises(InputError) as error:
        OutputRoot(url).finished()
    assert CANARY not in str(error.value)


def test_the_search_itself_finds_what_is_hidden_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"\0" * (1 << 22) + CANARY.encode())
    (tmp_path / "b.bin").write_bytes(b"x" * ((1 << 22) - 4) + CANARY.encode() + b"y")
    (tmp_path / "c.txt").write_text("nothing")
    assert leaks_in(tmp_path) == ["a.db", "b.bin"]
