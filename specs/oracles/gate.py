"""A gate before the steps of an engine that runs on a thread: they wait until a spec lets them through, one by one."""

import threading
from collections.abc import Callable


class Gate:
    """Stands before `step`, a method, once it is set into its class: `step(engine)` waits. error: what the next one raises."""

    def __init__(self, step: Callable):
        self.steps, self.error, self._real, self._open = 0, None, step, False
        self._permits = threading.Semaphore(0)

    def step(self) -> Callable:
        """The method that waits."""

        def step(engine):
            self.steps += 1  # that came to the gate
            if not self._open:
                self._permits.acquire()
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            return self._real(engine)

        return step

    def allow(self, steps: int) -> None:
        for _ in range(steps):
            self._permits.release()

    def open(self) -> None:
        """From now on none waits."""
        self._open = True
        self.allow(1)
