"""What `viewforge status` knows, as lines for people."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.stats import size_text
from evaluation.metrics.definitions import figures_line
from stage.pace import duration_text

_UNKNOWN = "not known"
_WIDTH = 12


def page(found: Mapping[str, Any]) -> str:
    """All sections, a line a thing; empty ones are left out.

    Args:
        found: what `viewforge status --json` prints.
    """
    parts: dict[str, Callable[[Any], Iterable[str]]] = {
        "stages": _stages,
        "evaluation": _evaluation,
        "models": _models,
        "quarantine": _quarantine,
        "runs": _runs,
        "services": _services,
        "disk": _disk,
    }
    lines = [f"{'workspace':<{_WIDTH}} {found['workspace']}"]
    for name, write in parts.items():
        section = found[name]
        unknown = isinstance(section, Mapping) and _UNKNOWN in section
        lines += [f"{name:<{_WIDTH}} {_UNKNOWN}: {section[_UNKNOWN]}"] if unknown else write(section)
    return "\n".join(lines) + "\n"


def _line(name: str, text: str) -> str:
    return f"{name:<{_WIDTH}} {text}"


def _stages(section: Mapping[str, list[str]]) -> Iterator[str]:
    for stage, reasons in section.items():
        yield _line(stage, f"stale: {'; '.join(reasons)}" if reasons else "fresh")


def _evaluation(section: Mapping[str, Any]) -> Iterator[str]:
    for method, figures in section.items():
        yield _line(method, f"{figures_line(figures)} on unseen objects")


def _models(section: list[Mapping[str, Any]]) -> Iterator[str]:
    for model in section:
        title = ", ".join(model["aliases"]) or model["decision"]
        figures = figures_line(model["figures"])
        decided = f", {model['decision']}" if model["aliases"] and model["decision"] else ""
        said = f", {model['approval']}" if model["approval"] else ""
        yield _line(
            title, f"{model['model']} version {model['version']} since {model['since']}: {figures}{decided}{said}"
        )
        if model["decision"] == "awaiting approval":
            yield _line("", f"viewforge promote --version {model['version']} --approve WHY, or --reject WHY")


def _quarantine(section: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for stage, counts in section.items():
        classes = ", ".join(f"{objects:,} {failure}" for failure, objects in counts.items())
        yield _line("lost", f"{stage}: {classes}")


def _runs(section: Mapping[str, Any]) -> Iterator[str]:
    for run in section["last"]:
        name = f"{run['flow']}/{run['deployment']}" if run["deployment"] else run["flow"]
        took = f" in {duration_text(run['seconds'])}" if run["seconds"] is not None else ""
        by = ", by its schedule" if run["scheduled"] else ""
        yield _line("run", f"{run['started']} {name}: {run['state']}{took}{by}")
    if section["late"]:
        yield _line("late", f"{section['late']} runs wait for a worker: see docs/runbook.md")
    if section["pools"]:
        pools = ", ".join(f"{name} {state}" for name, state in section["pools"])
        yield _line("pools", f"{pools}; {section['planned']} runs planned")


def _services(section: list[Mapping[str, Any]]) -> Iterator[str]:
    for service in section:
        state = "up" if service["healthy"] else f"DOWN ({service['condition']})"
        since = f" since {_time(service['since'])}" if service["healthy"] and service["since"] else ""
        address = f" at {service['address']}" if service["address"] else ""
        deaths = f", restarted {service['deaths']} times" if service["deaths"] else ""
        yield _line(service["name"], f"{state}{address}{since}{deaths}")


def _disk(section: Mapping[str, int]) -> Iterator[str]:
    yield _line("disk", ", ".join(f"{kind} {size_text(size)}" for kind, size in section.items() if size))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
