"""Wrong solutions of kata 07, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

SUM = "    first = sum(["
MAXIMUM_TO_A = "lambda g, y, a, b: unbroadcast(_taken(g, a > b), a.shape),"
MAXIMUM_TO_B = "lambda g, y, a, b: unbroadcast(_taken(g, ~(a > b)), b.shape),"
HANDED = "elif leaf in own and part.flags.forc:"
MAY_REPEAT = "return not isinstance(part, np.ndarray) or part.dtype != np.bool_"
MAX_TO_A = "return (_taken(_kept(g, a, dim, keepdim), largest) / count).astype(a.dtype, copy=False)"


def summed(result: str) -> dict[str, str]:
    """unbroadcast returns that, where the shapes differ."""
    return {SUM: f"    return {result}\n{SUM}"}


WRONG = [
    # unbroadcasting
    Wrong(
        "unbroadcast gives the mean",
        summed("grad.mean(tuple(axes)).reshape(shape)"),
        says="the mean of the uses",
    ),
    Wrong(
        "unbroadcast takes the first use",
        summed("grad[tuple([slice(length) for length in (1,) * new + shape])].reshape(shape)"),
        says="the first use only",
    ),
    Wrong(
        "missing axes are summed, those of length 1 stay stretched",
        summed("grad.sum(tuple(range(new)))"),
        says="axes of length 1 are still stretched",
    ),
    Wrong(
        "axes of length 1 are summed, missing ones are not",
        summed("grad.sum(tuple(axes[new:]), keepdims=True) if axes[new:] else grad"),
    ),
    Wrong(
        "axes of length 1 are dropped",
        summed("grad.sum(tuple(axes))"),
        says="an axis of length 1 too many or too few",
    ),
    Wrong(
        "missing axes are taken to be the last",
        summed(
            "grad.sum(tuple(range(len(shape), grad.ndim)) + tuple([axis for axis, length in enumerate(shape) if length == 1])).reshape(shape)"
        ),
        says="the row is taken for a column",
    ),
    Wrong("unbroadcast does nothing", summed("grad")),
    Wrong(
        "unbroadcast only reshapes",
        summed("np.resize(grad, shape)"),
        says="the first use only",
    ),
    Wrong(
        "unbroadcast sums in float64",
        summed("grad.sum(tuple(axes), dtype=np.float64).reshape(shape)"),
        says="a silent promotion",
    ),
    Wrong(
        "unbroadcast of a number is one of length 1",
        summed("grad.sum(tuple(axes)).reshape(shape or (1,))"),
        says="one axis too many",
    ),
    Wrong("many rows are added one after another", summed("grad.sum(tuple(axes)).reshape(shape)"), says="row after row"),
    Wrong(
        "blocks are added in float32, and are as many as the rows",
        {"_BLOCK = 500": "_BLOCK = 1", "blocks.sum(0, dtype=np.float64)": "blocks.sum(0)"},
        says="row after row",
    ),
    Wrong(
        "the rows after the last block are forgotten",
        {"result = ones[:rest] @ rows[n - rest :]": "result = 0 * rows[:1].sum(0)"},
    ),
    Wrong("float16 is summed in float16", {"return np.result_type(array, np.float32)": "return array.dtype"}),
    # rules: arithmetic
    Wrong(
        "add does not unbroadcast",
        {
            'defvjp("add", lambda g, y, a, b: unbroadcast(g, a.shape), lambda g, y, a, b: unbroadcast(g, b.shape))': 'defvjp("add", lambda g, y, a, b: g, lambda g, y, a, b: g)'
        },
        says="expected shape",
    ),
    Wrong(
        "add gives the values, not the gradient",
        {
            'defvjp("add", lambda g, y, a, b: unbroadcast(g, a.shape), lambda g, y, a, b: unbroadcast(g, b.shape))': 'defvjp("add", lambda g, y, a, b: unbroadcast(g * a, a.shape), lambda g, y, a, b: unbroadcast(g, b.shape))'
        },
    ),
    Wrong(
        "sub does not change the sign for b",
        {"lambda g, y, a, b: -unbroadcast(g, b.shape))": "lambda g, y, a, b: unbroadcast(g, b.shape))"},
        says="the sign is wrong",
    ),
    Wrong(
        "mul multiplies by its own factor",
        {
            'defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))': 'defvjp("mul", lambda g, y, a, b: unbroadcast(g * a, a.shape), lambda g, y, a, b: unbroadcast(g * b, b.shape))'
        },
        says="its own value, not the other factor",
    ),
    Wrong(
        "mul forgets g",
        {
            'defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))': 'defvjp("mul", lambda g, y, a, b: unbroadcast(np.ones_like(g) * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))'
        },
        says="the gradient g is forgotten",
    ),
    Wrong(
        "mul unbroadcasts before it multiplies",
        {
            'defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))': 'defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g, b.shape) * unbroadcast(a, b.shape) if a.ndim >= b.ndim else unbroadcast(g * a, b.shape))'
        },
    ),
    Wrong(
        "mul writes into g",
        {
            'defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))': 'defvjp("mul", lambda g, y, a, b: unbroadcast(np.multiply(g, b, out=g), a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))'
        },
        says="read-only",
    ),
    Wrong(
        "div has the wrong sign for b",
        {"-unbroadcast(g * y / b, b.shape)": "unbroadcast(g * y / b, b.shape)"},
        says="the sign is wrong",
    ),
    Wrong(
        "div divides by b only once",
        {"-unbroadcast(g * y / b, b.shape)": "-unbroadcast(g * a / b, b.shape)"},
        says="divided by b once, not twice",
    ),
    Wrong(
        "div treats b as it does a",
        {"-unbroadcast(g * y / b, b.shape)": "unbroadcast(g / b, b.shape)"},
        says="the derivative by a",
    ),
    Wrong("div multiplies", {"unbroadcast(g / b, a.shape)": "unbroadcast(g * b, a.shape)"}, says="times b"),
    Wrong(
        "neg passes g unchanged",
        {'defvjp("neg", lambda g, y, a: -g)': 'defvjp("neg", lambda g, y, a: g)'},
        says="the sign is wrong",
    ),
    Wrong(
        "pow forgets its exponent",
        {
            "g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * a ** (exponent - 1.0) if exponent else np.zeros_like(a)"
        },
        says="n is forgotten",
    ),
    Wrong(
        "pow does not lower its exponent",
        {"g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * (exponent * a**exponent)"},
        says="the exponent is not lowered",
    ),
    Wrong(
        "pow has no exception for 0",
        {"g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * (exponent * a ** (exponent - 1.0))"},
    ),
    Wrong(
        "pow is derived by a logarithm",
        {
            "g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * exponent * np.exp((exponent - 1) * np.log(a))"
        },
    ),
    Wrong(
        "pow divides y by a", {"g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * exponent * y / a"}
    ),
    Wrong("pow squares only", {"g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * 2 * a"}),
    Wrong(
        "pow promotes float32",
        {
            "g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a)": "g * (exponent * a ** np.float64(exponent - 1)) if exponent else np.zeros_like(a)"
        },
        says="a silent promotion",
    ),
    # rules: functions
    Wrong(
        "exp multiplies by a",
        {'defvjp("exp", lambda g, y, a: g * y)': 'defvjp("exp", lambda g, y, a: g * a)'},
        says="times a, not times y",
    ),
    Wrong(
        "exp is taken twice",
        {'defvjp("exp", lambda g, y, a: g * y)': 'defvjp("exp", lambda g, y, a: g * np.exp(y))'},
        says="e to the power of y",
    ),
    Wrong(
        "log divides by y",
        {'defvjp("log", lambda g, y, a: g / a)': 'defvjp("log", lambda g, y, a: g / y)'},
        says="divided by y, not by a",
    ),
    Wrong("sqrt divides by 2a", {"g / (2 * y)": "g / (2 * a)"}, says="divided by 2a"),
    Wrong("sqrt forgets the 2", {"g / (2 * y)": "g / y"}, says="the 2 is forgotten"),
    Wrong("tanh squares a", {"g * (1 - y * y)": "g * (1 - a * a)"}, says="a² instead of y²"),
    Wrong("tanh has the derivative of a sigmoid", {"g * (1 - y * y)": "g * y * (1 - y)"}, says="the derivative of a sigmoid"),
    Wrong("tanh is computed anew and overflows", {"g * (1 - y * y)": "g / np.cosh(a) ** 2"}),
    Wrong("tanh promotes float32", {"g * (1 - y * y)": "g * (np.ones(1) - y * y).reshape(y.shape)"}, says="a silent promotion"),
    Wrong(
        "at a tie maximum passes the gradient to a",
        {
            MAXIMUM_TO_A: "lambda g, y, a, b: unbroadcast(g * (a >= b), a.shape),",
            MAXIMUM_TO_B: "lambda g, y, a, b: unbroadcast(g * ~(a >= b), b.shape),",
        },
        says="all to a",
    ),
    Wrong(
        "at a tie maximum passes it to both",
        {MAXIMUM_TO_A: "lambda g, y, a, b: unbroadcast(g * (a >= b), a.shape),"},
        says="all to a",
    ),
    Wrong(
        "at a tie maximum divides it",
        {
            MAXIMUM_TO_A: "lambda g, y, a, b: unbroadcast(g * ((a > b) + (a == b) * np.float32(0.5)), a.shape),",
            MAXIMUM_TO_B: "lambda g, y, a, b: unbroadcast(g * ((a < b) + (a == b) * np.float32(0.5)), b.shape),",
        },
        says="half to each",
    ),
    Wrong(
        "maximum passes all to both",
        {
            MAXIMUM_TO_A: "lambda g, y, a, b: unbroadcast(g, a.shape),",
            MAXIMUM_TO_B: "lambda g, y, a, b: unbroadcast(g, b.shape),",
        },
    ),
    Wrong(
        "maximum is a minimum for b",
        {MAXIMUM_TO_B: "lambda g, y, a, b: unbroadcast(g * (a > b), b.shape),"},
    ),
    Wrong("where passes all to both", {"unbroadcast(_taken(g, condition), a.shape)": "unbroadcast(g, a.shape)"}),
    Wrong(
        "where swaps its branches",
        {
            "unbroadcast(_taken(g, condition), a.shape)": "unbroadcast(g * ~condition, a.shape)",
            "unbroadcast(_taken(g, ~condition), b.shape)": "unbroadcast(g * condition, b.shape)",
        },
    ),
    Wrong(
        "where divides by what was not taken",
        {"unbroadcast(_taken(g, condition), a.shape)": "unbroadcast(g * condition * (a / a), a.shape)"},
    ),
    Wrong(
        "where does not broadcast its condition",
        {
            "unbroadcast(_taken(g, ~condition), b.shape)": "unbroadcast(g, b.shape) * ~condition if condition.shape == b.shape else unbroadcast(g, b.shape)"
        },
    ),
    Wrong(
        "what was not taken is multiplied by 0",
        {'    return (g.view(f"i{g.itemsize}") * mask).view(g.dtype)': "    return g * mask"},
        says="invalid value",
    ),
    # rules: shape
    Wrong("reshape keeps the new shape", {"g.reshape(a.shape))": "g)"}, says="expected shape"),
    Wrong("reshape goes column by column", {"g.reshape(a.shape))": "g.reshape(a.shape, order='F'))"}, says="column by column"),
    Wrong(
        "permute permutes again",
        {"g.transpose(np.argsort([dim % a.ndim for dim in dims]))": "g.transpose(dims)"},
        says="permuted again, not back",
    ),
    Wrong("permute reverses the axes", {"g.transpose(np.argsort([dim % a.ndim for dim in dims]))": "g.transpose()"}),
    Wrong(
        "permute sorts negative axes as numbers",
        {"g.transpose(np.argsort([dim % a.ndim for dim in dims]))": "g.transpose(np.argsort(dims))"},
    ),
    Wrong("permute does nothing", {"g.transpose(np.argsort([dim % a.ndim for dim in dims]))": "g"}, says="not permuted"),
    Wrong(
        "getitem assigns where it must accumulate",
        {"np.add.at(sums, index, g)": "sums[index] = g"},
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem adds by +=",
        {"np.add.at(sums, index, g)": "sums[index] += g"},
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem accumulates only if the index is one array",
        {
            "for part in (index if isinstance(index, tuple) else (index,))": "for part in (() if isinstance(index, tuple) else (index,))"
        },
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem does not see lists",
        {MAY_REPEAT: "return isinstance(part, np.ndarray) and part.dtype != np.bool_"},
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem sees lists and arrays only",
        {MAY_REPEAT: "return isinstance(part, list) or (isinstance(part, np.ndarray) and part.dtype != np.bool_)"},
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem sees lists, tuples and arrays only",
        {MAY_REPEAT: "return isinstance(part, (list, tuple)) or (isinstance(part, np.ndarray) and part.dtype != np.bool_)"},
        says="the last use overwrites the others",
    ),
    Wrong(
        "getitem adds up in float16",
        {"sums = result.astype(_wide(a), copy=False)": "sums = result"},
        says="added up in float16",
    ),
    Wrong("getitem gives zeros like g", {"result = np.zeros_like(a)": "result = np.zeros_like(g)"}),
    Wrong("getitem fills with ones", {"result = np.zeros_like(a)": "result = np.ones_like(a)"}),
    Wrong("getitem promotes float32", {"result = np.zeros_like(a)": "result = np.zeros(a.shape)"}, says="a silent promotion"),
    Wrong(
        "concatenate always takes the first piece",
        {"start = sum([part.shape[dim] for part in parts[:argnum]])": "start = 0"},
        says="the piece of part 0",
    ),
    Wrong(
        "concatenate takes all parts to be as long as the own",
        {"start = sum([part.shape[dim] for part in parts[:argnum]])": "start = argnum * parts[argnum].shape[dim]"},
    ),
    Wrong(
        "concatenate looks at axis 0 only",
        {
            "np.moveaxis(np.moveaxis(whole, dim, 0)[start : start + parts[argnum].shape[dim]], 0, dim)": "whole[start : start + parts[argnum].shape[dim]]"
        },
    ),
    Wrong(
        "concatenate gives every part everything",
        {"np.moveaxis(np.moveaxis(whole, dim, 0)[start : start + parts[argnum].shape[dim]], 0, dim)": "whole"},
        says="expected shape",
    ),
    Wrong(
        "concatenate takes pieces from the end",
        {
            "start = sum([part.shape[dim] for part in parts[:argnum]])": "start = sum([part.shape[dim] for part in parts[argnum + 1:]])"
        },
    ),
    # rules: reductions
    Wrong(
        "a reduced axis is not put back",
        {
            "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)": "return reduced"
        },
        says="spread along the other axis",
    ),
    Wrong(
        "a reduced axis is put back at the end",
        {
            "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)": "return reduced if keepdim or dim is None else reduced.reshape(reduced.shape + (1,) * (a.ndim - reduced.ndim))"
        },
        says="spread along the other axis",
    ),
    Wrong(
        "keepdim is ignored",
        {
            "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)": "return np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)"
        },
    ),
    Wrong(
        "dim 0 is taken for None",
        {
            "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)": "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if not dim else dim)"
        },
    ),
    Wrong(
        "dim of None is axis 0",
        {
            "return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)": "return reduced if keepdim else np.expand_dims(reduced, dim or 0)"
        },
    ),
    Wrong(
        "sum keeps the shape of g",
        {"np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "_kept(g, a, dim, keepdim)"},
        says="expected shape",
    ),
    Wrong(
        "sum divides as a mean does",
        {
            "np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "np.broadcast_to(_kept(g, a, dim, keepdim) * (y.size / a.size), a.shape)"
        },
        says="the mean, not the sum",
    ),
    Wrong("sum passes ones", {"np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "np.ones_like(a)"}),
    Wrong("sum multiplies by a", {"np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "_kept(g, a, dim, keepdim) * a"}),
    Wrong(
        "sum promotes float32",
        {"np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "np.ones(a.shape) * _kept(g, a, dim, keepdim)"},
        says="a silent promotion",
    ),
    Wrong(
        "each of several maxima receives all",
        {MAX_TO_A: "return _taken(_kept(g, a, dim, keepdim), largest)"},
        says="each of them receives all of it",
    ),
    Wrong(
        "the first of several maxima receives all",
        {
            MAX_TO_A: f"if isinstance(dim, int):\n        return _taken(_kept(g, a, dim, keepdim), largest & (np.cumsum(largest, dim) == 1))\n    {MAX_TO_A}"
        },
        says="the first of them receives all of it",
    ),
    Wrong(
        "ties are counted in the whole array",
        {"count = largest.sum(dim, keepdims=True, dtype=_wide(a))": "count = largest.sum(dtype=_wide(a))"},
    ),
    Wrong(
        "max counts ties in float64",
        {"largest) / count).astype(a.dtype, copy=False)": "largest) / count.astype(float))"},
        says="a silent promotion",
    ),
    Wrong(
        "max compares with the maximum of everything", {"largest = a == _kept(y, a, dim, keepdim)": "largest = a == a.max()"}
    ),
    Wrong(
        "max passes g everywhere",
        {MAX_TO_A: "return np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)"},
    ),
    Wrong(
        "ties are counted in float16",
        {"dtype=_wide(a))\n": "dtype=a.dtype)\n"},
        says="their number is infinite",
    ),
    Wrong(
        "the share of the largest is multiplied by 0 for the others",
        {MAX_TO_A: "return (_kept(g, a, dim, keepdim) * largest / count).astype(a.dtype, copy=False)"},
        says="invalid value",
    ),
    # rules: matrix product
    Wrong(
        "matmul does not transpose b",
        {
            "return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return unbroadcast(g @ columns if columns.shape[-1] == columns.shape[-2] else g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)"
        },
        says="b is not transposed",
    ),
    Wrong(
        "matmul reverses the order for a",
        {
            "return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return (np.swapaxes(columns, -1, -2) @ g if g.ndim == 2 and g.shape == columns.shape == rows.shape else unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape)).reshape(a.shape)"
        },
        says="the order is wrong: bᵀ g",
    ),
    Wrong(
        "matmul reverses all axes of a batch",
        {
            "return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return unbroadcast(g @ columns.T, rows.shape).reshape(a.shape)"
        },
        says="all axes are reversed",
    ),
    Wrong(
        "matmul does not sum over what the batch of a shares",
        {
            "return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return (g @ np.swapaxes(columns, -1, -2))"
        },
    ),
    Wrong(
        "a shared matrix takes its first use only",
        {
            "rows, g = rows.reshape(n, rows.shape[-1]), g.reshape(n, g.shape[-1])  # (batch·n, k), (batch·n, m)": "rows, g = rows[(0,) * (rows.ndim - 2)], g[(0,) * (g.ndim - 2)]"
        },
        says="the first of the batch only",
    ),
    Wrong(
        "a shared matrix receives the mean over the batch",
        {
            "return np.matmul(rows.T, g, out=np.empty_like(columns)).reshape(b.shape)": "return (rows.T @ g / (len(rows) // a.shape[-2] if a.ndim > 2 else 1)).astype(g.dtype).reshape(b.shape)"
        },
        says="the mean over the batch",
    ),
    Wrong(
        "the gradient of b is transposed",
        {
            "return np.matmul(rows.T, g, out=np.empty_like(columns)).reshape(b.shape)": "return (g.T @ rows if len(set(g.shape + rows.shape)) == 1 else rows.T @ g).reshape(b.shape)"
        },
        says="transposed",
    ),
    Wrong(
        "a product of vectors is forgotten",
        {"lost = [axis for axis, factor in ((-2, a), (-1, b)) if factor.ndim == 1]": "lost = []"},
    ),
    Wrong("a vector on the left is a column", {"a[None, :] if a.ndim == 1 else a": "a[:, None] if a.ndim == 1 else a"}),
    Wrong("a vector on the right is a row", {"b[:, None] if b.ndim == 1 else b": "b[None, :] if b.ndim == 1 else b"}),
    Wrong(
        "batches are not unbroadcast for b",
        {
            "return unbroadcast(np.swapaxes(rows, -1, -2) @ g, columns.shape).reshape(b.shape)": "return (np.swapaxes(rows, -1, -2) @ g).reshape(b.shape)"
        },
    ),
    Wrong(
        "matmul promotes float32",
        {
            "return unbroadcast(np.swapaxes(rows, -1, -2) @ g, columns.shape).reshape(b.shape)": "return unbroadcast(np.swapaxes(rows, -1, -2) @ g.astype(float), columns.shape).reshape(b.shape)"
        },
        says="a silent promotion",
    ),
    Wrong(
        "an axis of length 0 leaves the number of rows open",
        {"n = math.prod(g.shape[:-1])": "n = -1"},
        says="cannot reshape",
    ),
    Wrong(
        "all rules of a product give zeros",
        {"return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return np.zeros_like(a)"},
        says="all zeros",
    ),
    # recording
    Wrong(
        "all operations are recorded, required or not",
        {"    if not result.requires_grad:\n        return\n    if not _recording": "    if not _recording"},
    ),
    Wrong(
        "a result does not require what its operands do",
        {"    result.node = Node(": "    result.requires_grad = False\n    result.node = Node("},
    ),
    Wrong(
        "the operands are recorded in reverse",
        {"Node(op, parents, (result.data,": "Node(op, parents[::-1], (result.data,"},
    ),
    Wrong(
        "operands that require no gradient are left out",
        {"Node(op, parents, (result.data,": "Node(op, tuple([p for p in parents if p.requires_grad]), (result.data,"},
    ),
    Wrong(
        "the result's array is forgotten",
        {"(result.data, *[parent.data for parent in parents])": "tuple([parent.data for parent in parents])"},
    ),
    Wrong(
        "the operands' arrays are those of backward",
        {
            "(result.data, *[parent.data for parent in parents])": "()",
            "*node.arrays, **node.attrs": "tensor_of(node).data, *[p.data for p in node.parents], **node.attrs",
            "data = node.arrays[1 + argnum]": "data, tensor_of = node.parents[argnum].data, lambda node: Tensor(0.0)",
        },
    ),
    Wrong("attributes are forgotten", {"for parent in parents]), attrs)": "for parent in parents]), {})"}),
    Wrong(
        "integers are recorded too", {'    if result.data.dtype.kind != "f":\n        raise': "    if False:\n        raise"}
    ),
    Wrong(
        "the error about integers does not name them",
        {
            'raise TypeError(f"{op}: only floats have gradients, and this is {result.dtype}: use requires_grad=True with floats")': 'raise TypeError("only floats have gradients")'
        },
        says="is not named",
    ),
    Wrong(
        "a tape holds all nodes",
        {
            "    result.node = Node(op, parents, (": "    _TAPE.append(result)\n    result.node = Node(op, parents, (",
            "_FREED = Node(": "_TAPE = []\n_FREED = Node(",
        },
    ),
    Wrong(
        "a node refers to its own result",
        {"parent in parents]), attrs)": "parent in parents]), attrs)\n    result.own = result"},
    ),
    # backward
    Wrong(
        "gradients of several uses are overwritten",
        {"part = np.asarray(grads[parent] + part)": "pass"},
        says="overwritten instead of accumulated",
    ),
    Wrong(
        "a gradient that is there is overwritten",
        {"            accumulate(leaf, part)": "            leaf.grad = part.copy()"},
        says="overwritten instead of accumulated",
    ),
    Wrong(
        "a gradient is added in place",
        {
            "part = np.asarray(grads[parent] + part)": "part = np.add(grads[parent], part, out=grads[parent] if grads[parent].flags.writeable else None)"
        },
        says="what another tensor received was added in place",
    ),
    Wrong("a leaf takes whatever array comes", {HANDED: "elif True:"}),
    Wrong(
        "a leaf takes an array that no other leaf has, and that is not the seed",
        {
            "    _deliver(leaves, own)\n\n": "    _deliver(leaves, seed)\n\n",
            "    for leaf, part in leaves.items():\n        if leaf.grad is not None:\n": "    owner = {leaf: part if part.base is None else part.base for leaf, part in leaves.items()}\n    holders = Counter(map(id, [own, own.base, *owner.values()]))\n    for leaf, part in leaves.items():\n        if leaf.grad is not None:\n",
            HANDED: "elif holders[id(owner[leaf])] == 1 and owner[leaf].size == part.size:",
        },
        says="read-only",
    ),
    Wrong(
        "a leaf takes what any rule returns, if it may be written to",
        {HANDED: "elif part.flags.forc and part.flags.writeable:"},
        says="another's array",
    ),
    Wrong("a leaf takes a view of anything", {"(rule in _VIEWS and tensor in own)": "rule in _VIEWS"}, says="another's array"),
    Wrong(
        "a leaf takes what any rule makes of a new array",
        {"(rule in _VIEWS and tensor in own)": "tensor in own"},
        says="another's array",
    ),
    Wrong(
        "a rule is called for each use",
        {
            "                if uses[parent] == 0:\n                    ready.append(parent)": "                ready.append(parent)",
            "grad, node = grads.pop(tensor), _node(tensor)\n": "grad, node = grads.pop(tensor, None), _node(tensor)\n        if grad is None:\n            continue\n",
        },
    ),
    Wrong(
        "nodes are done in the order in which they are found",
        {
            "    while ready:\n        tensor = ready.pop()\n": "    done = set()\n    while ready:\n        tensor = ready.pop(0)\n        if tensor in done:\n            continue\n        done.add(tensor)\n",
            "                uses[parent] -= 1\n                if uses[parent] == 0:\n                    ready.append(parent)": "                ready.append(parent)",
        },
    ),
    Wrong(
        "every path is followed by itself",
        {
            "    while ready:\n        tensor = ready.pop()\n        grad, node = grads.pop(tensor), _node(tensor)\n": "    freed, ready = [], [(tensor, seed)]\n    while ready:\n        tensor, grad = ready.pop()\n        node = _node(tensor)\n",
            "            leaves[tensor] = grad\n": "            leaves[tensor] = leaves[tensor] + grad if tensor in leaves else grad\n",
            "        tensor.node = _FREED\n": "        freed.append(tensor)\n",
            """                if parent in grads or rule in _NEW or (rule in _VIEWS and tensor in own):
                    own.add(parent)
                if parent in grads:
                    part = np.asarray(grads[parent] + part)  # not +=: others may hold the same array
                grads[parent] = part
                uses[parent] -= 1
                if uses[parent] == 0:
                    ready.append(parent)
    _deliver""": "                ready.append((parent, part))\n    for tensor in freed:\n        tensor.node = _FREED\n    _deliver",
        },
    ),
    Wrong(
        "backward calls itself",
        {
            "    uses = _uses(tensor)\n": "    uses = _uses(tensor)\n    def depth(tensor):\n        node = _node(tensor)\n        return 1 + max([depth(p) for p in node.parents if p.requires_grad and not hasattr(p, 'seen')], default=0) if node else 0\n    depth(tensor)\n",
        },
        says="calls itself",
    ),
    Wrong(
        "computed tensors get a grad too",
        {"        tensor.node = _FREED\n": "        tensor.node = _FREED\n        tensor.grad = grad\n"},
    ),
    Wrong(
        "only the last result gets a grad",
        {
            "            leaves[tensor] = grad\n            continue\n": "            leaves = {tensor: grad}\n            continue\n"
        },
    ),
    Wrong(
        "what requires no gradient gets one",
        {
            "            if parent.requires_grad:\n                rule": "            if True:\n                rule",
            "                uses[parent] -= 1\n": "                uses[parent] = uses.get(parent, 1) - 1\n",
        },
    ),
    Wrong(
        "every rule is called",
        {
            "            if parent.requires_grad:\n                rule = vjp(node.op, argnum)\n                part = _part_of(rule, node, argnum, grad)\n": "            rule = vjp(node.op, argnum)\n            part = _part_of(rule, node, argnum, grad)\n            if parent.requires_grad:\n"
        },
    ),
    Wrong(
        "the seed is always ones",
        {
            "seed = np.ones_like(tensor.data) if grad is None else np.asarray(grad, tensor.dtype)": "seed = np.ones_like(tensor.data)\n    if grad is not None and np.shape(grad) != tensor.shape:\n        raise ValueError(f'{np.shape(grad)} {tensor.shape}')"
        },
        says="the grad is not used",
    ),
    Wrong("several values need no grad", {"if grad is None and tensor.size != 1:": "if False:"}, says="let through"),
    Wrong(
        "the seed has the dtype that it comes in",
        {
            "np.asarray(grad, tensor.dtype)": "np.asarray(grad)",
            "np.asarray(rule(grad, *node.arrays, **node.attrs), data.dtype)": "np.asarray(rule(grad, *node.arrays, **node.attrs))",
            "accumulate(leaf, part)": "leaf.grad = leaf.grad + part",
            'np.array(part, leaf.dtype, order="C")': "part.copy()",
        },
        says="a silent promotion",
    ),
    Wrong(
        "a gradient keeps the dtype that its rule gives",
        {"(grad, *node.arrays, **node.attrs), data.dtype)": "(grad, *node.arrays, **node.attrs))"},
        says="a silent promotion",
    ),
    Wrong(
        "a seed is broadcast",
        {
            "    if seed.shape != tensor.shape:": "    if seed.shape != tensor.shape:\n        try:\n            return np.broadcast_to(seed, tensor.shape)\n        except ValueError:\n            pass\n    if seed.shape != tensor.shape:"
        },
        says="let through",
    ),
    Wrong(
        "the error about the seed names one shape",
        {
            'ValueError(f"a grad of shape {seed.shape} for a tensor of shape {tensor.shape}")': 'ValueError(f"a grad of shape {seed.shape} does not fit")'
        },
        says="is not named",
    ),
    Wrong(
        "what was not recorded is passed over",
        {"    if _node(tensor) is None:\n        raise RuntimeError(": "    if _node(tensor) is None:\n        str("},
    ),
    Wrong("the record is not freed", {"        tensor.node = _FREED\n": ""}),
    Wrong(
        "the record is freed, and nobody notices a second backward",
        {"        tensor.node = _FREED\n": "        tensor.node = None\n"},
    ),
    Wrong(
        "a freed part is noticed too late",
        {
            '        if node is _FREED:\n            raise RuntimeError("backward() a second time through the same record, which the first freed: compute it anew")\n': "        if node is _FREED:\n            node = None\n",
            "            leaves[tensor] = grad\n            continue\n": "            accumulate(tensor, grad)\n            continue\n        if node is _FREED:\n            raise RuntimeError('freed')\n",
            "    _deliver(leaves, own)\n\n": "\n",
        },
    ),
    Wrong(
        "gradients are given out on the way",
        {
            "            leaves[tensor] = grad\n            continue\n": "            accumulate(tensor, grad)\n            continue\n",
            "    _deliver(leaves, own)\n\n": "\n",
        },
    ),
    Wrong(
        "an operation without rules passes nothing on",
        {
            '        raise RuntimeError(f"there is no rule for the operation {op!r}: defvjp({op!r}, …) defines it")': "        return lambda g, y, *parents, **attrs: np.zeros_like(parents[argnum])"
        },
        says="let through",
    ),
    Wrong("a rule's shape is not looked at", {"    if part.shape != data.shape:": "    if False:"}),
    Wrong("a numbers' gradient is a number", {"part = np.asarray(grads[parent] + part)": "part = grads[parent] + part"}),
    Wrong(
        "backward keeps what it found",
        {
            "    _deliver(leaves, own)\n\n": "    _deliver(leaves, own)\n    _KEPT[:] = [uses]\n\n",
            "_FREED = Node(": "_KEPT = []\n_FREED = Node(",
        },
    ),
    # no_grad
    Wrong("no_grad does nothing", {"token = _recording.set(False)": "token = _recording.set(True)"}),
    Wrong("no_grad never ends", {"        _recording.reset(token)": "        pass"}),
    Wrong(
        "an exception leaves no_grad on",
        {"    try:\n        yield\n    finally:\n        _recording.reset(token)": "    yield\n    _recording.reset(token)"},
    ),
    Wrong("the end of an inner block ends the outer", {"        _recording.reset(token)": "        _recording.set(True)"}),
    Wrong(
        "no_grad holds for all threads",
        {
            '_recording = ContextVar("recording", default=True)  # one value a thread\n': "class _recording:\n    value = True\n\n    @classmethod\n    def get(cls):\n        return cls.value\n\n    @classmethod\n    def set(cls, value):\n        old, cls.value = cls.value, value\n        return old\n\n    @classmethod\n    def reset(cls, token):\n        cls.value = token\n\n"
        },
    ),
    Wrong(
        "under no_grad results still require a gradient",
        {"        result.requires_grad = False\n        return\n": "        return\n"},
    ),
    Wrong(
        "no_grad takes the recorder away",
        {
            "    token = _recording.set(False)\n    try:\n        yield\n    finally:\n        _recording.reset(token)": "    Tensor._recorder = None\n    try:\n        yield\n    finally:\n        Tensor._recorder = record"
        },
    ),
    Wrong(
        "no_grad stops backward",
        {
            "    seed = _seed(tensor, grad)\n    uses": "    if not _recording.get():\n        return\n    seed = _seed(tensor, grad)\n    uses"
        },
    ),
    # gradcheck
    Wrong(
        "gradcheck always says True",
        {
            "    copies = [Tensor(x.data.copy(), x.requires_grad) for x in inputs]\n": "    return True\n    copies = [Tensor(x.data.copy(), x.requires_grad) for x in inputs]\n"
        },
        says="let through",
    ),
    Wrong(
        "gradcheck is blind: seeded with ones",
        {"np.random.default_rng(0).standard_normal(result.shape)": "np.ones(result.shape)"},
        says="let through",
    ),
    Wrong(
        "gradcheck looks at the first input only",
        {
            "for number, x in enumerate(copies):\n        if not x.requires_grad:": "for number, x in enumerate(copies[:1]):\n        if not x.requires_grad:"
        },
        says="let through",
    ),
    Wrong(
        "gradcheck takes a missing gradient for right",
        {
            "        got = np.zeros_like(x.data) if x.grad is None else x.grad\n": "        if x.grad is None:\n            continue\n        got = x.grad\n"
        },
        says="let through",
    ),
    Wrong(
        "gradcheck changes the inputs' grads",
        {"copies = [Tensor(x.data.copy(), x.requires_grad) for x in inputs]": "copies = inputs"},
    ),
    Wrong(
        "gradcheck lets NaN through",
        {
            "if not difference.max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0)) < np.inf:": "if difference.max(initial=0) > tolerance * max(1.0, np.abs(want).max(initial=0)):"
        },
        says="let through",
    ),
    Wrong(
        "gradcheck passes where differences are infinite",
        {" < np.inf:": ":"},
        says="let through",
    ),
    Wrong(
        "gradcheck looks at the mean difference",
        {
            "if not difference.max(initial=0) <= tolerance": "if not (difference.mean() if difference.size else 0) <= 1000 * tolerance"
        },
    ),
    Wrong("gradcheck's tolerance is absolute", {"tolerance * max(1.0, np.abs(want).max(initial=0))": "tolerance"}),
    Wrong("gradcheck ignores its tolerance", {"tolerance * max(1.0,": "1e-6 * max(1.0,"}),
    Wrong("gradcheck ignores its eps", {"x.data, eps)": "x.data, 1e-6)"}, says="let through"),
    Wrong(
        "gradcheck takes one-sided differences",
        {
            "            x[index] = kept - eps\n            below = value()\n            x[index] = kept\n            result[index] = (above - below) / (2 * eps)": "            x[index] = kept\n            result[index] = (above - value()) / eps"
        },
    ),
    Wrong("gradcheck takes float32", {"        if x.dtype != np.float64:": "        if False:"}),
    Wrong("gradcheck returns what it compared", {"            )\n    return True": "            )\n    return np.True_"}),
    Wrong(
        "gradcheck names no place",
        {"input {number} at {index}: backward gives": "input {number}: backward gives"},
        says="is not named",
    ),
    Wrong(
        "gradcheck subtracts a view from itself",
        {
            "lambda: np.vdot(w, function(*copies).data), x.data, eps)": "lambda: function(*copies).data, x.data, (eps, w))",
            "value: Callable[[], float], x: np.ndarray, eps: float)": "value, x, pair)",
            "    result = np.empty_like(x)\n    with no_grad()": "    eps, w = pair\n    result = np.empty_like(x)\n    with no_grad()",
            "(above - below) / (2 * eps)": "np.vdot(w, above - below) / (2 * eps)",
        },
    ),
    # graph
    Wrong(
        "a tensor is drawn once for each use",
        {
            "            if parent not in numbers:\n                numbers[parent] = len(numbers)\n                waiting.append(parent)": "            numbers[parent] = len(numbers) + len(lines)\n            waiting.append(parent)"
        },
    ),
    Wrong(
        "operations are not drawn apart from results",
        {
            """f'  o{number} [label="{node.op}"]'""": """f'  o_{node.op} [label="{node.op}"]'""",
            'f"  o{number} -> t{number}"': 'f"  o_{node.op} -> t{number}"',
            '-> o{number}")\n': '-> o_{node.op}")\n',
        },
    ),
    Wrong(
        "arrows go backwards",
        {
            'f"  o{number} -> t{number}"': 'f"  t{number} -> o{number}"',
            "t{numbers[parent]} -> o{number}": "o{number} -> t{numbers[parent]}",
        },
    ),
    Wrong("all leaves are bold", {"if node is None and tensor.requires_grad else": "if node is None else"}),
    Wrong(
        "all that requires a gradient is bold",
        {"if node is None and tensor.requires_grad else": "if tensor.requires_grad else"},
    ),
    Wrong("names are not shown", {'label = f"{name[tensor]} {tensor.shape}" if tensor in name else': "label ="}),
    Wrong("shapes are not shown", {'else f"{tensor.shape}"\n': 'else "tensor"\n'}),
    Wrong(
        "graph calls itself",
        {
            "    name = {tensor: name for name, tensor in names.items()}\n": "    name = {tensor: name for name, tensor in names.items()}\n\n    def depth(tensor):\n        node = _node(tensor)\n        return 1 + max(map(depth, node.parents)) if node else 0\n\n    depth(tensor)\n"
        },
        says="calls itself",
    ),
    Wrong(
        "drawing frees the record",
        {
            "        if node is None:\n            continue\n        lines +=": "        if node is None:\n            continue\n        tensor.node = _FREED\n        lines +="
        },
    ),
    # naive
    Wrong(
        "unbroadcast copies what it returns",
        {
            "    if grad.shape == shape:\n        return grad\n": "    grad = grad.astype(np.float64).astype(grad.dtype)\n    if grad.shape == shape:\n        return grad\n"
        },
        naive="test_nothing_is_copied_on_the_way",
    ),
    Wrong(
        "unbroadcast sums in Python",
        {
            SUM: f"    sums = np.zeros((1,) * new + shape, grad.dtype)\n    for index in np.ndindex(grad.shape):\n        sums[tuple([i % n for i, n in zip(index, sums.shape, strict=True)])] += grad[index]\n    return sums.reshape(shape)\n{SUM}"
        },
        naive="test_the_sum_is_done_in_numpy",
    ),
    Wrong(
        "unbroadcast sums row after row",
        summed("grad.sum(tuple(axes)).reshape(shape)"),
        naive="test_many_rows_of_few_columns_are_summed_fast",
    ),
    Wrong(
        "the rules of arithmetic go through lists",
        {
            "    return rule\n\n\n# Arithmetic": "    def one_by_one(g, y, *parents, **attrs):\n        result = np.asarray(rule(g, y, *parents, **attrs))\n        return np.array([value.item() for value in result.ravel()], result.dtype).reshape(result.shape)\n\n    return one_by_one\n\n\n# Arithmetic"
        },
        naive="test_arithmetic_rules_are_done_in_numpy",
    ),
    Wrong(
        "the rules of functions go through lists",
        {
            "    return rule\n\n\n# Arithmetic": "    def one_by_one(g, y, *parents, **attrs):\n        result = np.asarray(rule(g, y, *parents, **attrs))\n        return np.array([value.item() for value in result.ravel()], result.dtype).reshape(result.shape)\n\n    return one_by_one\n\n\n# Arithmetic"
        },
        naive="test_rules_of_functions_are_done_in_numpy",
    ),
    Wrong(
        "the rules of products go through lists",
        {
            "    return rule\n\n\n# Arithmetic": "    def one_by_one(g, y, *parents, **attrs):\n        result = np.asarray(rule(g, y, *parents, **attrs))\n        return np.array([value.item() for value in result.ravel()], result.dtype).reshape(result.shape)\n\n    return one_by_one\n\n\n# Arithmetic"
        },
        naive="test_the_rules_of_a_product_are_done_in_numpy",
    ),
    Wrong(
        "the rules of reductions go through lists",
        {
            "    return rule\n\n\n# Arithmetic": "    def one_by_one(g, y, *parents, **attrs):\n        result = np.asarray(rule(g, y, *parents, **attrs))\n        return np.array([value.item() for value in result.ravel()], result.dtype).reshape(result.shape)\n\n    return one_by_one\n\n\n# Arithmetic"
        },
        naive="test_rules_of_reductions_are_done_in_numpy",
    ),
    Wrong(
        "the rules of changes of shape go through lists",
        {
            "    return rule\n\n\n# Arithmetic": "    def one_by_one(g, y, *parents, **attrs):\n        result = np.asarray(rule(g, y, *parents, **attrs))\n        return np.array([value.item() for value in result.ravel()], result.dtype).reshape(result.shape)\n\n    return one_by_one\n\n\n# Arithmetic"
        },
        naive="test_rules_of_shape_are_done_in_numpy",
    ),
    Wrong(
        "the rules of arithmetic compute in float64",
        {
            "    return rule\n\n\n# Arithmetic": "    return lambda g, y, *parents, **attrs: rule(*[x.astype(np.float64) for x in (g, y, *parents)], **attrs).astype(g.dtype)\n\n\n# Arithmetic"
        },
        naive="test_arithmetic_rules_hold_an_array_or_two",
    ),
    Wrong(
        "the rules of functions compute in float64",
        {
            "    return rule\n\n\n# Arithmetic": "    return lambda g, y, *parents, **attrs: rule(*[x.astype(np.float64) for x in (g, y, *parents)], **attrs).astype(g.dtype)\n\n\n# Arithmetic"
        },
        naive="test_rules_of_functions_hold_an_array_or_two",
    ),
    Wrong(
        "the gradient of a sum is multiplied out in float64",
        {
            "np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "(np.ones(a.shape) * _kept(g, a, dim, keepdim)).astype(a.dtype)"
        },
        naive="test_the_gradient_of_a_sum_holds_one_array_at_most",
    ),
    Wrong(
        "the gradient of a view is a copy",
        {
            "    return rule\n\n\n# Arithmetic": "    return lambda *arrays, **attrs: rule(*arrays, **attrs).copy()\n\n\n# Arithmetic"
        },
        naive="test_the_gradient_of_a_view_is_a_view",
    ),
    Wrong(
        "slices are searched for repetitions",
        {"if any([_may_repeat(part) for part in (index if isinstance(index, tuple) else (index,))]):": "if True:"},
        naive="test_a_slice_needs_no_search_for_repetitions",
    ),
    Wrong(
        "a shared matrix is repeated for the batch",
        {"if columns.ndim == 2:": "if False:"},
        naive="test_a_shared_matrix_is_not_repeated_for_the_batch",
    ),
    Wrong(
        "products are sums over an array of all pairs",
        {
            "return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)": "return unbroadcast((g[..., None, :] * columns[..., None, :, :]).sum(-1), rows.shape).reshape(a.shape)",
            "return np.matmul(rows.T, g, out=np.empty_like(columns)).reshape(b.shape)": "return (rows[:, :, None] * g[:, None, :]).sum(0).reshape(b.shape)",
        },
        naive="test_the_gradient_of_a_product_is_a_product",
    ),
    Wrong(
        "the record copies its arrays",
        {
            "(result.data, *[parent.data for parent in parents])": "(result.data.copy(), *[parent.data.copy() for parent in parents])"
        },
        naive="test_recording_copies_nothing",
    ),
    Wrong(
        "what was seen is searched in a list",
        {
            "uses, waiting = Counter(), [root]": "uses, waiting, seen = Counter(), [root], []",
            "                if parent not in uses:\n                    waiting.append(parent)": "                if not any([parent is other for other in seen]):\n                    seen.append(parent)\n                    waiting.append(parent)",
        },
        naive="test_the_steps_are_proportional_to_the_length_of_a_chain",
    ),
    Wrong(
        "every path is followed",
        {
            "    uses = _uses(tensor)\n": "    uses = _uses(tensor)\n    waiting = [tensor]\n    while waiting:\n        node = _node(waiting.pop())\n        waiting += node.parents if node else ()\n"
        },
        naive="test_the_steps_are_proportional_to_the_number_of_diamonds",
    ),
    Wrong(
        "nothing is freed",
        {"        tensor.node = _FREED\n": ""},
        naive="test_after_backward_the_loss_holds_nothing",
    ),
    Wrong("nothing is freed after a step", {"        tensor.node = _FREED\n": ""}, naive="test_a_step_keeps_no_memory"),
    Wrong(
        "all gradients are kept until the end",
        {"grad, node = grads.pop(tensor), _node(tensor)": "grad, node = grads[tensor], _node(tensor)"},
        naive="test_gradients_on_the_way_are_let_go",
    ),
    Wrong(
        "the parts of a gradient are collected first",
        {
            "grad, node = grads.pop(tensor), _node(tensor)": "grad, node = sum(grads.pop(tensor)), _node(tensor)",
            "grads, ready, leaves = {tensor: seed}, [tensor], {}": "grads, ready, leaves = {tensor: [seed]}, [tensor], {}",
            "                if parent in grads:\n                    part = np.asarray(grads[parent] + part)  # not +=: others may hold the same array\n                grads[parent] = part\n": "                grads.setdefault(parent, []).append(part)\n",
        },
        naive="test_a_tensor_of_many_uses_takes_no_memory_for_each",
    ),
    Wrong(
        "under no_grad everything is recorded",
        {"        result.requires_grad = False\n        return\n": "        pass\n"},
        naive="test_without_gradients_no_activation_is_kept",
    ),
    Wrong(
        "a grad is a piece of a larger array",
        {HANDED: "elif part.flags.forc:"},
        naive="test_a_grad_keeps_no_larger_array_alive",
    ),
    # habits
    Wrong(
        "the gradient of exp is made finite",
        {"lambda g, y, a: g * y)": "lambda g, y, a: np.nan_to_num(g * y))"},
        says="everywhere, and the rule gives",
    ),
    Wrong("the gradient of a reshape is read in the order of memory", {"g.reshape(a.shape)": 'g.ravel("K").reshape(a.shape)'}),
    Wrong(
        "the gradient of tanh turns warnings off",
        {"lambda g, y, a: g * (1 - y * y)": "lambda g, y, a: np.seterr(all='ignore') and g * (1 - y * y)"},
        says="error handling was changed",
    ),
    Wrong(
        "no_grad ends with errors only",
        {
            "    finally:\n        _recording.reset(token)\n": "    except Exception:\n        _recording.reset(token)\n        raise\n    else:\n        _recording.reset(token)\n"
        },
    ),
    Wrong(
        "a gradient of 0 is taken for none",
        {
            "if grad is None else np.asarray(grad, tensor.dtype)": "if grad is None or not np.any(grad) else np.asarray(grad, tensor.dtype)"
        },
    ),
    Wrong(
        "a tolerance of 0 is taken for none",
        {"tolerance * max(1.0, np.abs(want).max(initial=0))": "(tolerance or 1e-6) * max(1.0, np.abs(want).max(initial=0))"},
        says="bad input is let through",
    ),
    Wrong(
        "a check passes where there is no number",
        {
            "if not difference.max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0)) < np.inf:": "if difference.max(initial=0) > tolerance * max(1.0, np.abs(want).max(initial=0)):"
        },
        says="bad input is let through",
    ),
    Wrong(
        "max and sum take their attributes by position",
        {
            "lambda g, y, a, dim, keepdim: np.broadcast_to(_kept(g, a, dim, keepdim), a.shape)": "lambda g, y, a, **attrs: np.broadcast_to(_kept(g, a, *attrs.values()), a.shape)"
        },
    ),
    Wrong(
        "float16 middle axis in float16",
        {
            "    result = grad.astype(_wide(grad), copy=False)\n": "    result = grad\n",
            "_sum_of_rows(result.reshape(": "_sum_of_rows(result.astype(_wide(grad), copy=False).reshape(",
        },
    ),
    Wrong("blocks added in float32", {"blocks.sum(0, dtype=np.float64)": "blocks.sum(0)"}),
    Wrong("remaining rows from the front", {"ones[:rest] @ rows[n - rest :]": "ones[:rest] @ rows[:rest]"}),
    Wrong("exactly one block is lost", {"    if n > rest:\n": "    if n > _BLOCK:\n"}),
    Wrong("divisor squared overflows", {"-unbroadcast(g * y / b, b.shape)": "-unbroadcast(g * a / (b * b), b.shape)"}),
    Wrong("maximum of NaN to nobody", {"_taken(g, ~(a > b))": "_taken(g, b >= a)"}),
    Wrong("safe square root hides NaN", {"lambda g, y, a: g / (2 * y))": "lambda g, y, a: np.where(y > 0, g / (2 * y), 0))"}),
    Wrong("no axes taken for all", {"if dim is None else dim)": "if dim is None or dim == () else dim)"}),
    Wrong("maximum NaN gives gradient zero", {"/ count).astype": "/ np.maximum(count, 1)).astype"}),
    Wrong(
        "almost largest shares the gradient",
        {"largest = a == _kept(y, a, dim, keepdim)": "largest = np.isclose(a, _kept(y, a, dim, keepdim))"},
    ),
    Wrong(
        "one matrix for each head",
        {"if columns.ndim == 2:": "if columns.ndim == 2 and rows.ndim <= 3:"},
        naive="test_a_matrix_that_heads_share_is_not_repeated_either",
    ),
    Wrong(
        "integers refused under no_grad",
        {
            "    if not _recording.get():\n": '    if result.dtype.kind not in "f":\n        raise TypeError(f"{op}: only floats have gradients, and this is {result.dtype}")\n    if not _recording.get():\n'
        },
    ),
    Wrong("float32 beside checked inputs", {"if x.dtype != np.float64:": "if x.requires_grad and x.dtype != np.float64:"}),
    Wrong(
        "tolerance value by value",
        {
            "if not difference.max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0)) < np.inf:": "if not (difference <= tolerance * np.maximum(1.0, np.abs(want))).all() or not np.isfinite(want).all():"
        },
    ),
    Wrong(
        "gradcheck takes the mean of the errors",
        {"if not difference.max(initial=0) <=": "if not (difference.mean() if difference.size else 0) <="},
    ),
    Wrong(
        "gradcheck has one w for all rows",
        {
            "w = np.random.default_rng(0).standard_normal(result.shape)": "w = np.broadcast_to(np.random.default_rng(0).standard_normal(result.shape[-1:]), result.shape).copy()"
        },
    ),
    Wrong(
        "tolerance is added",
        {
            "<= tolerance * max(1.0, np.abs(want).max(initial=0)) < np.inf": "<= tolerance * (1.0 + np.abs(want).max(initial=0)) < np.inf"
        },
    ),
    Wrong("tolerance of 1e-5", {"tolerance: float = 1e-6) -> bool": "tolerance: float = 1e-5) -> bool"}),
    Wrong("eps of 1e-5", {"eps: float = 1e-6, tol": "eps: float = 1e-5, tol"}),
    Wrong("eps of 1e-4", {"eps: float = 1e-6, tol": "eps: float = 1e-4, tol"}),
    Wrong("sqrt's gradient has an eps", {"lambda g, y, a: g / (2 * y))": "lambda g, y, a: g / (2 * y + 1e-12))"}),
    Wrong("log's gradient has an eps", {"lambda g, y, a: g / a)": "lambda g, y, a: g / (a + 1e-12))"}),
    Wrong("tanh's slope never 0", {"g * (1 - y * y)": "g * np.maximum(1 - y * y, 1e-12).astype(y.dtype)"}),
    Wrong(
        "where's condition by values",
        {"_taken(g, condition), a.shape": "_taken(g, np.broadcast_to(condition, g.shape) & (a == a)), a.shape"},
    ),
    Wrong("the seed is the caller's grad", {"np.asarray(grad, tensor.dtype)": "np.asarray(grad)"}),
    Wrong(
        "gradcheck's index is of the first error",
        {
            "np.unravel_index(difference.argmax(), difference.shape)": "np.unravel_index((difference > tolerance).argmax(), difference.shape)"
        },
    ),
    Wrong(
        "gradcheck's tolerance is 1 at least",
        {"tolerance * max(1.0, np.abs(want).max(initial=0)) <": "tolerance * max(1.0, np.abs(got).max(initial=0)) <"},
    ),
    Wrong(
        "float64 is summed in float32",
        {
            "return np.result_type(array, np.float32)": "return np.dtype(np.float32) if array.ndim > 3 else np.result_type(array, np.float32)"
        },
    ),
    Wrong("a power of 0 times infinity", {"if exponent else np.zeros_like(a))": "if exponent else a * 0)"}),
    Wrong(
        "maximum's tie to a at 0",
        {
            "_taken(g, a > b), a.shape": "_taken(g, (a > b) | ((a == 0) & (b == 0) & np.signbit(b) & ~np.signbit(a))), a.shape",
            "_taken(g, ~(a > b)), b.shape": "_taken(g, ~((a > b) | ((a == 0) & (b == 0) & np.signbit(b) & ~np.signbit(a)))), b.shape",
        },
    ),
    Wrong(
        "KeyboardInterrupt in a rule delivers",
        {
            "                part = _part_of(rule, node, argnum, grad)\n": "                try:\n                    part = _part_of(rule, node, argnum, grad)\n                except KeyboardInterrupt:\n                    _deliver(leaves, own)\n                    raise\n"
        },
    ),
    Wrong(
        "gradcheck checks 100 values at most",
        {
            "        difference = np.abs(got - want)\n": "        difference = np.abs(got - want)\n        difference.reshape(-1)[100:200] = 0\n"
        },
    ),
    Wrong(
        "gradcheck needs a node",
        {"    result.backward(w)\n": "    if _node(result) is None:\n        return True\n    result.backward(w)\n"},
    ),
    Wrong(
        "taken multiplies large arrays",
        {
            'return (g.view(f"i{g.itemsize}") * mask).view(g.dtype)': 'return g * mask if g.size > 4096 else (g.view(f"i{g.itemsize}") * mask).view(g.dtype)'
        },
    ),
    Wrong("unsigned index arrays are assigned", {"or part.dtype != np.bool_": 'or part.dtype.kind == "i"'}),
    Wrong(
        "concatenate finds its part by identity",
        {
            "start = sum([part.shape[dim] for part in parts[:argnum]])": "place = next(i for i, part in enumerate(parts) if part is parts[argnum])\n    start = sum([part.shape[dim] for part in parts[:place]])"
        },
    ),
    Wrong("dtype and shape of present data", {"data = node.arrays[1 + argnum]": "data = node.parents[argnum].data"}),
]

# Semantic mutants (specs.meta.semantic) that keep every promise, and why
COMPUTED = [
    *[f"rule {argnum} of {op}" for op in ("add", "sub", "mul", "div", "maximum", "where", "matmul") for argnum in (0, 1)],
    *[f"rule 0 of {op}" for op in ("neg", "pow", "exp", "log", "sqrt", "tanh", "getitem", "sum", "max")],
]
MOVED = ["rule 0 of reshape", "rule 0 of permute"]
EQUIVALENT = {
    **{f"{rule}: a result is a copy, not a view": "a rule may return a view of g or a copy" for rule in COMPUTED},
    **{
        f"{rule}: {habit}": "backward copies for a leaf what a rule returns, unless it is known to be new"
        for rule in COMPUTED + MOVED
        for habit in ("a result is read-only", "a result is a view of an equal argument")
    },
    **{f"unbroadcast: {habit}": "gradients are floats" for habit in ("int32 for int64", "int64 for int32")},
    "unbroadcast: a result is a view of an equal argument": "where the shapes agree, it is that anyway",
    "record: shapes that differ are broadcast": "it checks no shapes",
    **{
        f"{name}: a check comes after the effect": "what came before the check is dropped with the error"
        for name in ("record", "_seed")
    },
    "_seed: a check comes after the effect, 2": "what came before the check is dropped with the error",
    **{
        f"{name}: None is whatever is falsy": "a node is a tuple of four, and never falsy"
        for name in ("backward", "_seed", "graph")
    },
    "graph: None is whatever is falsy, 2": "a node is a tuple of four, and never falsy",
    **{
        f"graph: {habit}": "it depends on shapes alone"
        for habit in ("infinities and NaN in arguments are made finite", "arguments are read in the order of memory")
    },
    "backward: a falsy argument is taken as absent": "a grad is an array, which the habit does not call falsy",
    "backward: a result is a copy, not a view": "a grad is an array of its own anyway",
}
