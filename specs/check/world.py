"""What a call shares with the rest of the process: it must be as before afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from specs.check.asserts import Mismatch
from specs.check.draw import global_state


@contextmanager
def undisturbed() -> Iterator[None]:
    """The block must not use NumPy's global generator, change its error handling, or leave the working directory.

    It begins in a state that no one else sets, so that a second call that sets the same is seen as well as the first.
    Afterwards all is as before, so that no other spec is red for it.
    """
    random, errors, folder = np.random.get_state(), np.geterr(), os.getcwd()  # noqa: NPY002
    try:
        np.random.seed(93406)  # noqa: NPY002
        np.seterr(divide="warn", over="raise", under="ignore", invalid="warn")
        os.chdir(Path(__file__).parent)
        before = global_state(), np.geterr(), os.getcwd()
        yield
        facts = [
            "NumPy's global generator was used",
            "NumPy's error handling was changed for the whole process: np.errstate(…) is for a block",
            f"the working directory was left for {os.getcwd()}",
        ]
        after = global_state(), np.geterr(), os.getcwd()
    finally:
        np.random.set_state(random)  # noqa: NPY002
        np.seterr(**errors)
        os.chdir(folder)
    if changed := [fact for fact, was, is_now in zip(facts, before, after, strict=True) if was != is_now]:
        raise Mismatch("\n".join(changed))
