"""All that the page does, without the page: models, devices, visitors, and what each may ask for.

studio = Studio(workspace, limits=Limits())
visitor = studio.visitors.of("one")
studio.accept(visitor, Path("chair.png"))
studio.prepare(visitor, studio.catalogue.offered()[0].key, "auto")
job = studio.begin(visitor, studio.catalogue.offered()[0].key, Wish(azimuth_deg=60))
"""

from collections.abc import Sequence
from pathlib import Path

from demo.jobs import Job, Pool
from demo.limits import Limits
from demo.making import Made, make
from demo.meshes import MadeMesh, takes_the_device, write_mesh
from demo.models import ModelCatalogue
from demo.pictures import prepared, read_upload, write_examples
from demo.pipelines import LoadedPipelines, device_names
from demo.visitors import Visitor, Visitors
from demo.wishes import Wish, default_wish
from stage.errors import InputError
from stage.temporary_folder import OwnedFolder
from stage.workspace import Workspace
from systems.pictures.preparation import Prepared
from systems.pipelines import framing_of

_LIMITS = Limits()


class Studio:
    """What stands behind the page.

    Args:
        workspace: whose models and examples.
        folders: further pipeline folders to offer, the first of them by default.
        limits: of what may be asked.
        devices: names of PyTorch's devices; every GPU, or the CPU, when None.
    """

    def __init__(
        self,
        workspace: Workspace,
        folders: tuple[Path, ...] = (),
        limits: Limits = _LIMITS,
        devices: Sequence[str] | None = None,
    ) -> None:
        self.limits = limits
        self.catalogue = ModelCatalogue(workspace, folders)
        self.folder = OwnedFolder("viewforge-demo-")
        self.visitors = Visitors(self.folder.path / "visitors", limits.kept_seconds)
        self.examples = write_examples(workspace, self.folder.path / "examples")
        self.default = default_wish(workspace)
        self.devices = list(devices or device_names())
        self.pool = Pool(self.devices, limits.most_waiting, limits.most_seconds)
        # Gaussians become meshes on the CPU; the GPU goes on with what others wait for.
        self.meshing = Pool(["mesh"], limits.most_waiting, limits.most_seconds)
        self._loaded = LoadedPipelines()

    def accept(self, visitor: Visitor, path: Path) -> None:
        """Take a visitor's picture.

        Raises:
            InputError: when it is none within the limits; the one of before is forgotten, lest it be taken for the new one.
        """
        visitor.picture = visitor.prepared = None
        visitor.picture = read_upload(path, self.limits)

    def prepare(self, visitor: Visitor, model: str | None, foreground: str) -> Prepared:
        """Cut the object out of a visitor's picture and frame it for a model.

        Raises:
            InputError: when there is no picture, no object in it, or no such model.
        """
        visitor.prepared = None
        if visitor.picture is None:
            raise InputError("there is no picture yet", "upload one, or pick an example")
        visitor.prepared = prepared(visitor.picture, framing_of(self.catalogue.folder(model)), foreground)
        return visitor.prepared

    def begin(self, visitor: Visitor, model: str | None, wish: Wish) -> Job:
        """Ask for views of the visitor's prepared picture.

        Raises:
            InputError: when there is none, one request runs already, or too many wait.
        """
        self._refuse_busy(visitor)
        if visitor.prepared is None:
            raise InputError("there is no picture yet", "upload one, or pick an example")
        picture, folder, source = visitor.prepared.picture, visitor.new_folder(), self.catalogue.folder(model)
        visitor.made = visitor.mesh = None

        def work(device: str, job: Job) -> Made:
            made = make(self._loaded.on(device, source, job), picture, wish, folder, job)
            visitor.made = made
            return made

        visitor.job = self.pool.submit(work)
        return visitor.job

    def begin_mesh(self, visitor: Visitor) -> Job:
        """Ask for a mesh of what was made last.

        Raises:
            InputError: when nothing was, a request runs already, or too many wait.
        """
        self._refuse_busy(visitor)
        made = visitor.made
        if made is None:
            raise InputError("there is nothing yet to make a mesh of", "make a view first")

        def work(device: str, job: Job) -> MadeMesh:
            path = made.picture.parent / "mesh" / "model.glb"
            visitor.mesh = write_mesh(made, path, device, self.limits.mesh_steps, job)
            return visitor.mesh

        visitor.job = (self.pool if takes_the_device(made) else self.meshing).submit(work)
        return visitor.job

    def before(self, job: Job) -> int:
        """How many come before a job that waits."""
        return self.pool.before(job) or self.meshing.before(job)

    def close(self) -> None:
        """Cancel everything and delete all files."""
        self.pool.close()
        self.meshing.close()
        self.folder.remove()

    def _refuse_busy(self, visitor: Visitor) -> None:
        if visitor.is_busy:
            raise InputError("your last request is not over", "wait for it, or cancel it")
