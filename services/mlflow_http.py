"""uvicorn's HTTP for MLflow's server, with limits on what a request may weigh: `uvicorn --http services.mlflow_http:LimitedHttp`.

MLflow reads all requests but uploads of artifacts whole into memory, before it asks who sends them. What is too long is answered
with 413. The limits are in the server's environment (`services.mlflow_server`).
"""

import os
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from registry.body_limit import Application, BodyLimit, Message, Receive, Send

HTTP = "services.mlflow_http:LimitedHttp"
MOST_REQUEST = "VIEWFORGE_MLFLOW_MOST_REQUEST_BYTES"
MOST_ARTIFACT = "VIEWFORGE_MLFLOW_MOST_ARTIFACT_BYTES"
# What MLflow's router of artifacts answers (mlflow/server/artifact_router.py); whatever else begins otherwise is read whole.
_UPLOADS = ("/api/2.0/mlflow-artifacts/artifacts/", "/ajax-api/2.0/mlflow-artifacts/artifacts/")


class UploadLimit(BodyLimit):
    """The same limit for an application that takes a body piece by piece, of which none is kept here."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one upload; one that passes the limit breaks off for the application, whose answer is then ours."""
        if self._announced(scope) > self._most:
            await self._refuse(send)
            return
        counted = 0

        async def next_message() -> Message:
            nonlocal counted
            message = await receive()
            counted += len(message.get("body", b""))
            return message if counted <= self._most else {"type": "http.disconnect"}

        async def answer(message: Message) -> None:
            if counted <= self._most:
                await send(message)

        try:
            await self._application(scope, next_message, answer)
        except Exception:
            if counted <= self._most:
                raise
        if counted > self._most:
            await self._refuse(send)


def behind_limits(application: Application, most_request: int, most_artifact: int | None) -> Application:
    """MLflow's application behind both limits.

    Args:
        application: MLflow's.
        most_request: bytes of a request that is read whole.
        most_artifact: bytes of an artifact that is sent; any number when None.
    """
    requests = BodyLimit(application, most_request, "raise most_request_mib in mlflow/server.yaml if it is wanted")
    remedy = "raise most_artifact_gib in mlflow/server.yaml if it is wanted"
    uploads = UploadLimit(application, most_artifact, remedy) if most_artifact else application

    async def chosen(scope: Message, receive: Receive, send: Send) -> None:
        upload = scope.get("method") == "PUT" and str(scope.get("path", "")).startswith(_UPLOADS)
        await (uploads if upload else requests)(scope, receive, send)

    return chosen


class LimitedHttp(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's own protocol, of which each connection asks the application behind its limits."""

    def __init__(self, config: Config, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(config, **named)
        most_artifact = os.environ.get(MOST_ARTIFACT)
        limits = int(os.environ[MOST_REQUEST]), int(most_artifact) if most_artifact else None
        self.app = behind_limits(config.loaded_app, *limits)
