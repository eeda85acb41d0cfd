"""What a call shares with the rest of the process: it must be as before afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from specs.check.asserts import Mismatch
from specs.check.draw import global_state


@contextmanager
def undisturbed() -> Iterator[None]:
    """The block must not use NumPy's global generator, change its error handling, or leave the working directory.

    Whatever it changed is changed back, so that no other spec is red for it.
    """
    random, state, errors, folder = np.random.get_state(), global_state(), np.geterr(), os.getcwd()  # noqa: NPY002
    try:
        yield
        changed = {
            "NumPy's global generator was used": global_state() != state,
            "NumPy's error handling was changed for the whole process: np.errstate(…) is for a block": np.geterr() != errors,
            f"the working directory was left for {os.getcwd()}": os.getcwd() != folder,
        }
    finally:
        np.random.set_state(random)  # noqa: NPY002
        np.seterr(**errors)
        os.chdir(folder)
    if any(changed.values()):
        raise Mismatch("\n".join(fact for fact, is_so in changed.items() if is_so))
