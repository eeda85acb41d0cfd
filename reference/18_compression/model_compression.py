"""Compression: fewer weights. Masks, smaller arrays, factors, a student; and what each of them saves, measured."""

import copy
import math
import time
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from katas.acceleration import fused_attention
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Tanh
from katas.attention import MultiHeadAttention, attention_weights
from katas.autograd import no_grad
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor, concatenate, where
from katas.transformers import FeedForward

# 18.1 Magnitude pruning


class Masks:
    """Which weights stay: pairs (Parameter, booleans of its shape), where False means that the weight is 0 and stays so."""

    def __init__(self, pairs: Iterable[tuple[Parameter, np.ndarray]]):
        self.pairs = list(pairs)

    @classmethod
    def of(cls, model: Module) -> "Masks":
        """The masks of a model that is pruned already: False wherever a weight is 0, so NaN stays.

        Raises: ValueError if it has no weights.
        """
        return cls((weight, weight.data != 0) for _, weight in _weights(model))

    def apply(self) -> None:
        """Sets every pruned weight to 0, in place."""
        for weight, kept in self.pairs:
            weight.data[~kept] = 0

    @property
    def sparsity(self) -> float:
        """The share of the weights that are pruned."""
        pruned = sum(kept.size - int(kept.sum()) for _, kept in self.pairs)
        return pruned / max(1, sum(kept.size for _, kept in self.pairs))


