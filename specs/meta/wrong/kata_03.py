"""Wrong solutions of kata 03, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

# forward and backward of each class, as they stand in the reference
RELU_BACK = "return (bits * (y > 0)).view(grad.dtype)"
LEAKY_BACK = "return np.where(positive, grad, grad * float(self.negative_slope))"
SIGMOID = "y = 0.5 * (1 + (0.5 * x).tanh())  # e⁻ˣ would overflow"
SIGMOID_BACK = "return grad * y * (1 - y)"
TANH = "y = x.tanh()\n        self.keep(y.data)"
TANH_BACK = "return grad * (1 - y * y)"
GELU_TANH = "t = (_SCALE * (x + _CUBE * (x * x * x))).tanh()"
GELU_BACK = "return grad * (0.5 * (1 + t + x * (1 - t * t) * inner))"
SOFTMAX = "e = _shifted(x, self.dim).exp()\n        y = e / e.sum(self.dim, keepdim=True)"
SOFTMAX_BACK = "return (y * (grad - (grad * y).sum(self.dim, keepdims=True))).astype(grad.dtype, copy=False)"
LOG_SOFTMAX = "z = _shifted(x, self.dim)\n        y = z - z.exp().sum(self.dim, keepdim=True).log()"
LOG_SOFTMAX_BACK = "return (grad - np.exp(y) * grad.sum(self.dim, y.dtype, keepdims=True)).astype(grad.dtype, copy=False)"
SHIFTED = "return x - largest.data"
KEEP = "self._kept = None if Tensor._recorder is not None else values"


def one_by_one(function: str) -> str:
    """The body of a function that computes `function(v)` for each number v of an array x."""
    return f"np.array([{function} for v in x.ravel().tolist()], x.dtype).reshape(x.shape)"


WRONG = [
    Wrong("ReLU does nothing", {"y = maximum(x, 0)": "y = x * 1"}, says="with a bend between"),
    Wrong("ReLU is the absolute value", {"y = maximum(x, 0)": "y = maximum(x, -x)"}, says="the absolute value"),
    Wrong("ReLU is a step", {"y = maximum(x, 0)": "y = where(x > 0, x * 0 + 1, x * 0)"}, says="0 or 1, not x"),
    Wrong("ReLU drops NaN", {"y = maximum(x, 0)": "y = where(x > 0, x, 0)"}, says="expected [nan"),
    Wrong("ReLU writes into its input", {"y = maximum(x, 0)": "x.data[x.data < 0] = 0\n        y = x"}, says="read-only"),
    Wrong("ReLU passes a positive input on itself", {"y = maximum(x, 0)": "y = maximum(x, 0) if (x.data < 0).any() else x"}),
    Wrong("ReLU's backward forgets grad", {RELU_BACK: "return 1.0 * (y > 0)"}, says="grad is forgotten"),
    Wrong("ReLU's gradient passes everywhere", {RELU_BACK: "return grad * 1"}, says="grad passes everywhere"),
    Wrong("ReLU's gradient passes at 0", {RELU_BACK: "return grad * (y >= 0)"}, says="grad passes everywhere"),
    Wrong(
        "ReLU's gradient passes at exactly 0",
        {
            'self.keep(y.data)\n        return y\n\n    def backward(self, grad: np.ndarray) -> np.ndarray:\n        """grad where x > 0, else 0': 'self.keep(x.data)\n        return y\n\n    def backward(self, grad: np.ndarray) -> np.ndarray:\n        """grad where x > 0, else 0'
        }
        | {RELU_BACK: "return grad * (y >= 0)"},
        says="at 0 the gradient passes",
    ),
    Wrong("ReLU's backward makes infinity times 0", {RELU_BACK: "return grad * (y > 0)"}, says="infinity times 0"),
    Wrong("ReLU looks at grad", {RELU_BACK: "return grad * (grad > 0)"}, says="where grad is positive"),
    Wrong("ReLU multiplies by its output", {RELU_BACK: "return grad * y"}, says="grad times the output"),
    Wrong(
        "ReLU by a function of arrays", {"y = maximum(x, 0)": "y = Tensor(np.maximum(x.data, 0))"}, says="nothing was reported"
    ),
    Wrong("ReLU puts 0 first", {"y = maximum(x, 0)": "y = maximum(0, x)"}, says="maximum(0, x) passes the gradient"),
    Wrong("backward of ReLU writes into grad", {RELU_BACK: "grad[y <= 0] = 0\n        return grad"}, says="read-only"),
    Wrong(
        "LeakyReLU's slope on the wrong side",
        {"where(positive, x, x * float(self": "where(~positive, x, x * float(self"},
        says="the slope is on the positive side",
    ),
    Wrong(
        "LeakyReLU's slope is fixed",
        {"self.negative_slope = negative_slope": "self.negative_slope = 0.01"},
        says="the slope is always 0.01",
    ),
    Wrong(
        "LeakyReLU by a maximum",
        {"where(positive, x, x * float(self.negative_slope))": "maximum(x, x * self.negative_slope)"},
        says="max(x, slope · x)",
    ),
    Wrong("LeakyReLU's backward is ReLU's", {LEAKY_BACK: "return grad * positive"}, says="the gradient of ReLU"),
    Wrong(
        "LeakyReLU's backward on the wrong side",
        {LEAKY_BACK: "return np.where(positive, grad * self.negative_slope, grad)"},
        says="the slope is on the positive side",
    ),
    Wrong(
        "LeakyReLU forgets grad", {LEAKY_BACK: "return np.where(positive, 1, self.negative_slope)"}, says="grad is forgotten"
    ),
    Wrong("LeakyReLU is 1 at 0", {"positive = x.data > 0": "positive = x.data >= 0"}, says="at 0 the gradient passes"),
    Wrong(
        "LeakyReLU promotes",
        {LEAKY_BACK: "return np.where(positive, 1.0, self.negative_slope) * np.float64(1) * grad"},
        says="a silent promotion",
    ),
    Wrong("sigmoid with the wrong sign", {SIGMOID: "y = 0.5 * (1 - (0.5 * x).tanh())"}, says="the sign of the exponent"),
    Wrong("sigmoid of twice x", {SIGMOID: "y = 0.5 * (1 + x.tanh())"}, says="½(1 + tanh x), not of x/2"),
    Wrong("sigmoid overflows", {SIGMOID: "y = 1 / (1 + (-x).exp())"}, says="overflow"),
    Wrong("sigmoid overflows on the other side", {SIGMOID: "y = x.exp() / (1 + x.exp())"}, says="overflow"),
    Wrong(
        "sigmoid's derivative of the input",
        {SIGMOID + "\n        self.keep(y.data)": SIGMOID + "\n        self.keep(x.data)"},
        says="of the input instead of the output",
    ),
    Wrong("sigmoid forgets grad", {SIGMOID_BACK: "return y * (1 - y)"}, says="grad is forgotten"),
    Wrong("sigmoid's derivative squares", {SIGMOID_BACK: "return grad * (1 - y * y) "}, says="the derivative of tanh"),
    Wrong(
        "sigmoid's derivative overflows",
        {
            SIGMOID + "\n        self.keep(y.data)": SIGMOID + "\n        self.keep(x.data)",
            SIGMOID_BACK: "return grad * np.exp(-y) / (1 + np.exp(-y)) ** 2",
        },
        says="overflow",
    ),
    Wrong("tanh is the sigmoid", {TANH: "y = 0.5 * (1 + (0.5 * x).tanh())\n        self.keep(y.data)"}, says="the sigmoid"),
    Wrong(
        "tanh from its formula",
        {TANH: "y = (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())\n        self.keep(y.data)"},
        says="overflow",
    ),
    Wrong("tanh' is 1 - y", {TANH_BACK: "return grad * (1 - y)"}, says="the square is missing"),
    Wrong("tanh' of the input", {TANH: "y = x.tanh()\n        self.keep(x.data)"}, says="of the input instead of the output"),
    Wrong(
        "tanh takes its output for the input",
        {TANH_BACK: "return grad * (1 - np.tanh(y) ** 2)"},
        says="the output was taken for the input",
    ),
    Wrong("tanh writes into grad", {TANH_BACK: "grad *= 1 - y * y\n        return grad"}, says="read-only"),
    Wrong(
        "tanh writes into what it kept", {TANH_BACK: "y *= y\n        return grad * (1 - y)"}, says="the output after backward"
    ),
    Wrong(
        "GELU by the sigmoid",
        {"return 0.5 * factor * (1 + t)": "return x * (0.5 * (1 + (0.851 * x).tanh()))"},
        says="the sigmoid form",
    ),
    Wrong(
        "GELU with erf",
        {"return 0.5 * factor * (1 + t)": "return x * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(x.data)"},
        says="the exact form, with erf",
    ),
    Wrong("GELU's constant with a digit lost", {"_CUBE = 0.044715": "_CUBE = 0.44715"}, says="0.44715 instead of 0.044715"),
    Wrong("GELU with √(2π)", {"math.sqrt(2 / math.pi)": "math.sqrt(2 * math.pi)"}, says="√(2π) instead of √(2/π)"),
    Wrong("GELU with a square", {GELU_TANH: "t = (_SCALE * (x + _CUBE * (x * x))).tanh()"}, says="x² instead of x³"),
    Wrong("GELU's constant promotes", {"math.sqrt(2 / math.pi)": "np.sqrt(2 / np.pi)"}, says="a silent promotion"),
    Wrong(
        "GELU's backward misses u'",
        {"inner = _SCALE * (1 + 3 * _CUBE * (x * x))": "inner = 1"},
        says="the inner derivative, is missing",
    ),
    Wrong("GELU's backward misses the 3", {"1 + 3 * _CUBE": "1 + _CUBE"}, says="without the factor 3"),
    Wrong("GELU's backward has one term", {GELU_BACK: "return grad * (0.5 * (1 + t))"}, says="the first term alone"),
    Wrong("GELU's backward has 1 - t", {"(1 - t * t)": "(1 - t)"}, says="1 − t instead of 1 − t²"),
    Wrong(
        "GELU's derivative by cosh overflows",
        {
            "if not np.abs(x.data).max(initial=0) <= _FLAT:": "if False:",
            "x * (1 - t * t) * inner": "x / np.cosh(_SCALE * (x + _CUBE * x * x * x)) ** 2 * inner",
        },
        says="overflow",
    ),
    Wrong(
        "GELU's gradient is 0 · ∞ where x² overflows",
        {"        if not np.abs(x.data).max(initial=0) <= _FLAT:": "        if False:"},
        says="overflow",
    ),
    Wrong(
        "GELU of -∞ is ∞ · 0",
        {"factor = where(x.data < -_FLAT, -_FLAT, x)": "x = where(x.data < -_FLAT, -_FLAT, x)", "_FLAT, factor)": "_FLAT, x)"},
        says="invalid value",
    ),
    Wrong(
        "GELU of NaN has the gradient of 10",
        {"where(x.data > _FLAT, _FLAT, factor)": "where(x.data <= _FLAT, factor, _FLAT)"},
        says="expected [nan",
    ),
    Wrong(
        "GELU bypasses the record",
        {GELU_TANH: "t = Tensor(np.tanh(_SCALE * (x.data + _CUBE * x.data * x.data * x.data)))"},
        says="backward against the record",
    ),
    Wrong(
        "softmax over axis 0",
        {
            "self.dim = dim\n\n    def forward(self, x: Tensor) -> Tensor:\n        e =": "self.dim = 0\n\n    def forward(self, x: Tensor) -> Tensor:\n        e ="
        },
        says="softmax over axis 0",
    ),
    Wrong(
        "softmax always over the last axis",
        {
            "self.dim = dim\n\n    def forward(self, x: Tensor) -> Tensor:\n        e =": "self.dim = -1\n\n    def forward(self, x: Tensor) -> Tensor:\n        e ="
        },
        says="softmax over the last axis, whatever dim",
    ),
    Wrong(
        "softmax over everything",
        {SOFTMAX: "e = _shifted(x, self.dim).exp()\n        e = (x - x.data.max()).exp()\n        y = e / e.sum()"},
        says="softmax over everything",
    ),
    Wrong(
        "softmax overflows",
        {SOFTMAX: "x.max(self.dim)\n        e = x.exp()\n        y = e / e.sum(self.dim, keepdim=True)"},
        says="overflow",
    ),
    Wrong(
        "softmax shifts its input",
        {SHIFTED: "x.data = x.data - largest.data\n    return x"},
        says="the input after forward",
    ),
    Wrong("softmax subtracts the maximum of everything", {SHIFTED: "x.max(dim)\n    return x - x.max().data"}, says="divide"),
    Wrong(
        "softmax subtracts the minimum", {SHIFTED: "x.max(dim)\n    return x - x.data.min(dim, keepdims=True)"}, says="overflow"
    ),
    Wrong(
        "softmax is not normalised",
        {SOFTMAX: "e = _shifted(x, self.dim).exp()\n        y = e * 1"},
        says="not divided by its sum",
    ),
    Wrong(
        "softmax's sum bypasses the record",
        {"e.sum(self.dim, keepdim=True)\n": "e.sum(self.dim, keepdim=True).data\n"},
        says="backward against the record",
    ),
    Wrong(
        "softmax leaves the axis to NumPy's message",
        {
            "largest = x.max(dim, keepdim=True) if x.size else x.sum(dim, keepdim=True)": "largest = Tensor(x.data.max(dim, keepdims=True) if x.size else x.data.sum(dim, keepdims=True))"
        },
        says="is not named",
    ),
    Wrong("softmax's diagonal alone", {SOFTMAX_BACK: "return grad * y * (1 - y) "}, says="the diagonal of the Jacobian alone"),
    Wrong(
        "softmax's backward sums grad",
        {"(grad * y).sum(self.dim, keepdims=True)": "grad.sum(self.dim, keepdims=True) "},
        says="Σ grad instead of Σ grad · y",
    ),
    Wrong("softmax's backward has no sum", {SOFTMAX_BACK: "return y * grad"}, says="Σ grad · y is missing"),
    Wrong(
        "softmax's backward sums the last axis",
        {"(grad * y).sum(self.dim,": "(grad * y).sum(-1,"},
        says="the sum runs over the last axis",
    ),
    Wrong(
        "softmax's backward sums everything",
        {"(grad * y).sum(self.dim, keepdims=True)": "(grad * y).sum()"},
        says="the sum runs over everything",
    ),
    Wrong("softmax's backward is zero", {SOFTMAX_BACK: "return np.zeros_like(grad)"}, says="all zeros"),
    Wrong(
        "softmax's backward promotes",
        {SOFTMAX_BACK: "return y * (grad - np.sum(grad * y, self.dim, np.float64, keepdims=True))"},
        says="a silent promotion",
    ),
    Wrong(
        "log of softmax",
        {LOG_SOFTMAX: "e = _shifted(x, self.dim).exp()\n        y = (e / e.sum(self.dim, keepdim=True)).log()"},
        says="divide by zero",
    ),
    Wrong(
        "log of softmax and a bit",
        {LOG_SOFTMAX: "z = _shifted(x, self.dim).exp()\n        y = (z / z.sum(self.dim, keepdim=True) + 1e-12).log()"},
    ),
    Wrong(
        "log softmax overflows",
        {LOG_SOFTMAX: "x.max(self.dim)\n        y = x - x.exp().sum(self.dim, keepdim=True).log()"},
        says="overflow",
    ),
    Wrong(
        "log softmax subtracts the maximum once",
        {LOG_SOFTMAX: "z = _shifted(x, self.dim)\n        y = x - z.exp().sum(self.dim, keepdim=True).log()"},
        says="the maximum is not added back",
    ),
    Wrong(
        "log softmax adds the maximum back",
        {
            LOG_SOFTMAX: "z = _shifted(x, self.dim)\n        y = x - (z.exp().sum(self.dim, keepdim=True).log() + x.max(self.dim, keepdim=True))"
        },
        says="the maximum was added back before x was subtracted",
    ),
    Wrong(
        "log softmax's sum bypasses the record",
        {"keepdim=True).log()": "keepdim=True).log().data"},
        says="backward against the record",
    ),
    Wrong(
        "log softmax clamps -inf",
        {LOG_SOFTMAX: "z = maximum(_shifted(x, self.dim), -1e30)\n        y = z - z.exp().sum(self.dim, keepdim=True).log()"},
    ),
    Wrong("log softmax's backward has no sum", {LOG_SOFTMAX_BACK: "return grad - np.exp(y)"}, says="Σ grad is missing"),
    Wrong(
        "log softmax's diagonal alone",
        {LOG_SOFTMAX_BACK: "return grad * (1 - np.exp(y))"},
        says="the diagonal of the Jacobian alone",
    ),
    Wrong(
        "log softmax's backward is softmax's",
        {LOG_SOFTMAX_BACK: "p = np.exp(y)\n        return p * (grad - (grad * p).sum(self.dim, keepdims=True)) "},
        says="the backward of Softmax",
    ),
    Wrong("log softmax forgets the exponential", {"np.exp(y) * grad.sum": "y * grad.sum"}, says="y instead of eʸ"),
    Wrong(
        "log softmax's backward sums the last axis",
        {"grad.sum(self.dim, y.dtype": "grad.sum(-1, y.dtype"},
        says="the sum runs over the last axis",
    ),
    Wrong(
        "all instances share what is kept", {KEEP: "Differentiable._kept = None if Tensor._recorder is not None else values"}
    ),
    Wrong(
        "only the first forward is kept", {KEEP: "self._kept = None if Tensor._recorder is not None else self._kept or values"}
    ),
    Wrong("recording keeps", {KEEP: "self._kept = values"}, says="no error at all"),
    Wrong(
        "recording leaves what was kept",
        {KEEP: "if Tensor._recorder is None:\n            self._kept = values"},
        says="no error at all",
    ),
    Wrong(
        "a backward is good once",
        {"return self._kept\n": "kept, self._kept = self._kept, None\n        return kept\n"},
        says="needs a forward() before it",
    ),
    Wrong("nothing kept is no error", {"if self._kept is None:": "if False:"}, says="another error came first"),
    Wrong("grad may have any shape", {"if grad.shape != output.shape:": "if False:"}, says="bad input is let through"),
    Wrong(
        "only what can't be broadcast is refused",
        {"if grad.shape != output.shape:": "if np.broadcast_shapes(grad.shape, output.shape) != output.shape:"},
        says="bad input is let through",
    ),
    Wrong(
        "x³ of int8 overflows",
        {'        if x.dtype.kind != "f":\n            x = x * 1.0  #': "        if False:\n            x = x  #"},
    ),
    Wrong(
        "softmax subtracts in uint8",
        {'if x.dtype.kind != "f" or x.dtype == np.float16:': "if x.dtype == np.float16:"},
    ),
    Wrong(
        "softmax adds float16 in float16",
        {'if x.dtype.kind != "f" or x.dtype == np.float16:': 'if x.dtype.kind != "f":'},
        says="all zeros",
    ),
    Wrong(
        "softmax of float16 is float32",
        {"y.data.astype(np.float16), y": "y.data.astype(np.float32), y"},
        says="a silent promotion",
    ),
    Wrong(
        "the softmax of float16 is no part of the record",
        {
            'return Tensor._result("reshape", y.data.astype(np.float16), y, shape=y.shape)': "return Tensor(y.data.astype(np.float16))"
        },
        says="does not reach the input",
    ),
    Wrong("log softmax's gradient adds float16 in float16", {"grad.sum(self.dim, y.dtype,": "grad.sum(self.dim,"}),
    # what the budgets are there to exclude
    Wrong(
        "ReLU and LeakyReLU number by number",
        {
            RELU_BACK: f"x = y\n        return grad * {one_by_one('v > 0')}",
            LEAKY_BACK: f"x = positive\n        return grad * {one_by_one('v or self.negative_slope')}",
        },
        naive="test_relu_and_leaky_relu_are_done_in_numpy",
    ),
    Wrong(
        "sigmoid and tanh by np.vectorize",
        {
            SIGMOID: "y = Tensor(np.vectorize(lambda v: 0.5 * (1 + math.tanh(0.5 * v)))(x.data).astype(x.dtype))",
            TANH: "y = Tensor(np.vectorize(lambda v: math.tanh(v))(x.data).astype(x.dtype))\n        self.keep(y.data)",
        },
        naive="test_sigmoid_and_tanh_are_done_in_numpy",
    ),
    Wrong(
        "sigmoid and tanh through lists of boxed floats",
        {
            SIGMOID: "values = list(map(math.tanh, (0.5 * x).data.ravel().tolist()))\n        y = 0.5 * (1 + Tensor(np.array(values, x.dtype).reshape(x.shape)))",
            TANH: "y = Tensor(np.array(list(map(math.tanh, x.data.ravel().tolist())), x.dtype).reshape(x.shape))\n        self.keep(y.data)",
        },
        naive="test_sigmoid_and_tanh_hold_a_few_arrays",
    ),
    Wrong(
        "GELU number by number",
        {"inner = _SCALE * (1 + 3 * _CUBE * (x * x))": f"inner = {one_by_one('_SCALE * (1 + 3 * _CUBE * v * v)')}"},
        naive="test_gelu_is_done_in_numpy",
    ),
    Wrong("GELU by a power", {"_CUBE * (x * x * x)": "_CUBE * x**3"}, naive="test_gelu_multiplies_where_a_power_would_be_slow"),
    Wrong(
        "softmax row by row",
        {SOFTMAX_BACK: "return np.stack([p * (g - g @ p) for p, g in zip(y, grad, strict=True)])"},
        naive="test_softmax_is_done_in_numpy",
    ),
    Wrong(
        "softmax by the Jacobian of each row",
        {SOFTMAX_BACK: "return np.stack([(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(y, grad, strict=True)])"},
        naive="test_softmax_builds_no_jacobian",
    ),
    Wrong(
        "softmax by one Jacobian after another",
        {SOFTMAX_BACK: "return np.stack([(np.diag(p) - np.outer(p, p)) @ g for p, g in zip(y, grad, strict=True)])"},
        naive="test_softmax_is_as_fast_as_its_formula",
    ),
    Wrong(
        "log softmax row by row",
        {LOG_SOFTMAX_BACK: "return np.stack([g - np.exp(v) * g.sum() for v, g in zip(y, grad, strict=True)])"},
        naive="test_log_softmax_is_done_in_numpy",
    ),
    Wrong(
        "log softmax by all Jacobians",
        {
            LOG_SOFTMAX_BACK: "return ((np.eye(y.shape[-1], dtype=y.dtype) - np.exp(y)[..., None, :]) * grad[..., :, None]).sum(-2)"
        },
        naive="test_log_softmax_builds_no_jacobian",
    ),
    Wrong(
        "recording keeps a megabyte",
        {KEEP: "self._kept = values"},
        naive="test_while_recording_no_activations_are_held",
    ),
    Wrong(
        "every forward is kept",
        {
            KEEP: "self._kept = None if Tensor._recorder is not None else values\n        self.history = [*getattr(self, 'history', []), *(value.astype(np.float64) for value in values)]"
        },
        naive="test_what_is_kept_does_not_grow",
    ),
    Wrong(
        "no values have no softmax",
        {
            "x.max(dim, keepdim=True) if x.size else x.sum(dim, keepdim=True)  # of no values there is no largest": "x.max(dim, keepdim=True)"
        },
    ),
    Wrong("relu by a product", {"y = maximum(x, 0)  # 0": "y = x * Tensor((x.data > 0).astype(x.dtype))  # 0"}),
    Wrong(
        "leaky slope of 0 is the default",
        {"        self.negative_slope = negative_slope\n": "        self.negative_slope = negative_slope or 0.01\n"},
    ),
    Wrong(
        "sigmoid of empty is refused",
        {"        y = 0.5 * (1 + (0.5 * x).tanh())": "        x.max()\n        y = 0.5 * (1 + (0.5 * x).tanh())"},
    ),
    Wrong(
        "gradient without axes is stretched", {"if grad.shape != output.shape:": "if grad.ndim and grad.shape != output.shape:"}
    ),
    Wrong("ReLU lets gradients pass NaN", {"(bits * (y > 0))": "(bits * ~(y <= 0))"}),
    Wrong("slope without its sign", {"self.negative_slope = negative_slope": "self.negative_slope = abs(negative_slope)"}),
    Wrong(
        "leaky from two maximums",
        {
            "return where(positive, x, x * float(self.negative_slope))": "return maximum(x, 0) - maximum(-x, 0) * self.negative_slope"
        },
    ),
    Wrong(
        "slope rounded to float32 backward",
        {
            "np.where(positive, grad, grad * float(self.negative_slope))": "grad * np.where(positive, np.float32(1), np.float32(self.negative_slope))"
        },
    ),
    Wrong(
        "sigmoid keeps float32",
        {
            "y = 0.5 * (1 + (0.5 * x).tanh())  # e⁻ˣ would overflow\n        self.keep(y.data)": "y = 0.5 * (1 + (0.5 * x).tanh())\n        self.keep(y.data.astype(np.float32))"
        },
    ),
    Wrong(
        "sigmoid reuses large gradients",
        {
            "return grad * y * (1 - y)": "if grad.size > 4096:\n            grad *= y\n            grad *= 1 - y\n            return grad\n        return grad * y * (1 - y)"
        },
    ),
    Wrong(
        "tanh remembers the same tensor",
        {
            "y = x.tanh()\n        self.keep(y.data)": "if Tensor._recorder is None and self._kept is not None and self._input is x:\n            return Tensor(self._kept[0], x.requires_grad)\n        y, self._input = x.tanh(), x\n        self.keep(y.data)"
        },
    ),
    Wrong(
        "NaN hides large neighbours",
        {"if not np.abs(x.data).max(initial=0) <= _FLAT:": "if np.abs(x.data).max(initial=0) > _FLAT:"},
    ),
    Wrong("only large positives are flat", {"np.abs(x.data).max(initial=0)": "x.data.max(initial=0)"}),
    Wrong(
        "GELU turns x into floats", {"x = x * 1.0  # x³ of integers": "x.data = x.data.astype(np.float32)  # x³ of integers"}
    ),
    Wrong("flat only beyond a thousand", {"_FLAT = 10.0": "_FLAT = 1000.0"}),
    Wrong(
        "constant once anything is large",
        {"x = where(x.data > _FLAT, _FLAT, factor)": "x = Tensor(np.minimum(factor.data, _FLAT))"},
    ),
    Wrong(
        "GELU keeps three arrays",
        {
            "self.keep(x.data, t.data)": "self.keep(x.data, t.data, _SCALE * (1 + 3 * _CUBE * (x.data * x.data)))",
            "x, t = self.kept()": "x, t, inner = self.kept()",
            "        inner = _SCALE * (1 + 3 * _CUBE * (x * x))\n": "",
        },
    ),
    Wrong(
        "softmax keeps float16",
        {
            "y = e / e.sum(self.dim, keepdim=True)\n        self.keep(y.data)": "y = e / e.sum(self.dim, keepdim=True)\n        self.keep(y.data.astype(np.float16) if x.dtype == np.float16 else y.data)"
        },
    ),
    Wrong(
        "Jacobian for short lines",
        {
            "        return (y * (grad - (grad * y)": "        n = y.shape[self.dim]\n        if n <= 16:\n            p, g = np.moveaxis(y, self.dim, -1), np.moveaxis(grad, self.dim, -1)\n            jacobian = p[..., :, None] * (np.eye(n, dtype=y.dtype) - p[..., None, :])\n            return np.moveaxis((jacobian @ g[..., None])[..., 0], -1, self.dim).astype(grad.dtype, copy=False)\n        return (y * (grad - (grad * y)"
        },
        naive="test_softmax_builds_no_jacobian_of_short_lines_either",
    ),
    Wrong(
        "signed integers shifted as such",
        {'if x.dtype.kind != "f" or x.dtype == np.float16:': 'if x.dtype.kind in "ub" or x.dtype == np.float16:'},
    ),
    Wrong(
        "log softmax of one number",
        {"z = _shifted(x, self.dim)": "if x.ndim == 0:\n            return 0.0 * x\n        z = _shifted(x, self.dim)"},
    ),
    Wrong(
        "same shape keeps the first",
        {
            "y = z - z.exp().sum(self.dim, keepdim=True).log()\n        self.keep(y.data)": "y = z - z.exp().sum(self.dim, keepdim=True).log()\n        if Tensor._recorder is not None or self._kept is None or self._kept[0].shape != y.shape:\n            self.keep(y.data)"
        },
    ),
    Wrong("a whole slope of integers gives integers", {"x * float(self.negative_slope)": "x * self.negative_slope"}),
    Wrong("a NumPy slope promotes the gradient", {"grad * float(self.negative_slope)": "grad * self.negative_slope"}),
    Wrong(
        "a slope is cut to its whole part",
        {
            "x * float(self.negative_slope)": "x * (int(self.negative_slope) if isinstance(self.negative_slope, np.generic) else float(self.negative_slope))"
        },
    ),
    Wrong("ReLU of booleans is a mask", {"y = maximum(x, 0)": "y = maximum(x, False if x.dtype == np.bool_ else 0)"}),
    Wrong(
        "tanh's gradient is computed in float32",
        {"return grad * (1 - y * y)": "return (grad * (1 - y * y).astype(np.float32)).astype(grad.dtype)"},
    ),
    Wrong(
        "log softmax keeps float16",
        {
            'self.keep(y.data)\n        return _narrowed(y, x)\n\n    def backward(self, grad: np.ndarray) -> np.ndarray:\n        """grad - e': 'self.keep(y.data.astype(np.float16) if x.dtype == np.float16 else y.data)\n        return _narrowed(y, x)\n\n    def backward(self, grad: np.ndarray) -> np.ndarray:\n        """grad - e'
        },
    ),
    Wrong(
        "softmax of one number is 1",
        {
            "e = _shifted(x, self.dim).exp()": "if x.ndim == 0:\n            return 0.0 * x + 1.0\n        e = _shifted(x, self.dim).exp()"
        },
    ),
    Wrong("LeakyReLU passes grad at NaN", {"positive = x.data > 0": "positive = ~(x.data <= 0)"}),
    Wrong(
        "LeakyReLU freezes its input",
        {"positive = x.data > 0": "positive = x.data > 0\n        x.data.flags.writeable = False"},
    ),
    Wrong(
        "log softmax has a Jacobian for short lines",
        {
            "        return (grad - np.exp(y) * grad.sum(": """        if y.shape[self.dim] <= 16:
            p, g = np.moveaxis(np.exp(y), self.dim, -1), np.moveaxis(grad, self.dim, -1)
            jacobian = np.eye(y.shape[self.dim], dtype=y.dtype) - p[..., None, :]
            return np.moveaxis((g[..., None, :] @ jacobian)[..., 0, :], -1, self.dim).astype(grad.dtype, copy=False)
        return (grad - np.exp(y) * grad.sum("""
        },
        naive="test_log_softmax_builds_no_jacobian_of_short_lines_either",
    ),
    Wrong(
        "ReLU in place if large",
        {
            "y = maximum(x, 0)": "if x.size >= 1_000_000:\n            np.maximum(x.data, 0, out=x.data)\n        y = maximum(x, 0)"
        },
    ),
    Wrong(
        "Tanh's backward reuses large grads",
        {
            "return grad * (1 - y * y)": "if grad.size > 100_000:\n            grad *= 1 - y * y\n            return grad\n        return grad * (1 - y * y)"
        },
    ),
]
