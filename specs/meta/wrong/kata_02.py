"""Wrong solutions of kata 02, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

# +, -, * and / of one pair of numbers after the other
ONE_BY_ONE = {
    "    return Tensor._result(op, ufunc(a.data, b.data), a, b)": "    return _one_by_one(op, ufunc, a, b)",
    '    return Tensor._result("div", np.divide(a.data, b.data), a, b)': '    return _one_by_one("div", np.divide, a, b)',
    "def _binary(": """def _one_by_one(op, ufunc, a, b):
    x, y = np.broadcast_arrays(a.data, b.data)
    values = [ufunc(p, q) for p, q in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True)]
    return Tensor._result(op, np.array(values, x.dtype).reshape(x.shape), a, b)


def _binary(""",
}

WRONG = [
    Wrong("every result is zero", {"Tensor(np.asarray(data), any": "Tensor(np.zeros_like(data), any"}, says="all zeros"),
    Wrong(
        "arrays are copied",
        {"array = np.asarray(data, dtype)": "array = np.array(data, dtype)"},
        says="peak",
    ),
    Wrong(
        "everything becomes float32",
        {"(np.ndarray, np.generic)) and array.dtype == np.float64": "()) and array.dtype.kind == 'f'"},
        says="dtype",
    ),
    Wrong("lists of floats stay float64", {"array = array.astype(np.float32)": "pass"}, says="a silent promotion"),
    Wrong("integers become floats", {"np.asarray(data, dtype)": "np.asarray(data, dtype) * 1.0"}, says="dtype"),
    Wrong("strings are let through", {'if array.dtype.kind not in "biuf"': "if False"}, says="bad input is let through"),
    Wrong("requires_grad is forgotten", {"self.requires_grad = requires_grad": "self.requires_grad = False"}),
    Wrong("item is a NumPy scalar", {"return self.data.item()": "return self.data.reshape(-1)[0]"}),
    Wrong("item takes the first of many", {"if self.size != 1": "if self.size == 0"}, says="is not named"),
    Wrong("repr hides float64", {"(np.float32, np.int64, np.bool_)": "(np.float32, np.float64, np.int64, np.bool_)"}),
    Wrong("randn ignores its generator", {"rng.standard_normal(shape, np.float32)": "np.random.randn(*shape)"}, says="dtype"),
    Wrong("randn starts anew each time", {"rng.standard_normal(": "np.random.default_rng(5).standard_normal("}),
    Wrong(
        "2 - x gives x - 2",
        {'"sub", np.subtract, other, self': '"sub", np.subtract, self, other'},
        says="the operands are swapped",
    ),
    Wrong("1 / x gives x", {"return _divide(other, self)": "return _divide(self, other)"}),
    Wrong("power multiplies", {"base.data**exponent, base": "base.data * exponent, base"}, says="x · n, not xⁿ"),
    Wrong(
        "addition works in place",
        {'_binary("add", np.add, self, other)': "_in_place(self, other)"}
        | {
            "def _divide(": "def _in_place(a, b):\n    a, b = _pair(a, b)\n    a.data += b.data\n    return a\n\n\ndef _divide("
        },
    ),
    Wrong(
        "a number promotes float32",
        {"return Tensor(np.asarray(number, dtype))": "return Tensor(np.asarray(number, np.float64))"},
        says="a silent promotion",
    ),
    Wrong("integers promote float32 to float64", {'if left.kind == "f":': "if False:"}, says="a silent promotion"),
    Wrong(
        "integer division is float64",
        {'    if a.data.dtype.kind != "f":\n        a, b = _floating(a), _floating(b)\n': ""},
        says="dtype",
    ),
    Wrong(
        "comparison gives an array",
        {"return _order(operator.le, self, other)": "return self.data <= _bare(other)"},
    ),
    Wrong("< is <=", {"_order(operator.lt,": "_order(operator.le,"}),
    Wrong("log to base 10", {'"log", np.log, self': '"log", np.log10, self'}, says="the logarithm to base 10"),
    Wrong(
        "tanh from its formula overflows",
        {'"tanh", np.tanh, self': '"tanh", lambda x: (np.exp(2 * x) - 1) / (np.exp(2 * x) + 1), self'},
    ),
    Wrong(
        "functions give float64",
        {'_unary("exp", np.exp, self)': '_unary("exp", lambda x: np.exp(x, dtype=np.float64), self)'},
        says="a silent promotion",
    ),
    Wrong("maximum is the minimum", {'"maximum", np.maximum': '"maximum", np.minimum'}, says="the minimum"),
    Wrong("maximum drops NaN", {'"maximum", np.maximum': '"maximum", np.fmax'}, says="expected [nan, nan]"),
    Wrong("where chooses the other", {"np.where(condition, a.data, b.data)": "np.where(condition, b.data, a.data)"}),
    Wrong("where takes numbers for truth", {"if condition.dtype != np.bool_": "if False"}, says="bad input is let through"),
    Wrong("reshape copies", {"data = self.data.reshape(shape)": "data = self.data.copy().reshape(shape)"}),
    Wrong("reshape goes column by column", {"self.data.reshape(shape)": 'self.data.reshape(shape, order="F")'}),
    Wrong(
        "permute goes the other way",
        {"self.data.transpose(dims), self": "self.data.transpose(np.argsort([d % self.ndim for d in dims])), self"},
        says="the inverse order",
    ),
    Wrong(
        "T reverses all axes",
        {"return self.transpose(-2, -1)": "return self.permute(*range(self.ndim)[::-1])"},
        says="the axes are in another order",
    ),
    Wrong("slices are copied", {'"getitem", self.data[arrays], self': '"getitem", np.array(self.data[arrays]), self'}),
    Wrong(
        "a new axis is lost",
        {"self.data[arrays], self, index": "self.data[tuple(a for a in arrays if a is not None)], self, index"},
    ),
    Wrong(
        "concatenate always joins axis 0",
        {"for tensor in tensors], dim, dtype=dtype)": "for tensor in tensors], 0, dtype=dtype)"},
    ),
    Wrong("stack puts the new axis first", {"dim = _axis(dim, (*shape, 1))": "dim = 0"}),
    Wrong(
        "stack counts -1 from the old axes",
        {"dim = _axis(dim, (*shape, 1))": "dim = _axis(dim, (*shape, 1)) % (len(shape) or 1)"},
    ),
    Wrong(
        "keepdim is ignored",
        {"data.sum(dims, wide, keepdims=keepdim), x": "data.sum(dims, wide), x"},
        says="the wrong shape",
    ),
    Wrong(
        "the mean divides by the size",
        {"_sum(_floating(self), dim, keepdim) / count": "_sum(_floating(self), dim, keepdim) / self.size"},
        says="divided by the number of all values",
    ),
    Wrong("var divides by n", {"/ (count - correction)": "/ count"}, says="divided by n, not n − 1"),
    Wrong(
        "var by E[x²] - E[x]²",
        {
            "deviation = x - x.mean(dim, keepdim=True)\n        return _narrowed((deviation * deviation).sum(dim, keepdim) / (count - correction), self)": "m = self.mean(dim, keepdim)\n        return ((self * self).mean(dim, keepdim) - m * m) * (count / (count - correction))"
        },
    ),
    Wrong(
        "a sum is a NumPy scalar",
        {
            "return _narrowed(_sum(self, dim, keepdim), self)": "return _narrowed(_sum(self, dim, keepdim), self) if dim is not None else self.data.sum()"
        },
    ),
    Wrong(
        "an axis may stand twice",
        {
            "if len(set(axes)) < len(axes)": "if False",
            "axes = tuple([_axis(axis, shape) for axis in dim])": "axes = tuple({_axis(axis, shape) for axis in dim})",
        },
        says="bad input is let through",
    ),
    Wrong(
        "float32 is summed one by one",
        {
            "data.sum(dims, wide, keepdims=keepdim), x": "data.cumsum()[-1] if dim is None and not keepdim else data.sum(dims, wide, keepdims=keepdim), x"
        },
    ),
    Wrong(
        "@ multiplies element by element",
        {"data = a.data @ b.data": "data = a.data * b.data"},
        says="a * b, element by element",
    ),
    Wrong("@ swaps its operands", {"data = a.data @ b.data": "data = b.data @ a.data"}, says="b @ a"),
    Wrong("array @ tensor is swapped", {"return _matmul(other, self)": "return _matmul(self, other)"}),
    Wrong("np.dot for batches", {"data = a.data @ b.data": "data = np.dot(a.data, b.data)"}, says="np.dot, which pairs all"),
    Wrong(
        "@ leaves its shapes to NumPy's message",
        {
            'raise ValueError(f"{a.shape} @ {b.shape}: the last axis left must be as long as the second to last right") from None': "raise"
        },
        says="is not named",
    ),
    Wrong("@ in float64", {"data = a.data @ b.data": "data = a.data.astype(np.float64) @ b.data"}, says="a silent promotion"),
    Wrong(
        "an operation does not report",
        {"return Tensor._result(op, ufunc(x.data), x)": "return Tensor(ufunc(x.data), x.requires_grad)"},
        says="nothing was reported",
    ),
    Wrong(
        "mean cuts the chain",
        {
            "return _narrowed(_sum(_floating(self), dim, keepdim) / count, self)": "return Tensor(_floating(self).data.mean(_axes(dim, self.shape), keepdims=keepdim))"
        },
        says="nothing was reported",
    ),
    Wrong("exp reports another name", {'_unary("exp", np.exp': '_unary("e", np.exp'}, says="is not one of"),
    Wrong(
        "the attributes are wrong",
        {"x, dim=dims, keepdim=keepdim)": "x, dim=dims, keepdim=False)"},
        says="sum done again",
    ),
    Wrong(
        "an exponent may be a Tensor",
        {
            "if not isinstance(exponent, _NUMBER):": "exponent = getattr(exponent, 'data', exponent)\n        if isinstance(exponent, str | None):"
        },
    ),
    Wrong(
        "where promotes as NumPy does",
        {
            '    a, b = _pair(a, b)\n    return Tensor._result("where"': '    a, b = (v if isinstance(v, Tensor) else Tensor(v) for v in (a, b))\n    return Tensor._result("where"'
        },
        says="dtype",
    ),
    Wrong(
        "operands are copied",
        {"Tensor._result(op, ufunc(a.data, b.data), a, b)": "Tensor._result(op, ufunc(a.data.copy(), b.data), a, b)"},
        says="peak",
    ),
    Wrong("a function works on a copy", {"ufunc(x.data), x)": "ufunc(x.data.copy()), x)"}, says="peak"),
    Wrong("@ copies its operands", {"data = a.data @ b.data": "data = a.data.copy() @ b.data"}, says="peak"),
    Wrong(
        "the index keeps its Tensors",
        {"self.data[arrays], self, index=arrays": "self.data[arrays], self, index=index"},
        says="holds a Tensor",
    ),
    Wrong(
        "a parent is forgotten",
        {"ufunc(a.data, b.data), a, b)": "ufunc(a.data, b.data), a)"},
        says="was reported with 1 parents",
    ),
    Wrong("a NumPy scalar becomes float32", {"(np.ndarray, np.generic)": "np.ndarray"}, says="dtype"),
    Wrong(
        "whatever has a length is true",
        {"return bool(self.item())": "return len(self) > 0 if self.ndim else bool(self.item())"},
    ),
    Wrong(
        "an operand on the left keeps its dtype",
        {"    left, right = a.data.dtype, b.data.dtype\n": "    left, right = b.data.dtype, b.data.dtype\n"},
        says="a silent promotion",
    ),
    Wrong(
        "the first operand decides on floats before they meet",
        {"return _divide(self, other)": "return _divide(_floating(self), other)"},
        says="expected",
    ),
    Wrong(
        "a quotient's number must fit the integers",
        {"elif not isinstance(b, Tensor) and isinstance(b, _NUMBER)": "elif False"},
        says="does not fit into",
    ),
    Wrong("True is 1 beside booleans", {"and not isinstance(number, bool):": "and True:"}, says="dtype"),
    Wrong(
        "a number is cut to fit",
        {"return Tensor(np.asarray(number, dtype))": "return Tensor(np.asarray(number).astype(dtype))"},
        says="bad input is let through",
    ),
    Wrong(
        "a number takes the tensor's dtype before it is compared",
        {"_compare(operator.eq, self, other)": "_compare(operator.eq, *_pair(self, other))"},
        says="does not fit into",
    ),
    Wrong(
        "a float is rounded to float32 before it is compared",
        {
            "_order(operator.lt, self, other)": "Tensor(self.data < (np.float32(other) if isinstance(other, float) and self.data.dtype.kind != 'f' else _bare(other)))"
        },
    ),
    Wrong(
        "comparison with None is an error",
        {"_compare(operator.eq, self, other)": "_order(operator.eq, self, other)"},
        says="holds booleans",
    ),
    Wrong(
        "powers of booleans are int8", {'if base.data.dtype.kind == "b":': "if False:"}, says="expected dtype int64, got int8"
    ),
    Wrong(
        "sums of uint8 are uint64", {'np.int64 if data.dtype.kind != "f" else ': ""}, says="expected dtype int64, got uint64"
    ),
    Wrong("float16 is added in float16", {"np.float32 if data.dtype == _HALF else None": "None"}, says="added in float16"),
    Wrong(
        "the mean divides a sum of float16",
        {"_narrowed(_sum(_floating(self), dim, keepdim) / count, self)": "_floating(self).sum(dim, keepdim) / count"},
        says="an overflow",
    ),
    Wrong(
        "the variance squares float16",
        {"x = self * Tensor(1.0) if self.dtype == _HALF else self": "x = self"},
        says="an overflow",
    ),
    Wrong("the mean of float16 is float32", {"/ count, self)": "/ count, Tensor(0.0))"}, says="a silent promotion"),
    Wrong(
        "any negative length is worked out",
        {"if data.shape != shape and min(shape) < -1:": "if False:"},
        says="bad input is let through",
    ),
    Wrong(
        "an axis must be Python's",
        {"if isinstance(dim, (int, np.integer)):": "if isinstance(dim, int):"},
        says="TypeError",
    ),
    Wrong("True is axis 1", {"if isinstance(axis, (bool, np.bool_)):": "if False:"}, says="bad input is let through"),
    Wrong(
        "NumPy loses a gradient without a word",
        {
            "        if self.requires_grad:\n            raise RuntimeError(": "        if False:\n            raise RuntimeError("
        },
        says="bad input is let through",
    ),
    Wrong("NumPy gets a copy", {"np.array(self.data, dtype, copy=copy)": "np.array(self.data, dtype)"}, says="this is a copy"),
    # what the budgets are there to exclude
    Wrong(
        "matmul on nested lists",
        {
            "data = a.data @ b.data": "data = _lists(a.data, b.data)",
            "def _matmul(": """def _lists(a, b):
    rows, columns = a.tolist(), list(zip(*b.tolist(), strict=True))
    return np.array([[sum(x * y for x, y in zip(row, column, strict=True)) for column in columns] for row in rows], a.dtype)


def _matmul(""",
        },
        naive="test_a_tensor_multiplies_matrices_a_hundred_times_faster_than_nested_lists",
    ),
    Wrong(
        "matmul by all products and one sum",
        {"data = a.data @ b.data": "data = (a.data[:, :, None] * b.data[None, :, :]).sum(1)"},
        naive="test_matmul_is_as_fast_as_numpy",
    ),
    Wrong(
        "matmul row by row",
        {
            "data = a.data @ b.data": "data = np.stack([np.stack([row @ m for row in batch]) for batch, m in zip(a.data, b.data)])"
        },
        naive="test_matmul_is_done_in_numpy",
    ),
    Wrong(
        "matmul by all products before the sum",
        {"data = a.data @ b.data": "data = (a.data[..., :, :, None] * b.data[..., None, :, :]).sum(-2)"},
        naive="test_matmul_holds_its_result_and_nothing_else",
    ),
    Wrong(
        "arithmetic one by one",
        {
            **ONE_BY_ONE,
            "return _order(operator.lt, self, other)": "return Tensor(np.array([p < q for p, q in zip(self.data.ravel(), _bare(other).ravel(), strict=True)]).reshape(self.shape))",
        },
        naive="test_the_work_is_done_in_numpy",
    ),
    Wrong(
        "arithmetic through lists",
        ONE_BY_ONE,
        naive="test_an_operation_holds_its_result_and_nothing_else",
    ),
    Wrong(
        "functions by np.vectorize",
        {"ufunc(x.data), x)": "np.vectorize(lambda v: ufunc(v))(x.data), x)"},
        naive="test_functions_are_done_in_numpy",
    ),
    Wrong(
        "functions through a list of boxed floats",
        {"ufunc(x.data), x)": "np.array(list(map(ufunc, x.data.ravel().tolist())), x.dtype).reshape(x.shape), x)"},
        naive="test_functions_hold_their_result_and_nothing_else",
    ),
    Wrong(
        "reductions number by number",
        {
            "data.sum(dims, wide, keepdims=keepdim), x": "np.array([sum(v for v in column) for column in data.T]), x",
            "self.data.max(dims, keepdims=keepdim), self": "np.array([max(v for v in column) for column in self.data.T]), self",
        },
        naive="test_reductions_are_done_in_numpy",
    ),
    Wrong(
        "reductions in float64",
        {
            "data.sum(dims, wide, keepdims=keepdim), x": "data.astype(np.float64).sum(dims, keepdims=keepdim), x",
            "self.data.max(dims, keepdims=keepdim), self": "self.data.astype(np.float64).max(dims, keepdims=keepdim), self",
        },
        naive="test_reductions_need_no_room",
    ),
    Wrong(
        "wrapping copies",
        {"array = np.asarray(data, dtype)": "array = np.array(data, dtype)"},
        naive="test_wrapping_costs_no_memory",
    ),
    Wrong(
        "changes of shape number by number",
        {
            "data = self.data.reshape(shape)": "data = np.array([v for v in self.data.ravel()]).reshape(shape)",
            "self.data.transpose(dims), self": "np.array([[self.data[i, j] for i in range(self.shape[0])] for j in range(self.shape[1])]), self",
            "self.data[arrays], self": "np.array([v for v in self.data[arrays].ravel()]), self",
            "data = np.concatenate([tensor.data for tensor in tensors], dim, dtype=dtype)": "data = np.array([v for tensor in tensors for v in tensor.data.ravel()]).reshape(-1, *tensors[0].shape[1:])",
        },
        naive="test_changes_of_shape_are_done_in_numpy",
    ),
    # habits
    Wrong(
        "one part is joined by handing it on",
        {
            "data = np.concatenate([tensor.data for tensor in tensors], dim, dtype=dtype)": "data = tensors[0].data if len(tensors) == 1 else np.concatenate([tensor.data for tensor in tensors], dim, dtype=dtype)"
        },
        says="the operand's own array",
    ),
    Wrong(
        "a sum over axes of length 1 is the operand",
        {
            "data.sum(dims, wide, keepdims=keepdim), x": "data if keepdim and data.ndim and all([data.shape[d] == 1 for d in dims]) else data.sum(dims, wide, keepdims=keepdim), x"
        },
        says="the operand's own array",
    ),
    Wrong(
        "full stretches one value",
        {
            "np.full(shape, value, dtype or Tensor(value).dtype)": "np.broadcast_to(np.asarray(value, dtype or Tensor(value).dtype), shape)"
        },
        says="read-only",
    ),
    Wrong(
        "functions turn warnings off for good",
        {"    x = _floating(x)\n": "    x = _floating(x)\n    np.seterr(all='ignore')\n"},
        says="error handling was changed",
    ),
    Wrong(
        "randn seeds the global generator",
        {"    return Tensor(rng.standard_normal(": "    np.random.seed(0)\n    return Tensor(rng.standard_normal("},
        says="global generator was used",
    ),
    Wrong(
        "the shape is that of the construction",
        {
            "        self.data = array\n": "        self.data, self._shape = array, array.shape\n",
            "return self.data.shape": "return self._shape",
        },
    ),
    Wrong(
        "reshape reads in the order of memory",
        {"data = self.data.reshape(shape)": 'data = self.data.ravel("K").reshape(shape)'},
        says="operands that lie column by column",
    ),
    Wrong(
        "integers become int64",
        {
            "return Tensor._result(op, ufunc(a.data, b.data), a, b)": "data = ufunc(a.data, b.data)\n    return Tensor._result(op, data.astype(np.int64) if data.dtype.kind == 'i' else data, a, b)"
        },
        says="expected dtype int32",
    ),
    Wrong("exp is made finite", {'_unary("exp", np.exp, self)': '_unary("exp", lambda x: np.nan_to_num(np.exp(x)), self)'}),
    Wrong(
        "a negation works in place and back",
        {
            'return Tensor._result("neg", -self.data, self)': 'data = self.data\n        data *= -1\n        result = Tensor._result("neg", data.copy(), self)\n        data *= -1\n        return result'
        },
    ),
    Wrong(
        "x + 0.0 aliases x",
        {
            'TypeError if other holds no numbers.\n        """\n        return _binary("add"': 'TypeError if other holds no numbers.\n        """\n        if isinstance(other, float) and other == 0 and self.dtype.kind == "f":\n            return Tensor._result("add", self.data, *_pair(self, other))\n        return _binary("add"'
        },
    ),
    Wrong(
        "stack of one aliases",
        {
            "    return concatenate([tensor.reshape(*shape[:dim], 1, *shape[dim:]) for tensor in tensors], dim)": "    if len(tensors) == 1:\n        return tensors[0].reshape(*shape[:dim], 1, *shape[dim:])\n    return concatenate([tensor.reshape(*shape[:dim], 1, *shape[dim:]) for tensor in tensors], dim)"
        },
    ),
    Wrong(
        "maximum of itself aliases",
        {
            '    return _binary("maximum", np.maximum, a, b)': '    return Tensor._result("maximum", a.data, a, b) if a is b else _binary("maximum", np.maximum, a, b)'
        },
    ),
    Wrong(
        "sum of no axes aliases",
        {
            '    return Tensor._result("sum", data.sum(dims, wide, keepdims=keepdim), x, dim=dims': '    if not dims and wide is None:\n        return Tensor._result("sum", data, x, dim=dims, keepdim=keepdim)\n    return Tensor._result("sum", data.sum(dims, wide, keepdims=keepdim), x, dim=dims'
        },
    ),
    Wrong(
        "a Tensor of a Tensor keeps the flag",
        {
            "            data = data.data\n        array": "            requires_grad, data = requires_grad or data.requires_grad, data.data\n        array"
        },
    ),
    Wrong("arange looks at the first bound", {"dtype or Tensor(bounds).dtype": "dtype or Tensor(bounds[0]).dtype"}),
    Wrong("arange looks at the last bound", {"dtype or Tensor(bounds).dtype": "dtype or Tensor(bounds[-1]).dtype"}),
    Wrong(
        "reshape of a part copies",
        {
            "            data = self.data.reshape(shape)\n": "            data = np.ascontiguousarray(self.data).reshape(shape)\n"
        },
    ),
    Wrong(
        "full of 0 is of ones' dtype",
        {
            "dtype or Tensor(value).dtype), requires_grad)": "dtype or (Tensor(value).dtype if value else np.float32)), requires_grad)"
        },
    ),
    Wrong(
        "neg of zero is zero",
        {'return Tensor._result("neg", -self.data, self)': 'return Tensor._result("neg", 0 - self.data, self)'},
    ),
    Wrong(
        "matmul copies what is transposed",
        {"        data = a.data @ b.data\n": "        data = a.data @ np.ascontiguousarray(b.data)\n"},
        naive="test_a_transposed_matrix_is_not_copied",
    ),
    Wrong(
        "x equals itself, NaN too",
        {
            "return _compare(operator.eq, self, other)": "return ones(self.shape, np.bool_) if other is self else _compare(operator.eq, self, other)"
        },
    ),
    Wrong(
        "x is never less or more than itself, x <= x always",
        {
            "return _order(operator.le, self, other)": "return ones(self.shape, np.bool_) if other is self else _order(operator.le, self, other)"
        },
    ),
    Wrong(
        "x - x is zero",
        {
            'return _binary("sub", np.subtract, self, other)': 'return _binary("mul", lambda a, b: np.zeros_like(a), self, other) if other is self else _binary("sub", np.subtract, self, other)'
        },
    ),
    Wrong(
        "inequality in arithmetic's dtype",
        {
            "return _compare(operator.ne, self, other)": "return _compare(operator.ne, *_pair(self, other)) if isinstance(other, Tensor) else _compare(operator.ne, self, other)"
        },
    ),
    Wrong(
        "less, of arrays, in arithmetic's dtype",
        {
            "return _order(operator.lt, self, other)": "return _order(operator.lt, *_pair(self, other)) if isinstance(other, np.ndarray) else _order(operator.lt, self, other)"
        },
    ),
    Wrong("an exponent that does not fit is an OverflowError", {"raise _misfit(exponent, base.dtype) from None": "raise"}),
    Wrong(
        "an integer beyond all floats is not compared",
        {"        return Tensor(op(x.data, math.inf if other > 0 else -math.inf))": "        raise"},
    ),
    Wrong("an integer beyond all floats is positive", {"math.inf if other > 0 else -math.inf": "math.inf"}),
    Wrong(
        "None is compared with no values",
        {
            "return _compare(op, x, other if isinstance(other, (Tensor, np.ndarray, _NUMBER)) else Tensor(other))": "return _compare(op, x, other)"
        },
    ),
    Wrong(
        "full of a NumPy scalar is float32",
        {"dtype or Tensor(value).dtype": "dtype or Tensor(value.item() if isinstance(value, np.generic) else value).dtype"},
    ),
    Wrong("the condition is reported as a Tensor", {"a, b, condition=condition)": "a, b, condition=Tensor(condition))"}),
    Wrong(
        "a number left of where's Tensor is reported second",
        {
            'return Tensor._result("where", np.where(condition, a.data, b.data), a, b, condition=condition)': 'return Tensor._result("where", np.where(condition, a.data, b.data), *sorted((a, b), key=lambda t: t.ndim == 0), condition=condition)'
        },
    ),
    Wrong(
        "the mean of float16 is divided in float16",
        {
            "return _narrowed(_sum(_floating(self), dim, keepdim) / count, self)": "return _narrowed(_sum(_floating(self), dim, keepdim), self) / count"
        },
    ),
    Wrong(
        "an index that is a mask is frozen",
        {
            '        return Tensor._result("getitem", self.data[arrays], self, index=arrays)': '        for part in arrays:\n            if isinstance(part, np.ndarray):\n                part.flags.writeable = False\n        return Tensor._result("getitem", self.data[arrays], self, index=arrays)'
        },
    ),
    Wrong(
        "operands are frozen",
        {
            "    a, b = _pair(a, b)\n    return Tensor._result(op, ufunc": "    a, b = _pair(a, b)\n    a.data.flags.writeable = False\n    return Tensor._result(op, ufunc"
        },
    ),
    Wrong(
        "empty parts do not count for the dtype",
        {
            'floats = [tensor.dtype for tensor in tensors if tensor.dtype.kind == "f"]': 'floats = [tensor.dtype for tensor in tensors if tensor.dtype.kind == "f" and tensor.size]'
        },
    ),
    Wrong("datetimes are numbers", {'array.dtype.kind not in "biuf"': 'array.dtype.kind in "cOSUVm"'}),
    Wrong("records are numbers", {'array.dtype.kind not in "biuf"': 'array.dtype.kind in "cOSUmM"'}),
    Wrong(
        "named dtype copies the array",
        {"array = np.asarray(data, dtype)": "array = np.asarray(data) if dtype is None else np.array(data, dtype)"},
    ),
    Wrong("time differences are numbers", {'array.dtype.kind not in "biuf"': 'array.dtype.kind in "cOSUVM"'}),
    Wrong(
        "repr hides small integer dtypes",
        {"self.dtype in (np.float32, np.int64, np.bool_)": '(self.dtype.kind in "bi" or self.dtype == np.float32)'},
    ),
    Wrong(
        "numpy copies if gradient wanted",
        {
            '"""The array itself, not a copy."""\n        return self.data': '"""The array itself, not a copy."""\n        return self.data.copy() if self.requires_grad else self.data'
        },
    ),
    Wrong(
        "randn without axes has one", {"rng.standard_normal(shape, np.float32)": "rng.standard_normal(shape or 1, np.float32)"}
    ),
    Wrong(
        "failed division leaves errors off",
        {
            '    return Tensor._result("div", np.divide(a.data, b.data), a, b)': '    before = np.seterr(divide="ignore", invalid="ignore")\n    quotient = np.divide(a.data, b.data)\n    np.seterr(**before)\n    return Tensor._result("div", quotient, a, b)'
        },
    ),
    Wrong(
        "maximum puts the tensor first",
        {
            'return _binary("maximum", np.maximum, a, b)': 'return _binary("maximum", np.maximum, *((a, b) if isinstance(a, Tensor) else (b, a)))'
        },
    ),
    Wrong(
        "where freezes the caller's condition",
        {"condition = Tensor(condition).data": "condition = Tensor(condition).data\n    condition.flags.writeable = False"},
    ),
    Wrong(
        "index tensors become lists",
        {"part.data if isinstance(part, Tensor) else part": "part.data.tolist() if isinstance(part, Tensor) else part"},
    ),
    Wrong(
        "concatenate leaves out empty ones",
        {
            "    shapes = [tensor.shape for tensor in tensors]": "    tensors = [tensor for tensor in tensors if tensor.size] or tensors\n    shapes = [tensor.shape for tensor in tensors]"
        },
    ),
    Wrong(
        "variance around a rounded mean",
        {"deviation = x - x.mean(dim, keepdim=True)": "deviation = x - self.mean(dim, keepdim=True)"},
    ),
    Wrong(
        "matrix product with a number scales",
        {"data = a.data @ b.data": "data = np.dot(a.data, b.data) if b.ndim < 2 else a.data @ b.data"},
    ),
    Wrong("size by np.prod of shape", {"return self.data.size": "return np.prod(self.data.shape)"}),
    Wrong(
        "numpy() gives a view", {'not a copy."""\n        return self.data': 'not a copy."""\n        return self.data.view()'}
    ),
    Wrong(
        "booleans ** True are int8",
        {'if base.data.dtype.kind == "b":': 'if base.data.dtype.kind == "b" and not isinstance(exponent, bool):'},
    ),
    Wrong("x ** a list", {"if not isinstance(exponent, _NUMBER):": "if isinstance(exponent, (Tensor, np.ndarray)):"}),
    Wrong(
        "shape () compared like a number",
        {
            "    other = _bare(other)\n": "    other = _bare(other)\n    if isinstance(other, np.ndarray) and other.ndim == 0:\n        other = other.item()\n"
        },
    ),
    Wrong("float32 beside uint32 is float64", {'if left.kind == "f":': 'if left.kind == "f" and right.kind == "i":'}),
    Wrong(
        "number operands are cached",
        {
            "_NUMBER = (float, int": "_CACHE = {}\n_NUMBER = (float, int",
            "return Tensor(np.asarray(number, dtype))": "return _CACHE.setdefault((number, np.dtype(dtype)), Tensor(np.asarray(number, dtype)))",
        },
    ),
    Wrong(
        "functions silence NumPy's errors",
        {
            "    return Tensor._result(op, ufunc(x.data), x)": '    with np.errstate(all="ignore"):\n        return Tensor._result(op, ufunc(x.data), x)'
        },
    ),
    Wrong(
        "permute() reverses the axes",
        {
            "if sorted(dim % self.ndim": "if dims and sorted(dim % self.ndim",
            "self.data.transpose(dims)": "self.data.transpose(*dims)",
        },
    ),
    Wrong(
        "T is remembered",
        {
            "return self.transpose(-2, -1)": 'if "_transposed" not in self.__dict__:\n            self._transposed = self.transpose(-2, -1)\n        return self._transposed'
        },
    ),
]

# Semantic mutants (specs.meta.semantic) that keep every promise, and why
ARITHMETIC = [f"__{side}{op}__" for side in ("", "r") for op in ("add", "sub", "mul", "truediv", "matmul")] + [
    "__neg__",
    "__pow__",
]
COMPARISONS = [f"__{op}__" for op in ("eq", "ne", "lt", "le", "gt", "ge")]
FLOATING = ["exp", "log", "sqrt", "tanh", "mean", "var", "__truediv__", "__rtruediv__"]
COMPUTED = [f"Tensor.{name}" for name in dict.fromkeys([*ARITHMETIC, *COMPARISONS, *FLOATING, "sum", "max"])]
EQUIVALENT = {
    **{
        f"{name}: a result is a copy, not a view": "it makes a new array anyway"
        for name in [*COMPUTED, "maximum", "where", "concatenate", "stack"]
    },
    **{
        f"Tensor.{name}: {habit}": "it gives booleans"
        for name in COMPARISONS
        for habit in (
            "float64 for float32",
            "float32 for float64",
            "int32 for int64",
            "int64 for int32",
            "infinities and NaN in results are made finite",
        )
    },
    **{f"Tensor.{name}: {habit}": "it gives floats" for name in FLOATING for habit in ("int32 for int64", "int64 for int32")},
    **{
        f"Tensor.{name}: a result is a view of an equal argument": "it is one anyway"
        for name in ("__init__", "reshape", "permute", "transpose", "T", "__iter__", "numpy")
    },
    **{
        f"Tensor.{name}: arguments are changed": "its result is a view of the argument, which the habit spares"
        for name in ("permute", "transpose", "T", "numpy")
    },
    **{
        f"Tensor.{name}: {habit}": "it depends on the shape or the dtype alone"
        for name in ("shape", "ndim", "size", "dtype", "__len__")
        for habit in ("infinities and NaN in arguments are made finite", "arguments are read in the order of memory")
    },
    **{f"Tensor.{name}: arguments are read in the order of memory": "it takes one value" for name in ("item", "__bool__")},
    **{
        f"{name}: shapes that differ are broadcast": "shapes that can be broadcast are, as promised"
        for name in ("Tensor.__add__", "Tensor.__lt__", "where")
    },
    **{f"Tensor.{name}: NumPy's numbers are refused": "a number is refused anyway" for name in ("__matmul__", "__rmatmul__")},
    **{
        f"{name}: infinities and NaN in results are made finite": "it gives none"
        for name in ("zeros", "ones", "arange", "randn")
    },
    **{f"randn: {habit}": "it gives float32" for habit in ("float32 for float64", "int32 for int64", "int64 for int32")},
    "Tensor.exp: a result is a view of an equal argument": "no number is its own exponential",
    "Tensor.log: a result is a view of an equal argument": "no number is its own logarithm",
    "Tensor.sum: int64 for int32": "the sum of int32 is int64, in NumPy and in PyTorch",
    "stack: a result is a view of an equal argument": "it has one axis more",
    **{
        f"{name}: a check comes after the effect": "what came before the check is dropped with the error"
        for name in ("Tensor.__init__", "Tensor.__pow__", "Tensor.max", "Tensor.var", "where")
    },
    "Tensor.__init__: None is whatever is falsy": "no dtype is falsy",
}