def _weights(model: Module) -> list[tuple[str, Parameter]]:
    """The Parameters with two axes or more, each once: no biases, and nothing of a normalization."""
    weights = [(name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1]
    if not weights:
        raise ValueError(f"{type(model).__name__} has no weights: no Parameter has two axes")
    return weights


def prune(model: Module, amount: float, per_layer: bool = False) -> Masks:
    """Sets the `amount`, a share, of the weights that are smallest in magnitude to 0, in place, and returns the masks.

    Exactly round(amount · n) of all n weights are pruned, or of each Parameter's. Of equal magnitudes the first ones are, in
    the order of parameters(). Raises, and nothing has changed: ValueError unless 0 <= amount < 1, if there are no weights, or
    that contains the name of a weight that holds NaN or is read-only.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount must be at least 0 and less than 1, not {amount!r}")
    weights = _weights(model)
    for name, weight in weights:
        if np.isnan(weight.data).any():
            raise ValueError(f"{name} holds NaN, which has no magnitude")
        if not weight.data.flags.writeable:
            raise ValueError(f"{name} is read-only")
    magnitudes = [np.abs(weight.data).ravel() for _, weight in weights]
    if per_layer:
        kept = [_largest(values, amount) for values in magnitudes]
    else:
        kept = np.split(_largest(np.concatenate(magnitudes), amount), np.cumsum([values.size for values in magnitudes])[:-1])
    masks = Masks((weight, part.reshape(weight.shape)) for (_, weight), part in zip(weights, kept, strict=True))
    masks.apply()
    return masks


def _largest(values: np.ndarray, amount: float) -> np.ndarray:
    """False for the round(amount · n) smallest. A threshold would prune too many where several values are equal."""
    kept = np.ones(values.size, bool)
    kept[np.argsort(values, kind="stable")[: round(float(amount) * values.size)]] = False
    return kept


def masked(optimizer: Optimizer, masks: Masks) -> Optimizer:
    """An optimizer that does what `optimizer` does and applies the masks after each step. Its state_dict holds them, too."""
    return _Masked(optimizer, masks)


class _Masked(Optimizer):
    """It has no update of its own: flat(masked(…)), which would go around the masks, raises a TypeError."""

    def __init__(self, optimizer: Optimizer, masks: Masks):
        self.optimizer, self.masks = optimizer, masks

    @property
    def param_groups(self) -> list[dict]:
        return self.optimizer.param_groups

    @property
    def state(self) -> dict:
        return self.optimizer.state

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        self.optimizer.step()
        self.masks.apply()  # momentum and weight decay have moved pruned weights

    def state_dict(self) -> dict:
        return {"optimizer": self.optimizer.state_dict(), "masks": [kept.copy() for _, kept in self.masks.pairs]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Raises: ValueError as Optimizer, or if there are no masks, or of other shapes. Then nothing is changed."""
        own, given = [kept.shape for _, kept in self.masks.pairs], [np.shape(kept) for kept in state_dict.get("masks", ())]
        if "masks" not in state_dict or own != given:
            raise ValueError(f"the state has masks of the shapes {given}, these are {own}")
        self.optimizer.load_state_dict(state_dict["optimizer"])
        for (_, kept), loaded in zip(self.masks.pairs, state_dict["masks"], strict=True):
            kept[...] = loaded


# 18.2 Units: channels, neurons and heads


class Residual(Sequential):
    """x + the result of its layers, one after another (He et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        return x + super().forward(x)


class _Cut(NamedTuple):
    """An array in which unit u has the indices u · repeat … (u + 1) · repeat - 1 along an axis."""

    module: Module
    name: str
    axis: int
    repeat: int = 1

    @property
    def array(self) -> np.ndarray:
        value = getattr(self.module, self.name)
        return value.data if isinstance(value, Tensor) else value


def _ends(layer) -> tuple:
    """What reads the input and what writes the output: of a LowRankLinear, its factors."""
    return (layer.down, layer.up) if isinstance(layer, LowRankLinear) else (layer, layer)


class _Space:
    """Units that flow from layer to layer, and all arrays that have a place for each: those that write and read them too."""

    def __init__(self, size: int, fixed: str):
        self.size, self.fixed, self.cuts = size, fixed, []  # fixed: why none of the units can be removed


_UNITWISE = ReLU, LeakyReLU, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d  # a unit that is 0 stays so, and changes no other
_NORM = "weight", "bias", "running_mean", "running_var"


class _Flow:
    """Follows the units through a model. They lie in the form "image" (batch, units, h, w), "flat" (an image's) or "rows"."""

    def __init__(self, model: Module):
        self.spaces, self.seen = [], []
        for root in model.modules():  # what contains others comes first
            if isinstance(root, Sequential | FeedForward) and root not in self.seen:
                end, _ = self.through(root, self.new(0, "they are the input"), "rows")
                end.fixed = end.fixed or "they are the output"

    def new(self, size: int, fixed: str = "") -> _Space:
        self.spaces.append(_Space(size, fixed))
        return self.spaces[-1]

    def through(self, layer, space: _Space, form: str) -> tuple[_Space, str]:
        self.seen.append(layer)
        if isinstance(layer, Sequential):
            end, after = space, form
            for inner in layer.layers:
                if isinstance(layer, CNN) and isinstance(inner, Linear) and after == "image":
                    after = "flat"
                end, after = self.through(inner, end, after)
            return self.joined(space, end, form) if isinstance(layer, Residual) else (end, after)
        if isinstance(layer, FeedForward):
            hidden, after = self.through(layer.c_fc, space, form)
            for inner in vars(layer).values():  # such as another activation
                if hasattr(inner, "forward") and inner not in (layer.c_fc, layer.c_proj):
                    hidden, after = self.through(inner, hidden, after)
            return self.through(layer.c_proj, hidden, after)
        reader, writer = _ends(layer)
        if isinstance(layer, Linear | Conv2d) and isinstance(reader.weight, Parameter):
            self.read(reader, space, form)
            new = self.new(len(writer.weight))
            new.cuts += [_Cut(writer, name, 0) for name in ("weight", "bias") if getattr(writer, name) is not None]
            return new, "image" if isinstance(layer, Conv2d) else "rows"
        if isinstance(layer, BatchNorm2d):
            space.cuts += [_Cut(layer, name, 0) for name in _NORM]
        elif isinstance(layer, GlobalAvgPool) or (isinstance(layer, Flatten) and form != "rows" and layer.start_dim == 1):
            form = "flat"
        elif not isinstance(layer, _UNITWISE):
            space.fixed = space.fixed or f"they go through {type(layer).__name__}"
            return self.new(0, f"they come out of {type(layer).__name__}"), form
        return space, form

    def read(self, layer: Module, space: _Space, form: str) -> None:
        """The layer's weight has the units along axis 1."""
        repeat, rest = divmod(layer.weight.shape[1], space.size) if space.size else (1, 0)
        if rest or (form == "image") != isinstance(layer, Conv2d) or (form != "flat" and repeat != 1):
            space.fixed = space.fixed or f"{type(layer).__name__} does not read them one by one"
        space.cuts.append(_Cut(layer, "weight", 1, repeat))

    def joined(self, space: _Space, end: _Space, form: str) -> tuple[_Space, str]:
        """What is added has the same units."""
        if end is not space:
            self.spaces.remove(end)
            space.cuts += end.cuts
            different = "" if end.size == space.size else f"a Residual adds {end.size} to these {space.size}"
            space.fixed = space.fixed or end.fixed or different
        return space, form


def _held(model: Module) -> list[int]:
    """The ids of all that the modules hold, in attributes and lists there, once for each place."""
    held = [value for module in model.modules() for name, value in vars(module).items() if name != "_kept"]
    for value in held:  # which grows
        held += value if isinstance(value, list | tuple) else ()
    return [id(value) for value in held]


def _space(model: Module, layer: Module) -> _Space:
    """The units that a layer writes."""
    spaces, writer = _Flow(model).spaces, _ends(layer)[1]
    written = [space for space in spaces if any(cut.module is writer and cut.axis == 0 for cut in space.cuts)]
    if not written or not isinstance(layer, Linear | Conv2d):
        what = "a Linear or Conv2d with a Parameter as weight, in a Sequential, CNN or FeedForward of the model"
        raise ValueError(f"{type(layer).__name__} writes no units: give {what}")
    space, held = written[0], _held(model)
    space.cuts = list(dict.fromkeys(space.cuts))  # a layer may run twice in one stream
    others = [cut[:3] for other in spaces if other is not space for cut in other.cuts]
    for cut in space.cuts:
        value = getattr(cut.module, cut.name)
        if cut[:3] in others or held.count(id(value)) > 1:
            space.fixed = space.fixed or f"a {cut.name} of shape {value.shape} has several uses"
    if space.fixed:
        raise ValueError(f"the outputs of {type(layer).__name__} can't be removed: {space.fixed}")
    return space


def unit_scores(model: Module, layer: Module) -> np.ndarray:
    """How much each output of `layer` matters: its L2 norm where it is written times that where it is read, float64 (units,).

    Behind a BatchNorm2d, which undoes any scale, the norm of its weight counts in place of the layer's. In a stream that of
    all its BatchNorm2ds counts in place of all its writers'.
    Raises: ValueError as prune_units.
    """
    space = _space(model, layer)

    def norms(cuts: list[_Cut]) -> np.ndarray:
        return _norms(np.concatenate([np.moveaxis(cut.array, cut.axis, 0).reshape(space.size, -1) for cut in cuts], 1))

    weights = [cut for cut in space.cuts if cut.name == "weight"]
    scales = [cut for cut in weights if isinstance(cut.module, BatchNorm2d)]
    written, read = ([cut for cut in weights if cut.axis == axis and cut not in scales] for axis in (0, 1))
    return norms(scales or written) * norms(read)


def _norms(rows: np.ndarray) -> np.ndarray:
    """The L2 norm of each row, float64. Squares of 1e200 would overflow: a row is divided by its largest number first."""
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(1, keepdims=True)
    scale = np.where((largest > 0) & (largest < math.inf), largest, 1)
    return np.linalg.norm(rows / scale, axis=1) * scale[:, 0]


def strongest(scores: np.ndarray, count: int) -> np.ndarray:
    """The indices of the `count` largest scores, in ascending order; of equal ones the first.

    Raises: ValueError unless 1 <= count <= len(scores), or if a score is NaN.
    """
    scores = np.asarray(scores, np.float64)
    if not 1 <= count <= len(scores) or np.isnan(scores).any():
        raise ValueError(f"{count} of {len(scores)} scores can't be chosen, or one is NaN: {scores}")
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def _kept(keep, count: int) -> np.ndarray:
    keep = Tensor(keep).data
    if keep.ndim != 1 or not keep.size:
        raise ValueError(f"keep must be a row of indices, at least one, not {keep}")
    if keep.dtype.kind not in "iu":
        raise TypeError(f"keep must hold integers, not {keep.dtype}")
    if len(np.unique(keep)) < keep.size:
        raise ValueError(f"keep holds an index twice: {keep}")
    if keep.min() < 0 or keep.max() >= count:
        raise IndexError(f"keep holds {keep[(keep < 0) | (keep >= count)][0]}: there are {count}, counted from 0")
    return np.sort(keep).astype(np.intp)


_SIZES = ("out_features", "out_channels", "num_features"), ("in_features", "in_channels")  # attributes, by axis


def _shrink(cuts: Iterable[tuple[Module, str, int, np.ndarray]]) -> None:
    """Replaces arrays by copies with only these indices along an axis. All are made before the first is replaced."""
    arrays = {}
    for module, name, axis, indices in cuts:
        key = id(module), name
        array = arrays[key][2] if key in arrays else _Cut(module, name, axis).array
        arrays[key] = module, name, np.take(array, indices, axis)
    for module, name, array in arrays.values():
        value = getattr(module, name)
        if isinstance(value, Parameter):
            value.data, value.grad = array, None
        else:
            setattr(module, name, array)
        for axis, sizes in enumerate(_SIZES[: array.ndim]):
            vars(module).update({size: array.shape[axis] for size in sizes if size in vars(module) and name == "weight"})


def prune_units(model: Module, layer: Module, keep) -> None:
    """Removes all outputs of a Linear or Conv2d but those in `keep`, indices, in place, from all arrays that depend on them.

    These are its weight and bias, BatchNorm2d's four arrays, and the weights of the layers that read the outputs, behind a
    Flatten too. Outputs that are added to a residual stream are removed from all that write and read the stream. The result is
    the model's with these outputs, and the weight and bias of a BatchNorm2d behind them, set to 0.
    Raises, and nothing has changed: ValueError that contains the reason if the outputs can't be removed, such as those of the
    last layer, or that contains keep if it is empty or names one twice; TypeError and IndexError unless it holds indices.
    """
    space = _space(model, layer)
    kept = _kept(keep, space.size)

    def indices(repeat: int) -> np.ndarray:
        return (kept[:, None] * repeat + np.arange(repeat)).ravel()

    _shrink([(*cut[:3], indices(cut.repeat)) for cut in space.cuts])


class PrunedAttention(MultiHeadAttention):
    """A MultiHeadAttention with n_head of the heads that it had; d_model and the width of a head are as before."""

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """As MultiHeadAttention. A cache with a larger n_head, such as KVCache.of(model), gets zeros for the other heads."""
        real = self._real(x, mask)
        q, k, v = self._split(x, 0 if cache is None else cache.lengths)
        sight = None if real is None else real[:, None, None], self.causal, self.window
        if cache is not None:
            if not self.causal:
                raise ValueError("a cache needs causal=True: the tokens in it can't look at those that come later")
            if real is not None and (real[:, 1:] > real[:, :-1]).any():
                raise ValueError("with a cache, padding may only stand behind the real tokens of a row")
            room = getattr(cache, "n_head", self.n_head) - self.n_head
            if room > 0:
                zeros = Tensor(np.zeros((len(k), room, *k.shape[2:]), k.dtype))
                k, v = concatenate([k, zeros], 1), concatenate([v, zeros], 1)
            k, v, seen = cache.extend(self.layer, k, v, *(() if real is None or real.all() else (real,)))
            k, v, sight = k[:, : self.n_head], v[:, : self.n_head], (seen, False, None)
        drop = next((module for module in self.modules() if isinstance(module, Dropout)), Sequential())
        if drop.training and isinstance(drop, Dropout):
            y = drop(attention_weights(q, k, *sight)) @ v
        else:
            y = fused_attention(q, k, v, *sight)  # (batch, heads, time, head_dim)
        return drop(self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape[:2], self.c_proj.in_features)))

    def _real(self, x: Tensor, mask) -> np.ndarray | None:
        if x.ndim != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"PrunedAttention({self.d_model}, {self.n_head}) got input of shape {x.shape}")
        if mask is None:
            return None
        real = Tensor(mask).data
        if real.shape != x.shape[:2]:
            raise ValueError(f"a mask of shape {real.shape} for input of shape {x.shape}: it must be (batch, time)")
        if real.dtype != np.bool_ and real.size:  # without elements, as [[], []], it has no numbers
            raise TypeError(f"the mask must be boolean, True for real tokens, not {real.dtype}")
        return real.astype(bool)

    def _split(self, x: Tensor, start) -> list[Tensor]:
        """q, k and v (batch, heads, time, head_dim)."""
        width = self.c_proj.in_features // self.n_head
        q, k, v = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, width).permute(2, 0, 3, 1, 4)
        return [q, k, v] if self.positions is None else [self.positions(q, start), self.positions(k, start), v]

    def weights(self, x: Tensor, mask=None) -> np.ndarray:
        """As MultiHeadAttention: (batch, heads, time, time)."""
        real = self._real(x, mask)
        with no_grad():
            q, k, _ = self._split(x, 0)
            return attention_weights(q, k, None if real is None else real[:, None, None], self.causal, self.window).data


