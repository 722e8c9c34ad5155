"""The executor of one machine: a crew of supervised worker processes."""

from collections.abc import Iterable, Iterator

from stage.attempts import AttemptQueue
from stage.crew import Crew
from stage.executor import ExecutorParameters, Job
from stage.failures import Outcome


class LocalExecutor:
    """Supervised worker processes on this machine.

    Args:
        parameters: counts and limits.
    """

    def __init__(self, parameters: ExecutorParameters) -> None:
        self.parameters = parameters

    def run(self, handler: str, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield one outcome a job.

        Raises:
            StageFailedError: when workers cannot start, or the disk is full.
        """
        queue = AttemptQueue(jobs, self.parameters)
        with Crew(handler, self.parameters) as crew:
            while queue or crew.busy:
                self._feed(crew, queue)
                for attempt, outcome in crew.collect():
                    if settled := queue.settle(attempt, outcome):
                        yield settled

    def _feed(self, crew: Crew, queue: AttemptQueue) -> None:
        """Give every idle worker a job, starting workers up to the limit or to what is left to do."""
        crew.grow_to(min(self.parameters.worker_count(), crew.busy + queue.waiting(self.parameters.worker_count())))
        for worker in crew.idle():
            if (attempt := queue.take()) and not worker.assign(attempt):
                queue.give_back(attempt)
