"""What Blender's glTF importer passes over: hidden nodes, vertices that are not finite, primitives that it could not decode.

The importer asks every add-on whose module has a `glTF2ImportUserExtension` and calls that at every step; `asset_import`
registers this module as one. Runs inside a worker process.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from stage.failures import FailureClass, ObjectFailedError

_VISIBILITY = "KHR_node_visibility"
_DRACO_FAILED = "Draco Decoder: Unable"
# The importer looks for this name.
glTF2ImportUserExtension: "Callable[[], GltfObserver] | None" = None  # noqa: N816


class _Managed:
    """What the importer wants to know of an extension: that a file may require it."""

    name, required = _VISIBILITY, True


class GltfObserver(logging.Handler):
    """Hides the Blender objects of invisible nodes during one import, and remembers what was wrong with it.

    Its methods are called by the importer, which swallows exceptions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.extensions = [_Managed()]
        self._hidden: set[int] | None = None
        self._numbers: dict[int, int] = {}
        self._failure: tuple[FailureClass, str] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Remember that a primitive was skipped, which the importer only writes to its log."""
        if record.getMessage().startswith(_DRACO_FAILED):
            self._failure = FailureClass.PARSE, record.getMessage()

    def gather_import_decode_primitive(self, mesh: Any, primitive: Any, skin: Any, gltf: Any) -> None:  # noqa: ANN401, ARG002
        """Look at the positions of a primitive before Blender sets to 0 what is not finite."""
        from io_scene_gltf2.io.imp.gltf2_io_binary import BinaryData

        try:
            positions = BinaryData.decode_accessor(gltf, primitive.attributes["POSITION"], cache=True)
        except (LookupError, TypeError, ValueError):
            # The importer will do the same and say so.
            return
        if not np.isfinite(positions).all():
            self._failure = FailureClass.DEGENERATE, f"{mesh.name or 'a mesh'} has a vertex that is not finite"

    def gather_import_node_after_hook(self, vnode: Any, node: Any, obj: Any, gltf: Any) -> None:  # noqa: ANN401
        """Hide the object that stands for a node."""
        if self._hidden is None:
            nodes = gltf.data.nodes or []
            self._hidden = hidden_nodes(nodes)
            self._numbers = {id(other): number for number, other in enumerate(nodes)}
        # A skinned mesh and an instance stand elsewhere in the importer's tree; their node or parent tells where they belong.
        if obj is not None and {vnode.mesh_node_idx, self._numbers.get(id(node)), vnode.parent} & self._hidden:
            obj.hide_render = True

    def check(self) -> None:
        """Fail for what was wrong with the import.

        Raises:
            ObjectFailedError: parse or degenerate.
        """
        if self._failure:
            raise ObjectFailedError(*self._failure)


def observe() -> GltfObserver:
    """An observer for the next import."""
    observer = GltfObserver()
    globals()["glTF2ImportUserExtension"] = lambda: observer
    return observer


def hidden_nodes(nodes: list[Any]) -> set[int]:
    """Indices of the nodes that are invisible by themselves or through an ancestor.

    (KhronosGroup/glTF, extension KHR_node_visibility: `visible` is true by default and applies to all descendants.)
    """
    open_nodes = [number for number, node in enumerate(nodes) if _is_invisible(node)]
    hidden: set[int] = set()
    while open_nodes:
        number = open_nodes.pop()
        if number not in hidden:
            hidden.add(number)
            open_nodes.extend(nodes[number].children or [])
    return hidden


def _is_invisible(node: Any) -> bool:  # noqa: ANN401 - the importer's own type
    said = (node.extensions or {}).get(_VISIBILITY)
    return isinstance(said, dict) and said.get("visible") is False
