"""The page: a picture and a camera on the left, what the model makes of them on the right.

Everything that it does is `demo.studio`'s; here and in the parts are components, and what moves between them.
"""

import gradio as gr

from demo.controls import camera_controls
from demo.outputs import output_components
from demo.picture_part import PicturePart
from demo.request_part import RequestPart
from demo.studio import Studio

_TITLE = "viewforge"
_INTRODUCTION = """# viewforge
One picture of an object in, what it looks like from other sides out. Pictures stay on the machine that serves this page, and are
deleted there after you leave.
"""


def build_page(studio: Studio) -> gr.Blocks:
    """The page of a studio, for `demo.server`."""
    every_seconds = min(300, max(1, int(studio.limits.kept_seconds)))
    with gr.Blocks(
        title=_TITLE, analytics_enabled=False, delete_cache=(every_seconds, int(studio.limits.kept_seconds))
    ) as page:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=3, min_width=280):
                picture = PicturePart(studio)
            with gr.Column(scale=3, min_width=280):
                controls = camera_controls(studio.default)
            with gr.Column(scale=4, min_width=300):
                outputs = output_components()
        picture.join(page, controls)
        RequestPart(studio, controls, outputs).join(picture.model)

        def left(request: gr.Request) -> None:
            studio.visitors.leave(str(request.session_hash))

        page.unload(left)
    return page
