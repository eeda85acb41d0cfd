"""Acceleration: a profile says where the time goes; fused operations, two threads and Winograd's convolution take it away."""

import contextvars
import copy
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from katas.activations import GELU, ReLU
from katas.attention import MultiHeadAttention, attention_weights, scaled_dot_product_attention
from katas.autograd import defvjp_argnum, no_grad
from katas.environment import Machine
from katas.layers import Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import BatchNorm2d, Conv2d, Pair, conv2d
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

from katas import autograd

# 15.1 Profile


def loop_conv2d(x: np.ndarray, weight: np.ndarray, padding: int = 0) -> np.ndarray:  # given
    """A convolution of stride 1 as it is defined, in seven loops. x (batch, in, h, w), weight (out, in, kh, kw)."""
    (batch, channels, h, w), (out, _, kh, kw) = x.shape, weight.shape
    y = np.zeros((batch, out, h + 2 * padding - kh + 1, w + 2 * padding - kw + 1), x.dtype)
    for n in range(batch):
        for o in range(out):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    for c in range(channels):
                        for k in range(kh):
                            for m in range(kw):
                                row, column = i + k - padding, j + m - padding
                                if 0 <= row < h and 0 <= column < w:
                                    y[n, o, i, j] += x[n, c, row, column] * weight[o, c, k, m]
    return y


class Row(NamedTuple):
    """What one operation took in a profile."""

    op: str
    calls: int
    seconds: float
    bytes: int
    flops: int
    bound: str


class Profile:
    """Where the time of a call went: `rows`, the largest first, and its `seconds`."""

    def __init__(self, rows: list[Row], seconds: float):
        self.rows, self.seconds = rows, seconds

    def __str__(self) -> str:
        """A table with a line for each row."""
        lines = [f"{'op':<24} {'calls':>6} {'ms':>9} {'MB':>9} {'MFLOP':>9}  bound"]
        for row in self.rows:
            figures = f"{1e3 * row.seconds:9.2f} {row.bytes / 1e6:9.2f} {row.flops / 1e6:9.2f}"
            lines.append(f"{row.op:<24} {row.calls:6} {figures}  {row.bound}")
        return "\n".join(lines)


def profile(call: Callable[[], object], machine: Machine) -> Profile:
    """Runs call() once and says where its time went."""
    figures, last = {}, 0.0

    def count(op, seconds, nbytes, flops):
        old = figures.get(op, (0, 0.0, 0, 0))
        figures[op] = tuple([a + b for a, b in zip(old, (1, seconds, nbytes, flops), strict=True)])

    recorder, rules = Tensor._recorder, dict(autograd._RULES)

    def observe(op, result, parents, attrs):
        nonlocal last
        now = time.perf_counter()
        arrays = [parent.data for parent in parents]
        count(op, now - last, sum(a.nbytes for a in (result.data, *arrays)), _flops(op, result.data, arrays, result.data))
        if recorder is not None:
            recorder(op, result, parents, attrs)
        last = time.perf_counter()

    def timed(op, find):
        def found(argnum):
            rule = find(argnum)

            def measured(g, y, *parents, **attrs):
                nonlocal last
                start = time.perf_counter()
                result = rule(g, y, *parents, **attrs)
                last = time.perf_counter()
                nbytes = sum(a.nbytes for a in (g, *parents, np.asarray(result)))
                count(f"{op} backward", last - start, nbytes, _flops(op, y, parents, np.asarray(result)))
                return result

            return rule if rule is ... else measured

        return found

    try:
        Tensor._recorder = observe
        for op, find in rules.items():
            autograd._RULES[op] = timed(op, find)
        start = last = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
    finally:
        Tensor._recorder = recorder
        autograd._RULES.clear()
        autograd._RULES.update(rules)
    rows = [Row(op, *values, _bound(machine, *values)) for op, values in figures.items()]
    rows.append(Row("other", 1, seconds - sum(row.seconds for row in rows), 0, 0, "python"))
    return Profile(sorted(rows, key=lambda row: -row.seconds), seconds)


