"""Wrong solutions of kata 15, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong


def instead(name: str, code: str) -> dict[str, str]:
    """Another function in the place of one of the reference's, which is then called _right_{name}."""
    return {f"def {name}(": f"{code.strip()}\n\n\ndef _right_{name}("}


CONV = "def fast_conv2d(x, weight, bias=None, stride=1, padding=0):\n"
ATTENTION = "def fused_attention(q, k, v, mask=None, causal=False, window=None):\n"
COLUMNS = """
def _all_columns(x, weight, stride, padding):
    from katas.spatial import windows

    view = windows(x, weight.shape[2:], stride, padding)
    return view.transpose(0, 2, 3, 4, 5, 1).reshape(-1, weight[0].size)  # a copy: nine times the images


def _columns_to_x(g, y, x, weight, stride, padding):
    from katas.autograd import vjp

    return vjp("conv2d", 0)(g, y, x, weight, stride=stride, padding=padding, columns=None)


def _columns_to_weight(g, y, x, weight, stride, padding):
    out, channels, kh, kw = weight.shape
    columns = _all_columns(x, weight, stride, padding)
    return (g.transpose(0, 2, 3, 1).reshape(-1, out).T @ columns).reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)


def fast_conv2d(x, weight, bias=None, stride=1, padding=0):
    from katas.autograd import defvjp
    from katas.spatial import conv2d

    pairs = {"stride": (stride, stride), "padding": (padding, padding)}
    defvjp("columns", _columns_to_x, _columns_to_weight)
    return Tensor._result("columns", conv2d(Tensor(x.data), Tensor(weight.data), None, stride, padding).data, x, weight, **pairs)
"""
COMPOSED = (
    ATTENTION
    + "    from katas.attention import attention_weights\n\n    return attention_weights(q, k, mask, causal, window) @ v"
)

