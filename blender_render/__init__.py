"""Headless Blender: camera protocols, scenes, passes, and the farm that renders a catalogue with it.

`asset_import`, `textures`, `lighting`, `scene` and `worker` import bpy; they run in worker processes only.
"""
