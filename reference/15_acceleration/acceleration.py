"""Acceleration: a profile says where the time goes; fused operations, two threads and Winograd's convolution take it away."""

import contextvars
import copy
import functools
import operator
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from katas.activations import GELU, Differentiable, ReLU
from katas.attention import MultiHeadAttention, attention_weights, scaled_dot_product_attention
from katas.autograd import _RULES, defvjp_argnum, no_grad
from katas.environment import Machine
from katas.layers import Dropout, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, BatchNorm2d, Conv2d, Pair, conv2d
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

# 15.1 Profile


def loop_conv2d(x: np.ndarray, weight: np.ndarray, padding: int = 0) -> np.ndarray:  # given
    """A convolution of stride 1 as it is defined, in seven loops: x (batch, in, h, w), weight (out, in, kernel_h, kernel_w)."""
    (batch, channels, h, w), (out, _, kh, kw) = x.shape, weight.shape
    padded = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    y = np.zeros((batch, out, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1), x.dtype)
    for n in range(batch):
        for o in range(out):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    for c in range(channels):
                        for k in range(kh):
                            for m in range(kw):
                                y[n, o, i, j] += padded[n, c, i + k, j + m] * weight[o, c, k, m]
    return y


class Row(NamedTuple):  # given
    """What all calls of one operation took together."""

    op: str  # "matmul"; "matmul backward" for its rules; "other" for all that is no operation
    calls: int
    seconds: float
    bytes: int  # of the arrays that it read and wrote, each array once a call
    flops: int
    bound: str  # "arithmetic", "memory" or "overhead": what alone would take longest on the machine; "python" for "other"


class Profile(NamedTuple):  # given
    """Where the time of a call went. str() is a table."""

    rows: list[Row]  # the longest first
    seconds: float  # the sum of theirs

    def __str__(self) -> str:
        lines = [f"{'operation':<32}{'calls':>7}{'ms':>10}{'share':>7}{'MB':>10}{'MFLOP':>11}  bound"]
        for op, calls, seconds, nbytes, flops, bound in self.rows:
            figures = f"{calls:>7}{1e3 * seconds:>10.2f}{seconds / self.seconds:>7.1%}{nbytes / 1e6:>10.2f}{flops / 1e6:>11.2f}"
            lines.append(f"{op:<32}{figures}  {bound}")
        return "\n".join(lines)


def profile(call: Callable[[], object], machine: Machine) -> Profile:
    """Runs call(), a training step say, and tells how long each primitive and its rules took.

    It observes Tensor._recorder, the table of rules and Differentiable.__call__, which are as before afterwards, after an error
    too. The time of a primitive begins where the one before it ended, or where a layer was called since. Only the calling
    thread is observed; a profile in a second thread waits until the first has ended.
    """
    clock = _Clock()
    with _PROFILING, clock.observing():
        start = clock.last = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    rows = [Row(op, *sums, _bound(machine, *sums)) for op, sums in clock.sums.items()]
    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))
    return Profile(sorted(rows, key=lambda row: -row.seconds), seconds)


_PROFILING = threading.RLock()  # two threads that observed at once would not put back what was there before both


class _Clock:
    """Adds up calls, seconds, bytes and flops by operation."""

    def __init__(self):
        self.sums, self.seconds, self.last, self.thread = {}, 0.0, 0.0, threading.get_ident()

    @contextmanager
    def observing(self) -> Iterator[None]:
        record, call, rules = Tensor._recorder, Differentiable.__call__, dict(_RULES)

        def observed_record(op, result, parents, attrs):
            if self.observes():
                seconds, y, operands = time.perf_counter() - self.last, result.data, [parent.data for parent in parents]
                self.add(op, seconds, _flops(op, y, operands, y), y, *operands)
            if record is not None:
                record(op, result, parents, attrs)
            self.restart()

        def observed_call(layer, *inputs, **options):
            self.restart()
            return call(layer, *inputs, **options)

        try:
            Tensor._recorder, Differentiable.__call__ = observed_record, observed_call
            _RULES.update({op: functools.partial(self.rule, op, find) for op, find in rules.items()})
            yield
        finally:
            Tensor._recorder, Differentiable.__call__ = record, call
            _RULES.update(rules)

    def observes(self) -> bool:
        return threading.get_ident() == self.thread

    def restart(self) -> None:
        if self.observes():
            self.last = time.perf_counter()

    def rule(self, op: str, find: Callable, argnum: int) -> Callable:
        rule = find(argnum)
        return _TimedRule(op, rule, self) if self.observes() and rule is not ... else rule

    def add(self, op: str, seconds: float, flops: int, *arrays: np.ndarray) -> None:
        nbytes = sum({id(array): array.nbytes for array in arrays}.values())
        self.sums[op] = [*map(operator.add, self.sums.get(op, (0, 0.0, 0, 0)), (1, seconds, nbytes, flops))]
        self.seconds += seconds


