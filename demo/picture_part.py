"""The page's beginning: which model, which picture, what of it is the object, and what the model is shown of it."""

from pathlib import Path
from typing import Any

import gradio as gr

from demo.controls import Controls
from demo.pictures import foreground_choices, on_white
from demo.status import bad
from demo.studio import Studio
from demo.visitors import Visitor
from stage.errors import ViewforgeError
from systems.gaussian_pipeline import GaussianPipeline
from systems.pipelines import class_of
from systems.zeronvs.pipeline import ZeroNvsPipeline

_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class PicturePart:
    """Components, and what they do.

    Args:
        studio: what stands behind the page.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        offered = [(each.label, each.key) for each in studio.catalogue.offered()]
        self.model = gr.Dropdown(offered, value=offered[0][1], label="Model", elem_id="model")
        limit = studio.limits.picture.most_bytes >> 20
        self._upload = gr.File(label=f"Picture: PNG, JPEG or WebP, up to {limit} MiB", height=150, elem_id="upload")
        self._examples = gr.Gallery(
            [str(each.path) for each in studio.examples],
            label="Or one of these",
            columns=4,
            height="auto",
            allow_preview=False,
            interactive=False,
            object_fit="contain",
            buttons=[],
            visible=bool(studio.examples),
            elem_id="examples",
        )
        self._foreground = gr.Radio(
            foreground_choices(), value="auto", label="What of it is the object", elem_id="foreground"
        )
        self._prepared = gr.Image(
            label="What the model is shown",
            height=240,
            interactive=False,
            buttons=[],
            format="png",
            elem_id="prepared",
        )
        self._line = gr.HTML(elem_id="prepared-line")

    def join(self, page: gr.Blocks, controls: Controls) -> None:
        """Have them do what they are for."""
        choice, shown = [self.model, self._foreground], [self._prepared, self._line]
        # The champion may have changed since the page was built.
        told = page.load(self._models, None, [self.model, self._line], **_QUIETLY)
        self._upload.change(self._uploaded, [self._upload, *choice], shown, **_QUIETLY)
        self._examples.select(self._picked, choice, shown, **_QUIETLY)
        self.model.change(self._again, choice, shown, **_QUIETLY)
        self._foreground.change(self._again, choice, shown, **_QUIETLY)
        suited = [controls.of_scene, controls.fusion]
        told.then(self._suited, self.model, suited, **_QUIETLY)
        self.model.change(self._suited, self.model, suited, **_QUIETLY)

    def _models(self) -> tuple[Any, str]:
        try:
            offered = self._studio.catalogue.offered()
        except ViewforgeError as error:
            return gr.skip(), bad(str(error))
        return gr.update(choices=[(each.label, each.key) for each in offered], value=offered[0].key), ""

    def _uploaded(self, path: str | None, model: str | None, foreground: str, request: gr.Request) -> tuple[Any, str]:
        visitor = self._visitor(request)
        if path is None:
            visitor.picture = visitor.prepared = None
            return None, ""
        return self._taken(visitor, Path(path), model, foreground)

    def _picked(
        self, event: gr.SelectData, model: str | None, foreground: str, request: gr.Request
    ) -> tuple[Any, str]:
        return self._taken(self._visitor(request), self._studio.examples[int(event.index)].path, model, foreground)

    def _again(self, model: str | None, foreground: str, request: gr.Request) -> tuple[Any, str]:
        visitor = self._visitor(request)
        return self._shown(visitor, model, foreground) if visitor.picture else (gr.skip(), gr.skip())

    def _suited(self, model: str | None) -> tuple[Any, Any]:
        try:
            kind = class_of(self._studio.catalogue.folder(model))
        except ViewforgeError:
            # Whoever asks this model for a view is told.
            return gr.skip(), gr.skip()
        of_pictures = not issubclass(kind, GaussianPipeline)
        return gr.update(visible=issubclass(kind, ZeroNvsPipeline)), gr.update(visible=of_pictures)

    def _taken(self, visitor: Visitor, path: Path, model: str | None, foreground: str) -> tuple[Any, str]:
        try:
            self._studio.accept(visitor, path)
        except ViewforgeError as error:
            return None, bad(str(error))
        return self._shown(visitor, model, foreground)

    def _shown(self, visitor: Visitor, model: str | None, foreground: str) -> tuple[Any, str]:
        try:
            made = self._studio.prepare(visitor, model, foreground)
        except ViewforgeError as error:
            return None, bad(str(error))
        return on_white(made.picture), f"<p>{made.line}</p>"

    def _visitor(self, request: gr.Request) -> Visitor:
        return self._studio.visitors.of(str(request.session_hash))
