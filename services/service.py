"""A service: one process of an installation, and how to tell that it is up."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Service:
    """What is started and where it answers."""

    name: str
    """prefect, mlflow, store, worker-cpu or worker-gpu."""
    command: list[str]
    """Program and arguments; no secret among them, since every user of the machine can read them."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables over those of the one who starts it."""
    address: str | None = None
    """What people open; None for one that listens nowhere."""
    health: str | None = None
    """The URL that answers 200 when the service is up; None when being alive is all that can be told."""
