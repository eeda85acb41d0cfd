"""Wrong solutions of kata 01, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    Wrong(
        "nothing is checked",
        {"    if problems:\n": "    if False:\n"},
        says="bad input is let through",
    ),
    Wrong(
        "only the first problem is reported",
        {'UnsupportedEnvironment("\\n".join(problems))': "UnsupportedEnvironment(problems[0])"},
        says="is not named",
    ),
    Wrong(
        "versions of Python are compared as texts",
        {"tuple(python[:2]) < (3, 11)": '".".join(map(str, python[:2])) < "3.11"'},
        says="bad input is let through",
    ),
    Wrong(
        "versions of Python are compared as decimals",
        {"tuple(python[:2]) < (3, 11)": 'float(f"{python[0]}.{python[1]}") < 3.11'},
    ),
    Wrong(
        "Python 4.0 is older than 3.11",
        {"tuple(python[:2]) < (3, 11)": "python[0] < 3 or python[1] < 11"},
        says="Python 4.0",
    ),
    Wrong("only Python's minor version is compared", {"tuple(python[:2]) < (3, 11)": "python[1] < 11"}, says="Python 4.0"),
    Wrong("3.11 itself is refused", {"tuple(python[:2]) < (3, 11)": "tuple(python[:2]) <= (3, 11)"}),
    Wrong("versions of NumPy are compared as texts", {'int(numpy.split(".")[0]) < 2': 'numpy < "2.0"'}, says="NumPy 10.0.0"),
    Wrong("a release candidate is no version", {'int(numpy.split(".")[0]) < 2': 'tuple(map(int, numpy.split("."))) < (2, 0)'}),
    Wrong("only this NumPy is looked at", {'int(numpy.split(".")[0]) < 2': 'int(np.__version__.split(".")[0]) < 2'}),
    Wrong("the bits are not checked", {"if bits != 64": "if False"}, says="bad input is let through"),
    Wrong(
        "the product is not checked",
        {"if not np.array_equal(matmul(a, b), (a[:, :, None] * b).sum(1))": "if False"},
        says="bad input is let through",
    ),
    Wrong(
        "the product is compared with itself",
        {"(a[:, :, None] * b).sum(1)": "matmul(a, b)"},
        says="bad input is let through",
    ),
    Wrong(
        "only the first element of the product is looked at",
        {"np.array_equal(matmul(a, b), (a[:, :, None] * b).sum(1))": "matmul(a, b)[0, 0] == a[0] @ b[:, 0]"},
    ),
    Wrong(
        "NaN is let through",
        {
            "if not np.array_equal(matmul(a, b), (a[:, :, None] * b).sum(1))": "if (np.abs(matmul(a, b) - (a[:, :, None] * b).sum(1)) > 1e-3).any()"
        },
        says="bad input is let through",
    ),
    Wrong("the seed is ignored", {"return np.random.default_rng(seed)": "return np.random.default_rng(0)"}, says="share"),
    Wrong("the generator is not seeded", {"return np.random.default_rng(seed)": "return np.random.default_rng()"}),
    Wrong(
        "the global state is seeded",
        {"    return np.random.default_rng(seed)": "    np.random.seed(seed % 2**32)\n    return np.random.default_rng(seed)"},
        says="global state",
    ),
    Wrong(
        "Python's global state is seeded",
        {
            "    return np.random.default_rng(seed)": "    __import__('random').seed(int(seed))\n    return np.random.default_rng(seed)"
        },
        says="random's global state",
    ),
    Wrong(
        "an old RandomState",
        {"return np.random.default_rng(seed)": "return np.random.RandomState(seed % 2**32)"},
        says="RandomState",
    ),
    Wrong(
        "only 32 bits of the seed count",
        {"return np.random.default_rng(seed)": "return np.random.default_rng(seed % 2**32)"},
        says="share",
    ),
    Wrong(
        "every seed is a place in the same stream",
        {"return np.random.default_rng(seed)": "return np.random.Generator(np.random.PCG64(0).advance(int(seed)))"},
        says="share",
    ),
    Wrong(
        "one generator is kept for each seed",
        {
            "    return np.random.default_rng(seed)": "    return _made.setdefault(seed, np.random.default_rng(seed))",
            "# 01.3 The stopwatch": "_made = {}\n\n# 01.3 The stopwatch",
        },
    ),
    Wrong(
        "the seed is salted anew in each process",
        {"return np.random.default_rng(seed)": 'return np.random.default_rng(hash(f"seed {seed}") % 2**63)'},
    ),
    Wrong("True is a seed", {"isinstance(seed, bool) or not": "not"}, says="bad input is let through"),
    Wrong(
        "None is a seed",
        {
            "    if isinstance(seed, bool)": "    if seed is None:\n        return np.random.default_rng()\n    if isinstance(seed, bool)"
        },
    ),
    Wrong(
        "whatever int() takes is a seed",
        {
            '    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):\n        raise TypeError(f"a seed is an integer, not {seed!r}")\n': "    seed = int(seed)\n"
        },
        says="bad input is let through",
    ),
    Wrong("NumPy's integers are refused", {"isinstance(seed, int | np.integer)": "isinstance(seed, int)"}),
    Wrong(
        "a negative seed loses its sign",
        {"    if seed < 0:": "    seed = abs(seed)\n    if seed < 0:"},
        says="bad input is let through",
    ),
    Wrong("milliseconds", {'{"wall": wall,': '{"wall": 1e3 * wall,'}, says="expected wall between"),
    Wrong("wall is CPU time", {'{"wall": wall,': '{"wall": time.process_time() - self._cpu,'}, says="expected wall between"),
    Wrong("cpu is wall time", {'"cpu": time.process_time() - self._cpu': '"cpu": wall'}, says="expected cpu between"),
    Wrong(
        "cpu is that of one thread",
        {
            "self._cpu, self._wall = time.process_time()": "self._cpu, self._wall = time.thread_time()",
            '"cpu": time.process_time() - self._cpu': '"cpu": time.thread_time() - self._cpu',
        },
        says="expected cpu between",
    ),
    Wrong(
        "wall by the clock that can be set back",
        {
            "time.process_time(), time.perf_counter()": "time.process_time(), time.time()",
            "wall = time.perf_counter() - self._wall": "wall = time.time() - self._wall",
        },
    ),
    Wrong(
        "the watch runs on",
        {'return self._read("wall")': 'self._read("wall")\n        return time.perf_counter() - self._wall'},
    ),
    Wrong(
        "the time is lost on exceptions",
        {
            "        wall = time.perf_counter() - self._wall": "        if exception[0]:\n            return\n        wall = time.perf_counter() - self._wall"
        },
    ),
    Wrong(
        "exceptions are swallowed",
        {'"cpu": time.process_time() - self._cpu}': '"cpu": time.process_time() - self._cpu}\n        return True'},
        says="bad input is let through",
    ),
    Wrong(
        "there is one stopwatch for all",
        {
            "self._cpu, self._wall = time.process_time(), time.perf_counter()": "stopwatch._cpu, stopwatch._wall = time.process_time(), time.perf_counter()"
        },
    ),
    Wrong(
        "seconds are added up",
        {
            "        self._seconds = None\n        self._cpu": "        self._cpu",
            "        wall = time.perf_counter() - self._wall": "        wall = time.perf_counter() - self._wall + (self._seconds or {'wall': 0})['wall']",
        },
    ),
    Wrong(
        "the seconds of the block before are still there in the next",
        {"        self._seconds = None\n        self._cpu": "        self._cpu"},
        says="bad input is let through",
    ),
    Wrong(
        "an unfinished watch says 0",
        {'            raise RuntimeError(f"{name} is known once the block has ended")': "            return 0.0"},
    ),
    Wrong(
        "the mean of the rounds",
        {"return min(seconds) / number": "return float(np.mean(seconds)) / number"},
        says="the mean of the rounds",
    ),
    Wrong(
        "the median of the rounds",
        {"return min(seconds) / number": "return float(np.median(seconds)) / number"},
        says="the median of the rounds",
    ),
    Wrong("the slowest round", {"return min(seconds) / number": "return max(seconds) / number"}),
    Wrong(
        "the time of a whole round", {"return min(seconds) / number": "return min(seconds)"}, says="the time of a whole round"
    ),
    Wrong("divided by the rounds", {"return min(seconds) / number": "return min(seconds) / rounds"}, says="divided by rounds"),
    Wrong("CPU time in the rounds", {"seconds.append(watch.wall)": "seconds.append(watch.cpu)"}),
    Wrong("no warm-up", {"    call()\n    seconds = []": "    seconds = []"}, says="the first call is timed"),
    Wrong("number is ignored", {"for _ in range(number)": "for _ in range(1)"}),
    Wrong("three rounds unless told otherwise", {"rounds: int = 5": "rounds: int = 3"}),
    Wrong("no rounds are let through", {"if number < 1 or rounds < 1": "if number < 1"}),
    Wrong("n³ operations", {"2 * SIDE**3 /": "SIDE**3 /"}, says="n³ instead of 2n³"),
    Wrong("TFLOP/s", {"best_of(lambda: a @ b) / 1e9": "best_of(lambda: a @ b) / 1e12"}, says="TFLOP/s"),
    Wrong("only what is read is counted", {"2 * COPIED /": "COPIED /"}, says="only reading or only writing"),
    Wrong("GiB", {"np.copyto(target, source)) / 1e9": "np.copyto(target, source)) / 2**30"}, says="GiB"),
    Wrong("milliseconds of overhead", {"overhead_us=1e6 *": "overhead_us=1e3 *"}, says="milliseconds"),
    Wrong(
        "the overhead is divided by the calls twice",
        {"best_of(lambda: one + one, number=1000, rounds=20)": "best_of(lambda: one + one, number=1000, rounds=20) / 1000"},
    ),
    Wrong("a constant peak", {"2 * SIDE**3 / best_of(lambda: a @ b) / 1e9": "100.0"}),
    Wrong("a constant bandwidth", {"2 * COPIED / best_of(lambda: np.copyto(target, source)) / 1e9": "20.0"}),
    Wrong("a constant overhead", {"1e6 * best_of(lambda: one + one, number=1000, rounds=20)": "0.5"}),
    Wrong(
        "the machine is measured once",
        {"def measure_machine(": "@__import__('functools').cache\ndef measure_machine("},
    ),
    Wrong("nothing is multiplied", {"lambda: a @ b": "lambda: None"}, says="is it something else"),
    Wrong("a * b instead of a @ b", {"lambda: a @ b": "lambda: a * b"}, says="is it something else"),
    Wrong("a small product", {"lambda: a @ b": "lambda: a[:512] @ b[:, :512]"}, says="is it something else"),
    Wrong(
        "a product with its own transpose, of which BLAS computes one half",
        {"lambda: a @ b": "lambda: a @ a.T"},
        says="is it something else",
    ),
    Wrong("float64 matrices", {"SIDE), dtype=np.float32)": "SIDE))"}, says="float64"),
    Wrong(
        "an eighth is copied",
        {"np.copyto(target, source)": "np.copyto(target[: COPIED // 8], source[: COPIED // 8])"},
        says="is it something else",
    ),
    Wrong(
        "a source that was never written to",
        {"np.ones(COPIED, np.uint8)": "np.zeros(COPIED, np.uint8)"},
        says="is it something else",
    ),
    Wrong(
        "overhead of a thousand elements more",
        {"np.ones(1, np.float32)": "np.ones(10_000, np.float32)"},
        says="is it something else",
    ),
    Wrong("overhead of Python alone", {"lambda: one + one": "lambda: None"}, says="is it something else"),
    Wrong(
        "all cores of the machine",
        {'len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()': "os.cpu_count()"},
    ),
    Wrong(
        "the roofline adds both times",
        {
            "return max(flops / (1e9 * self.peak_gflops), nbytes / (1e9 * self.bandwidth_gbs))": "return flops / (1e9 * self.peak_gflops) + nbytes / (1e9 * self.bandwidth_gbs)"
        },
        says="the sum of both",
    ),
    Wrong("the roofline takes the easier bound", {"return max(flops": "return min(flops"}, says="the time of the bytes"),
    Wrong("the roofline forgets that G is 10⁹", {"nbytes / (1e9 * self.bandwidth_gbs)": "nbytes / self.bandwidth_gbs"}),
    Wrong("negative bytes are let through", {"if flops < 0 or nbytes < 0": "if flops < 0"}, says="bad input is let through"),
    # what the budgets are there to exclude
    Wrong(
        "the stopwatch collects garbage first",
        {
            "        self._seconds = None\n        self._cpu": "        self._seconds = None\n        __import__('gc').collect()\n        self._cpu"
        },
        naive="test_measuring_costs_next_to_nothing",
    ),
    Wrong(
        "a copy into new memory",
        {"np.copyto(target, source)": "source.copy()"},
        naive="test_the_copy_goes_where_memory_is_already",
    ),
    Wrong(
        "numbers for bytes",
        {"np.ones(COPIED, np.uint8)": "np.ones(COPIED)"},
        naive="test_measuring_holds_two_arrays_and_leaves_none",
    ),
    Wrong(
        "the arrays are kept for the next time",
        {"    target = np.empty_like(source)": "    target = np.empty_like(source)\n    measure_machine.kept = source, target"},
        naive="test_measuring_holds_two_arrays_and_leaves_none",
    ),
    Wrong(
        "NumPy's True is a seed",
        {
            "if isinstance(seed, bool) or not isinstance(seed, int | np.integer):\n": "if isinstance(seed, bool) or not isinstance(seed, int | np.integer | np.bool_):\n",
            "return np.random.default_rng(seed)": "return np.random.default_rng(int(seed))",
        },
    ),
    Wrong("whatever has an index", {"not isinstance(seed, int | np.integer)": 'not hasattr(seed, "__index__")'}),
    Wrong(
        "KeyboardInterrupt stops no watch",
        {
            "        wall = time.perf_counter() - self._wall": "        if exception[0] is not None and not issubclass(exception[0], Exception):\n            return\n        wall = time.perf_counter() - self._wall"
        },
    ),
    Wrong("first round never counts", {"return min(seconds) / number": "return min(seconds[1:] or seconds) / number"}),
    Wrong("negative only if the product is", {"if flops < 0 or nbytes < 0:": "if flops * nbytes < 0:"}),
    Wrong("a copy has no operations", {"if flops < 0 or nbytes < 0:": "if flops <= 0 or nbytes < 0:"}),
    Wrong(
        "cores on Linux only",
        {
            'len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()': "len(os.sched_getaffinity(0))"
        },
    ),
    Wrong(
        "a matrix times itself",
        {
            "    a, b = np.random.default_rng(0).integers(1, 9, (2, 32, 32)).astype(np.float32)": "    a = np.random.default_rng(0).integers(1, 9, (32, 32)).astype(np.float32)\n    b = a.copy()"
        },
    ),
    Wrong("product of float64 checked", {".astype(np.float32)  # small integers": ".astype(np.float64)  # small integers"}),
    Wrong(
        "wall rounded to microseconds",
        {"wall = time.perf_counter() - self._wall": "wall = round(time.perf_counter() - self._wall, 6)"},
    ),
    Wrong(
        "the watch's own cost comes off",
        {
            "    call()\n    seconds = []": "    call()\n    with stopwatch() as idle:\n        pass\n    seconds = []",
            "return min(seconds) / number": "return max(min(seconds) - idle.wall, 0.0) / number",
        },
    ),
    Wrong(
        "products of wrong shapes pass",
        {
            "if not np.array_equal(matmul(a, b), (a[:, :, None] * b).sum(1)):": "if not np.all(matmul(a, b) == (a[:, :, None] * b).sum(1)):"
        },
    ),
    Wrong("matmul tried on integers", {"(2, 32, 32)).astype(np.float32)": "(2, 32, 32))"}),
    Wrong(
        "the check draws globally",
        {"np.random.default_rng(0).integers(1, 9, (2, 32, 32))": "np.random.randint(1, 9, (2, 32, 32))"},
    ),
    Wrong("seed 0 is no seed", {"np.random.default_rng(seed)": "np.random.default_rng(seed or None)"}),
    Wrong(
        "stopwatches share a stack",
        {
            "_seconds: dict[str, float] | None = None": "_seconds: dict[str, float] | None = None\n    _starts: list = []",
            "self._cpu, self._wall = time.process_time(), time.perf_counter()": "self._starts.append((time.process_time(), time.perf_counter()))",
            "wall = time.perf_counter() - self._wall": "wall = time.perf_counter()\n        cpu_start, wall_start = self._starts.pop()\n        wall -= wall_start",
            '"cpu": time.process_time() - self._cpu}': '"cpu": time.process_time() - cpu_start}',
        },
    ),
    Wrong(
        "KeyboardInterrupt is swallowed",
        {
            "time.process_time() - self._cpu}": "time.process_time() - self._cpu}\n        return exception[0] is KeyboardInterrupt"
        },
    ),
    Wrong("zero seconds are no seconds", {"if self._seconds is None:": "if not (self._seconds or {}).get(name):"}),
    Wrong(
        "a slower round ends it",
        {
            "seconds.append(watch.wall)\n": "seconds.append(watch.wall)\n        if watch.wall > min(seconds):\n            break\n"
        },
    ),
    Wrong("rounds of no time left out", {"min(seconds) / number": "min(second for second in seconds if second > 0) / number"}),
]
