"""Which objects' folders a batch takes for done."""

from pathlib import Path

from blender_render.batch import Batch, BatchJob
from stage.executor import ExecutorParameters
from stage.files import write_json
from stage.packs import object_folder


def test_a_folder_that_a_power_cut_emptied_a_file_of_is_made_again(tmp_path: Path) -> None:
    """Its record was flushed, its pictures were not."""
    job = BatchJob("aa11", "recipe", {})
    folder = object_folder(tmp_path, job.uid)
    write_json(folder / "record.json", {"fingerprint": job.fingerprint})
    (folder / "000.png").write_bytes(b"picture")
    batch = Batch(tmp_path, "handler", ExecutorParameters())
    assert batch._is_here(job)
    (folder / "000.png").write_bytes(b"")
    assert not batch._is_here(job)
