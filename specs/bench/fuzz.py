"""Runs random programs on both sides, and sorts what differs: by design, in whose words, or not."""

import time
import warnings
from collections import Counter
from functools import cache

import numpy as np
import torch
from katas.tensor import Tensor
from rich.progress import track
from threadpoolctl import threadpool_limits
from torch.nn import functional

from katas import activations, layers, losses, optimizers, spatial, tensor
from specs.bench.cases import Case, Operand, case
from specs.bench.documented import DOCUMENTED

TOLERANCE = {"float16": 1e-2, "float32": 3e-5, "float64": 1e-9}  # relative to the largest value
SHOWN = 40  # kinds of undocumented differences of which the first is printed in full


class ToB(torch.autograd.Function):
    """maximum, which passes the gradient to b at a tie, and where either is NaN."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return torch.maximum(a, b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g.masked_fill(~(a > b), 0), g.masked_fill(a > b, 0)


def to_b(a, b):
    """ToB of whatever torch.maximum takes."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    dtype = torch.result_type(a, b)
    return ToB.apply(*torch.broadcast_tensors(a.to(dtype), b.to(dtype)))


class ToLargest(torch.autograd.Function):
    """amax that keeps the axes, and passes 0 to all but the largest even if the gradient is infinite."""

    @staticmethod
    def forward(ctx, x, dims):
        y = x.amax(dims, True)
        ctx.save_for_backward(x, y)
        ctx.dims = dims
        return y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        largest = x == y
        return torch.where(largest, g, 0) / largest.sum(ctx.dims, True), None


def positions(x: torch.Tensor) -> np.ndarray:
    """The number of each place."""
    return np.arange(x.numel()).reshape(x.shape)


def picked(x: torch.Tensor, numbers) -> torch.Tensor:
    """The values at these places, as NumPy indexes them."""
    return x.reshape(-1)[torch.from_numpy(np.array(numbers, np.int64, order="C"))]


OURS = {
    name: value for module in (tensor, activations, layers, losses, optimizers, spatial) for name, value in vars(module).items()
}
OURS |= {"np": np}
THEIRS = {
    "np": np,
    "torch": torch,
    "F": functional,
    "to_b": to_b,
    "to_largest": ToLargest.apply,
    "positions": positions,
    "picked": picked,
}


def our_input(value):
    """As the reference takes it."""
    if isinstance(value, list):
        return [our_input(part) for part in value]
    if not isinstance(value, Operand):
        return value
    array = value.array
    return array if value.role == "array" else Tensor(array, value.role == "leaf")


def their_input(value, double: bool = False):
    """As PyTorch takes it; floats in float64 if `double`."""
    if isinstance(value, list):
        return [their_input(part, double) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, Operand):
        return value
    # In order: of other strides PyTorch's backward of batch_norm in eval mode is wrong.
    array = np.array(value.array, np.float64 if double and value.base.dtype.kind == "f" else None, order="C")
    return torch.from_numpy(array).requires_grad_(value.role == "leaf")


