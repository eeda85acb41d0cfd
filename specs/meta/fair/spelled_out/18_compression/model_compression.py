"""Kata 18 in another style: new Parameters in place of new data, a graph of plain lists, and formulas spelled out."""

import copy
import io
import time
import zlib
from collections import namedtuple

import numpy as np
from katas.activations import GELU, LeakyReLU, ReLU, Tanh
from katas.attention import MultiHeadAttention, blocked_attention, scaled_dot_product_attention
from katas.autograd import no_grad
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor, concatenate
from katas.transformers import FeedForward

# 18.1


class Masks:
    def __init__(self, pairs):
        self.pairs = [(parameter, kept) for parameter, kept in pairs]

    @classmethod
    def of(cls, model):
        return cls([(parameter, ~(parameter.data == 0)) for _, parameter in matrices(model)])

    def apply(self):
        for parameter, kept in self.pairs:
            np.copyto(parameter.data, 0, where=np.logical_not(kept))

    @property
    def sparsity(self):
        pruned = total = 0
        for _, kept in self.pairs:
            pruned += np.count_nonzero(~kept)
            total += kept.size
        return pruned / total if total else 0.0


def matrices(model):
    found = [(name, parameter) for name, parameter in model.named_parameters() if len(parameter.shape) >= 2]
    if len(found) == 0:
        raise ValueError(f"no weights in {model.__class__.__name__}")
    return found


def prune(model, amount, per_layer=False):
    if not (amount >= 0 and amount < 1):
        raise ValueError(f"amount {amount!r} is no share")
    found = matrices(model)
    for name, parameter in found:
        if (parameter.data != parameter.data).any():
            raise ValueError(f"NaN in {name}")
        if not parameter.data.flags["WRITEABLE"]:
            raise ValueError(f"{name} can't be written to")
    groups = [[pair] for pair in found] if per_layer else [found]
    pairs = []
    for group in groups:
        flat = np.concatenate([np.abs(parameter.data.reshape(-1)) for _, parameter in group])
        count = round(float(amount) * len(flat))
        kept = np.ones(len(flat), dtype=bool)
        if count:
            threshold = np.partition(flat, count - 1)[count - 1]
            kept[flat < threshold] = False
            ties = np.nonzero(flat == threshold)[0]
            kept[ties[: count - np.count_nonzero(flat < threshold)]] = False
        start = 0
        for _, parameter in group:
            end = start + parameter.data.size
            pairs.append((parameter, kept[start:end].reshape(parameter.shape).copy()))
            start = end
    masks = Masks(pairs)
    masks.apply()
    return masks


class MaskedOptimizer(Optimizer):
    def __init__(self, optimizer, masks):
        self.inner = optimizer
        self.masks = masks

    def __getattr__(self, name):
        if name in ("param_groups", "state"):
            return getattr(self.inner, name)
        raise AttributeError(name)

    def zero_grad(self):
        for group in self.inner.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self):
        self.inner.step()
        self.masks.apply()

    def state_dict(self):
        return dict(self.inner.state_dict(), masks={str(i): kept.copy() for i, (_, kept) in enumerate(self.masks.pairs)})

    def load_state_dict(self, state_dict):
        if "masks" not in state_dict:
            raise ValueError("the state has no masks")
        rest = dict(state_dict)
        masks = list(rest.pop("masks").values())
        shapes = [kept.shape for kept in masks], [kept.shape for _, kept in self.masks.pairs]
        if shapes[0] != shapes[1]:
            raise ValueError(f"masks of shapes {shapes[0]} instead of {shapes[1]}")
        self.inner.load_state_dict(rest)
        self.masks.pairs = [(parameter, new.copy()) for (parameter, _), new in zip(self.masks.pairs, masks, strict=True)]


def masked(optimizer, masks):
    return MaskedOptimizer(optimizer, masks)


# 18.2


class Residual(Sequential):
    def forward(self, x):
        y = x
        for layer in self.layers:
            y = layer.forward(y)
        return y + x


Place = namedtuple("Place", "group module name axis width")  # an array with `width` indices for each unit of a group


