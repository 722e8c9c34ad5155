"""One promotion of a model at a time: the claim in the registry, with a registry of tags in memory and with MLflow's own."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient

from registry import claims
from registry.claims import PREFIX, Claim, HeldClaim, claimed
from stage.errors import ViewforgeError
from stage.workspace import Workspace

MODEL = "model"


class Tags:
    """A registry that takes a while for every request, as one over a network does."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self._lock, self._random = threading.Lock(), random.Random(0)

    def _delay(self) -> None:
        time.sleep(self._random.random() * 0.004)

    def get_registered_model(self, name: str) -> Any:  # noqa: ARG002, D102
        self._delay()
        with self._lock:
            return SimpleNamespace(tags=dict(self.tags))

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:  # noqa: ARG002, D102
        self._delay()
        with self._lock:
            self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:  # noqa: ARG002, D102
        with self._lock:
            self.tags.pop(key, None)


def claim(**changed: Any) -> Claim:
    """A claim of this process, which lives."""
    mine = Claim("other", 1, claims._machine(), os.getpid(), psutil.Process().create_time(), time.time() + 60)
    return replace(mine, **changed)


def put(client: Any, held: Claim) -> None:
    client.set_registered_model_tag(MODEL, PREFIX + held.owner, json.dumps(asdict(held)))


def test_many_at_once_hold_it_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims, "_TICK_SECONDS", 0.002)
    client, inside, most, done = Tags(), [], [0], []

    def work(number: int) -> None:
        for _ in range(5):
            with claimed(client, MODEL):
                inside.append(number)
                most[0] = max(most[0], len(inside))
                time.sleep(0.001)
                inside.remove(number)
            done.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], len(done)) == (1, 30)
    assert client.tags == {}


def test_one_that_is_still_choosing_is_waited_for():
    client = Tags()
    put(client, claim(ticket=None))
    with (
        pytest.raises(ViewforgeError, match="is promoting model; wait for it or end it"),
        claimed(client, MODEL, patience=0.1),
    ):
        pass
    assert list(client.tags) == [PREFIX + "other"], "who gave up left a claim"


def test_a_dead_process_of_this_machine_keeps_nobody_waiting():
    client = Tags()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    put(client, claim(process=ended.pid))
    put(client, claim(owner="reused", started=psutil.Process().create_time() - 1000))
    with claimed(client, MODEL, patience=0.1):
        assert len(client.tags) == 1


def test_another_machines_claim_counts_until_its_time_is_up():
    client = Tags()
    put(client, claim(machine="elsewhere", process=1, until=time.time() + 0.6))
    started = time.time()
    with claimed(client, MODEL, patience=5):
        assert time.time() - started > 0.5


def test_a_claim_whose_time_is_up_moves_nothing():
    with claimed(Tags(), MODEL, lease=0.05) as held:
        held.check()
        time.sleep(0.06)
        with pytest.raises(ViewforgeError, match="claim on the aliases of model ran out; run the command again"):
            held.check()


def test_a_claim_that_another_took_for_dead_moves_nothing():
    """A laptop that slept, whose monotonic clock slept too; or a machine whose clock is minutes ahead of ours."""
    client = Tags()
    with claimed(client, MODEL) as held:
        held.check()
        client.tags.clear()
        with pytest.raises(ViewforgeError, match="claim on the aliases of model ran out; run the command again"):
            held.check()


def test_a_machine_of_the_same_name_is_another(monkeypatch: pytest.MonkeyPatch):
    here = claims._machine()
    monkeypatch.setattr(claims, "_BOOT", Path(__file__))
    assert claims._machine() != here
    assert claims._machine().split()[0] == here.split()[0]


def test_who_waits_longer_than_its_lease_still_gets_its_turn():
    client = Tags()
    put(client, claim(machine="elsewhere", until=time.time() + 1.0))
    with claimed(client, MODEL, lease=0.6, patience=5) as held:
        assert isinstance(held, HeldClaim)
        held.check()


def test_two_at_once_in_mlflow_hold_it_one_after_the_other(workspace: Workspace, client: MlflowClient):
    client.create_registered_model(MODEL)
    inside, most = [], [0]

    def work() -> None:
        mine = MlflowClient(client.tracking_uri)
        for _ in range(2):
            with claimed(mine, MODEL):
                inside.append(0)
                most[0] = max(most[0], len(inside))
                time.sleep(0.05)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert client.get_registered_model(MODEL).tags == {}


def test_what_is_no_claim_keeps_nobody_waiting():
    client = Tags()
    client.set_registered_model_tag(MODEL, f"{PREFIX}x", "by hand")
    with claimed(client, MODEL, patience=0.1):
        pass


def test_mlflow_keeps_claims_as_tags_and_none_is_left(workspace: Workspace, client: MlflowClient):
    client.create_registered_model(MODEL)
    with claimed(client, MODEL):
        (value,) = (v for k, v in client.get_registered_model(MODEL).tags.items() if k.startswith(PREFIX))
        assert json.loads(value)["machine"].startswith(socket.gethostname())
    assert client.get_registered_model(MODEL).tags == {}
