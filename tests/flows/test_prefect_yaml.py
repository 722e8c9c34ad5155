"""prefect.yaml: what Prefect reads in it, and that what it names is there."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jsonschema
import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._models import ConcurrencyLimitSpec, DeploymentConfig, PrefectYamlModel, RawScheduleConfig
from prefect.cli.deploy._triggers import DeploymentTriggerAdapter
from prefect.client.schemas.schedules import CronSchedule

from flows.deploying import POOLS
from flows.events import EVALUATED, TRAINED

DEFINITION = Path(__file__).resolve().parents[2] / "prefect.yaml"
WRITTEN = yaml.safe_load(DEFINITION.read_text())
DEPLOYMENTS: list[dict[str, Any]] = WRITTEN["deployments"]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


def full_name(deployment: dict[str, Any]) -> str:
    return f"{flow_of(deployment).name}/{deployment['name']}"


def test_the_file_is_one_of_prefects() -> None:
    jsonschema.validate(WRITTEN, PrefectYamlModel.model_json_schema(by_alias=True))
    assert len(PrefectYamlModel.model_validate(WRITTEN).deployments) == len(DEPLOYMENTS)


def test_no_key_is_one_that_prefect_would_pass_over() -> None:
    """Prefect ignores what it does not know, a misspelt key as well."""
    for deployment in DEPLOYMENTS:
        assert deployment.keys() <= DeploymentConfig.model_fields.keys()
        assert deployment["concurrency_limit"].keys() <= ConcurrencyLimitSpec.model_fields.keys()
        for schedule in deployment.get("schedules", ()):
            assert schedule.keys() <= RawScheduleConfig.model_fields.keys()


def test_the_deployments_are_those_that_the_project_speaks_of() -> None:
    assert sorted(map(full_name, DEPLOYMENTS)) == [
        "evaluate/after-training",
        "ingest/nightly",
        "pipeline/on-demand",
        "promote/after-evaluation",
        "stage/on-demand",
        "train/weekly",
        "verify/weekly",
    ]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=full_name)
def test_parameters_and_pools_exist(deployment: dict[str, Any]) -> None:
    assert deployment["parameters"].keys() <= inspect.signature(flow_of(deployment).fn).parameters.keys()
    assert deployment["parameters"] == {"workspace": "{{ $VIEWFORGE_WORKSPACE }}"}
    assert deployment["work_pool"]["name"] in POOLS
    assert deployment["concurrency_limit"]["limit"] == 1


def test_schedules_are_times_of_the_zone_that_is_given() -> None:
    scheduled = {full_name(d): d["schedules"] for d in DEPLOYMENTS if "schedules" in d}
    assert scheduled.keys() == {"ingest/nightly", "train/weekly", "verify/weekly"}
    for (schedule,) in scheduled.values():
        assert schedule["timezone"] == "{{ $VIEWFORGE_TIMEZONE }}"
        CronSchedule(cron=schedule["cron"], timezone=str(ZoneInfo("Europe/Berlin")))


def test_a_training_starts_the_evaluation_and_that_the_promotion_of_the_same_workspace() -> None:
    triggers = {full_name(d): d["triggers"] for d in DEPLOYMENTS if "triggers" in d}
    expected = {"evaluate/after-training": TRAINED, "promote/after-evaluation": EVALUATED}
    assert triggers.keys() == expected.keys()
    for name, (trigger,) in triggers.items():
        assert DeploymentTriggerAdapter.validate_python(trigger).expect == {expected[name]}
        assert trigger["parameters"] == {"workspace": "{{ event.payload.workspace }}"}
        assert trigger["match"] == {"prefect.resource.id": "viewforge.workspace.*"}