class Graph:
    """Groups are numbers; `same` says which are one; `stuck` why a group can't be pruned."""

    def __init__(self, model):
        self.places, self.sizes, self.same, self.stuck, self.visited = [], {}, {}, {}, set()
        for container in model.modules():
            if isinstance(container, (Sequential, FeedForward)) and id(container) not in self.visited:
                start = self.group(None)
                self.stuck[start] = "it is the input"
                end, _ = self.visit(container, start, None)
                self.stuck.setdefault(self.find(end), "it is the output")

    def group(self, size):
        self.sizes[len(self.sizes)] = size
        return len(self.sizes) - 1

    def find(self, group):
        while group in self.same:
            group = self.same[group]
        return group

    def sequence(self, layers, group, shape, flattening=False):
        for layer in layers:
            if flattening and isinstance(layer, Linear) and shape == "4d":
                shape = "merged"
            group, shape = self.visit(layer, group, shape)
        return group, shape

    def visit(self, layer, group, shape):
        self.visited.add(id(layer))
        if isinstance(layer, Residual):
            end, _ = self.sequence(layer.layers, group, shape)
            a, b = self.find(group), self.find(end)
            if a != b:
                self.same[b] = a
                if b in self.stuck:
                    self.stuck[a] = self.stuck[b]
                elif self.sizes[a] != self.sizes[b]:
                    self.stuck[a] = "something of another size is added"
            return group, shape
        if isinstance(layer, Sequential):
            return self.sequence(layer.layers, group, shape, isinstance(layer, CNN))
        if isinstance(layer, FeedForward):
            between = [v for k, v in vars(layer).items() if k not in ("c_fc", "c_proj") and hasattr(v, "forward")]
            return self.sequence([layer.c_fc, *between, layer.c_proj], group, shape)
        if isinstance(layer, LowRankLinear):
            self.reads(layer.down, group, shape)
            return self.writes(layer.up), "2d"
        if isinstance(layer, Linear) and type(layer.weight) is Parameter:
            self.reads(layer, group, shape)
            return self.writes(layer), "2d"
        if isinstance(layer, Conv2d) and type(layer.weight) is Parameter:
            self.reads(layer, group, shape)
            return self.writes(layer), "4d"
        if isinstance(layer, BatchNorm2d):
            self.places += [Place(group, layer, name, 0, 1) for name in ("weight", "bias", "running_mean", "running_var")]
            return group, shape
        if isinstance(layer, GlobalAvgPool):
            return group, "merged"
        if isinstance(layer, Flatten) and shape in ("4d", "merged") and layer.start_dim == 1:
            return group, "merged"
        if isinstance(layer, (ReLU, LeakyReLU, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d)):
            return group, shape
        self.stuck.setdefault(self.find(group), f"{layer.__class__.__name__} uses it")
        new = self.group(None)
        self.stuck[new] = f"{layer.__class__.__name__} made it"
        return new, shape

    def reads(self, layer, group, shape):
        size, columns = self.sizes[self.find(group)], layer.weight.shape[1]
        if size is not None:
            if isinstance(layer, Conv2d):
                fits = shape == "4d" and columns == size
            elif shape == "merged":
                fits = columns % size == 0
            else:
                fits = shape == "2d" and columns == size
            if not fits:
                self.stuck.setdefault(self.find(group), f"{layer.__class__.__name__} mixes it")
        self.places.append(Place(group, layer, "weight", 1, columns // (size or columns)))

    def writes(self, layer):
        new = self.group(layer.weight.shape[0])
        self.places.append(Place(new, layer, "weight", 0, 1))
        if layer.bias is not None:
            self.places.append(Place(new, layer, "bias", 0, 1))
        return new


def dependents(model, layer):
    """(number of units, places) for what `layer` writes."""
    kind = layer.__class__.__name__
    if isinstance(layer, LowRankLinear):
        layer = layer.up
    graph = Graph(model)
    if isinstance(layer, BatchNorm2d):
        raise ValueError(f"{kind} is no layer of the model whose outputs can be removed")
    groups = {graph.find(place.group) for place in graph.places if place.module is layer and place.axis == 0}
    if not groups:
        raise ValueError(f"{kind} has no outputs of its own")
    group = min(groups)
    if group in graph.stuck:
        raise ValueError(f"{kind}'s outputs stay: {graph.stuck[group]}")
    mine = [place for place in graph.places if graph.find(place.group) == group]
    foreign = [place for place in graph.places if graph.find(place.group) != group]
    for place in mine:
        if any(p.module is place.module and p.name == place.name and p.axis == place.axis for p in foreign):
            raise ValueError(f"{kind}'s outputs stay: {place.module.__class__.__name__} runs twice")
        value = getattr(place.module, place.name)
        if uses(model, value) > 1:
            raise ValueError(f"{kind}'s outputs stay: a {place.name} is shared")
    unique = []
    for place in mine:
        if not any(p.module is place.module and p[2:4] == place[2:4] for p in unique):
            unique.append(place)
    return graph.sizes[group], unique


def uses(model, wanted):
    total, waiting = 0, [value for module in model.modules() for key, value in vars(module).items() if key != "_kept"]
    while waiting:
        value = waiting.pop()
        total += value is wanted
        if isinstance(value, (list, tuple)):
            waiting.extend(value)
    return total


def norm(squared):
    """Of each row of several matrices side by side."""
    rows = np.concatenate(squared, axis=1)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1)
    return np.sqrt(((rows / scale) ** 2).sum(axis=1)) * scale[:, 0]


def as_array(value):
    return value.data if isinstance(value, Tensor) else value


def unit_scores(model, layer):
    size, places = dependents(model, layer)
    rows = {"norm": [], "written": [], "read": []}
    for place in places:
        if place.name != "weight":
            continue
        weight = as_array(place.module.weight).astype(np.float64)
        if place.axis == 1:
            rows["read"].append(weight.swapaxes(0, 1).reshape(size, -1))
        else:
            rows["norm" if weight.ndim == 1 else "written"].append(weight.reshape(size, -1))
    return norm(rows["norm"] or rows["written"]) * norm(rows["read"])


def strongest(scores, count):
    scores = np.array(scores, dtype=float)
    if count < 1 or count > scores.size or np.isnan(scores).any():
        raise ValueError(f"can't choose {count} of {scores}")
    order = np.lexsort((np.arange(scores.size), -scores))
    return np.array(sorted(order[:count].tolist()))


def checked(keep, count):
    keep = np.asarray(keep.data if isinstance(keep, Tensor) else keep)
    if keep.ndim != 1 or keep.size == 0:
        raise ValueError(f"keep {keep}")
    if not np.issubdtype(keep.dtype, np.integer):
        raise TypeError(f"keep of {keep.dtype}")
    for index in keep.tolist():
        if index < 0 or index >= count:
            raise IndexError(f"no {index}")
    if len(set(keep.tolist())) != keep.size:
        raise ValueError(f"keep {keep}")
    return sorted(keep.tolist())


def exchange(places, chosen):
    """places: (module, name, axis); chosen: for each the indices that stay."""
    new = {}
    for (module, name, axis), indices in zip(places, chosen, strict=True):
        old = new.get((id(module), name), (None, None, as_array(getattr(module, name))))[2]
        part = old[indices] if axis == 0 else old[:, indices]
        new[id(module), name] = module, name, np.ascontiguousarray(part)
    for module, name, part in new.values():
        setattr(module, name, Parameter(part) if isinstance(getattr(module, name), Parameter) else part)
        if isinstance(module, Linear) and name == "weight":
            module.out_features, module.in_features = part.shape


def prune_units(model, layer, keep):
    size, places = dependents(model, layer)
    keep = np.array(checked(keep, size))
    chosen = [
        np.concatenate([np.arange(u * p.width, (u + 1) * p.width) for u in keep]) if p.width > 1 else keep for p in places
    ]
    exchange([(place.module, place.name, place.axis) for place in places], chosen)


class PrunedAttention(MultiHeadAttention):
    def forward(self, x, mask=None, cache=None):
        mask = self.checked_mask(x, mask)
        heads = self.heads(x, 0 if cache is None else cache.lengths)
        if cache is None:
            y = self.attend(*heads, mask, self.causal, self.window)
        else:
            if not self.causal:
                raise ValueError("with a cache causal must be True")
            arguments = []
            if mask is not None and not mask.all():
                padding = mask[:, 0, 0]
                if np.any(~padding[:, :-1] & padding[:, 1:]):
                    raise ValueError("padding before a token")
                arguments.append(padding)
            q, k, v = heads
            missing = max(0, getattr(cache, "n_head", 0) - self.n_head)
            if missing:
                batch, _, length, width = k.shape
                nothing = Tensor(np.zeros((batch, missing, length, width), k.dtype))
                k, v = concatenate([k, nothing], dim=1), concatenate([v, nothing], dim=1)
            k, v, seen = cache.extend(self.layer, k, v, *arguments)
            y = self.attend(q, k[:, 0 : self.n_head], v[:, 0 : self.n_head], seen, False, None)
        batch, time, _ = x.shape
        y = y.permute(0, 2, 1, 3).reshape(batch, time, self.c_proj.in_features)
        return self.dropped(self.c_proj(y))

    def dropouts(self):
        return [module for module in self.modules() if isinstance(module, Dropout)][:1]

    def dropped(self, x):
        for dropout in self.dropouts():
            x = dropout(x)
        return x

    def attend(self, q, k, v, mask, causal, window):
        if any(dropout.training for dropout in self.dropouts()):
            from katas.attention import attention_weights

            return self.dropped(attention_weights(q, k, mask, causal, window)) @ v
        if q.requires_grad or k.requires_grad:
            from katas.acceleration import fused_attention

            return fused_attention(q, k, v, mask, causal, window)
        if window is None:
            with no_grad():
                return (
                    blocked_attention(q, k, v, mask, causal) if causal else scaled_dot_product_attention(q, k, v, mask, causal)
                )
        return blocked_attention(q, k, v, mask, causal, window)

    def checked_mask(self, x, mask):
        if x.ndim != 3 or x.shape[2] != self.d_model:
            raise ValueError(f"x {x.shape}")
        if mask is None:
            return None
        mask = as_array(mask) if isinstance(mask, Tensor) else np.asarray(mask)
        if mask.shape != x.shape[:2]:
            raise ValueError(f"mask {mask.shape}, x {x.shape}")
        if mask.dtype != bool and mask.size:
            raise TypeError(f"mask {mask.dtype}")
        mask = mask.astype(bool)
        return mask.reshape(mask.shape[0], 1, 1, mask.shape[1])

    def heads(self, x, start):
        batch, time, _ = x.shape
        inner = self.c_proj.in_features
        qkv = self.c_attn(x)
        q, k, v = (
            qkv[:, :, i * inner : (i + 1) * inner].reshape(batch, time, self.n_head, inner // self.n_head).permute(0, 2, 1, 3)
            for i in range(3)
        )
        if self.positions is not None:
            q, k = self.positions(q, start), self.positions(k, start)
        return q, k, v

    def weights(self, x, mask=None):
        from katas.attention import attention_weights

        mask = self.checked_mask(x, mask)
        with no_grad():
            q, k, _ = self.heads(x, 0)
            return attention_weights(q, k, mask, self.causal, self.window).data


def halves(attention):
    if not isinstance(attention, MultiHeadAttention):
        raise TypeError(f"{attention.__class__.__name__} has no heads")
    first, last = attention.c_attn, attention.c_proj
    first = first.up if isinstance(first, LowRankLinear) else first
    last = last.down if isinstance(last, LowRankLinear) else last
    return first, last, last.weight.shape[1] // attention.n_head


def head_scores(attention):
    first, last, width = halves(attention)
    inner, scores = last.weight.shape[1], []
    for head in range(attention.n_head):
        part = slice(head * width, (head + 1) * width)
        values = first.weight.data[2 * inner :][part].astype(np.float64)
        columns = last.weight.data[:, part].astype(np.float64)
        scores.append((norm([values.reshape(1, -1)]) * norm([columns.reshape(1, -1)]))[0])
    return np.array(scores)


def prune_heads(attention, keep):
    first, last, width = halves(attention)
    keep, inner = checked(keep, attention.n_head), last.weight.shape[1]
    columns = np.concatenate([np.arange(head * width, (head + 1) * width) for head in keep])
    rows = np.concatenate([part * inner + columns for part in range(3)])
    places, chosen = [(first, "weight", 0), (last, "weight", 1)], [rows, columns]
    if first.bias is not None:
        places.append((first, "bias", 0))
        chosen.append(rows)
    exchange(places, chosen)
    attention.n_head = len(keep)
    attention.__class__ = PrunedAttention


# 18.3


class LowRankLinear(Linear):
    def __init__(self, down, up):
        self.down = down
        self.up = up

    def __getattr__(self, name):
        if name == "in_features":
            return self.down.in_features
        if name == "out_features":
            return self.up.out_features
        raise AttributeError(name)

    def forward(self, x):
        return self.up.forward(self.down.forward(x))


def low_rank(model, error):
    if not (error >= 0 and error < 1):
        raise ValueError(f"error {error!r}")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    plans = []
    for layer in model.modules():
        if layer.__class__ is not Linear:
            continue
        if not isinstance(layer.weight, Parameter) or uses(model, layer.weight) > 1:
            continue
        name, weight = names[id(layer.weight)], layer.weight.data.astype(np.float64)
        if np.isnan(weight).any() or np.isinf(weight).any():
            raise ValueError(f"{name}: not finite")
        u, s, vt = np.linalg.svd(weight, full_matrices=False)
        shares, rank = s / (s[0] or 1), 1
        while rank < len(s) and np.sqrt((shares[rank:] ** 2).sum()) > error * np.sqrt((shares**2).sum()):
            rank += 1
        out, inputs = weight.shape
        if rank * (inputs + out) < inputs * out:
            plans.append((name, layer, np.diag(s[:rank] ** 0.5) @ vt[:rank], u[:, :rank] @ np.diag(s[:rank] ** 0.5)))
    for _, layer, down, up in plans:
        bias, dtype, training = layer.bias, layer.weight.dtype, layer.training
        one, two = Linear(down.shape[1], len(down), bias=False), Linear(len(down), len(up), bias=False)
        one.weight, two.weight = Parameter(down.astype(dtype)), Parameter(up.astype(dtype))
        two.bias = bias
        vars(layer).clear()
        layer.down, layer.up = one, two
        layer.__class__ = LowRankLinear
        layer.train(training)
    return {name: len(down) for name, _, down, _ in plans}


# 18.4


def distillation_loss(student, teacher, temperature=2.0, counts=None):
    if not (temperature > 0 and temperature != float("inf")):
        raise ValueError(f"temperature {temperature!r}")
    temperature = float(temperature)
    t = np.asarray(teacher.data if isinstance(teacher, Tensor) else teacher)
    rows = np.ones(student.shape[:-1], bool) if counts is None else np.asarray(as_array(counts))
    if student.shape != t.shape or student.ndim == 0 or student.shape[:-1] != rows.shape or student.size == 0:
        raise ValueError(f"shapes {student.shape}, {t.shape}, {rows.shape}")
    if rows.sum() == 0:
        raise ValueError("nothing counts")
    t = t.astype(student.dtype) / np.asarray(temperature, student.dtype)
    classes = t.shape[-1]
    t, x = t.reshape(-1, classes)[rows.reshape(-1)], student.reshape(-1, classes)[np.nonzero(rows.reshape(-1))[0]]
    t = t - t.max(-1, keepdims=True)
    log_p = t - np.log(np.exp(t).sum(-1, keepdims=True))
    x = x * (1 / temperature)
    x = x - x.data.max(-1, keepdims=True)
    log_q = x - x.exp().sum(-1, keepdim=True).log()
    p, absent = np.exp(log_p), np.exp(log_p) == 0
    if absent.any():  # classes one by one
        places = np.nonzero(~absent)
        total = ((log_p[places] - log_q[places]) * p[places]).sum()
    else:
        total = ((log_p - log_q) * p).sum()
    return total * (temperature * temperature / len(p))


class Hidden:
    """What a Module does not search: an object that is neither Module, list nor tuple, and has no __dict__."""

    __slots__ = ("model",)


class Distillation(Module):
    def __init__(self, student, teacher, temperature=2.0, alpha=0.5, criterion=None):
        if not (alpha >= 0 and alpha <= 1):
            raise ValueError(f"alpha {alpha!r}")
        if not (temperature > 0 and temperature != float("inf")):
            raise ValueError(f"temperature {temperature!r}")
        self.student = student
        self.temperature = temperature
        self.alpha = alpha
        self.criterion = criterion if criterion is not None else CrossEntropyLoss()
        memo = {}
        for parameter in teacher.parameters():
            memo[id(parameter)] = parameter
        for _, array in teacher.named_buffers():
            memo[id(array)] = array
        self.hidden = Hidden()
        self.hidden.model = copy.deepcopy(teacher, memo)
        self.hidden.model.eval()

    def forward(self, x, y):
        logits = self.student(x)
        loss = self.criterion(logits, y) * (1 - self.alpha)
        if self.alpha > 0:
            with no_grad():
                says = self.hidden.model(x).data
            counts = np.asarray(as_array(Tensor(y))) != self.criterion.ignore_index
            loss = loss + distillation_loss(logits, says, self.temperature, counts) * self.alpha
        return loss

    def counted(self, x, y):
        return int((np.asarray(as_array(Tensor(y))) != self.criterion.ignore_index).sum())


# 18.5


def compressed_size(model):
    from safetensors.numpy import save

    state = model if isinstance(model, dict) else model.state_dict()
    file = io.BytesIO()
    arrays = {}
    for name, value in state.items():
        value = np.asarray(as_array(value))
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
    file.write(zlib.compress(save(arrays), level=9))
    return file.tell()


def held_bytes(model):
    owners = []
    for array in [p.data for p in model.parameters()] + [array for _, array in model.named_buffers()]:
        owner = array
        while owner.base is not None and isinstance(owner.base, np.ndarray):
            owner = owner.base
        if all(owner is not other for other in owners):
            owners.append(owner)
    return int(sum(owner.nbytes for owner in owners))


class Report(namedtuple("Report", "numbers held disk seconds score")):
    __slots__ = ()

    def __str__(self):
        lines = [f"{'':16}{'before':>14}{'after':>14}{'ratio':>8}"]
        for name, pair in zip(self._fields, self, strict=True):
            texts = [format(value, ",") if isinstance(value, int) else format(value, ".4g") for value in pair]
            lines.append(f"{name:16}{texts[0]:>14}{texts[1]:>14}{pair[1] / pair[0] if pair[0] else 0:>8.2f}")
        return "\n".join(lines)


def report(before, after, inputs, evaluate, rounds=9):
    if not rounds >= 1:
        raise ValueError(f"rounds {rounds}")
    everything = before.modules() + after.modules()
    modes = [module.training for module in everything]
    times = {0: [], 1: []}
    try:
        for module in everything:
            module.training = False
        with no_grad():
            for _ in range(rounds):
                for side, model in enumerate((before, after)):
                    start = time.perf_counter_ns()
                    model(inputs)
                    times[side].append(1e-9 * (time.perf_counter_ns() - start))
            score = float(evaluate(before)), float(evaluate(after))
    finally:
        for module, mode in zip(everything, modes, strict=True):
            module.training = mode
    count = [sum(int(np.prod(array.shape)) for array in model.state_dict().values()) for model in (before, after)]
    return Report(
        tuple(count),
        (held_bytes(before), held_bytes(after)),
        (compressed_size(before), compressed_size(after)),
        (min(times[0]), min(times[1])),
        score,
    )
