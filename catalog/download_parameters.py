"""Parameters of downloading: how many at once, how patiently, from where."""

from pydantic import Field

from stage.parameters import Parameters


class DownloadParameters(Parameters):
    """How files are brought from the network."""

    workers: int = Field(default=8, ge=1, le=64)
    """Simultaneous downloads; Hugging Face slows down clients with more than about 16."""
    connect_timeout_seconds: float = Field(default=15.0, gt=0)
    """Longest time to wait for a connection."""
    read_timeout_seconds: float = Field(default=60.0, gt=0)
    """Longest silence in the middle of a transfer; past it the transfer counts as stalled and is resumed."""
    attempts: int = Field(default=6, ge=1)
    """Attempts at one request whose failure may pass (a reset connection, a stall, status 408, 429 or 5xx)."""
    first_wait_seconds: float = Field(default=1.0, ge=0)
    """Wait before the second attempt; it doubles with each further one."""
    max_wait_seconds: float = Field(default=600.0, gt=0)
    """Longest wait between two attempts, also where a server asks for a longer one."""
    max_bytes: int | None = Field(default=2 * 2**30, ge=1)
    """Larger files are refused as soon as that shows; no limit when null."""
    hf_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    """Base URL in place of https://huggingface.co; when null, what the environment variable HF_ENDPOINT says."""
    mirrors: dict[str, str] = Field(default_factory=dict)
    """Other base URLs to ask in place of these, such as {"https://raw.githubusercontent.com": "https://mirror.example/raw"}."""
