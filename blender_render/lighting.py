"""Putting a light rig into the Blender scene, in place of the one before. Runs inside a worker process."""

import bpy
from mathutils import Vector

from blender_render.light_rigs import Lamp, LightRig
from stage.failures import FailureClass, ObjectFailedError


def set_light(rig: LightRig, hdri: str | None) -> None:
    """Light the scene by a rig alone; what lit it before is removed.

    Args:
        rig: lamps and surroundings.
        hdri: path of the environment map, for a rig that has one.

    Raises:
        ObjectFailedError: when Blender cannot read the map.
    """
    for light in list(bpy.data.lights):
        bpy.data.lights.remove(light)
    for number, lamp in enumerate(rig.lamps):
        _add_lamp(lamp, f"lamp {number}")
    _set_surroundings(rig, hdri)


def _add_lamp(lamp: Lamp, name: str) -> None:
    """A lamp at its place, turned to the origin."""
    light = bpy.data.lights.new(name, lamp.kind)
    light.energy, light.use_shadow = lamp.power, lamp.shadow
    if lamp.kind == "AREA":
        light.size = lamp.size
    elif lamp.kind == "POINT":
        light.shadow_soft_size = lamp.size
    obj = bpy.data.objects.new(name, light)
    bpy.context.scene.collection.objects.link(obj)
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
