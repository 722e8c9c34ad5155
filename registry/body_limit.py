"""An ASGI application that hands on to another what is not too long: for servers that read whatever is sent to them."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class BodyLimit:
    """An ASGI application (asgi.readthedocs.io, HTTP) that hands on to another what is not too long.

    Args:
        application: the other.
        most_bytes: of a request's body.
        remedy: what the refusal tells a client to do.
    """

    def __init__(self, application: Application, most_bytes: int, remedy: str) -> None:
        self._application, self._most, self._remedy = application, most_bytes, remedy

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            body = None if self._announced(scope) > self._most else await self._read(receive)
        except ConnectionError:
            return
        if body is None:
            await self._refuse(send)
            return
        await self._application(scope, _again(body, receive), send)

    def _announced(self, scope: Message) -> int:
        """The length that the request's head states; 0 where it states none."""
        length = dict(scope["headers"]).get(b"content-length", b"")
        return int(length) if length.isdigit() and len(length) < 19 else self._most + 1 if length else 0

    async def _read(self, receive: Receive) -> bytes | None:
        """The body; None as soon as it is too long.

        Raises:
            ConnectionError: when the client goes before it has come.
        """
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            body += message.get("body", b"")
            if len(body) > self._most:
                return None
            if not message.get("more_body", False):
                return bytes(body)

    async def _refuse(self, send: Send) -> None:
        text = f"the request is longer than {self._most:,} bytes: {self._remedy}"
        content = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that has been read, and then whatever comes after it."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
