"""Putting a light rig into the Blender scene, in place of the one before. Runs inside a worker process."""

import bpy
from mathutils import Vector

from blender_render.light_rigs import Lamp, LightRig
from stage.failures import FailureClass, ObjectFailedError


def set_light(rig: LightRig, hdri: str | None) -> None:
    """Light the scene by a rig alone, in place of the one before.

    Lamps that are there are turned into those of the rig, and what is one too many goes dark: when lamps go and others come,
    Cycles, which keeps its data from view to view, draws its samples in an order that differs from run to run.

    Args:
        rig: lamps and surroundings.
        hdri: path of the environment map, for a rig that has one.

    Raises:
        ObjectFailedError: when Blender cannot read the map.
    """
    there = sorted((obj for obj in bpy.data.objects if obj.type == "LIGHT"), key=lambda obj: obj.name)
    for number, lamp in enumerate(rig.lamps):
        _set_lamp(there[number] if number < len(there) else _add_lamp(number), lamp)
    for obj in there[len(rig.lamps) :]:
        obj.data.energy = 0.0
    _set_surroundings(rig, hdri)


def _add_lamp(number: int) -> "bpy.types.Object":
    name = f"lamp {number}"
    obj = bpy.data.objects.new(name, bpy.data.lights.new(name, "POINT"))
    bpy.context.scene.collection.objects.link(obj)
    return obj


def _set_lamp(obj: "bpy.types.Object", lamp: Lamp) -> None:
    """Make a lamp what it is to be, at its place, turned to the origin."""
    obj.data.type = lamp.kind
    # Another kind is another type of Python object.
    light = obj.data
    light.energy, light.use_shadow = lamp.power, lamp.shadow
    if lamp.kind == "AREA":
        light.size = lamp.size
    elif lamp.kind == "POINT":
        light.shadow_soft_size = lamp.size
    obj.location = lamp.position
    obj.rotation_euler = (-Vector(lamp.position)).to_track_quat("-Z", "Y").to_euler()


def _set_surroundings(rig: LightRig, hdri: str | None) -> None:
    """White or mapped surroundings; the film is transparent, so they light the object and are not seen themselves."""
    world = bpy.context.scene.world or bpy.data.worlds.new("surroundings")
    bpy.context.scene.world = world
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    background.inputs["Strength"].default_value = rig.ambient
    if rig.hdri and hdri and not background.inputs["Color"].is_linked:
        texture = world.node_tree.nodes.new("ShaderNodeTexEnvironment")
        texture.image = _load(hdri)
        world.node_tree.links.new(texture.outputs["Color"], background.inputs["Color"])


def _load(path: str) -> "bpy.types.Image":
    image = bpy.data.images.load(path)
    if not image.size[0]:
        raise ObjectFailedError(FailureClass.ERROR, f"Blender cannot read the environment map {path}")
    return image
