"""Job templates are what Prefect's workers, Docker's client and Kubernetes' own models take, and keep what the pools promise."""

import asyncio
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import jsonschema
import pytest
from prefect.client.schemas.objects import Flow, FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import find_placeholders

from flows import container_run
from training.parameters import LaunchParameters

FOLDER = Path(__file__).parents[2] / "flows" / "deploy"
POOLS = ("cpu", "gpu")
ENGINE = ["python", "-m", "flows.container_run"]
# What has a job of its own in the manifest.
CLAIMS = {"workspace": "/workspace", "cache": "/cache", "shm": "/dev/shm", "tmp": "/tmp"}


def template(kind: str, pool: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{kind}-{pool}.json").read_text())


def rendered(configuration: type, kind: str, pool: str, values: dict[str, Any]) -> Any:
    """The job of a flow run, as a worker makes it of the template and a deployment's job variables."""
    jsonschema.validate(values, template(kind, pool)["variables"])
    flow = Flow(name="train")
    run = FlowRun(name="Eager Ant", flow_id=flow.id, id=uuid4())
    # Without blocks and variables in it nothing is asked of a server.
    job = asyncio.run(configuration.from_template_and_values(template(kind, pool), values, client=SimpleNamespace()))
    with temporary_settings({PREFECT_API_URL: "http://prefect:4200/api"}):
        job.prepare_for_flow_run(run, flow=flow)
    return job


def kubernetes_job(pool: str, **values: Any) -> dict[str, Any]:
    worker = pytest.importorskip("prefect_kubernetes.worker")
    return rendered(worker.KubernetesWorkerJobConfiguration, "kubernetes", pool, values).job_manifest


def container_of(manifest: dict[str, Any]) -> dict[str, Any]:
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_every_variable_is_used_and_has_a_default(kind: str, pool: str) -> None:
    whole = template(kind, pool)
    jsonschema.Draft202012Validator.check_schema(whole["variables"])
    properties = whole["variables"]["properties"]
    placed = {placeholder.name for placeholder in find_placeholders(whole["job_configuration"])}
    # Containers of Kubernetes get the environment from the worker, beside the secrets in the manifest.
    assert placed == set(properties)
    defaults = {name: entry["default"] for name, entry in properties.items()}
    jsonschema.validate(defaults, whole["variables"])
    assert all(entry["title"] and entry["description"] for entry in properties.values())


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_gpu_jobs_differ_by_their_gpus_and_sizes_alone(kind: str) -> None:
    cpu, gpu = template(kind, "cpu"), template(kind, "gpu")
    assert set(gpu["variables"]["properties"]) - set(cpu["variables"]["properties"]) == {"gpus"}
    if kind == "docker":
        del gpu["job_configuration"]["container_create_kwargs"]["device_requests"]
    else:
        pod = gpu["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
        del pod["tolerations"]
        del pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert gpu["job_configuration"] == cpu["job_configuration"]


@pytest.mark.parametrize("pool", POOLS)
def test_the_manifest_is_what_kubernetes_models_take(pool: str) -> None:
    client = pytest.importorskip("kubernetes_asyncio.client")
    manifest = kubernetes_job(pool)
    job = read_strictly(client, manifest, "V1Job")
    assert job.spec.backoff_limit == 0
    assert manifest["metadata"]["generateName"] == "eager-ant-"
    assert container_of(manifest)["args"] == ENGINE


def read_strictly(client: Any, value: Any, kind: str) -> Any:
    """A model of a value, in which every key and type is known; Kubernetes' client passes over what it does not know."""
    if kind in {"str", "int", "bool", "object", "float"}:
        if kind in {"str", "int", "bool"}:
            assert type(value).__name__ == kind, (value, kind)
        return value
    if kind == "quantity":
        assert re.fullmatch(r"\d+(m|k|Ki|M|Mi|G|Gi)?", f"{value}"), value
        return value
    if match := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        return [read_strictly(client, item, match[1]) for item in value]
    if match := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        return {key: read_strictly(client, item, match[1]) for key, item in value.items()}
    model = getattr(client, kind)
    names = {there: here for here, there in model.attribute_map.items()}
    # A pod has neither; Prefect's worker insists on both, and the server of Kubernetes drops them.
    known = {
        key: item for key, item in value.items() if not (kind == "V1PodSpec" and key in {"parallelism", "completions"})
    }
    assert set(known) <= set(names), (kind, set(known) - set(names))
    types = {
        names[key]: "dict(str, quantity)" if kind == "V1ResourceRequirements" else model.openapi_types[names[key]]
        for key in known
    }
    return model(**{names[key]: read_strictly(client, item, types[names[key]]) for key, item in known.items()})


@pytest.mark.parametrize("pool", POOLS)
def test_pods_have_no_privileges(pool: str) -> None:
    pod = kubernetes_job(pool)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["automountServiceAccountToken"] is False
    own = container_of({"spec": {"template": {"spec": pod}}})["securityContext"]
    assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_what_a_container_starts_is_prefects_execution_with_more_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[float] = []
    monkeypatch.setattr(container_run.patient_processes, "give", given.append)
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID", raising=False)
    monkeypatch.setattr("sys.argv", ["container_run"])
    with pytest.raises(SystemExit) as ended:
        container_run.main()
    assert (ended.value.code, given) == (1, [600])
    assert "the ID of the flow run to execute" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("pool", POOLS)
def test_a_training_has_time_for_its_checkpoint(pool: str) -> None:
    assert kubernetes_job(pool)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 2 * (
        LaunchParameters().grace_seconds
    )


def test_a_deployment_chooses_what_its_jobs_get() -> None:
    manifest = kubernetes_job(
        "gpu", gpus=8, shm_size="64Gi", memory_limit="500Gi", workspace_claim="large", env={"NCCL_DEBUG": "INFO"}
    )
    pod, container = manifest["spec"]["template"]["spec"], container_of(manifest)
    assert container["resources"]["limits"] == {"cpu": "16", "memory": "500Gi", "nvidia.com/gpu": 8}
    assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == CLAIMS
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert volumes["workspace"]["persistentVolumeClaim"] == {"claimName": "large"}
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert (values["NCCL_DEBUG"], values["VIEWFORGE_WORKSPACE"]) == ("INFO", "/workspace")
    assert values["PREFECT_API_URL"] == "http://prefect:4200/api"


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_results_of_flows_outlive_the_container(kind: str, pool: str) -> None:
    """Prefect keeps them in its own folder, which without a word is in the home of a container that goes."""
    environment = template(kind, pool)["variables"]["properties"]["env"]["default"]
    assert environment["PREFECT_HOME"] == f"{environment['VIEWFORGE_WORKSPACE']}/.prefect"


def test_secrets_are_named_and_never_there() -> None:
    for variable in container_of(kubernetes_job("cpu", secret="team"))["env"]:
        if re.search("PASSWORD|SECRET|KEY|TOKEN", variable["name"]):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference == {"name": "team", "key": variable["name"], "optional": True}


@pytest.mark.parametrize("pool", POOLS)
def test_docker_takes_the_container(pool: str) -> None:
    worker = pytest.importorskip("prefect_docker.worker")
    from docker.models.containers import _create_container_args

    job = rendered(worker.DockerWorkerJobConfiguration, "docker", pool, {"shm_size": "1g"})
    daemon = SimpleNamespace(version=lambda: {"Version": "28.0.0"})
    settings = worker.DockerWorker._build_container_settings(None, daemon, job)
    arguments = _create_container_args({**settings, "version": "1.47"})
    host = arguments["host_config"]
    assert arguments["command"] == ENGINE or arguments["command"] == " ".join(ENGINE)
    assert (arguments["user"], arguments["name"]) == ("10001:10001", "Eager-Ant")
    assert (host["ShmSize"], host["CapDrop"]) == (1 << 30, ["ALL"])
    assert host["Memory"] == host["MemorySwap"]
    assert "viewforge_workspace:/workspace" in " ".join(host["Binds"])
    assert [request["Count"] for request in host.get("DeviceRequests") or []] == ([1] if pool == "gpu" else [])


def test_docker_jobs_are_the_compose_file_s() -> None:
    import yaml

    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yaml").read_text())
    properties = template("docker", "cpu")["variables"]["properties"]
    assert properties["networks"]["default"] == [compose["networks"]["default"]["name"]]
    volumes = {volume.partition(":")[0] for volume in properties["volumes"]["default"]}
    assert volumes <= {f"{compose['name']}_{name}" for name in compose["volumes"]}
    assert properties["env"]["default"]["PREFECT_API_URL"] == compose["x-servers"]["PREFECT_API_URL"]
    images = {service["image"] for service in compose["services"].values() if "build" in service}
    assert images == {f"${{VIEWFORGE_IMAGE:-{properties['image']['default']}}}"}
