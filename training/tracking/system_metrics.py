"""Figures of the machine in the course of a run: processor, memory, disk, network, GPUs, as MLflow's own monitors read them.

MLflow's `SystemMetricsMonitor` sends them itself and gives up when the server is away; here they go through the run's journal.
GPUs are there where `nvidia-ml-py` and a driver are.
"""

import threading
import time
from contextlib import suppress

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from training.tracking.journal import Journal

# MLflow's page shows what is under it apart.
_PREFIX = "system/"


class SystemMetrics:
    """A thread that notes the machine's figures.

    Args:
        journal: where they go; their steps go on where an earlier attempt at the run left off.
        seconds: between two of them.
    """

    def __init__(self, journal: Journal, seconds: float) -> None:
        self._journal, self._seconds = journal, seconds
        self._step = sum(entry["kind"] == "system" for entry in journal.entries())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="system-metrics", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; nothing is noted after it."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        monitors = _monitors()
        while not self._ended.wait(self._seconds):
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values |= {f"{_PREFIX}{key}": float(value) for key, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
            self._journal.append(
                {"kind": "system", "values": values, "step": self._step, "time": int(time.time() * 1000)}
            )
            self._step += 1


def _monitors() -> list[BaseMetricsMonitor]:
    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):
        monitors.append(GPUMonitor())
    return monitors