def cotangent(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of y."""
    rng = np.random.default_rng(case.seed)
    if case.infinite:
        return rng.choice([1.0, -2.5, 0.0, np.inf], shape)
    return rng.standard_normal(shape)


def our_outcome(case: Case) -> dict[str, np.ndarray]:
    """What the reference computes: y, the gradients and whatever else."""
    inputs = {name: our_input(value) for name, value in case.inputs.items()}
    leaves = {name: value for name, value in inputs.items() if isinstance(value, Tensor) and value.requires_grad}
    before = [value.base.tobytes() for value in case.inputs.values() if isinstance(value, Operand)]
    recorder = Tensor._recorder
    if case.layer:
        Tensor._recorder = None
    try:
        found = {}
        for _ in range(1 + (case.twice and not case.layer)):
            scope = dict(inputs)
            exec(_code(case.ours), OURS, scope)
            if "y" in scope:
                y = scope["y"]
                if isinstance(y, Tensor):
                    found["y"] = y.data
                    if y.requires_grad:
                        g = cotangent(case, y.shape).astype(y.dtype)
                        if case.layer:
                            found["grad x"] = scope[case.layer].backward(g)
                        else:
                            y.backward(g)
                else:
                    found["y"] = y
    finally:
        Tensor._recorder = recorder
    if not case.layer:
        for name, leaf in leaves.items():
            found[f"grad {name}"] = leaf.grad
            if leaf.grad is not None:
                found[f"grad {name} is its own"] = leaf.grad.flags.writeable and not np.shares_memory(leaf.grad, leaf.data)
    for number, value in enumerate(scope.get("also", ())):
        found[f"also {number}"] = value
    after = [value.base.tobytes() for value in case.inputs.values() if isinstance(value, Operand)]
    return found | {"operands unchanged": before == after}


def their_outcome(case: Case, program: str, double: bool = False) -> dict[str, np.ndarray]:
    """What PyTorch computes."""
    inputs = {name: their_input(value, double) for name, value in case.inputs.items()}
    leaves = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor) and value.requires_grad}
    found = {}
    for _ in range(1 + (case.twice and not case.layer)):
        scope = dict(inputs)
        exec(_code(program), THEIRS, scope)
        if "y" in scope:
            y = found["y"] = scope["y"]
            if isinstance(y, torch.Tensor) and y.requires_grad:
                y.backward(torch.from_numpy(cotangent(case, tuple(y.shape))).to(y.dtype))
        for leaf in leaves.values():  # the gradients of two leaves may be one array, to which the next is added twice
            leaf.grad = None if leaf.grad is None else leaf.grad.clone()
    for name, leaf in leaves.items():
        if not case.layer or (name == "x" and found["y"].requires_grad):
            found[f"grad {name}"] = leaf.grad
            if leaf.grad is not None and not case.layer:
                found[f"grad {name} is its own"] = True
    for number, value in enumerate(scope.get("also", ())):
        found[f"also {number}"] = value
    found["operands unchanged"] = True
    return {name: value.detach().numpy() if isinstance(value, torch.Tensor) else value for name, value in found.items()}


@cache
def _code(program: str):
    return compile(program, "<case>", "exec")


def attempt(function, *arguments) -> dict[str, np.ndarray] | Exception:
    """What it computes, or its error."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def difference(ours, theirs, dtypes: bool = True) -> str:
    """What kind of difference there is between two outcomes, or ""."""
    if isinstance(ours, Exception) and isinstance(theirs, Exception):
        return "" if isinstance(ours, (ValueError, TypeError, IndexError, RuntimeError)) else f"{type(ours).__name__}"
    if isinstance(ours, Exception):
        return f"{type(ours).__name__} here only"
    if isinstance(theirs, Exception):
        return f"{type(theirs).__name__} there only"
    if ours.keys() != theirs.keys():
        return f"{' '.join(sorted(ours.keys() ^ theirs.keys()))} on one side only"
    for name, got in ours.items():
        want = theirs[name]
        if (got is None) != (want is None):
            return f"{name} is None on one side only"
        if got is None:
            continue
        if type(want) in (int, float, bool) and type(got) is not type(want):
            return f"{name}: type"
        got, want = np.asarray(got), np.asarray(want)
        if got.shape != want.shape:
            return f"{name}: shape"
        if dtypes and got.dtype != want.dtype:
            return f"{name}: dtype"
        if not close(got, want):
            return f"{name}: values"
    return ""


def close(got: np.ndarray, want: np.ndarray) -> bool:
    """Whether values agree, relative to the largest finite one."""
    if "f" not in got.dtype.kind + want.dtype.kind:
        return np.array_equal(got, want)
    limits = np.finfo(got.dtype if got.dtype.kind == "f" else want.dtype)
    got, want = got.astype(np.float64), want.astype(np.float64)
    scale = np.abs(want[np.isfinite(want)]).max(initial=0)
    return np.allclose(got, want, 0, TOLERANCE[str(limits.dtype)] * scale + float(limits.tiny), equal_nan=True)


def nearer(ours: dict, theirs: dict, exact) -> bool:
    """Whether what differs in values only is rounding: ours are as near to PyTorch's in float64 as theirs, or nearly so."""
    if isinstance(exact, Exception):
        return False
    for name, got in ours.items():
        if got is None:
            continue
        if exact.get(name) is None or np.shape(exact[name]) != np.shape(got):
            return False
        if np.asarray(got).dtype.kind != "f":
            if not np.array_equal(got, theirs[name]):
                return False
            continue
        got, want, judge = (np.asarray(values).astype(np.float64) for values in (got, theirs[name], exact[name]))
        with_errors = [np.where((a == judge) | (np.isnan(a) & np.isnan(judge)), 0, np.abs(a - judge)) for a in (got, want)]
        bad, worse = [~np.isfinite(error) for error in with_errors]
        if (bad & ~worse).any():
            return False
        our_error, their_error = (error[~bad & ~worse].max(initial=0) for error in with_errors)
        if name.startswith("grad") or np.asarray(ours[name]).dtype == np.float16:  # what is left of numbers about 1
            their_error += 3 * np.finfo(np.asarray(ours[name]).dtype).eps
        if our_error > 10 * their_error and not close(np.asarray(ours[name]), exact[name]):
            return False
    return True


def judged(case: Case) -> tuple[str, str]:
    """The kind of a difference, and the key of the sentence that documents it; empty where there is none."""
    ours, theirs = attempt(our_outcome, case), attempt(their_outcome, case, case.theirs)
    missing = isinstance(theirs, Exception) and "not implemented for" in str(theirs)
    if missing:  # for this dtype: its float64 is the judge of the values
        theirs = attempt(their_outcome, case, case.theirs, True)
        if isinstance(theirs, Exception):
            return "", ""
    found = difference(ours, theirs, not missing)
    if not found or (found.endswith(": values") and nearer(ours, theirs, attempt(their_outcome, case, case.theirs, True))):
        return "", ""
    for key, program in case.instead:
        other = attempt(their_outcome, case, program)
        kind = difference(ours, other)
        if not kind or (kind.endswith(": values") and nearer(ours, other, attempt(their_outcome, case, program, True))):
            return found, key
    return found, ""


def _literal(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, np.generic):
        return f"np.{value.dtype}({value.item()!r})"
    if not isinstance(value, Operand):
        return repr(value)
    base = value.base
    text = f"np.array({base.tolist()!r}, np.{base.dtype})" if base.size else f"np.zeros({base.shape}, np.{base.dtype})"
    text = text.replace("np.bool)", "bool)") + value.view
    return {"array": text, "tensor": f"Tensor({text})", "leaf": f"Tensor({text}, requires_grad=True)"}[value.role]


def snippet(case: Case) -> str:
    """Code that shows the difference, for people."""
    lines = [f"{name} = {_literal(value)}" for name, value in case.inputs.items()]
    lines += case.ours.split("\n")
    ours, theirs = attempt(our_outcome, case), attempt(their_outcome, case, case.theirs)
    if any([isinstance(value, Operand) and value.role == "leaf" for value in case.inputs.values()]):
        drawn = "choice([1.0, -2.5, 0.0, inf], y.shape)" if case.infinite else "standard_normal(y.shape)"
        again = "  # both twice" if case.twice and not case.layer else ""
        call = "layer.backward(g)" if case.layer else "y.backward(g)"
        lines.append(f"g = np.random.default_rng({case.seed}).{drawn}.astype(y.dtype); {call}{again}")
    lines += [f"# PyTorch: {case.theirs}".replace("\n", "\n#          ")]
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours:
            got, want = ours[name], theirs.get(name)
            if difference({name: got}, {name: want}):
                lines += [f"# {name}: {_shown(got)}", f"# right: {_shown(want)}"]
    else:
        for outcome, who in ((ours, "here"), (theirs, "there")):
            text = f"{type(outcome).__name__}: {outcome}" if isinstance(outcome, Exception) else _shown(outcome.get("y"))
            lines.append(f"# {who}: {text.splitlines()[0] if text else text}")
    return "\n".join("    " + line for line in "\n".join(lines).split("\n"))


def _shown(value) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    return f"{value.dtype} {value.shape} {value.tolist()!r}"[:300]


def run(cases: int, seed: int) -> int:
    """Runs so many cases and prints what differs. Returns the number of differences that no sentence documents."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    kinds, agreeing, by_design, documented, other, first = *[Counter() for _ in range(5)], {}
    start = time.perf_counter()
    with threadpool_limits(1), np.errstate(all="ignore"):
        for number in track(range(cases), "fuzz", transient=True):
            kind, drawn = case(seed, number)
            kinds[kind] += 1
            found, key = judged(drawn)
            if not found:
                agreeing[kind] += 1
            elif key:
                documented[key] += 1
                by_design[kind] += 1
            else:
                group = (drawn.label, found)
                other[group] += 1
                first.setdefault(group, (number, drawn))
        seconds = time.perf_counter() - start
        print(f"{cases} cases with seed {seed} in {seconds:.0f} s: {cases / seconds:.0f} a second")
        for kind, count in kinds.most_common():
            print(f"  {kind:28} {count:6} cases, {agreeing[kind]:6} agree, {by_design[kind]:5} differ by design")
        print(f"\nDocumented differences: {documented.total()}")
        for key, count in documented.most_common():
            print(f"  {count:6}  {DOCUMENTED[key].section}  {DOCUMENTED[key].sentence}")
        print(f"\nUndocumented differences: {other.total()}, of {len(other)} kinds")
        for (label, found), count in other.most_common(SHOWN):
            number, drawn = first[label, found]
            print(f"\n{count} × {label}: {found}; case {number}:\n{snippet(drawn)}")
    return other.total()
