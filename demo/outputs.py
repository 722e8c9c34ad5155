"""The page's results: pictures, a turn, what can be turned in 3D, and files to keep."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from demo.making import Made
from demo.meshes import MadeMesh, can_become_mesh
from demo.status import READY

_VIEWERS = (("Gaussians", "result-gaussians"), ("Mesh", "result-mesh"))
_MAKE_A_MESH, _FOR_A_TURN = "Make a mesh (GLB)", "For a mesh make all around, 360°"
_VIEW_HEIGHT, _STRIP_HEIGHT = 340, 150


@dataclass(frozen=True)
class Outputs:
    """Where results are shown."""

    status: gr.HTML
    picture: gr.Image
    video: gr.Video
    gaussians: gr.Model3D
    solid: gr.Model3D
    files: gr.File
    make: gr.Button
    cancel: gr.Button
    mesh: gr.Button

    @property
    def results(self) -> list[gr.components.Component]:
        """What `shown` fills, in its order."""
        return [self.picture, self.video, self.files, self.mesh]

    @property
    def viewers(self) -> list[gr.Model3D]:
        """What can be turned.

        In events of their own: given twice in quick succession, as by one that tells its steps, a value is not shown.
        """
        return [self.gaussians, self.solid]

    @property
    def buttons(self) -> list[gr.Button]:
        """What `pressable` switches, in its order."""
        return [self.make, self.cancel, self.mesh]


def output_components() -> Outputs:
    """Make the components where they are called."""
    with gr.Row():
        make = gr.Button("Make", variant="primary", elem_id="make")
        cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
    status = gr.HTML(READY, elem_id="status")
    picture = gr.Image(
        label="View",
        interactive=False,
        format="png",
        buttons=["fullscreen"],
        height=_VIEW_HEIGHT,
        elem_id="result-picture",
    )
    video = gr.Video(
        label="Turn", interactive=False, loop=True, autoplay=True, visible=False, elem_id="result-video", height=320
    )
    # One component for each: gradio's does not go from splats to triangles.
    gaussians, solid = (_viewer(label, name) for label, name in _VIEWERS)
    mesh = gr.Button(_MAKE_A_MESH, visible=False, elem_id="mesh")
    files = gr.File(label="Keep", interactive=False, visible=False, file_count="multiple", elem_id="result-files")
    return Outputs(status, picture, video, gaussians, solid, files, make, cancel, mesh)


def _viewer(label: str, name: str) -> gr.Model3D:
    """Always there, and without a canvas not seen (`page.css`): what appears with its value does not load it."""
    return gr.Model3D(
        label=f"{label}: drag to turn",
        interactive=False,
        clear_color=(1.0, 1.0, 1.0, 1.0),
        camera_position=(-60.0, 70.0, None),
        elem_id=name,
        elem_classes="viewer",
        height=360,
    )


def shown(made: Made) -> list[Any]:
    """Updates of `Outputs.results`."""
    kept = [path for path in (made.picture, made.video, made.gaussians) if path]
    return [
        gr.update(
            value=str(made.picture),
            label="Turn, the picture first" if made.video else "View",
            height=_STRIP_HEIGHT if made.video else _VIEW_HEIGHT,
        ),
        gr.update(value=made.video and str(made.video), visible=made.video is not None),
        gr.update(value=[str(path) for path in kept], visible=True),
        gr.update(
            visible=can_become_mesh(made) or made.wants_turn,
            value=_FOR_A_TURN if made.wants_turn else _MAKE_A_MESH,
            interactive=not made.wants_turn,
        ),
    ]


def shown_mesh(made: Made, mesh: MadeMesh) -> list[Any]:
    """Updates of `Outputs.results` once there is a mesh, too."""
    kept = [*(path for path in (made.picture, made.video, made.gaussians) if path), mesh.glb, *mesh.beside]
    return [gr.skip(), gr.skip(), gr.update(value=[str(path) for path in kept]), gr.update(visible=False)]


def emptied() -> list[Any]:
    """Updates of `Outputs.results` when a request begins: what is there is of another one."""
    absent = gr.update(value=None, visible=False)
    return [gr.update(value=None, label="View"), absent, absent, gr.update(visible=False)]


def pressable(busy: bool) -> list[Any]:
    """Updates of `Outputs.buttons`."""
    return [gr.update(interactive=not busy), gr.update(interactive=busy), gr.update(interactive=not busy)]
