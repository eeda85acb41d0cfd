"""Every real data set by name, and `kata data fetch`, which says for each what was found where and whence."""

import sys
import time

from specs.datasets import cifar10, gpt2, mnist, text
from specs.datasets.fetch import Unavailable, fetch

SETS = {
    real.folder: (real, load)
    for real, load in (
        (mnist.MNIST, mnist.load),
        (cifar10.CIFAR10, cifar10.load),
        (text.SHAKESPEARE, text.load),
        (gpt2.GPT2, gpt2.load),
    )
}


def fetch_all(only: str | None) -> int:
    """Fetches every set, or one. Returns 0, or 1 if one could not be had or is damaged. Raises LookupError for no set."""
    if only is not None and only not in SETS:
        raise LookupError(f"there is no data set {only!r}; there are {', '.join(SETS)}")
    failed = False
    for real, load in [SETS[only]] if only else SETS.values():
        start = time.perf_counter()
        try:
            found = fetch(real)
            source = load(found.folder).source
        except (Unavailable, ValueError) as error:
            print(error, file=sys.stderr)
            failed = True
        else:
            print(f"{source}: {found.folder}, from {found.origin} ({time.perf_counter() - start:.1f} s)")
    if not only:
        print(f"{text.python_docs().source}: embedded, nothing to fetch")
    return int(failed)