def _flops(op: str, y: np.ndarray, operands, result: np.ndarray) -> int:
    if op == "matmul":
        return 2 * y.size * operands[0].shape[-1]
    if op in ("conv2d", "fast_conv2d"):
        return 2 * y.size * (operands[1].size // operands[1].shape[0])
    return result.size


def _bound(machine: Machine, calls: int, seconds: float, nbytes: int, flops: int) -> str:
    times = {
        "arithmetic": flops / (1e9 * machine.peak_gflops),
        "memory": nbytes / (1e9 * machine.bandwidth_gbs),
        "overhead": calls * machine.overhead_us / 1e6,
    }
    return max(times, key=times.get)


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


class _Hidden:
    """Modules that no search for parameters finds, and one for generators does."""

    def __init__(self, members: list):
        self.members = members


class _DataParallel(Module):
    def __init__(self, model: Module, threads: int):
        self.model, self.threads, self.replicas = model, threads, None

    def named_parameters(self):
        return self.model.named_parameters()

    def named_buffers(self):
        return self.model.named_buffers()

    def modules(self):
        return [self, *self.model.modules()]

    def state_dict(self):
        return self.model.state_dict()

    def load_state_dict(self, state):
        self.model.load_state_dict(state)

    def counted(self, x, y):
        return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)

    def _replica(self):
        memo = {}
        for parameter in self.model.parameters():
            memo[id(parameter)] = twin = Parameter(parameter.data[..., :0])
            twin.data = parameter.data
        for generator in autograd_generators(self.model):
            memo[id(generator)] = generator.spawn(1)[0]
        return copy.deepcopy(self.model, memo)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.replicas is None:
            self.replicas = _Hidden([self._replica() for _ in range(self.threads)])
        parameters = self.model.parameters()
        buffers = self.model.named_buffers()
        for replica in self.replicas.members:
            for theirs, ours in zip(replica.modules(), self.model.modules(), strict=True):
                theirs.training = ours.training
            for theirs, ours in zip(replica.parameters(), parameters, strict=True):
                theirs.data, theirs.requires_grad, theirs.grad = ours.data, ours.requires_grad, None
            for (_, theirs), (_, ours) in zip(replica.named_buffers(), buffers, strict=True):
                theirs[...] = ours
        rows = [part for part in np.array_split(np.arange(len(x)), self.threads) if len(part)]
        shards = [(x.data[part[0] : part[-1] + 1], y.data[part[0] : part[-1] + 1]) for part in rows]
        shards = [(Tensor(a), Tensor(b)) for a, b in shards]
        counts = [self.counted(*shard) for shard in shards]
        used = [i for i, n in enumerate(counts) if n] or [0]
        members = [self.replicas.members[i] for i in used]
        losses = _side_by_side([lambda m=m, s=shards[i]: m(*s) for m, i in zip(members, used, strict=True)])
        weights = [counts[i] / sum(counts) if sum(counts) else 1.0 for i in used]
        if self.training:
            for number, (_, ours) in enumerate(buffers):
                ours[...] = np.mean([member.named_buffers()[number][1] for member in members], axis=0)
        value = sum(loss.data * weight for loss, weight in zip(losses, weights, strict=True))
        asked = [i for i, p in enumerate(parameters) if p.requires_grad]
        run = _Run(losses, weights, [[m.parameters()[i] for i in asked] for m in members])
        return Tensor._result("data_parallel", np.asarray(value, losses[0].dtype), *[parameters[i] for i in asked], run=run)


class _Run:
    def __init__(self, losses, weights, parameters):
        self.losses, self.weights, self.parameters, self.grads = losses, weights, parameters, None

    def gradient(self, argnum, g, *parents):
        if self.grads is None:
            _side_by_side(
                [lambda t=t, w=w: t.backward(np.asarray(g * w)) for t, w in zip(self.losses, self.weights, strict=True)]
            )
            self.grads = [
                sum([p.grad for p in theirs if p.grad is not None], np.zeros_like(theirs[0].data))
                for theirs in zip(*self.parameters, strict=True)
            ]
        return self.grads[argnum]


defvjp_argnum("data_parallel", lambda argnum, g, y, *parents, run: run.gradient(argnum, g, *parents))


def _side_by_side(calls: list[Callable]) -> list:
    from threadpoolctl import threadpool_limits

    results, errors = [None] * len(calls), [None] * len(calls)

    def work(i, context):
        try:
            results[i] = context.run(calls[i])
        except BaseException as error:
            errors[i] = error

    with threadpool_limits(1):
        threads = [threading.Thread(target=work, args=(i, contextvars.copy_context())) for i in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for error in errors:
        if error is not None:
            raise error
    return results


def autograd_generators(root):
    found, seen, waiting = [], set(), [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, Tensor | type):
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            found.append(value)
        members = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        waiting += [*members, *getattr(value, "__dict__", {}).values()]
    return found


def data_parallel(model: Module, threads: int = 2) -> Module:
    """A module of the same signature whose shards run on threads."""
    if threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads}")
    return _DataParallel(model, threads)


# 15.7 Accelerate


class _Conv2d(Conv2d):
    def forward(self, x):
        return fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _LayerNorm(LayerNorm):
    def forward(self, x):
        return layer_norm(x, self.weight, self.bias, self.eps)


class _RMSNorm(RMSNorm):
    def forward(self, x):
        return rms_norm(x, self.weight, self.eps)


class _GELU(GELU):
    def forward(self, x):
        return gelu(x)


class _CrossEntropyLoss(CrossEntropyLoss):
    def forward(self, logits, target):
        return softmax_cross_entropy(logits, target, self.label_smoothing, self.ignore_index)


class _Sequential(Sequential):
    def forward(self, x):
        layers = iter(self.layers)
        for layer in layers:
            x = layer.forward(x)
        return x


_FAST = {
    Conv2d: _Conv2d,
    LayerNorm: _LayerNorm,
    RMSNorm: _RMSNorm,
    GELU: _GELU,
    CrossEntropyLoss: _CrossEntropyLoss,
    MultiHeadAttention: MultiHeadAttention,
    Sequential: _Sequential,
}


def accelerate(model: Module) -> Module:
    """In place: the layers that are known become fast ones."""
    seen, waiting = set(), [model]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, Tensor | type | dict):
            continue
        seen.add(id(value))
        if type(value) in _FAST:
            value.__class__ = _FAST[type(value)]
        waiting += [*(value if isinstance(value, list | tuple) else ()), *getattr(value, "__dict__", {}).values()]
    return model