class _TimedRule:
    """A rule under observation. It equals the rule itself, which kata 07 may look up in a table of its own."""

    def __init__(self, op: str, rule: Callable, clock: _Clock):
        self.op, self.rule, self.clock = op, rule, clock

    def __call__(self, g, y, *parents, **attrs):
        self.clock.restart()
        start, before = self.clock.last, self.clock.seconds
        grad = np.asarray(self.rule(g, y, *parents, **attrs))
        inside = self.clock.seconds - before  # of operations that the rule itself is made of
        seconds = time.perf_counter() - start - inside
        self.clock.add(f"{self.op} backward", seconds, _flops(self.op, y, parents, grad), g, *parents, grad)
        self.clock.restart()
        return grad

    def __eq__(self, other) -> bool:
        return self.rule == other

    def __hash__(self) -> int:
        return hash(self.rule)


def _flops(op: str, y: np.ndarray, operands: Sequence[np.ndarray], result: np.ndarray) -> int:
    """Of an operation that gave y, or of one of its rules: those of a product of matrices are as large as itself."""
    if op == "matmul":
        return 2 * y.size * operands[0].shape[-1]
    if op in ("conv2d", "fast_conv2d"):
        return 2 * y.size * operands[1][0].size
    return result.size


def _bound(machine: Machine, calls: int, seconds: float, nbytes: int, flops: int) -> str:
    times = {
        "arithmetic": flops / (1e9 * machine.peak_gflops),
        "memory": nbytes / (1e9 * machine.bandwidth_gbs),
        "overhead": calls * machine.overhead_us / 1e6,
    }
    return max(times, key=times.get)


# 15.2 to 15.5 STAND-INS: others write these


class _Shared:
    """Gradients that one recorded operation computes together, for that gradient of its result with which it was asked.

    The rule that is asked first has all of them computed; each of the others takes its own. Nothing is given out twice.
    """

    g: np.ndarray | None = None

    def take(self, argnum: int, g: np.ndarray, gradients: Callable) -> np.ndarray:
        if g is not self.g or argnum not in self.parts:
            self.g, self.parts = g, dict(enumerate(gradients()))
        return self.parts.pop(argnum)


class _Again:
    """The gradients of all parents of an operation, found by computing it again."""

    def __init__(self, function: Callable):
        self.function, self.g, self.grads = function, None, None

    def gradient(self, argnum: int, g: np.ndarray, *parents: np.ndarray) -> np.ndarray:
        if self.g is not g:
            self.g, self.grads = g, contextvars.Context().run(self._gradients, g, parents)
        return self.grads[argnum]

    def _gradients(self, g, parents):
        fresh = [Tensor(parent, requires_grad=True) for parent in parents]
        self.function(*fresh).backward(g)
        return [np.zeros_like(x.data) if x.grad is None else x.grad for x in fresh]


def _primitive(op: str, function: Callable, *parents: Tensor) -> Tensor:
    with no_grad():
        y = function(*[Tensor(parent.data) for parent in parents]).data
    return Tensor._result(op, y, *parents, again=_Again(function))


def _rule(argnum, g, y, *parents, again):
    return again.gradient(argnum, g, *parents)


for _op in ("fast_conv2d", "softmax_cross_entropy", "fused_gelu", "layer_norm", "rms_norm", "batch_norm_relu"):
    defvjp_argnum(_op, _rule)
defvjp_argnum("fused_attention", _rule)

# 15.2 Convolution


