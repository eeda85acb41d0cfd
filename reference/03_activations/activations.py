"""Activations: the nonlinearities between linear maps, and their derivatives by hand."""

import numpy as np

from katas.tensor import Tensor


class Differentiable:  # given
    """Something with a `forward` and a hand-derived `backward`. Calling it runs forward."""

    _kept: tuple | None = None

    def __call__(self, *inputs) -> Tensor:
        return self.forward(*inputs)

    def keep(self, *values) -> None:
        """Holds what backward will need. Not while operations are recorded: then the record holds it, and backward isn't called."""
        self._kept = None if Tensor._recorder is not None else values

    def kept(self) -> tuple:
        """What the last forward kept. Raises: RuntimeError if there was none."""
        if self._kept is None:
            raise RuntimeError(f"{type(self).__name__}.backward() needs a forward() before it")
        return self._kept
