"""The page's inputs: a control for each field of a wish, with the wish's own bounds, and the sphere that turns the camera."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from demo.wishes import Wish, bounds
from systems.zero123.parameters import SchedulerName

ASSETS = Path(__file__).resolve().parent / "assets"
_AS_SAVED = "as the model was saved"


@dataclass(frozen=True)
class Controls:
    """What a wish is made of, by its fields' names."""

    fields: dict[str, gr.components.Component]
    """In order."""
    of_turn: gr.Group
    """Shown where a turn is asked for."""
    of_view: gr.Group
    """Shown where one view is."""
    of_scene: gr.Group
    """Shown where the model is of scenes."""
    fusion: gr.Checkbox
    """Shown where the model makes pictures."""

    def wish(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """The fields of a `Wish` of what the components hold, in order."""
        given = dict(zip(self.fields, values, strict=True))
        given["around"] = given["around"] == "all"
        given["scheduler"] = None if given["scheduler"] == _AS_SAVED else given["scheduler"]
        return given


def camera_controls(default: Wish) -> Controls:
    """Make the controls where they are called, and join sphere and sliders in the browser.

    Args:
        default: what they hold at first.
    """
    around = gr.Radio([("One view", "one"), ("All around, 360°", "all")], value="one", label="What", elem_id="around")
    with gr.Group() as of_view:
        sphere = gr.HTML(
            value={"azimuth": default.azimuth_deg, "rise": default.rise_deg, "given": default.elevation_deg},
            html_template=(ASSETS / "sphere.html").read_text(),
            css_template=(ASSETS / "sphere.css").read_text(),
            js_on_load=(ASSETS / "sphere.js").read_text(),
            elem_id="sphere",
        )
        azimuth = _slider(default, "azimuth_deg", "Around to the right, degrees", 1)
        rise = _slider(default, "rise_deg", "Higher, degrees", 1)
        farther = _slider(default, "farther", "Farther, object sizes", 0.05)
    with gr.Group(visible=False) as of_turn:
        views = _slider(default, "views", "Views, the picture among them", 1)
        fused = gr.Checkbox(default.fused, label="Each view from those before it (ViewFusion)", elem_id="fused")
    with gr.Accordion("Sampling", open=False):
        steps = _slider(default, "steps", "Steps", 1)
        guidance = _slider(default, "guidance", "Guidance (1 does without)", 0.5)
        names = [_AS_SAVED, *get_args(SchedulerName)]
        scheduler = gr.Dropdown(names, value=default.scheduler or _AS_SAVED, label="Sampler", elem_id="scheduler")
        eta = _slider(default, "eta", "Fresh noise (DDIM's eta)", 0.05)
        seed = gr.Number(default.seed, label="Seed", precision=0, minimum=0, elem_id="seed")
        elevation = _slider(default, "elevation_deg", "The picture's camera over the horizon, degrees", 1)
        with gr.Group(visible=False) as of_scene:
            fov = _slider(default, "fov_deg", "Field of view of the picture's middle square, degrees", 0.1)
            scale = _slider(default, "scale", "Scale of the scene", 0.05)
    _join(sphere, azimuth, rise, elevation)
    around.change(
        lambda what: (gr.update(visible=what == "one"), gr.update(visible=what == "all")),
        around,
        [of_view, of_turn],
        api_visibility="private",
        show_progress="hidden",
    )
    fields: dict[str, gr.components.Component] = {
        "azimuth_deg": azimuth,
        "rise_deg": rise,
        "farther": farther,
        "around": around,
        "views": views,
        "fused": fused,
        "steps": steps,
        "guidance": guidance,
        "scheduler": scheduler,
        "eta": eta,
        "seed": seed,
        "elevation_deg": elevation,
        "fov_deg": fov,
        "scale": scale,
    }
    return Controls(fields, of_turn, of_view, of_scene, fused)


def _slider(default: Wish, name: str, label: str, step: float) -> gr.Slider:
    least, most = bounds(name)
    return gr.Slider(least, most, value=getattr(default, name), step=step, label=label, elem_id=name)


def _join(sphere: gr.HTML, azimuth: gr.Slider, rise: gr.Slider, elevation: gr.Slider) -> None:
    """Sphere to sliders and back, without asking the server."""
    sphere.input(None, sphere, [azimuth, rise], js="(camera) => [camera.azimuth, camera.rise]", show_progress="hidden")
    sliders = [azimuth, rise, elevation]
    for slider in sliders:
        slider.input(
            None,
            sliders,
            sphere,
            js="(azimuth, rise, given) => ({ azimuth, rise, given })",
            show_progress="hidden",
        )