def fast_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Pair = 1, padding: Pair = 0) -> Tensor:
    """What conv2d gives."""
    parents = (x, weight) if bias is None else (x, weight, bias)
    return _primitive("fast_conv2d", lambda *arrays: conv2d(*arrays, **{"stride": stride, "padding": padding}), *parents)


# 15.3 Fused operations


def softmax_cross_entropy(logits: Tensor, target, label_smoothing: float = 0.0, ignore_index: int = -100) -> Tensor:
    """What CrossEntropyLoss gives."""
    labels = np.array(Tensor(target).data)
    criterion = CrossEntropyLoss(label_smoothing, ignore_index)
    return _primitive("softmax_cross_entropy", lambda x: criterion(x, labels), logits)


def gelu(x: Tensor) -> Tensor:
    """What GELU gives."""
    return _primitive("fused_gelu", GELU(), x)


def _check(name: str, x: Tensor, weight: Tensor) -> None:
    if x.shape[-1:] != weight.shape:
        raise ValueError(f"{name} got input of shape {x.shape} and a weight of {weight.shape}")


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """What LayerNorm gives."""
    _check("layer_norm", x, weight)

    def function(x, weight, bias=None):
        layer = LayerNorm(1, eps=eps)
        layer.__dict__.update(weight=weight, bias=bias)
        return layer(x)

    return _primitive("layer_norm", function, *([x, weight] if bias is None else [x, weight, bias]))


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """What RMSNorm gives."""
    _check("rms_norm", x, weight)

    def function(x, weight):
        layer = RMSNorm(1, eps)
        layer.__dict__.update(weight=weight)
        return layer(x)

    return _primitive("rms_norm", function, x, weight)


def batch_norm_relu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """What BatchNorm2d and a ReLU behind it give."""

    def function(x, weight, bias, mean=None, var=None):
        layer = BatchNorm2d(len(weight), eps, momentum)
        layer.training = training
        layer.__dict__.update(weight=weight, bias=bias)
        layer.running_mean = np.array(running_mean) if mean is None else mean
        layer.running_var = np.array(running_var) if var is None else var
        return ReLU()(layer(x))

    before = np.array(running_mean), np.array(running_var)
    y = _primitive("batch_norm_relu", lambda *parents: function(*parents, *[array.copy() for array in before]), x, weight, bias)
    if training:
        with no_grad():
            function(Tensor(x.data), Tensor(weight.data), Tensor(bias.data), running_mean, running_var)
    return y


# 15.4 Attention


def fused_attention(q: Tensor, k: Tensor, v: Tensor, mask=None, causal: bool = False, window: int | None = None) -> Tensor:
    """What scaled_dot_product_attention gives."""
    scaled_dot_product_attention(Tensor(q.data[..., :0, :]), Tensor(k.data), Tensor(v.data))  # which checks the shapes
    mask = None if mask is None else np.array(Tensor(mask).data)
    return _primitive("fused_attention", lambda q, k, v: attention_weights(q, k, mask, causal, window) @ v, q, k, v)


# 15.5 Optimizer


def flat(optimizer: Optimizer) -> Optimizer:
    """An optimizer of the same behavior."""
    return optimizer


# 15.6 Two shards


def data_parallel(model: Module, threads: int = 2) -> Module:
    """A Module that gives model(x, y), a loss of shape (), and runs each of `threads` shards of the batch on its own thread.

    The loss is the mean over all that counts: model.counted(x, y) targets if there is such a method, else len(x) samples. A
    shard in which nothing counts is left out. Forward and backward run on Python threads, with one BLAS thread each and in a
    copy of the caller's context. Each shard has a replica of the model, made at each forward: its Parameters share `data` and
    have their own `grad`, and for each np.random.Generator it has its own, spawned once. Modules, activations, lists, tuples
    and dicts are copied, all else is shared. BatchNorm2d normalizes by its shard, and each buffer becomes the mean of the
    shards'. Any other attribute that forward assigns is lost. Gradients are added in the order of the shards, so that equal
    seeds give equal numbers. Parameters and buffers have the names that they have in the model.
    Raises: ValueError unless threads is 1 or more; the first error of a shard, when all shards have ended. Then no gradient and
    no buffer has changed.
    """
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads!r}")
    return _DataParallel(model, threads)


