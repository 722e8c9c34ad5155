"""How much one visitor, and all of them together, may ask of the page."""

from dataclasses import dataclass, field

from systems.pictures.opening import PictureLimits


@dataclass(frozen=True)
class Limits:
    """What is refused beyond; each with its own line."""

    picture: PictureLimits = field(default_factory=lambda: PictureLimits(most_bytes=16 << 20))
    """Of an upload."""
    most_waiting: int = 8
    """Requests that wait for a device, of all visitors."""
    most_seconds: float = 600.0
    """That a request may take once it has begun."""
    mesh_steps: int = 800
    """That fit a surface to views: minutes of a CPU."""
    kept_seconds: float = 3600.0
    """For which files are kept after a visitor was last seen."""

    @property
    def most_body_bytes(self) -> int:
        """Of a request over HTTP: an upload, and what surrounds it."""
        return self.picture.most_bytes + (1 << 20)
