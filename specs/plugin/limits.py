"""What a learner's code can't use up: the machine's cores and memory, and the end of the run."""

import atexit
import functools
import os
import re
import sys
import threading
import time
from pathlib import Path

from threadpoolctl import ThreadpoolController

from specs.results.plain import plain

CALIBRATION = 0.05  # seconds for a million passes of an empty loop, on the machine that the time limits were set on
SHARE = 0.8  # of the free memory


def peak_memory() -> float | None:
    """The most memory that this process ever held, in MB, where the platform tells."""
    if sys.platform != "linux":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def resident_memory() -> float | None:
    """The memory that this process holds now, in MB, where the platform tells."""
    if sys.platform != "linux":
        return None
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@functools.cache
def blas() -> ThreadpoolController:
    """Sets how many threads a matrix product takes. NumPy must have been imported before."""
    return ThreadpoolController()


@functools.cache
def slowness() -> float:
    """How many times slower this machine is than the one that CALIBRATION was measured on; at least 1. Measured once."""
    start = time.process_time()
    for _ in range(1_000_000):
        pass
    return max(1.0, (time.process_time() - start) / CALIBRATION)


def memory(processes: int) -> None:
    """Asking for more memory than is free becomes a MemoryError where it is asked for, not the end of the run.

    `processes` share what is free. On Linux only, which alone counts address space as it is used.
    """
    if sys.platform != "linux":
        return
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([*limits, used + int(SHARE * _free() / processes)]), hard))


def _free() -> int:
    """Bytes that the machine, or the container, has left."""
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    free = [int(available[1]) * 1024]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        if (path := Path(file)).exists() and (text := path.read_text().strip()).isdigit():
            free.append(int(text))
    return min(free)


def leave(status: int) -> None:
    """Ends the process even if threads never do: Python would wait for those that are not daemons."""
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    end = time.monotonic() + 1
    for thread in left:
        thread.join(max(0, end - time.monotonic()))
    left = [thread.name for thread in left if thread.is_alive()]
    if busy := [name for name in left if not name.startswith("ThreadPoolExecutor")]:  # whose threads wait for work
        print(f"still running, so they were stopped: {plain(', '.join(busy))}. A thread needs an end, or daemon=True.")
    if left:
        atexit._run_exitfuncs()  # coverage, say, has results to write
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