class _DataParallel(Module):
    def __init__(self, model: Module, threads: int):
        self.model, self.threads = model, threads
        self.generators = []  # [the model's, [each shard's]], where checkpoints find them
        self._executor = ThreadPoolExecutor(threads)  # its threads end with it, or with the process
        _Shard(self, 0, [], (), 1.0)  # which spawns the generators

    def named_parameters(self) -> list:
        return self.model.named_parameters()

    def named_buffers(self) -> list:
        return self.model.named_buffers()

    def state_dict(self) -> dict:
        return self.model.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state)

    def counted(self, x, y) -> float:
        return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)

    def forward(self, x, y) -> Tensor:
        buffers = self.model.named_buffers()
        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]
        self.side_by_side([shard.forward for shard in shards])
        if buffers:
            _average(buffers, [shard.model.named_buffers() for shard in shards])

        def gradients(g: np.ndarray) -> list[np.ndarray]:
            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])
            return [leaf.grad for shard in shards for leaf in shard.leaves]

        loss = sum([shard.loss.data * shard.share for shard in shards])
        # A Parameter is a parent once for each shard that used it: kata 07 adds the gradients, in this order
        parents = [shard.owners[leaf] for shard in shards for leaf in shard.leaves]
        return Tensor._result("data_parallel", loss, *parents, shared=_Shared(), gradients=gradients)

    def cut(self, x, y) -> list[tuple[tuple, float]]:
        """Each shard's (x, y) and its share of all that counts. If nothing counts, the model gets the whole batch."""
        cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]
        batches = [(x[start:stop], y[start:stop]) for start, stop in pairwise(cuts) if start < stop]
        counted = [(batch, count) for batch in batches if (count := self.counted(*batch))] or [((x, y), 1)]
        total = sum([count for _, count in counted])
        return [(batch, count / total) for batch, count in counted]

    def side_by_side(self, calls: list[Callable]) -> None:
        """Runs each call on a thread, in a copy of this context. Raises the first one's error when all have ended."""
        with _blas().limit(limits=1, user_api="blas"):
            futures = [self._executor.submit(copy_context().run, call) for call in calls]
            wait(futures)
        for future in futures:
            future.result()

    def spawned(self, generator: np.random.Generator) -> list[np.random.Generator]:
        """The shards' generators in place of this one: always the same."""
        for own, spawned in self.generators:
            if own is generator:
                return spawned
        self.generators.append([generator, generator.spawn(self.threads)])
        return self.generators[-1][1]


defvjp_argnum(
    "data_parallel",
    lambda argnum, g, y, *parents, shared, gradients: shared.take(argnum, g, lambda: gradients(g)),
)


class _Shard:
    """A part of a batch and a replica of the model. owners: for a leaf of its graph the Tensor that receives the gradient."""

    def __init__(self, parallel: _DataParallel, number: int, buffers: list, batch: tuple, share: float):
        self.parallel, self.number, self.share, self.owners = parallel, number, share, {}
        self.copies = {id(array): array.copy() for _, array in buffers}  # by the id of the original
        self.model = self.copy(parallel.model)
        self.batch = [self.leaf(value) for value in batch]

    def copy(self, value):
        """The same structure again, around the same arrays."""
        if id(value) in self.copies:
            return self.copies[id(value)]
        if isinstance(value, np.random.Generator):
            return self.parallel.spawned(value)[self.number]
        if isinstance(value, tuple):
            return tuple.__new__(type(value), [self.copy(member) for member in value])
        if not isinstance(value, Differentiable | Parameter | list | dict):
            return value
        if isinstance(value, list | dict):
            new = self.copies[id(value)] = copy.copy(value)
            for key, member in enumerate(value) if isinstance(value, list) else value.items():
                new[key] = self.copy(member)
            return new
        new = self.copies[id(value)] = object.__new__(type(value))  # copy.copy takes five times as long
        if isinstance(value, Parameter):
            vars(new).update(vars(value), grad=None)
            self.owners[new] = value
        else:
            vars(new).update({name: self.copy(member) for name, member in vars(value).items()})
        return new

    def leaf(self, value):
        """x or y; if it requires a gradient, a leaf in its place: two backwards must not meet in one graph."""
        if not (isinstance(value, Tensor) and value.requires_grad):
            return value
        new = Tensor(value.data, requires_grad=True)
        self.owners[new] = value
        return new

    def forward(self) -> None:
        """Leaves are those that the loss depends on: a Parameter that is not used keeps its grad, None perhaps."""
        self.loss = self.model(*self.batch)
        self.leaves, seen, waiting = [], {self.loss}, [self.loss]
        while waiting:
            tensor = waiting.pop()
            if tensor in self.owners:
                self.leaves.append(tensor)
            elif node := getattr(tensor, "node", None):
                new = [parent for parent in node.parents if parent.requires_grad and parent not in seen]
                seen.update(new)
                waiting += new

    def backward(self, g: np.ndarray) -> None:
        if self.leaves:
            self.loss.backward(np.asarray(g * self.share))


