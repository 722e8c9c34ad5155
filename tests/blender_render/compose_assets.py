"""Assets that only Blender can write: `python compose_assets.py FOLDER`. Tests run it in a process of its own."""

import sys
from pathlib import Path

import bpy

_FACES = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]


def cube(name, place, size=(1, 1, 1)):
    """A box by its centre and sides."""
    x, y, z = (0.5 * side for side in size)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(i * x, j * y, k * z) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], [], _FACES)
    obj = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(obj)
    obj.location = place
    return obj


def material(obj, colour):
    made = bpy.data.materials.new(obj.name)
    made.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (*colour, 1)
    obj.data.materials.append(made)
    return made


def rigged():
    """A post on a bone that leans over in every frame, and a box that wanders off; at rest they stand side by side."""
    box, post = cube("box", (1.5, 0, 0.5)), cube("post", (0, 0, 2), (1, 1, 4))
    box.keyframe_insert("location", frame=1)
    box.location = (8, 0, 0.5)
    box.keyframe_insert("location", frame=20)
    skeleton = bpy.data.objects.new("skeleton", bpy.data.armatures.new("skeleton"))
    bpy.context.scene.collection.objects.link(skeleton)
    bpy.context.view_layer.objects.active = skeleton
    bpy.ops.object.mode_set(mode="EDIT")
    bone = skeleton.data.edit_bones.new("bone")
    bone.head, bone.tail = (0, 0, 0), (0, 0, 1)
    bpy.ops.object.mode_set(mode="OBJECT")
    post.parent = skeleton
    post.modifiers.new("skeleton", "ARMATURE").object = skeleton
    post.vertex_groups.new(name="bone").add(range(8), 1.0, "REPLACE")
    pose = skeleton.pose.bones["bone"]
    pose.rotation_mode = "XYZ"
    for frame, angle in ((1, 0.7), (20, 1.5)):
        pose.rotation_euler = (angle, 0, 0)
        pose.keyframe_insert("rotation_euler", frame=frame)
    bpy.context.scene.frame_set(10)


def lit():
    """A dark box under a sun that would burn it out, with a second box that hangs on the sun, and a camera."""
    for number, height in enumerate((0, 3)):
        material(cube(f"box {number}", (0, 0, height)), (0.1, 0.1, 0.1))
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.location = 1000, (0, 0, 1.5)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    for obj in (sun, camera):
        bpy.context.scene.collection.objects.link(obj)
    bpy.context.view_layer.update()
    upper = bpy.data.objects["box 1"]
    upper.parent = sun
    upper.matrix_parent_inverse = sun.matrix_world.inverted()


def roots():
    cube("one", (0, 0, 0))
    cube("two", (3, 0, 0))


def hidden():
    cube("seen", (0, 0, 0))
    cube("unseen", (9, 0, 0)).hide_viewport = True


def textured(picture):
    """A box whose texture lies elsewhere."""
    obj = cube("box", (0, 0, 0))
    nodes = material(obj, (0.5, 0.5, 0.5)).node_tree
    image = bpy.data.images.new("secret", 4, 4)
    image.filepath_raw, image.file_format = str(picture), "PNG"
    image.save()
    texture = nodes.nodes.new("ShaderNodeTexImage")
    texture.image = image
    nodes.links.new(texture.outputs["Color"], nodes.nodes["Principled BSDF"].inputs["Base Color"])


def see_through():
    made = material(cube("pane", (0, 0, 0)), (1, 0, 0))
    made.node_tree.nodes["Principled BSDF"].inputs["Alpha"].default_value = 0.3


def compose(folder: Path) -> None:
    """Write all assets."""
    scenes = {
        "rigged": (rigged, "glb fbx"),
        "lit": (lit, "glb fbx"),
        "roots": (roots, "glb fbx"),
        "hidden": (hidden, "fbx"),
        "textured": (lambda: textured(folder.parent / "secret.png"), "fbx"),
        "see through": (see_through, "glb"),
    }
    for name, (make, types) in scenes.items():
        bpy.ops.wm.read_factory_settings(use_empty=True)
        make()
        for suffix in types.split():
            path = str(folder / f"{name}.{suffix}")
            if suffix == "glb":
                bpy.ops.export_scene.gltf(filepath=path, export_lights=True, export_cameras=True)
            else:
                bpy.ops.export_scene.fbx(filepath=path, path_mode="ABSOLUTE", use_visible=False)


if __name__ == "__main__":
    compose(Path(sys.argv[1]))
