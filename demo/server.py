"""The page behind HTTP: sealed off from other sites, with limits on what is sent to it.

application = demo_server(studio, ("ann", "…"), ("127.0.0.1",))
uvicorn.run(application, host="127.0.0.1", port=7860)
"""

import os
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

from demo.studio import Studio
from registry.body_limit import Application, BodyLimit, Message, Receive, Send

# Gradio's code makes functions of text and styles of its own; whatever it would ask of others, the browser refuses.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Sealed:
    """An ASGI application whose answers forbid the browser to ask anybody else for anything.

    Args:
        application: the one that answers.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in _HEADERS}
                kept = [header for header in message.get("headers", []) if header[0].lower() not in names]
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        await self._application(scope, receive, with_headers)


def demo_server(
    studio: Studio, credentials: tuple[str, str] | None = None, hosts: Sequence[str] | None = None
) -> Application:
    """The page as an ASGI application.

    Args:
        studio: what stands behind it.
        credentials: user and password that visitors need; none when None.
        hosts: names under which it may be asked for; any when None. Loopback's own keep other sites' scripts from a page that
            needs no credentials by a name of theirs that leads here.
    """
    # Before gradio is imported: where uploads go, and that nothing is told anybody.
    os.environ["GRADIO_TEMP_DIR"] = str(studio.folder.path / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from demo.controls import ASSETS
    from demo.page import build_page

    page = build_page(studio)
    page.queue(default_concurrency_limit=4, max_size=256)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    application = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        footer_links=[],
        run_history=False,
        auth=credentials,
        max_file_size=studio.limits.picture.most_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        theme=theme,
        css=(ASSETS / "page.css").read_text(),
    )
    if hosts is not None:
        application.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return Sealed(BodyLimit(application, studio.limits.most_body_bytes, "send a smaller picture"))