def _heads(attention: MultiHeadAttention) -> tuple[list[_Cut], int, int]:
    """The arrays that have a place for each head, the heads' number and their width."""
    if not isinstance(attention, MultiHeadAttention):
        raise TypeError(f"heads are those of a MultiHeadAttention, not of a {type(attention).__name__}")
    writer, reader = _ends(attention.c_attn)[1], _ends(attention.c_proj)[0]
    width = reader.weight.shape[1] // attention.n_head
    cuts = [_Cut(writer, "weight", 0, width), _Cut(writer, "bias", 0, width), _Cut(reader, "weight", 1, width)]
    return [cut for cut in cuts if getattr(cut.module, cut.name) is not None], attention.n_head, width


def head_scores(attention: MultiHeadAttention) -> np.ndarray:
    """How much each head can write: the L2 norm of its values' weights times that of its part of c_proj, float64 (heads,)."""
    cuts, n_head, _ = _heads(attention)
    values, read = cuts[0].array[2 * len(cuts[0].array) // 3 :], cuts[-1].array.T
    return _norms(values.reshape(n_head, -1)) * _norms(read.reshape(n_head, -1))


def prune_heads(attention: MultiHeadAttention, keep) -> None:
    """Removes all heads but those in `keep`, indices, in place: rows of c_attn and columns of c_proj.

    It becomes a PrunedAttention, with fewer n_head. The result is what it was with these columns of c_proj set to 0.
    Raises, and nothing has changed: TypeError for anything but a MultiHeadAttention; as prune_units for keep.
    """
    cuts, n_head, width = _heads(attention)
    kept = _kept(keep, n_head)
    columns = (kept[:, None] * width + np.arange(width)).ravel()
    rows = (np.arange(3)[:, None] * n_head * width + columns).ravel()  # of q, of k and of v
    _shrink([(*cut[:3], columns if cut.axis else rows) for cut in cuts])
    attention.n_head, attention.__class__ = len(kept), PrunedAttention


# 18.3 Low rank


class LowRankLinear(Linear):
    """y = up(down(x)): a Linear whose weight is a product of two, (out, rank) (rank, in)."""

    def __init__(self, down: Linear, up: Linear):
        """down: (…, in) → (…, rank), without a bias; up: (…, rank) → (…, out)."""
        self.down, self.up = down, up

    @property
    def in_features(self) -> int:
        return self.down.in_features

    @property
    def out_features(self) -> int:
        return self.up.out_features

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) → (…, out_features)."""
        return self.up(self.down(x))


def low_rank(model: Module, error: float) -> dict[str, int]:
    """Exchanges Linear layers for two factors each, in place: they become LowRankLinear. Returns {name of the weight: rank}.

    The rank is the smallest with |W - up down| <= error · |W|, in Frobenius norms, which the largest singular values give
    (Eckart & Young 1936). A layer in which the factors would not have fewer numbers, whose weight has another use or is no
    Parameter, or that is of a subclass, is left alone.
    Raises, and nothing has changed: ValueError unless 0 <= error < 1, or that contains the name of a weight that is not finite.
    """
    if not 0 <= error < 1:
        raise ValueError(f"error must be at least 0 and less than 1, not {error!r}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held, found = _held(model), {}
    for layer in model.modules():
        if type(layer) is Linear and id(layer.weight) in names and held.count(id(layer.weight)) == 1:
            weight, name = layer.weight.data, names[id(layer.weight)]
            if not np.isfinite(weight).all():
                raise ValueError(f"{name} is not finite")
            u, s, v = np.linalg.svd(weight.astype(np.float64), full_matrices=False)  # (out, n), (n,), (n, in)
            lost = np.append(np.hypot.accumulate(s[::-1])[::-1], 0)  # lost[r]: the error of rank r
            rank = max(1, int(np.argmax(lost <= error * lost[0])))
            if rank * sum(weight.shape) < weight.size:
                root = np.sqrt(s[:rank])  # in both, so that both train alike
                found[name] = layer, root[:, None] * v[:rank], u[:, :rank] * root
    for layer, down, up in found.values():
        _factor(layer, down, up)
    return {name: len(down) for name, (_, down, _) in found.items()}


def _factor(layer: Linear, down: np.ndarray, up: np.ndarray) -> None:
    rank, bias, training, dtype = len(down), layer.bias, layer.training, layer.weight.dtype
    factors = Linear(layer.in_features, rank, bias=False), Linear(rank, layer.out_features, bias=False)
    for factor, array in zip(factors, (down, up), strict=True):
        factor.weight = Parameter(array.astype(dtype))
    factors[1].bias = bias  # the same Parameter
    vars(layer).clear()
    layer.__class__ = LowRankLinear
    layer.__init__(*factors)
    layer.train(training)


# 18.4 Distillation


def distillation_loss(student: Tensor, teacher, temperature: float = 2.0, counts=None) -> Tensor:
    """T² Σ p (log p - log q) over the classes, averaged over the rows: p = softmax(teacher / T), q = softmax(student / T).

    Hinton, Vinyals & Dean 2015, section 2: with T² the gradient keeps its size, whatever T is. Logits (…, classes), both; the
    teacher's are a constant. counts (…), booleans: the rows that count, all by default. Where p is 0 nothing is added.
    Raises: ValueError that contains the shapes if two differ, or are empty; ValueError if no row counts, or unless the
    temperature is positive and finite.
    """
    given = Tensor(teacher).data
    counts = np.ones(student.shape[:-1], bool) if counts is None else Tensor(counts).data
    if student.shape != given.shape or student.shape[:-1] != counts.shape or 0 in (student.ndim, student.size):
        raise ValueError(f"student {student.shape}, teacher {given.shape}, counts {counts.shape}: not (…, classes) and (…)")
    if not counts.any():
        raise ValueError(f"no row counts: logits of shape {student.shape}")
    _check_temperature(temperature)
    temperature = float(temperature)
    log_q = LogSoftmax(-1)(student[counts] * (1 / temperature))  # (rows, classes)
    log_p = LogSoftmax(-1)(Tensor(given[counts].astype(log_q.dtype, copy=False) * log_q.dtype.type(1 / temperature))).data
    p = np.exp(log_p)
    adds = p != 0
    share = log_q.dtype.type(temperature**2 / counts.sum())
    return ((np.where(adds, log_p, 0) - where(adds, log_q, 0)) * (p * share)).sum()


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature!r}")


class Distillation(Module):
    """An objective (x, y) → alpha · distillation_loss + (1 - alpha) · criterion, for kata 08's Trainer.

    The teacher is no submodule: it is not trained, not saved, and not switched to train mode. A copy of it that shares its
    arrays runs, in eval mode and without recording; its own mode is not touched.
    """

    def __init__(
        self,
        student: Module,
        teacher: Module,
        temperature: float = 2.0,
        alpha: float = 0.5,
        criterion: CrossEntropyLoss | None = None,
    ):
        """criterion None means CrossEntropyLoss(). Targets that are its ignore_index count in neither loss.

        Raises: ValueError unless 0 <= alpha <= 1; as distillation_loss for the temperature.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be at least 0 and at most 1, not {alpha!r}")
        _check_temperature(temperature)
        self.student, self.temperature, self.alpha = student, temperature, alpha
        self.criterion = CrossEntropyLoss() if criterion is None else criterion
        shared = [*teacher.parameters(), *(array for _, array in teacher.named_buffers())]
        frozen = copy.deepcopy(teacher, {id(value): value for value in shared}).eval()
        self._taught = lambda x: frozen(x).data  # in a function no search for Parameters, or for generators, looks

    def forward(self, x: Tensor, y) -> Tensor:
        """The loss, of shape (). y (…), integers, the targets of the student's logits (…, classes)."""
        logits = self.student(x)
        hard = self.criterion(logits, y)
        if not self.alpha:
            return hard
        with no_grad():
            taught = self._taught(x)
        soft = distillation_loss(logits, taught, self.temperature, Tensor(y).data != self.criterion.ignore_index)
        return soft * self.alpha + hard * (1 - self.alpha)

    def counted(self, x: Tensor, y) -> int:
        """How many targets the loss is the mean over."""
        return self.criterion.counted(y)


