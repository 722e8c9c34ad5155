"""Whether a service answers."""

import httpx

_SECONDS = 5.0


def answers(health: str | None) -> bool:
    """Whether the URL answers 200 within a few seconds; no proxy is asked for the way.

    Args:
        health: None for a service of which being alive is all that can be told.
    """
    if health is None:
        return True
    try:
        return httpx.get(health, timeout=_SECONDS, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
