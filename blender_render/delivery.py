"""What a worker does where machines share no disk: one job, then its folder goes to the output root.

`deliver` is called by `stage.worker_host`. Blender is imported by the job's own function, when there is anything to do.
"""

from pathlib import Path
from typing import Any

from blender_render.rendered_object import is_complete
from stage.output_root import OutputRoot
from stage.packs import object_folder
from stage.worker_host import load_handler


def deliver(payload: dict[str, Any]) -> dict[str, Any]:
    """Do an object's work unless its folder here is complete, and publish the folder; the answer of the work.

    Another attempt after a failed publication does not do the work again.

    Raises:
        ObjectFailedError: with the class of what is wrong with the object.
        InputError: when the output root cannot be reached.
    """
    uid, fingerprint, root = payload["uid"], payload["fingerprint"], Path(payload["root"])
    result: dict[str, Any] = {}
    if not is_complete(object_folder(root, uid), fingerprint):
        result = load_handler(payload["handler"])(payload["payload"])
    OutputRoot(payload["output_root"]).publish(uid, fingerprint, root)
    return result
