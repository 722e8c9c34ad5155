"""What may listen beyond loopback, and which secrets count."""

from pathlib import Path

import pytest

from services.exposure import MLFLOW_PASSWORD, is_loopback, refuse_exposed, secret_of
from stage.errors import InputError, ParameterError, ViewforgeError

GOOD = "correct-horse-battery"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_credentials(host: str):
    assert is_loopback(host)
    refuse_exposed("MLflow", host, MLFLOW_PASSWORD, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "localhost.evil.example", "mlflow", ""])
def test_anything_else_needs_them(host: str):
    with pytest.raises(
        InputError, match=f"MLflow would listen on .* set {MLFLOW_PASSWORD}, or {MLFLOW_PASSWORD}_FILE"
    ):
        refuse_exposed("MLflow", host, MLFLOW_PASSWORD, {})
    refuse_exposed("MLflow", host, MLFLOW_PASSWORD, {MLFLOW_PASSWORD: GOOD})


@pytest.mark.parametrize("secret", ["password1234", "Password1234", "admin:pass", "short", "admin:elevenchars"])
def test_known_and_short_secrets_do_not_count_and_are_not_repeated(secret: str):
    with pytest.raises(ParameterError, match="choose another") as caught:
        refuse_exposed(
            "Prefect", "0.0.0.0", "PREFECT_SERVER_API_AUTH_STRING", {"PREFECT_SERVER_API_AUTH_STRING": secret}
        )
    assert secret not in str(caught.value)


def test_a_file_counts_when_nobody_else_may_read_it(tmp_path: Path):
    path = tmp_path / "password"
    path.write_text(f"{GOOD}\n")
    path.chmod(0o600)
    named = {"PASSWORD_FILE": str(path)}
    assert secret_of("PASSWORD", named) == GOOD
    assert secret_of("PASSWORD", {**named, "PASSWORD": "itself"}) == "itself"
    assert secret_of("PASSWORD", {}) is None
    for mode in (0o640, 0o604):
        path.chmod(mode)
        with pytest.raises(InputError, match=f"chmod 600 {path}"):
            secret_of("PASSWORD", named)


def test_a_missing_or_empty_file_is_no_open_door(tmp_path: Path):
    path = tmp_path / "password"
    for written in (None, b"", b"\xff\xfe"):
        if written is not None:
            path.write_bytes(written)
            path.chmod(0o600)
        with pytest.raises(ViewforgeError, match=str(path)):
            refuse_exposed("MLflow", "0.0.0.0", "PASSWORD", {"PASSWORD_FILE": str(path)})
