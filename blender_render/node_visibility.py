"""Hidden nodes of a glTF file stay hidden: the extension KHR_node_visibility, which Blender's importer does not know.

The importer asks every add-on whose module has a `glTF2ImportUserExtension`; `asset_import` registers this module as one.
"""

from typing import Any

EXTENSION = "KHR_node_visibility"


class _Managed:
    """What the importer wants to know of an extension: that a file may require it."""

    name, required = EXTENSION, True


class NodeVisibility:
    """Hides the Blender objects of nodes that are invisible, or below such a node."""

    def __init__(self) -> None:
        self.extensions = [_Managed()]
        self._hidden: set[int] | None = None
        self._numbers: dict[int, int] = {}

    def gather_import_node_after_hook(self, vnode: Any, node: Any, obj: Any, gltf: Any) -> None:  # noqa: ANN401
        """Called by the importer for every object that it has made."""
        if self._hidden is None:
            self._hidden = hidden_nodes(gltf.data.nodes or [])
            self._numbers = {id(other): number for number, other in enumerate(gltf.data.nodes or [])}
        # A skinned mesh and an instance stand elsewhere in the importer's tree; their node or parent tells where they belong.
        if obj is not None and {vnode.mesh_node_idx, self._numbers.get(id(node)), vnode.parent} & self._hidden:
            obj.hide_render = True


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


def _is_invisible(node: Any) -> bool:  # noqa: ANN401
    said = (node.extensions or {}).get(EXTENSION)
    return isinstance(said, dict) and said.get("visible") is False


# The name that the importer looks for.
glTF2ImportUserExtension = NodeVisibility  # noqa: N816
