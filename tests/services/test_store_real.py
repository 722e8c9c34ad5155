"""The store keeps what it was given, also when it is killed."""

import io
import os
import subprocess

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from standing_in import until

from services import ports, store
from services.health import answers
from stage.errors import InputError
from stage.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    try:
        store.program()
    except InputError as error:
        pytest.skip(f"{error}")
    port = next(
        port for port in iter(ports.any_free, 0) if all(ports.is_free(store.HOST, p) for p in store.ports(port))
    )
    return store.store_service(Workspace(tmp_path), port)


def client(service, secret="secret"):
    return boto3.client(
        "s3",
        endpoint_url=service.address,
        aws_access_key_id="key",
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 8}, proxies={}),
    )


def started(service):
    process = subprocess.Popen(
        service.command, env={**os.environ, **service.environment}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until(lambda: answers(service.health), 60)
    return process


def test_objects_outlive_the_store(service):
    process = started(service)
    try:
        client(service).create_bucket(Bucket="dvc")
        # Longer than one part: boto3 uploads it in several.
        content = os.urandom(20 << 20)
        client(service).upload_fileobj(io.BytesIO(content), "dvc", "files/md5/ab")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client(service, "another").list_buckets()
        process.kill()
        process.wait()
        process = started(service)
        assert client(service).get_object(Bucket="dvc", Key="files/md5/ab")["Body"].read() == content
    finally:
        process.kill()
        process.wait()