def _average(buffers: list, others: list[list]) -> None:
    """Sets each buffer to the mean of the shards'. One that no shard has changed stays, to the last bit."""
    for (_, own), *named in zip(buffers, *others, strict=True):
        arrays = [array for _, array in named]
        if any([(array != own).any() for array in arrays]):
            own[...] = np.mean(arrays, 0)


@functools.cache
def _blas():
    """Limits the threads of a matrix product. To find the libraries takes a millisecond, so it is done once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


# 15.7 Accelerate


def accelerate(model: Module) -> Module:
    """Exchanges the layers that it knows for faster ones, in place, and returns the model.

    Each Conv2d, LayerNorm, RMSNorm, GELU, CrossEntropyLoss and MultiHeadAttention gets a subclass of its type, with a different
    forward. A Sequential and a CNN get one that computes each BatchNorm2d together with a ReLU directly behind it. The layers
    stay the same objects, with their Parameters, buffers, options and names. An object of any other type, a subclass included,
    is left alone, so that a second call changes nothing.
    """
    seen, waiting = set(), [model]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Differentiable | list | tuple | dict) and id(value) not in seen:
            seen.add(id(value))
            if type(value) in _FAST:
                value.__class__ = _FAST[type(value)]
            value = vars(value) if isinstance(value, Differentiable) else value
            waiting += value.values() if isinstance(value, dict) else value
    return model


class _BatchNormReLU(Differentiable):
    """A BatchNorm2d and the ReLU behind it."""

    def __init__(self, norm: BatchNorm2d):
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        running = norm.running_mean, norm.running_var
        return batch_norm_relu(x, norm.weight, norm.bias, *running, norm.training, norm.momentum, norm.eps)


def _paired(layers: list) -> list:
    """The layers, of which each BatchNorm2d and the ReLU directly behind it are one."""
    result = []
    for layer in layers:
        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:
            result[-1] = _BatchNormReLU(result[-1])
        else:
            result.append(layer)
    return result


def _attention(self: MultiHeadAttention, x: Tensor, mask=None, cache=None) -> Tensor:
    drops = any([isinstance(module, Dropout) and module.training and module.p for module in self.modules()])
    real = None if mask is None else Tensor(mask).data
    fits = x.ndim == 3 and x.shape[-1] == self.d_model and (real is None or (real.shape == x.shape[:2] and real.dtype == bool))
    if drops or cache is not None or not fits:
        return MultiHeadAttention.forward(self, x, mask, cache)  # which also says what doesn't fit
    heads = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, self.d_model // self.n_head)
    q, k, v = heads.permute(2, 0, 3, 1, 4)  # (batch, heads, time, head_dim)
    if self.positions is not None:
        q, k = self.positions(q), self.positions(k)
    y = fused_attention(q, k, v, None if real is None else real[:, None, None], self.causal, self.window)
    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))


_FORWARD = {
    Conv2d: lambda self, x: fast_conv2d(x, self.weight, self.bias, self.stride, self.padding),
    LayerNorm: lambda self, x: layer_norm(x, self.weight, self.bias, self.eps),
    RMSNorm: lambda self, x: rms_norm(x, self.weight, self.eps),
    GELU: lambda self, x: gelu(x),
    CrossEntropyLoss: lambda self, logits, target: softmax_cross_entropy(
        logits, target, self.label_smoothing, self.ignore_index
    ),
    MultiHeadAttention: _attention,
    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),
    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),
}
_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}