# 18.5 What it saves


def compressed_size(model: Module | dict) -> int:
    """The bytes that a model, or a state_dict, takes on disk: as a safetensors file, compressed without loss (DEFLATE).

    Zeros take next to nothing there, which is all that unstructured pruning saves.
    """
    from safetensors.numpy import save

    state = model.state_dict() if isinstance(model, Module) else model
    return len(zlib.compress(save({name: np.array(Tensor(value).data, order="C") for name, value in state.items()}), 9))


def held_bytes(model: Module) -> int:
    """The bytes of memory that parameters and buffers keep: a view keeps all of the array that it is a part of."""
    arrays = {}
    for array in [*(parameter.data for parameter in model.parameters()), *(array for _, array in model.named_buffers())]:
        while isinstance(array.base, np.ndarray):
            array = array.base
        arrays[id(array)] = array
    return sum(array.nbytes for array in arrays.values())


class Report(NamedTuple):  # given
    """What was measured, pairs (before, after). str() is a table."""

    numbers: tuple[int, int]  # in parameters and buffers
    held: tuple[int, int]  # bytes of memory
    disk: tuple[int, int]  # bytes, compressed
    seconds: tuple[float, float]  # of a call
    score: tuple[float, float]

    def __str__(self) -> str:
        lines = [f"{'':<16}{'before':>14}{'after':>14}{'ratio':>8}"]
        for name, (before, after) in self._asdict().items():
            shown = [f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in (before, after)]
            ratio = f"{after / before:.2f}" if before else ""
            lines.append(f"{name:<16}{shown[0]:>14}{shown[1]:>14}{ratio:>8}")
        return "\n".join(lines)


def report(before: Module, after: Module, inputs, evaluate: Callable[[Module], float], rounds: int = 9) -> Report:
    """Measures both models: size, the time of model(inputs), and float(evaluate(model)), such as an accuracy.

    The time is the least of `rounds` calls of each, which take turns, in eval mode and without recording. Afterwards each
    module is in its previous mode. Raises: ValueError unless rounds is 1 or more.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be 1 or more, not {rounds!r}")
    models = before, after
    modes = [(module, module.training) for model in models for module in model.modules()]
    seconds = [math.inf, math.inf]
    try:
        before.eval(), after.eval()
        with no_grad():
            for number in range(rounds):
                for i in (0, 1) if number % 2 else (1, 0):
                    start = time.perf_counter()
                    models[i](inputs)
                    seconds[i] = min(seconds[i], time.perf_counter() - start)
            scores = [float(evaluate(model)) for model in models]
    finally:
        for module, mode in modes:
            module.training = mode
    numbers = [sum(array.size for array in model.state_dict().values()) for model in models]
    sizes = [[measure(model) for model in models] for measure in (held_bytes, compressed_size)]
    return Report(*map(tuple, (numbers, *sizes, seconds, scores)))