WRONG = [
    # budgets
    Wrong(
        "one image after the other",
        instead(
            "fast_conv2d",
            CONV + "    from katas.tensor import concatenate\n\n"
            "    return concatenate([_right_fast_conv2d(x[n : n + 1], weight, bias, stride, padding) for n in range(len(x))])",
        ),
        naive="test_steps_grow_with_blocks_not_with_pixels",
    ),
    Wrong("all windows at once", instead("fast_conv2d", COLUMNS), naive="test_a_forward_never_holds_all_windows"),
    Wrong("all windows at once, backward", instead("fast_conv2d", COLUMNS), naive="test_a_gradient_never_holds_all_windows"),
    Wrong(
        "each result is remembered",
        instead(
            "fast_conv2d",
            "_remembered = []\n\n\n" + CONV + "    _remembered[:] = [_right_fast_conv2d(x, weight, bias, stride, padding)]\n"
            "    return _remembered[0]",
        ),
        naive="test_nothing_is_kept_after_backward",
    ),
    Wrong("all scores at once", instead("fused_attention", COMPOSED), naive="test_memory_never_holds_all_scores"),
    Wrong("all scores at once, forward", instead("fused_attention", COMPOSED), naive="test_a_forward_never_holds_all_scores"),
    Wrong(
        "one head after the other",
        instead(
            "fused_attention",
            ATTENTION + "    from katas.tensor import stack\n\n"
            "    return stack([_right_fused_attention(*head, mask, causal, window) for head in zip(q, k, v)])",
        ),
        naive="test_steps_do_not_grow_with_heads",
    ),
    Wrong(
        "the optimizer as it is",
        instead("flat", "def flat(optimizer):\n    return optimizer"),
        naive="test_a_step_holds_a_piece_not_the_whole",
    ),
    # profile
    Wrong(
        "the rules have no rows",
        {"            _RULES.update({op: functools.partial(self.rule, op, find) for op, find in rules.items()})\n": ""},
    ),
    Wrong(
        "rules are counted as their operation",
        {'self.clock.add(f"{self.op} backward", seconds': "self.clock.add(self.op, seconds"},
    ),
    Wrong(
        "the call runs twice",
        {
            "        call()\n        seconds = time.perf_counter() - start": "        call()\n        call()\n        seconds = time.perf_counter() - start"
        },
    ),
    Wrong("a warm-up", {"    clock = _Clock()\n    with _PROFILING": "    clock = _Clock()\n    call()\n    with _PROFILING"}),
    Wrong(
        "no row for other time",
        {'    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))\n': ""},
    ),
    Wrong("other is all of the time", {"seconds - clock.seconds, 0, 0": "seconds, 0, 0"}),
    Wrong("other is bound by overhead", {'0, 0, "python"': '0, 0, "overhead"'}),
    Wrong(
        "the rows in the order of the calls",
        {"Profile(sorted(rows, key=lambda row: -row.seconds), seconds)": "Profile(rows, seconds)"},
    ),
    Wrong("the smallest comes first", {"key=lambda row: -row.seconds": "key=lambda row: row.seconds"}),
    Wrong("sorted by calls", {"key=lambda row: -row.seconds": "key=lambda row: -row.calls"}),
    Wrong(
        "after an exception the recorder stays",
        {
            "            yield\n        finally:\n            Tensor._recorder": "            yield\n        except ValueError:\n            raise\n        else:\n            Tensor._recorder"
        },
    ),
    Wrong(
        "the recorder is not put back",
        {
            "        finally:\n            Tensor._recorder, Differentiable.__call__ = record, call": "        finally:\n            Differentiable.__call__ = call"
        },
    ),
    Wrong(
        "the table of rules is not put back",
        {"Differentiable.__call__ = record, call\n            _RULES.update(rules)": "Differentiable.__call__ = record, call"},
    ),
    Wrong(
        "kata 07's record is put back, whatever was there",
        {
            "            Tensor._recorder, Differentiable.__call__ = record, call\n            _RULES": "            from katas import autograd\n\n            Tensor._recorder, Differentiable.__call__ = autograd.record, call\n            _RULES"
        },
    ),
    Wrong(
        "nothing is recorded while it watches",
        {"            if record is not None:\n                record(op, result, parents, attrs)\n": ""},
    ),
    Wrong(
        "a recorder of None is called",
        {"            if record is not None:\n                record(": "            if True:\n                record("},
    ),
    Wrong(
        "the gradients are zeros while it watches",
        {"        return grad\n\n    def __eq__": "        return 0 * grad\n\n    def __eq__"},
    ),
    Wrong("calls are not counted", {"(1, seconds, nbytes, flops))]": "(not self.sums.get(op), seconds, nbytes, flops))]"}),
    Wrong(
        "the last call's figures",
        {
            "[*map(operator.add, self.sums.get(op, (0, 0.0, 0, 0)), (1, seconds, nbytes, flops))]": "[self.sums.get(op, [0])[0] + 1, self.sums.get(op, [0, 0.0])[1] + seconds, nbytes, flops]"
        },
    ),
    Wrong(
        "the flops of a product without the factor 2",
        {"        return 2 * y.size * operands[0].shape[-1]": "        return y.size * operands[0].shape[-1]"},
    ),
    Wrong("the flops of a product by its first axis", {"operands[0].shape[-1]": "operands[0].shape[0]"}),
    Wrong(
        "the flops of one matrix, not of the batch",
        {
            "        return 2 * y.size * operands[0].shape[-1]": "        return 2 * y[(0,) * (y.ndim - 2)].size * operands[0].shape[-1]"
        },
    ),
    Wrong("a product is one flop an element", {'    if op == "matmul":': '    if op == "no matmul":'}),
    Wrong(
        "the flops of a rule by its result", {"_flops(self.op, y, parents, grad), g": "_flops(self.op, grad, parents, grad), g"}
    ),
    Wrong("fast_conv2d counts as any operation", {'    if op in ("conv2d", "fast_conv2d"):': '    if op == "conv2d":'}),
    Wrong("conv2d counts as any operation", {'    if op in ("conv2d", "fast_conv2d"):': '    if op == "fast_conv2d":'}),
    Wrong("the flops of a convolution without its channels", {"operands[1][0].size": "operands[1][0, 0].size"}),
    Wrong("the flops of all filters", {"operands[1][0].size": "operands[1].size"}),
    Wrong(
        "Winograd's multiplications",
        {"        return 2 * y.size * operands[1][0].size": "        return 2 * y.size * operands[1][0].size * 4 // 9"},
    ),
    Wrong(
        "the flops of all else are the operands'",
        {"    return result.size\n": "    return max([result.size, *[operand.size for operand in operands]])\n"},
    ),
    Wrong("the flops of a rule are those of y", {"    return result.size\n": "    return y.size\n"}),
    Wrong(
        "bytes without the operands",
        {
            "self.add(op, seconds, _flops(op, y, operands, y), y, *operands)": "self.add(op, seconds, _flops(op, y, operands, y), y)"
        },
    ),
    Wrong(
        "bytes without the result",
        {
            "self.add(op, seconds, _flops(op, y, operands, y), y, *operands)": "self.add(op, seconds, _flops(op, y, operands, y), *operands)"
        },
    ),
    Wrong("bytes of a rule without g", {"grad), g, *parents, grad)": "grad), *parents, grad)"}),
    Wrong("bytes of a rule without the gradient", {"grad), g, *parents, grad)": "grad), g, *parents)"}),
    Wrong("bytes of a rule with y", {"grad), g, *parents, grad)": "grad), g, y, *parents, grad)"}),
    Wrong("elements, not bytes", {"{id(array): array.nbytes for": "{id(array): array.size for"}),
    Wrong("four bytes an element", {"{id(array): array.nbytes for": "{id(array): 4 * array.size for"}),
    Wrong(
        "the time of a rule begins where the last operation ended",
        {"        self.clock.restart()\n        start, before": "        start, before"},
    ),
    Wrong("rules take no time", {"        seconds = time.perf_counter() - start - inside": "        seconds = 0.0"}),
    Wrong(
        "operations take no time",
        {"seconds, y, operands = time.perf_counter() - self.last, result.data": "seconds, y, operands = 0.0, result.data"},
    ),
    Wrong(
        "the time of an operation begins with the call",
        {
            "            if record is not None:\n                record(op, result, parents, attrs)\n            self.restart()": "            if record is not None:\n                record(op, result, parents, attrs)"
        },
    ),
    Wrong(
        "the rest of the time goes to the last operation",
        {
            '    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))\n': '    rows.append(Row("other", 1, 0.0, 0, 0, "python"))\n    if len(rows) > 1:\n        rows[-2] = rows[-2]._replace(seconds=rows[-2].seconds + seconds - clock.seconds)\n'
        },
    ),
    Wrong(
        "CPU seconds",
        {
            "        start = clock.last = time.perf_counter()\n        call()\n        seconds = time.perf_counter() - start": "        start, clock.last = time.process_time(), time.perf_counter()\n        call()\n        seconds = time.process_time() - start"
        },
    ),
    Wrong("peak in FLOP, not GFLOP", {"flops / (1e9 * machine.peak_gflops)": "flops / machine.peak_gflops"}),
    Wrong("bandwidth in bytes, not 10⁹", {"nbytes / (1e9 * machine.bandwidth_gbs)": "nbytes / machine.bandwidth_gbs"}),
    Wrong("overhead in milliseconds", {"calls * machine.overhead_us / 1e6": "calls * machine.overhead_us / 1e3"}),
    Wrong("the overhead of one call", {"calls * machine.overhead_us / 1e6": "machine.overhead_us / 1e6"}),
    Wrong("bound by the smallest", {"    return max(times, key=times.get)": "    return min(times, key=times.get)"}),
    Wrong(
        "memory and arithmetic are exchanged",
        {'"arithmetic": flops': '"memory": flops', '"memory": nbytes': '"arithmetic": nbytes'},
    ),
    Wrong(
        "as text only the longest",
        {
            "        for op, calls, seconds, nbytes, flops, bound in self.rows:": "        for op, calls, seconds, nbytes, flops, bound in self.rows[:2]:"
        },
    ),
    Wrong(
        "as text without the bounds",
        {'            lines.append(f"{op:<32}{figures}  {bound}")': '            lines.append(f"{op:<32}{figures}")'},
    ),
    Wrong(
        "rules of one parent only",
        {
            "        return _TimedRule(op, rule, self) if self.observes()": "        return _TimedRule(op, rule, self) if argnum == 0 and self.observes()"
        },
    ),
    # two shards
    Wrong(
        "the shards run one after the other",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]\n            wait(futures)\n": "            futures = []\n            for call in calls:\n                futures.append(self._executor.submit(copy_context().run, call))\n                wait(futures)\n"
        },
    ),
    Wrong(
        "backward in the caller's thread",
        {
            "            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])": "            for shard in shards:\n                shard.backward(g)"
        },
    ),
    Wrong(
        "no threads at all",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]\n            wait(futures)\n        for future in futures:\n            future.result()": "            for call in calls:\n                copy_context().run(call)"
        },
    ),
    Wrong(
        "the context is not copied",
        {"self._executor.submit(copy_context().run, call)": "self._executor.submit(call)"},
        says="copy of the caller's context",
    ),
    Wrong(
        "an empty context",
        {"self._executor.submit(copy_context().run, call)": "self._executor.submit(contextvars.Context().run, call)"},
    ),
    Wrong(
        "one context for both",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]": "            context = copy_context()\n            futures = [self._executor.submit(context.run, call) for call in calls]"
        },
    ),
    Wrong("BLAS keeps its threads", {'        with _blas().limit(limits=1, user_api="blas"):': "        if True:"}),
    Wrong(
        "the limit is not restored",
        {
            '        with _blas().limit(limits=1, user_api="blas"):': '        _blas().limit(limits=1, user_api="blas")\n        if True:'
        },
        says="the limit is not restored",
    ),
    Wrong(
        "the limit is restored to 2",
        {
            '        with _blas().limit(limits=1, user_api="blas"):\n': '        _blas().limit(limits=1, user_api="blas")\n        try:\n',
            "            wait(futures)\n        for future": '            wait(futures)\n        finally:\n            _blas().limit(limits=2, user_api="blas")\n        for future',
        },
    ),
    Wrong(
        "the limit is restored before the shards have ended",
        {"            wait(futures)\n        for future": "        wait(futures)\n        for future"},
    ),
    Wrong(
        "an exception does not wait for the other shard",
        {"            wait(futures)\n": '            wait(futures, return_when="FIRST_EXCEPTION")\n'},
    ),
    Wrong("an exception is swallowed", {"            future.result()\n": "            future.exception()\n"}),
    Wrong(
        "another exception, without the traceback",
        {
            "            future.result()\n": "            if future.exception():\n                raise RuntimeError(str(future.exception()))\n"
        },
    ),
    Wrong(
        "the exception without its traceback",
        {
            "            future.result()\n": "            if future.exception():\n                raise future.exception().with_traceback(None) from None\n"
        },
    ),
    Wrong(
        "each shard weighs the same",
        {
            "        return [(batch, count / total) for batch, count in counted]": "        return [(batch, 1 / len(counted)) for batch, count in counted]"
        },
        says="each shard weighs the same",
    ),
    Wrong(
        "the sum of the losses",
        {
            "        return [(batch, count / total) for batch, count in counted]": "        return [(batch, 1.0) for batch, count in counted]"
        },
        says="the sum of the shards' means",
    ),
    Wrong(
        "shards weigh their samples, not what counts",
        {
            "        total = sum([count for _, count in counted])": "        counted = [(batch, len(batch[0])) for batch, _ in counted]\n        total = sum([count for _, count in counted])"
        },
    ),
    Wrong(
        "gradients are those of each shard's mean",
        {"            self.loss.backward(np.asarray(g * self.share))": "            self.loss.backward(np.asarray(g))"},
    ),
    Wrong(
        "the gradient of the loss is taken for 1",
        {
            "            self.loss.backward(np.asarray(g * self.share))": "            self.loss.backward(np.asarray(self.share))"
        },
        says="taken for 1",
    ),
    Wrong(
        "only the first shard's gradients",
        {
            "            return [leaf.grad for shard in shards for leaf in shard.leaves]": "            return [leaf.grad * (shard is shards[0]) for shard in shards for leaf in shard.leaves]"
        },
    ),
    Wrong(
        "a shard in which nothing counts is not left out",
        {
            "for batch in batches if (count := self.counted(*batch))]": "for batch in batches if (count := self.counted(*batch)) or True]"
        },
    ),
    Wrong(
        "the last sample is left out",
        {
            "cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]": "cuts = [len(x) // self.threads * i for i in range(self.threads + 1)]"
        },
    ),
    Wrong(
        "the rest goes to the last shard",
        {
            "cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]": "cuts = [*[len(x) // self.threads * i for i in range(self.threads)], len(x)]"
        },
    ),
    Wrong(
        "every second sample",
        {
            "batches = [(x[start:stop], y[start:stop]) for start, stop in pairwise(cuts) if start < stop]": "batches = [(x[i :: self.threads], y[i :: self.threads]) for i in range(self.threads) if len(x) > i]"
        },
    ),
    Wrong("y is not cut", {"(x[start:stop], y[start:stop])": "(x[start:stop], y)"}),
    Wrong("always two threads", {"    return _DataParallel(model, threads)": "    return _DataParallel(model, 2)"}),
    Wrong("always one thread", {"    return _DataParallel(model, threads)": "    return _DataParallel(model, 1)"}),
    Wrong(
        "four threads unless told otherwise",
        {"def data_parallel(model: Module, threads: int = 2)": "def data_parallel(model: Module, threads: int = 4)"},
    ),
    Wrong("no threads are let through", {"    if threads < 1:\n        raise": "    if threads < 0:\n        raise"}),
    Wrong("the model itself, on no threads", {"    return _DataParallel(model, threads)": "    return model"}),
    Wrong(
        "a replica of the first call",
        {
            "        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]": "        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]\n        self.first = getattr(self, 'first', None) or {'models': [shard.model for shard in shards], 'owners': [shard.owners for shard in shards]}\n        for shard, model, owners in zip(shards, self.first['models'], self.first['owners']):\n            shard.model, shard.owners = model, owners"
        },
    ),
    Wrong(
        "both shards share the model",
        {
            "        self.model = self.copy(parallel.model)": "        self.model = parallel.model\n        self.owners = {parameter: parameter for parameter in self.model.parameters()}"
        },
    ),
    Wrong(
        "data is copied",
        {
            "            vars(new).update(vars(value), grad=None)": "            vars(new).update(vars(value), data=value.data.copy(), grad=None)"
        },
    ),
    Wrong(
        "replicas start from the model's grad",
        {
            "            vars(new).update(vars(value), grad=None)": "            vars(new).update(vars(value), grad=None if value.grad is None else value.grad.copy())"
        },
    ),
    Wrong(
        "frozen parameters are not",
        {
            "            vars(new).update(vars(value), grad=None)": "            vars(new).update(vars(value), grad=None, requires_grad=True)"
        },
    ),
    Wrong(
        "a generator is shared", {"            return self.parallel.spawned(value)[self.number]": "            return value"}
    ),
    Wrong(
        "the shards' generators are equal",
        {"            return self.parallel.spawned(value)[self.number]": "            return self.parallel.spawned(value)[0]"},
    ),
    Wrong(
        "generators with the same numbers",
        {"generator.spawn(self.threads)])": "[copy.deepcopy(generator) for _ in range(self.threads)]])"},
    ),
    Wrong(
        "generators are spawned at each step",
        {
            "            if own is generator:\n                return spawned": "            if own is None:\n                return spawned"
        },
    ),
    Wrong(
        "a new generator at each step",
        {"            return self.parallel.spawned(value)[self.number]": "            return np.random.default_rng()"},
    ),
    Wrong(
        "the same generator at each step",
        {
            "            return self.parallel.spawned(value)[self.number]": "            return np.random.default_rng(self.number)"
        },
    ),
    Wrong(
        "generators that checkpoints don't find",
        {
            "        self.generators = []  #": "        self.generators = _Unseen()  #",
            "class _DataParallel(Module):": "class _Unseen:\n    __slots__ = ('pairs',)\n\n    def __init__(self):\n        self.pairs = []\n\n    def __iter__(self):\n        return iter(self.pairs)\n\n    def append(self, pair):\n        self.pairs.append(pair)\n\n    def __getitem__(self, i):\n        return self.pairs[i]\n\n\nclass _DataParallel(Module):",
        },
    ),
    Wrong(
        "generators are spawned at the first step",
        {"        _Shard(self, 0, [], (), 1.0)  # which spawns the generators\n": ""},
    ),
    Wrong(
        "layers with one generator get two",
        {
            "            if own is generator:\n                return spawned": "            if own is generator and len(self.generators) > 99:\n                return spawned"
        },
    ),
    Wrong(
        "names are those of a module around it",
        {"    def named_parameters(self) -> list:\n        return self.model.named_parameters()\n\n": ""},
    ),
    Wrong(
        "buffers have other names", {"    def named_buffers(self) -> list:\n        return self.model.named_buffers()\n\n": ""}
    ),
    Wrong(
        "state_dict has other keys",
        {
            "    def state_dict(self) -> dict:\n        return self.model.state_dict()\n\n": "    def state_dict(self) -> dict:\n        return {f'model.{name}': array for name, array in self.model.state_dict().items()}\n\n"
        },
    ),
    Wrong(
        "what counts is not passed on",
        {'return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)': "return len(x)"},
    ),
    Wrong(
        "a model must say what counts",
        {'return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)': "return self.model.counted(x, y)"},
    ),
    Wrong(
        "buffers are shared by the shards",
        {"        self.copies = {id(array): array.copy() for _, array in buffers}": "        self.copies = {}"},
    ),
    Wrong("buffers of the first shard", {"            own[...] = np.mean(arrays, 0)": "            own[...] = arrays[0]"}),
    Wrong("the sum of the buffers", {"            own[...] = np.mean(arrays, 0)": "            own[...] = np.sum(arrays, 0)"}),
    Wrong("buffers stay", {"            own[...] = np.mean(arrays, 0)": "            pass"}),
    Wrong(
        "buffers are averaged even if nothing changed",
        {"        if any([(array != own).any() for array in arrays]):": "        if True:"},
    ),
    Wrong(
        "buffers are averaged before an exception",
        {
            "        self.side_by_side([shard.forward for shard in shards])\n        if buffers:\n            _average(buffers, [shard.model.named_buffers() for shard in shards])": "        try:\n            self.side_by_side([shard.forward for shard in shards])\n        finally:\n            if buffers:\n                _average(buffers, [shard.model.named_buffers() for shard in shards])"
        },
    ),
    Wrong(
        "a parameter that is not used gets zeros",
        {
            "        self.leaves, seen, waiting = [], {self.loss}, [self.loss]": "        self.leaves, seen, waiting = [*self.owners], {self.loss}, []",
            "            return [leaf.grad for shard": "            return [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad for shard",
        },
    ),
    Wrong(
        "gradients are added as the shards end",
        {
            "            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])\n            return [leaf.grad for shard in shards for leaf in shard.leaves]": "            ended = []\n            self.side_by_side([lambda shard=shard: (shard.backward(g), ended.append(shard)) for shard in shards])\n            total = {}\n            for shard in ended:\n                for leaf in shard.leaves:\n                    owner = shard.owners[leaf]\n                    total[owner] = leaf.grad if owner not in total else total[owner] + leaf.grad\n            done = set()\n            return [np.zeros_like(leaf.data) if shard.owners[leaf] in done or done.add(shard.owners[leaf]) else total[shard.owners[leaf]] for shard in shards for leaf in shard.leaves]"
        },
    ),
    Wrong(
        "threads for each step, which stay",
        {
            "        with _blas().limit(": "        self._executor = ThreadPoolExecutor(self.threads)\n        self.old = {**getattr(self, 'old', {}), self._executor: 0}\n        with _blas().limit("
        },
    ),
    Wrong(
        "a graph of the shards is kept",
        {
            '        return Tensor._result("data_parallel", loss, *parents, shared=_Shared(gradients))': '        self.last = {"shards": gradients}\n        return Tensor._result("data_parallel", loss, *parents, shared=_Shared(gradients))'
        },
    ),
    Wrong(
        "modes of the first call",
        {
            "            vars(new).update({name: self.copy(member) for name, member in vars(value).items()})": "            vars(new).update({name: self.copy(member) for name, member in vars(value).items() if name != 'training'})"
        },
    ),
    Wrong(
        "float64 losses",
        {
            "        loss = sum([shard.loss.data * shard.share for shard in shards])": "        loss = sum([shard.loss.data.astype(np.float64) * shard.share for shard in shards])"
        },
    ),
    # accelerate
    Wrong("nothing is accelerated", {"            if type(value) in _FAST:": "            if False:"}),
    Wrong(
        "a copy is accelerated",
        {
            "    seen, waiting = set(), [model]\n    while": "    model = copy.deepcopy(model)\n    seen, waiting = set(), [model]\n    while"
        },
    ),
    Wrong(
        "nothing is returned",
        {
            "            waiting += value.values() if isinstance(value, dict) else value\n    return model": "            waiting += value.values() if isinstance(value, dict) else value"
        },
    ),
    Wrong(
        "subclasses too",
        {
            "            if type(value) in _FAST:\n                value.__class__ = _FAST[type(value)]": "            for kind in _FAST:\n                if isinstance(value, kind) and type(value) not in _FAST.values():\n                    value.__class__ = _FAST[kind]"
        },
    ),
    Wrong(
        "the classes themselves are changed",
        {
            '_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}': '_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}\nConv2d.forward = _FORWARD[Conv2d]'
        },
    ),
    Wrong(
        "not in lists",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Differentiable | dict) and id"
        },
    ),
    Wrong(
        "not in tuples",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Differentiable | list | dict) and id"
        },
    ),
    Wrong(
        "endless where a child refers to its parent",
        {
            " and id(value) not in seen:\n            seen.add(id(value))\n            if type(value) in _FAST": ":\n            if type(value) in _FAST"
        },
    ),
    Wrong(
        "only Modules are looked at",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Module | list | tuple | dict) and id"
        },
    ),
    Wrong(
        "without convolutions",
        {"    Conv2d: lambda self, x: fast_conv2d(x, self.weight, self.bias, self.stride, self.padding),\n": ""},
    ),
    Wrong("without normalizations", {"    LayerNorm: lambda self, x: layer_norm(x, self.weight, self.bias, self.eps),\n": ""}),
    Wrong("without RMSNorm", {"    RMSNorm: lambda self, x: rms_norm(x, self.weight, self.eps),\n": ""}),
    Wrong("without GELU", {"    GELU: lambda self, x: gelu(x),\n": ""}),
    Wrong("without attention", {"    MultiHeadAttention: _attention,\n": ""}),
    Wrong("without CNN", {"    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),\n": ""}),
    Wrong("without Sequential", {"    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": ""}),
    Wrong(
        "a CNN that does not flatten",
        {
            "    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),\n": "    CNN: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n"
        },
    ),
    Wrong(
        "a convolution's stride is 1",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, self.bias, 1, self.padding)"
        },
    ),
    Wrong(
        "a convolution's padding is 1",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, self.bias, self.stride, 1)"
        },
    ),
    Wrong(
        "a convolution's bias is forgotten",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, None, self.stride, self.padding)"
        },
    ),
    Wrong(
        "eps of LayerNorm is 1e-5", {"layer_norm(x, self.weight, self.bias, self.eps)": "layer_norm(x, self.weight, self.bias)"}
    ),
    Wrong(
        "the bias of LayerNorm is forgotten",
        {"layer_norm(x, self.weight, self.bias, self.eps)": "layer_norm(x, self.weight, None, self.eps)"},
    ),
    Wrong("eps of RMSNorm is 1e-5", {"rms_norm(x, self.weight, self.eps)": "rms_norm(x, self.weight)"}),
    Wrong(
        "label smoothing is forgotten",
        {
            "        logits, target, self.label_smoothing, self.ignore_index\n": "        logits, target, 0.0, self.ignore_index\n"
        },
    ),
    Wrong(
        "ignore_index is forgotten",
        {"        logits, target, self.label_smoothing, self.ignore_index\n": "        logits, target, self.label_smoothing\n"},
    ),
    Wrong(
        "eps of BatchNorm2d is 1e-5",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, norm.training, norm.momentum)"},
    ),
    Wrong(
        "momentum of BatchNorm2d is 0.1",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, norm.training, 0.1, norm.eps)"},
    ),
    Wrong(
        "BatchNorm2d is always training",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, True, norm.momentum, norm.eps)"},
    ),
    Wrong(
        "BatchNorm2d never trains",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, False, norm.momentum, norm.eps)"},
    ),
    Wrong(
        "running statistics are copies",
        {
            "        running = norm.running_mean, norm.running_var\n": "        running = norm.running_mean.copy(), norm.running_var.copy()\n"
        },
    ),
    Wrong(
        "any ReLU behind",
        {"        if result and type(layer) is ReLU and": "        if result and isinstance(layer, ReLU) and"},
    ),
    Wrong(
        "any activation behind",
        {"        if result and type(layer) is ReLU and": "        if result and not isinstance(layer, Module) and"},
    ),
    Wrong("a subclass of BatchNorm2d, too", {"type(result[-1]) is BatchNorm2d:": "isinstance(result[-1], BatchNorm2d):"}),
    Wrong(
        "a ReLU anywhere behind",
        {
            "    result = []\n    for layer in layers:\n        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:\n            result[-1] = _BatchNormReLU(result[-1])": "    result = []\n    for layer in layers:\n        if type(layer) is ReLU and any([type(other) is BatchNorm2d for other in result]):\n            result = [_BatchNormReLU(other) if type(other) is BatchNorm2d else other for other in result]"
        },
    ),
    Wrong(
        "ReLU is added to every BatchNorm2d",
        {
            "        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:\n            result[-1] = _BatchNormReLU(result[-1])\n        else:\n            result.append(layer)": "        result.append(_BatchNormReLU(layer) if type(layer) is BatchNorm2d else layer)"
        },
    ),
    Wrong(
        "the pairs of the first call",
        {
            "    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": "    Sequential: lambda self, x: Sequential(*vars(self).setdefault('_pairs', tuple(_paired(self.layers)))).forward(x),\n"
        },
    ),
    Wrong(
        "the layers are replaced by pairs",
        {
            "    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": "    Sequential: lambda self, x: (setattr(self, 'layers', _paired(self.layers)), Sequential.forward(self, x))[1],\n"
        },
    ),
    Wrong(
        "dropout of attention is forgotten",
        {"    if drops or cache is not None or not fits:": "    if cache is not None or not fits:"},
    ),
    Wrong("the cache is forgotten", {"    if drops or cache is not None or not fits:": "    if drops or not fits:"}),
    Wrong("a cache must be truthy", {"    if drops or cache is not None or not fits:": "    if drops or cache or not fits:"}),
    Wrong("the mask is forgotten", {"None if real is None else real[:, None, None], self.causal": "None, self.causal"}),
    Wrong("the mask hides queries", {"real[:, None, None], self.causal": "real[:, None, :, None], self.causal"}),
    Wrong(
        "attention is always causal",
        {"real[:, None, None], self.causal, self.window)": "real[:, None, None], True, self.window)"},
    ),
    Wrong("the window is forgotten", {"real[:, None, None], self.causal, self.window)": "real[:, None, None], self.causal)"}),
    Wrong(
        "positions are forgotten",
        {"    if self.positions is not None:\n        q, k = self.positions(q), self.positions(k)\n": ""},
    ),
    Wrong(
        "positions rotate the values",
        {
            "        q, k = self.positions(q), self.positions(k)\n": "        q, k, v = self.positions(q), self.positions(k), self.positions(v)\n"
        },
    ),
    Wrong(
        "heads are cut out of rows",
        {
            "    heads = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, self.d_model // self.n_head)\n    q, k, v = heads.permute(2, 0, 3, 1, 4)": "    heads = self.c_attn(x).reshape(x.shape[0], 3, self.n_head, x.shape[1], self.d_model // self.n_head)\n    q, k, v = heads.permute(1, 0, 2, 3, 4)"
        },
    ),
    Wrong(
        "heads are joined without being brought back",
        {"    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))": "    return self.c_proj(y.reshape(*x.shape))"},
    ),
    Wrong(
        "c_proj is forgotten",
        {
            "    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))": "    return y.permute(0, 2, 1, 3).reshape(*x.shape)"
        },
    ),
]
