"""`python -m specs.datasets`: fetch every real data set, and say for each what was found where and whence."""

import argparse
import sys
import time

from specs.datasets import cifar10, mnist, text
from specs.datasets.fetch import Unavailable, fetch

SETS = {
    real.folder: (real, load)
    for real, load in ((mnist.MNIST, mnist.load), (cifar10.CIFAR10, cifar10.load), (text.SHAKESPEARE, text.load))
}


def main(arguments: list[str]) -> int:
    """Returns: 0, or 1 if a data set could not be had or is damaged."""
    parser = argparse.ArgumentParser(prog="python -m specs.datasets", description="Fetch the data of the milestones.")
    parser.add_argument("--only", choices=SETS, help="fetch this one")
    only = parser.parse_args(arguments).only
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
