"""Surfaces that are there or not: what geometry passes take half-transparent materials for. Runs inside a worker process.

With one sample Cycles casts a die: a surface of opacity 0.3 has a depth in three of ten pixels, with nothing in between. So for
geometry a surface is opaque from opacity 0.5 on and otherwise not there. Mixtures with a transparent shader stay as they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bpy

_THRESHOLD = 0.5


@contextmanager
def hard_opacity(threshold: float = _THRESHOLD) -> Iterator[None]:
    """Materials whose opacity is 0 or 1, cut at the threshold, within the block, and as they were after it."""
    undo = [_harden(material.node_tree, socket, threshold) for material, socket in _opacities()]
    try:
        yield
    finally:
        for restore in undo:
            restore()


def _opacities() -> Iterator[tuple["bpy.types.Material", "bpy.types.NodeSocket"]]:
    """Opacity sockets that a map is linked to, or that lie between 0 and 1."""
    for material in bpy.data.materials:
        for node in list(material.node_tree.nodes) if material.node_tree else []:
            if node.type == "BSDF_PRINCIPLED":
                socket = node.inputs["Alpha"]
                if socket.is_linked or 0.0 < socket.default_value < 1.0:
                    yield material, socket


def _harden(tree: "bpy.types.NodeTree", socket: "bpy.types.NodeSocket", threshold: float) -> Callable[[], None]:
    """Cut an opacity at the threshold; what undoes it."""
    if not socket.is_linked:
        value = socket.default_value
        socket.default_value = float(value >= threshold)
        return lambda: setattr(socket, "default_value", value)
    source = socket.links[0].from_socket
    step = tree.nodes.new("ShaderNodeMath")
    step.operation, step.inputs[1].default_value = "GREATER_THAN", threshold
    tree.links.new(source, step.inputs[0])
    tree.links.new(step.outputs[0], socket)

    def restore() -> None:
        tree.links.new(source, socket)
        tree.nodes.remove(step)

    return restore
