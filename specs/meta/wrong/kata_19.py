"""Wrong solutions of kata 19, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

INTEGERS = "            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:"
ORDER = "            order = order[::-1] if lap % 2 else [again[i] for i in rng.permutation(len(again))]"
LAPS = "        for lap in range(self.rounds):\n" + ORDER + "\n            for name in order:\n"
AGAIN = "        again = [name for name, (wall, _) in first.items() if wall <= self.patience]"
NO_TIME = "                if wall == 0:\n"
APPEND = "                rounds[name].append((wall, cpu))"
SECONDS = "            done, computed = spent([first_wall, *wall]), [first_cpu, *cpu]"
TIMING = "            timings[name] = Timing(numbers.get(name, 1), first_wall, wall, cpu)"
WARMUP = "        times = [first] + [self._timed(name, 1)[0] for _ in range(self.warmup - 1)]"
FILLS = "        while least * number < ROUND:"
LEAST = "            least = min(filter(None, times), default=0.0)"
NOTICED = "            if done and (spent(computed) or not any(computed)):"
BY_NAME = "        for name, (first_wall, first_cpu) in first.items():\n"
NUMBER = "        return math.ceil(ROUND / least)"
TRIED = "            times.append(self._timed(name, number)[0])"
MANY = "            if number == MOST:\n"
MORE = "            number = min(2 * number, MOST)\n"
CALLS = "            for _ in range(number):\n                work()\n"
RAISED = '        except Exception as error:\n            raise RuntimeError(f"{name!r} raised {error!r}") from error\n'
BACK = "        if not (0 <= wall_seconds < math.inf and 0 <= cpu_seconds < math.inf):"
PER_CALL = "        return wall_seconds / number, cpu_seconds / number"
DONE = "    done = [k for k in range(1, len(seconds)) if least[k - 1] > SPENT * np.median(seconds[k:])]"
LOGS = "    logs = np.log(b) - np.log(a)"
RATIO = "    ratio = float(np.exp(np.median(logs)))"
FEW = "    if 2.0 ** (1 - min(a.size, b.size)) > 1 - confidence:"
DRAWN = "    drawn = make_rng(seed).integers(len(logs), size=(RESAMPLES, len(logs)))"
MEDIANS = "    medians = np.median(logs[drawn], axis=1)"
ENDS = "    low, high = np.exp(np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2]))"
SHAPES = "    if a.ndim != 1 or b.ndim != 1 or not a.size or not b.size or (a.size != b.size and 1 not in (a.size, b.size)):"
POSITIVE = "        wrong = times[~((times > 0) & (times < np.inf))]"
VERDICT = '        return "slower" if self.low > 1 else "faster" if self.high < 1 else "no difference"'
TOO_FEW = '        if (self.low, self.high) == (0, math.inf):\n            return "too few rounds"\n'
DIRECT = "    return Benchmark({first: a, second: b}, **options).run().compare(first, second, measure, confidence)"
BOTH = "        seconds = getattr(self.timings[a], measure), getattr(self.timings[b], measure)"
COMPARED = "        return Comparison(a, b, *ratio_interval(*seconds, confidence), confidence, min(map(len, seconds)))"
READ = "        return cls({name: each._replace(wall=tuple(each.wall), cpu=tuple(each.cpu)) for name, each in timings.items()})"
ROUNDED = '    seconds = float(f"{seconds:.3g}")  # before the unit is chosen: 0.9996 ms is 1 ms, not 1e+03 µs\n'
MATMUL = "    return 2 * y.size * a.shape[-1]"
CONV = "    return 2 * y.size * math.prod(weight.shape[1:])"
TOLD = "        if recorder is not None:\n            recorder(op, result, parents, attrs)\n"
CALLED = "            output = model(*inputs)\n"
BEFORE = "            Tensor._recorder = recorder\n"
BUFFERS = "            module.load_state_dict(state)  # the buffers, as BatchNorm's running mean, have moved\n"
STATE = "        recorder, state = Tensor._recorder, module.state_dict()\n"
HELD = "    there = _memories([parameters, [array for _, array in module.named_buffers()], inputs])"
COST = "            flops.append(_FLOPS[op](result.data, *[parent.data for parent in parents], **attrs))"
KEPT = "    kept = _memories(graph)"
SUMMED = "        sum(memory.nbytes for key, memory in kept.items() if key not in there),"
SEEN = "        if id(value) in seen:"
MEMORY = "            memory = _memory(value)\n            found[id(memory)] = memory\n"
OF_TENSORS = '            waiting += [value.data, getattr(value, "node", None)]'
OF_FUNCTIONS = "            waiting += [value.__closure__, value.__defaults__, value.__kwdefaults__]"
SEARCHED = "        elif not isinstance(value, type | ModuleType):"
HOLDS = "            waiting += gc.get_referents(value)"
NODES = " if hasattr(value, 'arrays') else gc.get_referents(value)"
PARAMETERS = "        sum(parameter.size for parameter in parameters),"
OWNER = '    while (array := getattr(array, "base", None)) is not None:'
FRONT = "    return [name for name, point in points.items() if not any(_dominates(other, point) for other in points.values())]"
DOMINATES = "    return all(map(operator.le, a, b)) and any(map(operator.lt, a, b))"

WRONG = [
    # 19.1: what is timed, and when
    Wrong(
        "one after the other",
        {
            LAPS: "        for name in [name for name in again for _ in range(self.rounds)]:\n            for name in [name]:\n",
        },
        says="is one measured after the other",
    ),
    Wrong("always in the same order", {ORDER: "            order = again"}, says="the works are first in"),
    Wrong(
        "the first one goes to the end", {ORDER: "            order = again[lap % len(again) :] + again[: lap % len(again)]"}
    ),
    Wrong("the order alternates, and nothing is drawn", {ORDER: "            order = again[::-1] if lap % 2 else again"}),
    Wrong(
        "rotations of a drawn order",
        {
            ORDER: "            drawn = [again[i] for i in make_rng(self.seed).permutation(len(again))]\n            order = drawn[lap % len(again) :] + drawn[: lap % len(again)]"
        },
        says="rotations of one",
    ),
    Wrong(
        "the order is drawn once",
        {ORDER: "            order = order if lap else [again[i] for i in rng.permutation(len(again))]"},
    ),
    Wrong("the seed is ignored", {"again, make_rng(self.seed)": "again, make_rng(0)"}),
    Wrong("the order is not seeded", {"again, make_rng(self.seed)": "again, np.random.default_rng()"}),
    Wrong(
        "the second run goes on drawing",
        {
            "        make_rng(seed)  #": "        self.rng = make_rng(seed)  #",
            "again, make_rng(self.seed)": "again, self.rng",
        },
    ),
    Wrong(
        "NumPy's global generator draws the order",
        {"for i in rng.permutation(len(again))]": "for i in np.random.permutation(len(again))]"},
    ),
    Wrong("seed 1 unless told otherwise", {"        seed: int = 0,\n": "        seed: int = 1,\n"}),
    Wrong("twenty rounds unless told otherwise", {"rounds: int = 40": "rounds: int = 20"}),
    Wrong("a round too few", {"for lap in range(self.rounds):": "for lap in range(self.rounds - 1):"}),
    Wrong(
        "the warm-up is a round",
        {TIMING: TIMING.replace("first_wall, wall, cpu", "first_wall, (first_wall, *wall), (first_cpu, *cpu)")},
    ),
    Wrong(
        "the first call is a round",
        {APPEND: "                rounds[name].append(first[name] if lap == 0 else (wall, cpu))"},
        says="the warm-up is a round",
    ),
    Wrong("the first round is not counted", {TIMING: TIMING.replace("wall, cpu)", "wall[1:] or wall, cpu[1:] or cpu)")}),
    Wrong("no warm-up but the first call", {WARMUP: "        times = [first]"}),
    Wrong("one call too many in the warm-up", {WARMUP: WARMUP.replace("self.warmup - 1", "self.warmup")}),
    Wrong(
        "the warm-up is of one work",
        {WARMUP: WARMUP.replace("self.warmup - 1", "self.warmup - 1 if name == next(iter(self.works)) else 0")},
    ),
    Wrong("first is that of the last round", {TIMING: TIMING.replace("first_wall, wall", "wall[-1], wall")}),
    Wrong("first is CPU time", {TIMING: TIMING.replace("first_wall", "first_cpu")}, says="CPU seconds"),
    Wrong(
        "the seconds of a round, not of a call", {PER_CALL: "        return wall_seconds, cpu_seconds"}, says="of a whole round"
    ),
    Wrong(
        "the CPU's seconds of a round", {PER_CALL: "        return wall_seconds / number, cpu_seconds"}, says="of a whole round"
    ),
    Wrong("cpu is wall", {PER_CALL: "        return wall_seconds / number, wall_seconds / number"}, says="wall seconds"),
    Wrong("wall is cpu", {PER_CALL: "        return cpu_seconds / number, cpu_seconds / number"}, says="CPU seconds"),
    Wrong("wall and cpu are lists", {TIMING: TIMING.replace("wall, cpu)", "list(wall), list(cpu))")}),
    Wrong(
        "the clock is read around each call",
        {
            "        cpu_start, wall_start = cpu(), wall()\n": "        cpu_start, wall_start = cpu(), wall()\n        spans = []\n",
            CALLS: "            for _ in range(number):\n                start = wall()\n                work()\n                spans.append(wall() - start)\n",
        },
    ),
    Wrong(
        "the CPU's clock is read before each call",
        {CALLS: "            for _ in range(number):\n                cpu()\n                work()\n"},
    ),
    Wrong("the number is ignored", {"        if self.number is not None:\n            return self.number\n": ""}),
    Wrong("all benchmarks have the last one's number", {"        self.number = None": "        type(self).number = None"}),
    Wrong("one call in each round", {NUMBER: "        return 1"}),
    Wrong("a round may be as long as ROUND at most", {NUMBER: "        return max(1, math.floor(ROUND / least))"}),
    Wrong("a round fills ROUND by CPU time", {NUMBER: "        return math.ceil(ROUND / least / 0.75)"}),
    Wrong("ten times as many calls", {NUMBER: "        return 10 * math.ceil(ROUND / least)"}),
    Wrong("a power of two", {NUMBER: "        return number"}),
    Wrong("half as long", {NUMBER: "        return math.ceil(ROUND / least / 2)"}),
    Wrong("no warm-up, and then an interruption", {LEAST: LEAST.replace("times)", "[times[0], *times[self.warmup :]])")}),
    Wrong("the last call of the warm-up counts", {LEAST: LEAST.replace("times)", "times[self.warmup - 1 :])")}),
    Wrong(
        "the last time on the way to number counts",
        {TRIED: "            times = [self._timed(name, number)[0]]"},
        says="",
    ),
    Wrong(
        "a first call that takes ROUND is enough",
        {"        number, least = 1, 0.0\n": "        number, least = 1, min(filter(None, times), default=0.0)\n"},
        says="does the first call alone count",
    ),
    Wrong(
        "calls are timed until they took ROUND",
        {FILLS: "        while number == 1 or times[-1] * number < ROUND:"},
        says="was an interrupted time the last",
    ),
    Wrong(
        "the 2 calls are left out where the warm-up has several",
        {
            "        number, least = 1, 0.0\n": "        number, least = 1, min(filter(None, times), default=0.0) if self.warmup > 1 else 0.0\n"
        },
    ),
    Wrong("one call more each time", {MORE: "            number = min(number + 1, MOST)\n"}),
    Wrong(
        "the longer of wall and CPU fills a round",
        {
            "self._number(name, first[name][0])": "self._number(name, max(first[name]))",
            WARMUP: WARMUP.replace("self._timed(name, 1)[0]", "max(self._timed(name, 1))"),
            TRIED: "            times.append(max(self._timed(name, number)))",
        },
        says="does the CPU's clock count",
    ),
    Wrong(
        "more calls than MOST, if the last ones were faster",
        {
            FILLS: FILLS.replace(":", " and number < MOST:"),
            NUMBER: "        if least * number < ROUND and len(set(times)) == 1:\n            raise RuntimeError(name)\n"
            + NUMBER,
        },
    ),
    Wrong("one call in the warm-up unless told otherwise", {"warmup: int = 3": "warmup: int = 1"}),
    Wrong("ROUND is fixed", {FILLS: FILLS.replace("ROUND", "0.005"), NUMBER: "        return math.ceil(0.005 / least)"}),
    Wrong(
        "all works have the number of the first",
        {"self._timed(name, numbers[name])": "self._timed(name, numbers[again[0]])"},
    ),
    Wrong("numbers are not reported", {TIMING: TIMING.replace("numbers.get(name, 1)", "1")}),
    Wrong(
        "a clock that stands still is waited for", {MANY: "            if number > 2**17:\n", MORE: "            number *= 2\n"}
    ),
    Wrong("powers of two only are below MOST", {MANY: "            if 2 * number > MOST:\n"}),
    Wrong("half of MOST is too many", {MANY: "            if 2 * number >= MOST:\n"}),
    Wrong(
        "a clock that can't tell is taken for one that stands still",
        {LEAST: LEAST.replace("filter(None, times), default=0.0", "times")},
    ),
    Wrong("the clock's numbers are kept", {"float(wall() - wall_start)": "wall() - wall_start"}),
    Wrong("the CPU clock's numbers are kept", {"float(cpu() - cpu_start)": "cpu() - cpu_start"}),
    Wrong("a slow work is called again", {AGAIN: "        again = list(first)"}),
    Wrong("as slow as patience is too slow", {AGAIN: AGAIN.replace("<=", "<")}),
    Wrong("patience is for the CPU", {AGAIN: AGAIN.replace("(wall, _)", "(_, wall)")}),
    Wrong(
        "patience is for both clocks",
        {AGAIN: AGAIN.replace("(wall, _)", "times").replace("wall <=", "max(times) <=")},
        says="do the CPU's seconds count",
    ),
    Wrong(
        "a slow round is the only one",
        {
            TIMING: "            if max(wall) > self.patience:\n                wall, cpu = (max(wall),), (max(cpu),)\n"
            + TIMING,
        },
    ),
    Wrong("patience is five seconds", {AGAIN: AGAIN.replace("self.patience", "5.0")}),
    Wrong(
        "slow works come last",
        {
            BY_NAME: "        for name, (first_wall, first_cpu) in sorted(first.items(), key=lambda item: item[0] not in again):\n"
        },
    ),
    Wrong(
        "slow works are dropped",
        {BY_NAME: "        for name, (first_wall, first_cpu) in [(name, first[name]) for name in again]:\n"},
    ),
    Wrong("the works are not copied", {"self.warmup = dict(works), rounds": "self.warmup = works, rounds"}),
    Wrong(
        "a number of NumPy's is kept as it is",
        {"        self.number = None if number is None else int(number)": "        self.number = number"},
    ),
    Wrong(
        "the second run has the rounds of the first too",
        {
            "        rounds, order, rng = {name: [] for name in again}, again": "        self.past = getattr(self, 'past', {name: [] for name in again})\n        rounds, order, rng = self.past, again"
        },
        says="a run has its own rounds only",
    ),
    Wrong(
        "the second run has the numbers of the first",
        {LAPS: "        numbers = self.numbers = numbers | getattr(self, 'numbers', {})\n" + LAPS},
        says="a number of the first run",
    ),
    Wrong(
        "the second run knows which works are slow",
        {AGAIN: AGAIN.replace("again = [", "again = self.again = getattr(self, 'again', None) or [")},
    ),
    Wrong(
        "a work that has nothing left ends its round",
        {
            "        except Exception as error:\n": "        except StopIteration:\n            pass\n        except Exception as error:\n"
        },
        says="let through",
    ),
    Wrong(
        "an error is not named",
        {RAISED: "        except ZeroDivisionError:\n            raise\n"},
        says="another error came first",
    ),
    Wrong("an error has no cause", {RAISED: RAISED.replace("from error", "from None")}),
    Wrong("errors are passed over", {RAISED: "        except Exception:\n            pass\n"}, says="let through"),
    Wrong("an interrupt is an error of the work", {RAISED: RAISED.replace("except Exception", "except BaseException")}),
    Wrong("an exit is an error of the work", {RAISED: RAISED.replace("except Exception", "except (Exception, SystemExit)")}),
    Wrong("what was raised is not shown", {RAISED: RAISED.replace(" {error!r}", "")}, says="is not named"),
    Wrong(
        "a clock may go back",
        {BACK: "        if math.isnan(wall_seconds + cpu_seconds) or math.inf in (wall_seconds, cpu_seconds):"},
    ),
    Wrong(
        "NaN is a time", {BACK: "        if wall_seconds < 0 or cpu_seconds < 0 or math.inf in (wall_seconds, cpu_seconds):"}
    ),
    Wrong("infinity is a time", {BACK: "        if not (wall_seconds >= 0 and cpu_seconds >= 0):"}),
    Wrong("only the wall's clock is looked at", {BACK: "        if not 0 <= wall_seconds < math.inf:"}),
    Wrong("only the CPU's clock is looked at", {BACK: "        if not 0 <= cpu_seconds < math.inf:"}),
    Wrong("a work must take CPU time", {BACK: BACK.replace("0 <= cpu_seconds", "0 < cpu_seconds")}),
    Wrong("a round may take no time", {NO_TIME: "                if False:\n"}, says="let through"),
    Wrong("the warm-up must take time", {BACK: BACK.replace("0 <= wall_seconds", "0 < wall_seconds")}),
    Wrong(
        "rounds of no time are left out",
        {NO_TIME: "                if wall == 0:\n                    continue\n                if False:\n"},
    ),
    Wrong("True is a number", {INTEGERS: INTEGERS.replace(" or isinstance(value, bool)", "")}, says="let through"),
    Wrong(
        "floats are numbers", {INTEGERS: INTEGERS.replace("not isinstance(value, int | np.integer)", "isinstance(value, str)")}
    ),
    Wrong("NumPy's integers are refused", {INTEGERS: INTEGERS.replace("int | np.integer", "int")}),
    Wrong("no rounds are let through", {INTEGERS: INTEGERS.replace("value < 1", "value < 0")}, says="let through"),
    Wrong("the warm-up may be 0", {INTEGERS: INTEGERS.replace("value < 1", 'value < (name != "warmup")')}, says="let through"),
    Wrong("no patience is let through", {"if not patience > 0:": "if patience < 0:"}, says="let through"),
    Wrong(
        "the seed is looked at when it runs",
        {"        make_rng(seed)  # which says what is wrong with it\n": ""},
        says="let through",
    ),
    Wrong("nothing to measure is let through", {"        if not works:\n": "        if works is None:\n"}, says="let through"),
    Wrong(
        "a work that is no function is let through",
        {"            if not callable(work):\n": "            if work is None:\n"},
        says="let through",
    ),
    Wrong("the constructor runs the works", {"        make_rng(seed)  #": "        self.run()  #"}),
    Wrong(
        "the real clock always",
        {
            "work, wall, cpu = self.works[name], self.clock.wall, self.clock.cpu": "work, wall, cpu = self.works[name], REAL.wall, REAL.cpu"
        },
    ),
    Wrong("only the first round must take time", {NO_TIME: "                if wall == 0 and lap == 0:\n"}),
    Wrong(
        "all benchmarks share their works",
        {
            "        self.works, self.rounds, self.warmup = dict(works), rounds, warmup\n": "        Benchmark.works, Benchmark.rounds, self.warmup = dict(works), rounds, warmup\n"
        },
    ),
    # 19.2: work that is done
    Wrong("nothing is noticed", {NOTICED: "            if False:"}),
    Wrong("only the rounds are looked at", {SECONDS: "            done, computed = spent(wall), cpu"}),
    Wrong(
        "only the last call before the rounds is looked at",
        {SECONDS: "            done, computed = spent([first_wall, *wall][self.warmup > 1 :]), [first_cpu, *cpu]"},
    ),
    Wrong(
        "the CPU's times are looked at",
        {SECONDS: "            done = spent([first_cpu, *cpu])", NOTICED: "            if done:"},
    ),
    Wrong("the wall decides alone", {NOTICED: "            if done:"}),
    Wrong("without CPU seconds nothing is noticed", {NOTICED: "            if done and spent(computed):"}),
    Wrong("wall or CPU decides", {NOTICED: "            if done or spent(computed):"}),
    Wrong(
        "wall and CPU must agree",
        {NOTICED: NOTICED.replace("spent(computed) or", "spent(computed) == done or")},
        says="there is no warning",
    ),
    Wrong(
        "the work must be done by the CPU's clock at least as late",
        {NOTICED: NOTICED.replace("spent(computed) or", "spent(computed) >= done or")},
        says="there is no warning",
    ),
    Wrong("the warning names nobody", {'f"{name!r} is {SPENT} times': 'f"a work is {SPENT} times'}),
    Wrong(
        "a RuntimeWarning",
        {
            'times as fast after measurement {done}: {text}", stacklevel=2)': 'times as fast after measurement {done}: {text}", RuntimeWarning, stacklevel=2)'
        },
    ),
    Wrong(
        "one warning for all",
        {
            "timings = {}\n": "timings, warned = {}, False\n",
            NOTICED: "            if done and not warned:\n                warned = True",
        },
    ),
    Wrong(
        "only the first call may have done the work",
        {DONE: DONE.replace("range(1, len(seconds))", "range(1, min(2, len(seconds)))")},
    ),
    Wrong("the last time can not show it", {DONE: DONE.replace("len(seconds)", "len(seconds) - 1")}),
    Wrong("the mean of the later times", {DONE: DONE.replace("np.median", "np.mean")}),
    Wrong("the largest of the later times", {DONE: DONE.replace("np.median", "np.max")}),
    Wrong("the least of the later times", {DONE: DONE.replace("np.median", "np.min")}),
    Wrong("the largest of the earlier times", {"np.minimum.accumulate(seconds)": "np.maximum.accumulate(seconds)"}),
    Wrong("only the time just before", {"np.minimum.accumulate(seconds)": "np.asarray(seconds)"}),
    Wrong("ten times is enough", {DONE: DONE.replace("> SPENT", ">= SPENT")}),
    Wrong("SPENT is fixed", {DONE: DONE.replace("SPENT", "10")}),
    Wrong("after the first k that fits", {"return max(done, default=0)": "return min(done, default=0)"}),
    Wrong("whether, not after how many", {"return max(done, default=0)": "return bool(done)"}),
    Wrong(
        "the lower of the two later times in the middle",
        {DONE: DONE.replace("np.median(seconds[k:])", "sorted(seconds[k:])[(len(seconds) - k - 1) // 2]")},
    ),
    Wrong(
        "the upper of the two later times in the middle",
        {DONE: DONE.replace("np.median(seconds[k:])", "sorted(seconds[k:])[(len(seconds) - k) // 2]")},
    ),
    Wrong("a single round without CPU seconds lets the wall decide", {NOTICED: NOTICED.replace("not any", "not all")}),
    # 19.3: the ratio and its interval
    Wrong("a by b", {LOGS: "    logs = np.log(a) - np.log(b)"}, says="a by b, not b by a"),
    Wrong("the difference of the times", {LOGS: "    logs = b - a"}),
    Wrong("the logarithm is the ratio", {RATIO: "    ratio = float(np.median(logs))"}),
    Wrong("the mean of the rounds", {RATIO: "    ratio = float(np.mean(b / a))"}, says="the mean"),
    Wrong("the geometric mean", {RATIO: "    ratio = math.exp(np.mean(logs))"}, says="the geometric mean"),
    Wrong("the ratio of the means", {RATIO: "    ratio = b.mean() / a.mean()"}, says="the ratio of the means"),
    Wrong("the ratio of the medians", {RATIO: "    ratio = np.median(b) / np.median(a)"}, says="the ratio of the medians"),
    Wrong("the ratio of the fastest rounds", {RATIO: "    ratio = b.min() / a.min()"}, says="the ratio of the least"),
    Wrong(
        "the median is not in logarithms", {RATIO: "    ratio = float(np.median(b / a))"}, says="the arithmetic mean of the two"
    ),
    Wrong("quotients overflow", {LOGS: "    logs = np.log(b * 1e200) - np.log(a / 1e200) - 400 * np.log(10)"}),
    Wrong("the bootstrap of the mean", {MEDIANS: "    medians = np.mean(logs[drawn], axis=1)"}),
    Wrong("the bootstrap along the wrong axis", {MEDIANS: "    medians = np.median(logs[drawn], axis=0)"}),
    Wrong("quantiles of the rounds, not of their median", {MEDIANS: "    medians = logs"}),
    Wrong(
        "a normal distribution with its standard error",
        {
            ENDS: "    error = 2.576 * logs.std() / math.sqrt(len(logs))\n    low, high = ratio * math.exp(-error), ratio * math.exp(error)"
        },
    ),
    Wrong(
        "a and b are drawn apart",
        {
            MEDIANS: "    apart = make_rng(seed + 1).integers(len(logs), size=drawn.shape)\n    medians = np.median(np.log(np.resize(b, len(logs)))[drawn], axis=1) - np.median(np.log(np.resize(a, len(logs)))[apart], axis=1)"
        },
    ),
    Wrong(
        "rounds are drawn without replacement",
        {DRAWN: "    drawn = make_rng(seed).permuted(np.tile(np.arange(len(logs)), (RESAMPLES, 1)), axis=1)"},
    ),
    Wrong(
        "half of the rounds are drawn", {DRAWN: DRAWN.replace("(RESAMPLES, len(logs))", "(RESAMPLES, max(1, len(logs) // 2))")}
    ),
    Wrong("twice as many rounds are drawn", {DRAWN: DRAWN.replace("(RESAMPLES, len(logs))", "(RESAMPLES, 2 * len(logs))")}),
    Wrong("the last round is never drawn", {DRAWN: DRAWN.replace("integers(len(logs), ", "integers(max(1, len(logs) - 5), ")}),
    Wrong(
        "an interval of 68%", {ENDS: ENDS.replace("(1 - confidence) / 2, (1 + confidence) / 2", "0.16, 0.84")}, says="low is"
    ),
    Wrong("an interval of 95%", {ENDS: ENDS.replace("(1 - confidence) / 2, (1 + confidence) / 2", "0.025, 0.975")}),
    Wrong(
        "1 - confidence at each end",
        {ENDS: ENDS.replace("(1 - confidence) / 2, (1 + confidence) / 2", "1 - confidence, confidence")},
    ),
    Wrong("one end only", {ENDS: ENDS.replace("(1 - confidence) / 2, (1 + confidence) / 2", "(1 - confidence), 1.0")}),
    Wrong(
        "95% unless told otherwise",
        {
            "a: Sequence[float], b: Sequence[float], confidence: float = 0.99": "a: Sequence[float], b: Sequence[float], confidence: float = 0.95"
        },
    ),
    Wrong("the interval stays in logarithms", {ENDS: ENDS.replace("np.exp(np.quantile", "(np.quantile")}),
    Wrong("low and high are swapped", {ENDS: ENDS.replace("low, high =", "high, low =")}),
    Wrong("the seed of the bootstrap is ignored", {DRAWN: DRAWN.replace("make_rng(seed)", "make_rng(0)")}),
    Wrong("the bootstrap is not seeded", {DRAWN: DRAWN.replace("make_rng(seed)", "np.random.default_rng()")}),
    Wrong(
        "NumPy's global generator draws the rounds",
        {DRAWN: "    drawn = np.random.randint(len(logs), size=(RESAMPLES, len(logs)))"},
    ),
    Wrong("two thousand resamples always", {DRAWN: DRAWN.replace("RESAMPLES", "2000")}),
    Wrong("few rounds are enough", {FEW: "    if len(logs) < 2:"}, says="can't have an interval"),
    Wrong("a single round has an interval without width", {FEW: "    if False:"}, says="can't have an interval"),
    Wrong("eight rounds whatever the confidence", {FEW: "    if min(a.size, b.size) < 8:"}),
    Wrong(
        "one side of the median is forgotten",
        {FEW: FEW.replace("2.0 ** (1 - min", "2.0 ** (-min")},
        says="can't have an interval",
    ),
    Wrong("one round more is needed", {FEW: FEW.replace("2.0 ** (1 - min", "2.0 ** (2 - min")}),
    Wrong("many rounds beside a single one have an interval", {FEW: FEW.replace("min(a.size, b.size)", "len(logs)")}),
    Wrong("too few rounds are an error", {FEW: FEW + '\n        raise ValueError("too few rounds")'}),
    Wrong("too few rounds have NaN", {"return ratio, 0.0, math.inf": "return ratio, math.nan, math.nan"}),
    Wrong(
        "only the first round stands beside a single one",
        {LOGS: "    logs = (np.log(b) - np.log(a))[: min(a.size, b.size)]"},
        says="only the first round",
    ),
    Wrong(
        "rounds that are too many are cut off",
        {SHAPES: "    a, b = (a, b) if 1 in (a.size, b.size) else (a[: b.size], b[: a.size])\n" + SHAPES},
        says="let through",
    ),
    Wrong("whatever broadcasts is a pair", {SHAPES: "    if np.broadcast_shapes(a.shape, b.shape) == (0,):"}),
    Wrong("a bare number is a round", {SHAPES: SHAPES.replace("a.ndim != 1 or b.ndim != 1", "a.ndim > 1 or b.ndim > 1")}),
    Wrong("times of any shape are a row", {SHAPES: "    a, b = a.ravel(), b.ravel()\n" + SHAPES}),
    Wrong("no times are let through", {SHAPES: SHAPES.replace(" or not a.size or not b.size", "")}),
    Wrong("0 is a time", {POSITIVE: POSITIVE.replace("times > 0", "times >= 0")}),
    Wrong("NaN is left out", {POSITIVE: "        wrong = times[(times <= 0) | (times == np.inf)]"}),
    Wrong("infinite times are let through", {POSITIVE: POSITIVE.replace("(times < np.inf)", "~np.isnan(times)")}),
    Wrong("only a is looked at", {"    for times in (a, b):\n": "    for times in (a,):\n"}),
    Wrong("a confidence of 1 is let through", {"    if not 0 < confidence < 1:": "    if not 0 < confidence <= 1:"}),
    Wrong(
        "a confidence in percent is let through",
        {
            "    if not 0 < confidence < 1:": "    confidence = confidence / 100 if confidence > 1 else confidence\n    if not 0 < confidence < 1:"
        },
    ),
    Wrong(
        "computed in the dtype of the times",
        {"    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)": "    a, b = np.asarray(a), np.asarray(b)"},
    ),
    # 19.4: compare
    Wrong(
        "slower if the ratio is above 1",
        {VERDICT: '        return "slower" if self.ratio > 1 else "faster" if self.ratio < 1 else "no difference"'},
    ),
    Wrong(
        "slower is faster",
        {VERDICT: VERDICT.replace('"slower"', '"x"').replace('"faster"', '"slower"').replace('"x"', '"faster"')},
    ),
    Wrong(
        "an interval that ends at 1 is above it",
        {VERDICT: VERDICT.replace("self.low > 1", "self.low >= 1").replace("self.high < 1", "self.high <= 1")},
    ),
    Wrong("never any difference", {VERDICT: '        return "no difference"'}),
    Wrong(
        "a difference must be 5%",
        {VERDICT: VERDICT.replace("self.low > 1", "self.low > 1.05").replace("self.high < 1", "self.high < 0.95")},
    ),
    Wrong("too few rounds are no difference", {TOO_FEW: ""}),
    Wrong(
        "an interval without an upper end has too few rounds",
        {TOO_FEW: TOO_FEW.replace("(self.low, self.high) == (0, math.inf)", "self.high == math.inf")},
    ),
    Wrong(
        "an interval from 0 has too few rounds",
        {TOO_FEW: TOO_FEW.replace("(self.low, self.high) == (0, math.inf)", "self.low == 0")},
    ),
    Wrong(
        "fewer than eight rounds are too few",
        {TOO_FEW: TOO_FEW.replace("(self.low, self.high) == (0, math.inf)", "self.rounds < 8")},
    ),
    Wrong(
        "the last result lives while the next call runs",
        {CALLS: "            for _ in range(number):\n                result = work()\n"},
    ),
    Wrong(
        "the drawn medians are not in logarithms",
        {MEDIANS: "    medians = np.log(np.median(np.exp(logs)[drawn], axis=1))"},
        says="the drawn medians are not in logarithms",
    ),
    Wrong(
        "the text has the names the wrong way round",
        {
            "{self.verdict}: {self.b} takes {self.ratio:.4g} times as long as {self.a} (": "{self.verdict}: {self.a} takes {self.ratio:.4g} times as long as {self.b} ("
        },
    ),
    Wrong(
        "the confidence is a fraction",
        {"{100 * self.confidence:g}% interval {self.low": "{self.confidence:g} interval {self.low"},
    ),
    Wrong(
        "the confidence is rounded",
        {"{100 * self.confidence:g}% interval {self.low": "{100 * self.confidence:.0f}% interval {self.low"},
    ),
    Wrong("two digits", {"takes {self.ratio:.4g} times": "takes {self.ratio:.2g} times"}),
    Wrong(
        "b and a are swapped",
        {
            BOTH: BOTH.replace("self.timings[a]", "self.timings[b]", 1).replace(
                "measure), getattr(self.timings[b]", "measure), getattr(self.timings[a]"
            )
        },
    ),
    Wrong("always wall time", {BOTH: "        seconds = self.timings[a].wall, self.timings[b].wall"}),
    Wrong("always CPU time", {BOTH: "        seconds = self.timings[a].cpu, self.timings[b].cpu"}),
    Wrong("the confidence is not passed on", {COMPARED: COMPARED.replace("*seconds, confidence)", "*seconds)")}),
    Wrong("the confidence is not kept", {COMPARED: COMPARED.replace("confidence), confidence", "confidence), 0.99")}),
    Wrong("the rounds of the work that had more", {COMPARED: COMPARED.replace("min(map", "max(map")}),
    Wrong(
        "the calls are the rounds",
        {COMPARED: COMPARED.replace("min(map(len, seconds))", "self.timings[a].number * len(seconds[0])")},
    ),
    Wrong("any field is a measure", {'if measure not in ("wall", "cpu"):': "if not hasattr(self.timings[a], str(measure)):"}),
    Wrong(
        "an unknown name is a KeyError",
        {"            if name not in self.timings:\n": "            if self.timings[name] is None:\n"},
        says="another error came first",
    ),
    Wrong(
        "compare swaps its functions",
        {DIRECT: DIRECT.replace("{first: a, second: b}", "{first: b, second: a}")},
        says="the inverse",
    ),
    Wrong("compare's options are not passed on", {DIRECT: DIRECT.replace("**options", 'clock=options.get("clock", REAL)')}),
    Wrong("compare's measure is not passed on", {DIRECT: DIRECT.replace("measure, confidence)", '"wall", confidence)')}),
    Wrong("compare's confidence is not passed on", {DIRECT: DIRECT.replace("measure, confidence)", "measure)")}),
    Wrong("compare's names are not passed on", {"    first, second = names\n": '    first, second = "a", "b"\n'}),
    Wrong(
        "compare has an interval of 95%",
        {
            '    measure: str = "wall",\n    confidence: float = 0.99,\n    **options': '    measure: str = "wall",\n    confidence: float = 0.95,\n    **options'
        },
    ),
    Wrong(
        "two strings are two names",
        {"    if first == second:\n": "    if first is second:\n"},
        says="let through",
    ),
    Wrong("one name for both is let through", {"    if first == second:\n": "    if False:\n"}, says="let through"),
    Wrong(
        "compare's seed is not passed on",
        {DIRECT: "    options.pop('seed', None)\n" + DIRECT},
        says="the order is not that of the seed",
    ),
    # 19.5: JSON and Markdown
    Wrong(
        "JSON of the medians",
        {
            "return json.dumps({name: timing._asdict()": "return json.dumps({name: timing._replace(wall=[float(np.median(timing.wall))])._asdict()"
        },
    ),
    Wrong("JSON without first", {"{name: timing._asdict() for": "{name: timing._replace(first=0.0)._asdict() for"}),
    Wrong("JSON sorts the names", {"self.timings.items()}, indent=2)": "self.timings.items()}, indent=2, sort_keys=True)"}),
    Wrong("JSON has lists for fields", {"timing._asdict() for": "list(timing) for", "Timing(**fields)": "Timing(*fields)"}),
    Wrong(
        "JSON rounds",
        {"{name: timing._asdict() for": "{name: timing._replace(wall=[round(each, 9) for each in timing.wall])._asdict() for"},
    ),
    Wrong("what is read has lists", {READ: "        return cls(timings)"}),
    Wrong("what is read has lists of CPU times", {READ: READ.replace("cpu=tuple(each.cpu)", "cpu=each.cpu")}),
    Wrong(
        "what is read has dicts",
        {"{name: Timing(**fields) for name": "{name: fields for name", READ: "        return cls(timings)"},
    ),
    Wrong("the table has means", {"_duration(np.median(timing.wall))": "_duration(np.mean(timing.wall))"}),
    Wrong("the table has the first call", {"_duration(np.median(timing.wall))": "_duration(timing.first)"}),
    Wrong("the table has wall time twice", {"_duration(np.median(timing.cpu))": "_duration(np.median(timing.wall))"}),
    Wrong(
        "the table compares the other way",
        {"self.compare(baseline, name, measure, confidence)": "self.compare(name, baseline, measure, confidence)"},
    ),
    Wrong(
        "the table's measure is not passed on",
        {"self.compare(baseline, name, measure, confidence)": 'self.compare(baseline, name, "wall", confidence)'},
    ),
    Wrong(
        "the table's confidence is not passed on",
        {"self.compare(baseline, name, measure, confidence)": "self.compare(baseline, name, measure)"},
    ),
    Wrong(
        "the table leaves out the baseline",
        {
            '            verdict = "baseline"': '            if name == baseline:\n                continue\n            verdict = "baseline"'
        },
    ),
    Wrong(
        "the baseline is no difference",
        {'verdict = "baseline" if name == baseline else found.verdict': "verdict = found.verdict"},
    ),
    Wrong(
        "an equal name is another than the baseline's",
        {'verdict = "baseline" if name == baseline': 'verdict = "baseline" if name is baseline'},
    ),
    Wrong("a bar breaks the table", {'text.replace("|", "\\\\|").splitlines()': "text.splitlines()"}),
    Wrong("a line break breaks the table", {'" ".join(text.replace("|", "\\\\|").splitlines())': 'text.replace("|", "\\\\|")'}),
    Wrong(
        "only \\n is a line break",
        {'" ".join(text.replace("|", "\\\\|").splitlines())': 'text.replace("|", "\\\\|").replace("\\n", " ")'},
    ),
    Wrong("all spaces of a name are one", {'text.replace("|", "\\\\|").splitlines()': 'text.replace("|", "\\\\|").split()'}),
    Wrong("a bar in the baseline's name breaks the header", {"times {_cell(baseline)} |": "times {baseline} |"}),
    Wrong(
        "the header has no confidence",
        {" | {100 * confidence:g}% interval | verdict |": " | interval | verdict |"},
        says="is missing in the header",
    ),
    Wrong(
        "the header's confidence is rounded",
        {" | {100 * confidence:g}% interval | verdict |": " | {confidence:.0%} interval | verdict |"},
        says="is missing in the header",
    ),
    Wrong("there is no line of dashes", {'            "|---|---:|---:|---:|---:|---|",\n': ""}),
    Wrong("the unit is chosen before rounding", {ROUNDED: ""}),
    Wrong("two digits of a time", {'return f"{seconds / size:.9g} {unit}"': 'return f"{seconds / size:.2g} {unit}"'}),
    Wrong("many seconds have an exponent", {'return f"{seconds / size:.9g} {unit}"': 'return f"{seconds / size:.3g} {unit}"'}),
    Wrong(
        "an empty result has a table for any baseline",
        {"        self.compare(baseline, baseline, measure, confidence)  # which raises, also if there is no row\n": ""},
    ),
    Wrong(
        "microseconds are the smallest unit", {'    return f"{seconds / 1e-9:.3g} ns"': '    return f"{seconds / 1e-6:.3g} µs"'}
    ),
    Wrong("more than a unit is needed", {"        if seconds >= size:\n": "        if seconds > size:\n"}),
    Wrong(
        "the lower of the two in the middle",
        {"_duration(np.median(timing.wall))": "_duration(sorted(timing.wall)[(len(timing.wall) - 1) // 2])"},
    ),
    # 19.6: what a model costs
    Wrong("multiplications only", {MATMUL: "    return y.size * a.shape[-1]"}, says="multiplications only"),
    Wrong(
        "a convolution's multiplications only",
        {CONV: "    return y.size * math.prod(weight.shape[1:])"},
        says="multiplications only",
    ),
    Wrong("2k - 1 additions and multiplications", {MATMUL: "    return y.size * (2 * a.shape[-1] - 1)"}),
    Wrong("the left operand's rows only", {MATMUL: "    return 2 * a.size * b.shape[-1]"}),
    Wrong("the length of the right operand's last axis", {MATMUL: "    return 2 * y.size * b.shape[-1]"}),
    Wrong("products of one pair of matrices", {MATMUL: "    return 2 * math.prod(y.shape[-2:]) * a.shape[-1]"}),
    Wrong("NumPy's integers overflow", {MATMUL: "    return int(np.int64(2) * np.int64(y.size) * np.int64(a.shape[-1]))"}),
    Wrong("a float of operations", {MATMUL: "    return 2.0 * y.size * a.shape[-1]"}),
    Wrong(
        "a convolution without its input channels",
        {CONV: "    return 2 * y.size * math.prod(weight.shape[2:])"},
        says="without the input channels",
    ),
    Wrong("a convolution of the weight's whole size", {CONV: "    return 2 * y.size * weight.size"}),
    Wrong("a square kernel", {CONV: "    return 2 * y.size * weight.shape[1] * weight.shape[2] ** 2"}),
    Wrong(
        "a convolution at each pixel of its input",
        {CONV: "    return 2 * x.size * weight.shape[0] * math.prod(weight.shape[2:])"},
    ),
    Wrong(
        "a bias counts",
        {COST: COST.replace("append(", "append(result.size * (op == 'add') + ")},
        says="the bias counts",
    ),
    Wrong(
        "forward and backward",
        {"        sum(flops),\n": "        3 * sum(flops),\n"},
        says="forward and backward",
    ),
    Wrong(
        "flops of what requires a gradient",
        {
            "        if op in _FLOPS:\n": "        if op in _FLOPS and not result.requires_grad:\n            pass\n        elif op in _FLOPS:\n"
        },
    ),
    Wrong(
        "flops of the graph only",
        {
            "        if op in _FLOPS:\n": "        if op in _FLOPS and not result.requires_grad and op == 'matmul':\n            pass\n        elif op in _FLOPS:\n"
        },
    ),
    Wrong("flops of the last operation", {"        sum(flops),\n": "        sum(flops[-1:]),\n"}),
    Wrong(
        "threads lose each other's operations",
        {
            "    flops, unknown = [], set()": "    flops, unknown = 0, set()",
            COST: COST.replace("flops.append(", "nonlocal flops\n            flops += (").replace("attrs))", "attrs))"),
            "        sum(flops),\n": "        flops,\n",
        },
    ),
    Wrong(
        "only the calling thread is watched",
        {
            "        Tensor._recorder = counting\n": "        own = threading.get_ident()\n        Tensor._recorder = lambda *told: (counting if threading.get_ident() == own else recorder)(*told)\n"
        },
    ),
    Wrong("the other recorder is not told", {TOLD: ""}),
    Wrong("the other recorder must be one", {TOLD: "        recorder(op, result, parents, attrs)\n"}),
    Wrong(
        "kata 07's recorder is told, not the one that was there",
        {TOLD: "        __import__('katas.autograd').autograd.record(op, result, parents, attrs)\n"},
    ),
    Wrong(
        "the other recorder is told of operations with a rule",
        {TOLD: TOLD.replace("is not None:", "is not None and op in _FLOPS:")},
        says="was it told of each operation",
    ),
    Wrong(
        "the other recorder is told of what requires a gradient",
        {TOLD: TOLD.replace("is not None:", "is not None and result.requires_grad:")},
        says="was it told of each operation",
    ),
    Wrong(
        "the other recorder is told of the calling thread's operations",
        {
            TOLD: TOLD.replace("is not None:", "is not None and threading.get_ident() == own:"),
            "        Tensor._recorder = counting\n": "        own = threading.get_ident()\n        Tensor._recorder = counting\n",
        },
        says="was it told of each operation",
    ),
    Wrong("the recorder is not there again", {BEFORE: "            Tensor._recorder = None\n"}),
    Wrong(
        "after an error counting goes on",
        {
            "        try:\n"
            + CALLED
            + "        finally:\n"
            + BEFORE
            + BUFFERS: "        output = model(*inputs)\n        Tensor._recorder = recorder\n        module.load_state_dict(state)\n"
        },
    ),
    Wrong(
        "the buffers have moved",
        {BUFFERS: ""},
    ),
    Wrong(
        "a buffer is replaced by a saved copy",
        {
            STATE: STATE
            + "        saved = [(each, key, vars(each)[key].copy()) for each in module.modules() for key in each._buffers]\n",
            BUFFERS: "            for each, key, array in saved:\n                setattr(each, key, array)\n",
        },
        says="the buffer's before",
    ),
    Wrong(
        "a buffer's array is put back, not the buffer",
        {
            STATE: STATE + "        saved = [(array, array.copy()) for _, array in module.named_buffers()]\n",
            BUFFERS: "            for array, values in saved:\n                array[...] = values\n",
        },
        says="the buffer:",
    ),
    Wrong(
        "two threads count at the same time",
        {"_COUNTING = threading.RLock()": "_COUNTING = __import__('contextlib').nullcontext()"},
        says="did the second count wait",
    ),
    Wrong("a count in a count waits forever", {"threading.RLock()": "threading.Lock()"}, says="does not end"),
    Wrong(
        "after an error the buffers have moved",
        {BUFFERS: "        module.load_state_dict(state)\n"},
    ),
    Wrong(
        "after an interrupt the buffers have moved",
        {
            BUFFERS: "            if not isinstance(__import__('sys').exc_info()[1], KeyboardInterrupt):\n                module.load_state_dict(state)\n"
        },
    ),
    Wrong(
        "the model is put in eval mode",
        {"        Tensor._recorder = counting\n": "        Tensor._recorder = counting\n        module.eval()\n"},
    ),
    Wrong(
        "the model is called twice",
        {CALLED: "            model(*inputs)\n            flops.clear()\n            output = model(*inputs)\n"},
    ),
    Wrong(
        "inputs become Tensors",
        {CALLED: "            output = model(*[each if isinstance(each, Tensor) else Tensor(each) for each in inputs])\n"},
    ),
    Wrong("only one input", {CALLED: "            output = model(inputs[0]) if inputs else model()\n"}),
    Wrong("an unknown operation is silent", {"    if unknown:\n": "    if False:\n"}),
    Wrong(
        "an unknown operation is an error",
        {"            unknown.add(op)\n": '            raise ValueError(f"no rule for {op}")\n'},
    ),
    Wrong(
        "one warning for each unknown operation",
        {
            "            unknown.add(op)\n": "            warnings.warn(f'no rule for {op}', stacklevel=2)\n            unknown.add(op)\n"
        },
    ),
    Wrong(
        "rules receive Tensors",
        {COST: COST.replace("result.data, *[parent.data for parent in parents]", "result, *parents")},
    ),
    Wrong(
        "rules receive no attributes",
        {COST: COST.replace(", **attrs", "")},
    ),
    Wrong("anything is a Tensor", {"    if not isinstance(output, Tensor):\n": "    if output is None:\n"}),
    Wrong(
        "tied weights count twice",
        {
            PARAMETERS: "        sum(vars(each)[name].size for each in module.modules() for name in vars(each) if isinstance(vars(each)[name], Tensor)),"
        },
        says="counts twice",
    ),
    Wrong(
        "matrices only are parameters",
        {PARAMETERS: "        sum(parameter.size for parameter in parameters if parameter.ndim > 1),"},
        says="without the bias",
    ),
    Wrong("buffers are parameters", {PARAMETERS: "        sum(array.size for array in state.values()),"}),
    Wrong("bytes of parameters", {PARAMETERS: "        sum(parameter.data.nbytes for parameter in parameters),"}),
    Wrong(
        "frozen parameters are none",
        {PARAMETERS: "        sum(parameter.size for parameter in parameters if parameter.requires_grad),"},
    ),
    Wrong("the number of Parameters", {PARAMETERS: "        len(parameters),"}),
    Wrong("views count", {MEMORY: "            found[id(value)] = value\n"}),
    Wrong(
        "only the part of the memory that is seen",
        {MEMORY: "            found.setdefault(id(_memory(value)), value)\n"},
    ),
    Wrong(
        "each use of an array counts",
        {
            SEEN: "        if id(value) in seen and not isinstance(value, np.ndarray):",
            MEMORY: "            found[id(_memory(value)), len(found)] = _memory(value)\n",
            SUMMED: "        sum(memory.nbytes for (key, _), memory in kept.items() if key not in {key for key, _ in there}),",
        },
    ),
    Wrong("parameters count", {HELD: HELD.replace("[parameters, [array", "[[array")}),
    Wrong(
        "the memory of frozen parameters counts",
        {HELD: HELD.replace("[parameters, ", "[[each for each in parameters if each.requires_grad], ")},
    ),
    Wrong(
        "what the call puts into an input is there anyway",
        {HELD + "\n": "", KEPT: HELD + "\n" + KEPT},
        says="not what the call put there",
    ),
    Wrong("inputs count", {HELD: HELD.replace(", inputs]", "]")}, says="with the input"),
    Wrong("buffers count", {HELD: "    there = _memories([parameters, inputs])"}),
    Wrong(
        "views of inputs count",
        {
            HELD: HELD.replace("inputs])", "inputs], lambda array: array)"),
            "def _memories(value)": "def _memories(value, own=None)",
            MEMORY: MEMORY.replace("_memory(", "(own or _memory)("),
        },
    ),
    Wrong(
        "what an input has in its attributes counts",
        {
            HELD: HELD.replace(
                "inputs])", "[vars(each).get('data') if hasattr(each, '__dict__') else each for each in inputs]])"
            )
        },
    ),
    Wrong(
        "only results are kept",
        {
            OF_TENSORS: "            waiting += [value.node] if hasattr(value, 'node') else []",
            HOLDS: "            waiting += [value.parents, value.arrays[0]]" + NODES,
        },
    ),
    Wrong("attributes are not kept", {HOLDS: "            waiting += [value.parents, value.arrays]" + NODES}),
    Wrong(
        "arrays inside of attributes' tuples are overlooked",
        {
            HOLDS: "            waiting += [*value[1:3], *(each for each in value.attrs.values() if isinstance(each, np.ndarray))]"
            + NODES
        },
    ),
    Wrong(
        "arrays inside of dicts are overlooked",
        {
            SEARCHED: "        elif not isinstance(value, type | ModuleType) and not (isinstance(value, dict) and 'in' in value):"
        },
    ),
    Wrong("only containers are searched", {SEARCHED: "        elif isinstance(value, list | tuple | dict):"}),
    Wrong(
        "objects are overlooked",
        {SEARCHED: "        elif isinstance(value, list | tuple | dict | __import__('functools').partial):"},
    ),
    Wrong(
        "bound arguments are overlooked",
        {SEARCHED: "        elif not isinstance(value, type | ModuleType | __import__('functools').partial):"},
    ),
    Wrong(
        "a method's object is overlooked",
        {SEARCHED: "        elif not isinstance(value, type | ModuleType | __import__('types').MethodType):"},
    ),
    Wrong("closures are overlooked", {OF_FUNCTIONS: "            waiting += [value.__defaults__, value.__kwdefaults__]"}),
    Wrong("defaults are overlooked", {OF_FUNCTIONS: OF_FUNCTIONS.replace(" value.__defaults__,", "")}),
    Wrong("named defaults are overlooked", {OF_FUNCTIONS: OF_FUNCTIONS.replace(", value.__kwdefaults__", "")}),
    Wrong(
        "all that a function's module has counts",
        {
            OF_FUNCTIONS: "            waiting += [*(value.__closure__ or ()), vars(__import__('sys').modules[value.__module__])]"
        },
    ),
    Wrong("what a module has counts", {SEARCHED: SEARCHED.replace("type | ModuleType", "type")}),
    Wrong(
        "a Tensor in an attribute has no graph",
        {
            HOLDS: "            waiting += [*value[:3], [each.data if isinstance(each, Tensor) else each for held in value.attrs.values() for each in (held if isinstance(held, list) else [held])]]"
            + NODES
        },
        says="without its graph",
    ),
    Wrong("what a class has counts", {SEARCHED: "        elif not isinstance(value, ModuleType):"}),
    Wrong("gradients count", {OF_TENSORS: '            waiting += [value.data, getattr(value, "node", None), value.grad]'}),
    Wrong("the last operation only", {HOLDS: "            waiting += value[2:]" + NODES}),
    Wrong("the first operand's graph only", {HOLDS: "            waiting += [value.parents[:1], *value[2:]]" + NODES}),
    Wrong(
        "the graph is walked by recursion",
        {
            KEPT: "    def walk(tensor):\n        for parent in tensor.node.parents if hasattr(tensor, 'node') else ():\n            walk(parent)\n\n    walk(output)\n"
            + KEPT
        },
    ),
    Wrong("numbers, not bytes", {SUMMED: SUMMED.replace("nbytes", "size")}, says="numbers, not bytes"),
    Wrong("four bytes a number", {SUMMED: SUMMED.replace("memory.nbytes", "4 * memory.size")}),
    Wrong(
        "kata 15's linear layers multiply nothing",
        {"matmul_flops(y, x, weight.T))": "0)"},
    ),
    Wrong("data_parallel has no rule", {'    "data_parallel",  # whose': "    *(),  # whose"}),
    Wrong("kata 15's norms have no rules", {'"gelu", "layer_norm", "rms_norm", ': '"gelu", '}),
    Wrong("embeddings have no rule", {'"avg_pool2d", "embedding", ': '"avg_pool2d", '}),
    Wrong("fused attention has one product", {"(q.shape[-1] + v.shape[-1])": "q.shape[-1]"}),
    Wrong(
        "self-attention has one product",
        {'defflops("self_attention", lambda y, qkv, **attrs: 4': 'defflops("self_attention", lambda y, qkv, **attrs: 2'},
    ),
    Wrong(
        "shards' operations count twice",
        {
            '    "data_parallel",  # whose': "    *(),  # whose",
            "# Kata 15's operations": 'defflops("data_parallel", lambda y, *parents, **attrs: 1)\n\n# Kata 15\'s operations',
        },
    ),
    Wrong("the base of the base is overlooked", {OWNER: '    if (array := getattr(array, "base", None)) is not None:'}),
    Wrong("bases that are no arrays end the search", {OWNER: "    while isinstance(array := array.base, np.ndarray):"}),
    Wrong(
        "bases are taken for arrays",
        {"        owner = array if isinstance(array, np.ndarray) else owner\n": "        owner = array\n"},
    ),
    Wrong(
        "counts are kept for the next time",
        {
            "    module = model if isinstance(model, Module)": "    if model in _COUNTED:\n        return _COUNTED[model]\n    module = model if isinstance(model, Module)",
            "    return Counts(\n        sum(flops),": "    _COUNTED[model] = Counts(\n        sum(flops),",
            "def _memories(": "    return _COUNTED[model]\n\n\n_COUNTED = {}\n\n\ndef _memories(",
        },
    ),
    Wrong("inputs in a dict count", {HELD: HELD.replace("inputs])", "[each for each in inputs if type(each) is not dict]])")}),
    Wrong(
        "after an interrupt counting goes on",
        {
            "        finally:\n" + BEFORE: "        except Exception:\n"
            + BEFORE
            + BUFFERS
            + "            raise\n        else:\n"
            + BEFORE
        },
    ),
    Wrong(
        "an unknown operation has a warning once",
        {
            "    if unknown:\n": "    unknown -= _SEEN\n    _SEEN.update(unknown)\n    if unknown:\n",
            "def _memories(": "_SEEN = set()\n\n\ndef _memories(",
        },
    ),
    Wrong("a recorder that is falsy is not told", {TOLD: TOLD.replace("recorder is not None", "recorder")}),
    # 19.7: roofline and Pareto front
    Wrong(
        "bytes for each operation",
        {"        return self.flops / self.nbytes": "        return self.nbytes / max(self.flops, 1)"},
        says="bytes for each operation",
    ),
    Wrong(
        "operations a second, not 10⁹",
        {"        return self.flops / self.seconds / 1e9": "        return self.flops / self.seconds"},
        says="operations a second",
    ),
    Wrong(
        "memory and compute are swapped",
        {
            '"memory" if machine.roofline(0, self.nbytes) > machine.roofline(self.flops, 0) else "compute"': '"compute" if machine.roofline(0, self.nbytes) > machine.roofline(self.flops, 0) else "memory"'
        },
    ),
    Wrong(
        "at the ridge memory decides",
        {
            "machine.roofline(0, self.nbytes) > machine.roofline(self.flops, 0)": "machine.roofline(0, self.nbytes) >= machine.roofline(self.flops, 0)"
        },
    ),
    Wrong(
        "more bytes than operations are bound by memory",
        {"machine.roofline(0, self.nbytes) > machine.roofline(self.flops, 0)": "self.nbytes > self.flops"},
    ),
    Wrong(
        "the part of the peak",
        {
            "        return machine.roofline(self.flops, self.nbytes) / self.seconds": "        return self.gflops / machine.peak_gflops"
        },
        says="of the peak alone",
    ),
    Wrong(
        "how many times slower than the roofline",
        {
            "        return machine.roofline(self.flops, self.nbytes) / self.seconds": "        return self.seconds / machine.roofline(self.flops, self.nbytes)"
        },
        says="the inverse",
    ),
    Wrong(
        "no more than all of it",
        {
            "        return machine.roofline(self.flops, self.nbytes) / self.seconds": "        return min(1.0, machine.roofline(self.flops, self.nbytes) / self.seconds)"
        },
    ),
    Wrong("no bytes are let through", {'(value > 0 or field == "flops")': '(value > 0 or field != "seconds")'}),
    Wrong("no seconds are let through", {'(value > 0 or field == "flops")': '(value > 0 or field != "nbytes")'}),
    Wrong("no operations are refused", {'(value > 0 or field == "flops")': "value > 0"}, says="flops can't be 0"),
    Wrong("infinite figures are let through", {"if not (0 <= value < math.inf and": "if not (0 <= value and"}),
    Wrong("the program is not named", {"{self.name!r}: {field} can't be": "{field} can't be"}, says="is not named"),
    Wrong("more is better", {DOMINATES: DOMINATES.replace(".le", ".ge").replace(".lt", ".gt")}),
    Wrong(
        "dominated only if worse in each coordinate",
        {DOMINATES: "    return all(map(operator.lt, a, b))"},
    ),
    Wrong(
        "equal points dominate each other",
        {
            FRONT: FRONT.replace("points.values()", "points.values() if other is not point"),
            DOMINATES: "    return all(map(operator.le, a, b))",
        },
    ),
    Wrong(
        "the first of equal points stays",
        {
            FRONT: "    front = [name for name, point in points.items() if not any(_dominates(other, point) for other in points.values())]\n    return list({tuple(points[name]): name for name in reversed(front)}.values())[::-1]"
        },
    ),
    Wrong("better somewhere is enough", {DOMINATES: "    return any(map(operator.lt, a, b))"}),
    Wrong("the dominated ones", {FRONT: FRONT.replace("if not any", "if any")}),
    Wrong(
        "the front is sorted",
        {FRONT: FRONT.replace("in points.items()", "in sorted(points.items())")},
    ),
    Wrong(
        "two coordinates",
        {FRONT: FRONT.replace("(other, point)", "(other[:2], point[:2])")},
    ),
    Wrong("NaN is a coordinate", {"or any(map(math.isnan, point))": "or False"}),
    Wrong("infinity is no coordinate", {"or any(map(math.isnan, point))": "or not all(map(math.isfinite, point))"}),
    Wrong(
        "points of other lengths are let through",
        {
            "if len(point) != size or": "if len(point) < size or",
        },
    ),
    Wrong("no points are an error", {"len(next(iter(points.values()), ()))": "len(next(iter(points.values())))"}),
    Wrong(
        "the front is sorted by its first coordinate",
        {FRONT: FRONT.replace("return [", "return sorted([")[:-1] + "], key=lambda name: points[name][0])"},
    ),
    Wrong(
        "the fastest call of a round",
        {
            CALLS: "            spans = []\n            for _ in range(number):\n                start = wall()\n                work()\n                spans.append(wall() - start)\n",
            PER_CALL: "        return min(spans), cpu_seconds / number",
        },
        says="the fastest call",
    ),
    Wrong(
        "coordinates in float32",
        {FRONT: FRONT.replace("(other, point)", "(np.float32(other), np.float32(point))")},
    ),
    # what the budgets are there to exclude
    Wrong(
        "results are held to the end of the round",
        {CALLS: "            _ = [work() for _ in range(number)]\n"},
        naive="test_results_are_dropped_at_once",
    ),
    Wrong(
        "a loop over the resamples",
        {
            MEDIANS: "    medians = [np.median(logs[rows]) for rows in drawn]",
        },
        naive="test_the_bootstrap_has_no_loop",
    ),
    Wrong(
        "the graphs of all counts are kept",
        {"    if unknown:\n": "    count.outputs = [*getattr(count, 'outputs', []), output]\n    if unknown:\n"},
        naive="test_counting_leaves_nothing_behind",
    ),
    Wrong(
        "the cause is the error's own cause",
        {'raised {error!r}") from error': 'raised {error!r}") from (error.__cause__ or error)'},
    ),
    Wrong("the smaller sum dominates", {"any(map(operator.lt, a, b))": "sum(a) < sum(b)"}),
]

EQUIVALENT = {
    **{
        f"{name}: {habit}": "only shapes count"
        for name in ("matmul_flops", "conv2d_flops")
        for habit in ("arguments are read in the order of memory", "infinities and NaN in arguments are made finite")
    },
    "conv2d_flops: NumPy's numbers are refused": "it takes none",
    "spent: NumPy's numbers are refused": "it takes none",
    "pareto: NumPy's numbers are refused": "it takes none",
    **{
        f"compare: {habit}": "it takes no arrays"
        for habit in (
            "arguments are changed",
            "arguments are changed before an error",
            "axes of length 0 are refused",
            "infinities and NaN in arguments are made finite",
            "arguments are read in the order of memory",
        )
    },
    **{
        f"{name}: a falsy argument is taken as absent": "no falsy argument makes sense"
        for name in ("compare", "Result.compare", "Result.to_markdown")
    },
    **{
        f"count: {habit}": "the arguments are the model's own"
        for habit in (
            "infinities and NaN in arguments are made finite",
            "arguments are read in the order of memory",
            "NumPy's numbers are refused",
        )
    },
    "count: a check comes after the effect": "the effect is a warning, and the error follows",
    "ratio_interval: keywords are taken by position": "there are two, in this order",
    "pareto: shapes that differ are broadcast": "points are in a dict",
    "Benchmark.run: attributes are those of the construction": "no attribute is promised",
    "Benchmark.__init__: a check comes after the effect": "there is no object after an error",
    "Benchmark.__init__: a check comes after the effect, 2": "there is no object after an error",
    "Benchmark.__init__: None is whatever is falsy": "a number of 0 was refused before",
    "Benchmark._number: None is whatever is falsy": "a number of 0 was refused before",
}
