"""Wrong solutions of kata 17, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

DEQUANTIZED = "        values = self.values[rows].astype(np.float32)\n"
ZERO_POINT = (
    "        if self.zero_point is not None:\n            values -= np.broadcast_to(self.zero_point, self.shape)[rows]\n"
)
SCALED = "        values *= np.broadcast_to(self.scale, self.shape)[rows]\n        return values\n"
NBYTES = "        return sum(array.nbytes for _, array in self.named_buffers())"
AXIS = "    if axis is not None and not -x.ndim <= axis < x.ndim:"
SHARED = "    shared = tuple(range(x.ndim) if axis is None else set(range(x.ndim)) - {axis % x.ndim})"
RANGE = "    low, high = x.min(shared, initial=0, keepdims=True), x.max(shared, initial=0, keepdims=True)"
LIMITS = "        if not -end <= limits[0] <= limits[1] <= end or axis is not None:"
WIDENED = "        low, high = np.full_like(low, min(limits[0], 0)), np.full_like(high, max(limits[1], 0))"
WIDE = "    low, high = low.astype(np.float64), high.astype(np.float64)  # their difference may overflow in float32\n"
STEP = "    step = np.maximum(-low, high) / 127 if symmetric else (high - low) / 255"
SCALE = "    scale = np.maximum(step, np.finfo(np.float32).smallest_normal).astype(np.float32)"
DIVIDED = "        values = np.divide(x, scale, out=np.empty(x.shape, np.float32))"
ROUNDED = "    np.rint(values, out=values)\n    if symmetric:"
SYMMETRIC = "        return Quantized(np.clip(values, -127, 127, out=values).astype(np.int8), scale)"
ZERO = "    zero_point = np.clip(np.rint(-128 - low / scale), -128, 127).astype(np.int8)"
AFFINE = "    return Quantized(np.clip(values, -128, 127, out=values).astype(np.int8), scale, zero_point)"
REFUSED = "    if not (finite := np.isfinite(x)).all():"
PERCENTILE = "        if not 50 < percentile <= 100:"
CHECKED = "        x = _finite(x)\n        bits"
SEEN = "        self._low, self._high = float(x.min(initial=self._low)), float(x.max(initial=self._high))\n"
BITS = "        bits = x.view(np.uint32) >> 16\n"
COUNTED = "        self._counts += np.bincount(bits.ravel(), minlength=1 << 16)\n"
NOTHING = "        if self._low > self._high:\n"
ALL = "        if self.percentile == 100:\n"
UPWARDS = "        upwards = np.r_[0xFFFF:0x7FFF:-1, 0:0x8000]"
NEEDED = "        needed = round(self.percentile * counts.sum() / 100, 6)"
HIGH = "        high = floats[np.searchsorted(np.cumsum(counts), needed)]"
LOW = "        low = floats[::-1][np.searchsorted(np.cumsum(counts[::-1]), needed)]"
EIGHT = "    if a.dtype != np.int8 or b.dtype != np.int8:"
FIT = "    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:"
TOTAL = "    total = np.zeros((len(a), len(b)), np.int64)"
PARTS = "    for start in range(0, a.shape[1], EXACT):\n"
PART = "        part = np.s_[:, start : start + EXACT]\n"
ADDED = "        total += (a[part].astype(np.float32) @ b[part].astype(np.float32).T).astype(np.int64)\n"
EMPTY = "    y = np.empty((len(rows), weight.shape[0]), np.result_type(rows, np.float32))"
BLOCKS = "    step = max(1, BLOCK // max(1, 4 * math.prod(weight.shape[1:])))\n"
FROM = "    return (slice(start, start + step) for start in range(0, weight.shape[0], step))"
FLOATS = "        floats = weight.dequantize(block)\n"
TIMES = "        y[:, block] = rows @ floats.reshape(len(floats), -1).T\n"
SUMS = "        y[:, block] = integer_product(rows, values) - zero_point * values.sum(1, dtype=np.int64)\n"
BOTH = "    return np.multiply(y, x.scale.item() * weight.scale[:, 0].astype(np.float64), out=y)"
BIAS = "    if layer.bias is not None:\n        y += layer.bias.data\n"
DTYPE = '    y = y.astype(x.dtype if x.dtype.kind == "f" else np.float32, copy=False)\n'
RESULT = "    result = Tensor._result(type(layer).__name__, y, x)\n    if result.requires_grad:"
LINEAR = "        self.weight, self.bias = weight, None if bias is None else Parameter(bias)\n        self.register_buffer"
FEATURES = "        if x.shape[-1:] != (self.in_features,):"
OBSERVED = "        if self._observer is not None:\n            self._observer.observe(x.data)\n"
STATIC = "        if self._observer is None and np.isfinite(self.limits).all():\n            _check_integers(self.weight)\n"
INPUTS = "quantize_array(x.data, symmetric=False, limits=self.limits)"
FINISHED = "        return _result(self, y.reshape(*x.shape[:-1], self.out_features), x)\n"
CONV = "        self.weight, self.bias = weight, None if bias is None else Parameter(bias)\n        self.stride, self.padding = stride, padding\n"
IMAGES = "        if x.ndim != 4 or x.shape[1] != self.weight.shape[1]:"
VIEW = "        view = windows(x.data, self.weight.shape[2:], self.stride, self.padding)"
COLUMNS = "        columns = view.transpose(0, 2, 3, 1, 4, 5).reshape("
INTEGERS = '        if ids.size and ids.dtype.kind not in "iu":'
OUTSIDE = "        if (outside := (ids < 0) | (ids >= num)).any():"
LOOKED_UP = (
    "        return Tensor(self.weight.dequantize(ids.ravel().astype(np.intp)).reshape(*ids.shape, self.weight.shape[1]))"
)
EXCHANGED = "        if isinstance(layer, Linear | Conv2d | Embedding) and isinstance(weight, Parameter):"
SUBCLASS = "            if type(layer) not in (Linear, Conv2d, Embedding):"
KEY = "            key = id(weight)\n"
QUANTIZED = "                    weights[key] = quantize_array(weight, 0) if bits == 8 else quantize_groups(weight)"
MEMO = "            memo[id(layer)] = _exchanged(layer, weights[key])\n"
COPIED = "    result = copy.deepcopy(model, memo)\n"
FROZEN = "    for parameter in result.parameters():\n        parameter.requires_grad, parameter.grad = False, None\n"
EVAL = "    return result.eval()"
OBSERVERS = "    observers = {layer: Observer(percentile) for layer in model.modules() if isinstance(layer, QuantizedLinear)}"
WATCHED = "    try:\n        for layer, observer in observers.items():\n            layer._observer = observer\n"
BATCHES = "        for batch in batches:\n            model(batch)\n"
FINALLY = "    finally:\n        for layer in observers:\n            layer._observer = None\n"
SET = "    limits = [observer.limits() for observer in observers.values()]\n    for layer, pair in zip(observers, limits, strict=True):\n        layer.limits[...] = pair\n"
SUITED = "    if not isinstance(weight, Quantized) or weight.zero_point is not None or weight.scale.shape[1] > 1:"
HALF = '            half = array.astype(np.float16) if array.dtype.kind == "f" else array.copy()'
LOST = "        for lost in array[np.isinf(half) & np.isfinite(array)][:1]:\n"
PROBLEM = '            problems.append(f"{name} holds {lost!s}")\n'
RAISED = '    if problems:\n        raise ValueError(f"float16'
TOO_LARGE = "    outside = values[(values < -8) | (values > 7)]"
FILLED = "    codes = np.full((*values.shape[:-1], n + n % 2), 8, np.uint8)"
CODES = "    codes[..., :n] = values + 8\n"
PACKED = "    return codes[..., ::2] | codes[..., 1::2] << 4"
UNPACKED = "    values[..., ::2], values[..., 1::2] = packed & 15, packed >> 4\n    values -= 8\n"
CUT = "    return values[..., :n]\n"
OF_GROUPS = "        values *= np.repeat(self.scale[rows].astype(np.float32), GROUP, -1)[..., :n]\n"
NIBBLES = "        values = unpack(self.values[rows], n).astype(np.float32)\n"
TWO_AXES = "    if x.ndim < 2:"
PADDED = "    padded[:, :n] = x.reshape(len(x), n)\n"
BEYOND = "    beyond = x[np.abs(x) > 7 * float(np.finfo(np.float16).max)]"
SEVENTH = "    step = np.abs(groups).max(-1).astype(np.float64) / 7\n"
HALVED = "    scale = step.astype(np.float16)\n"
UP = "    np.nextafter(scale, np.float16(np.inf), out=scale, where=scale < step)"
NORMED = "    groups /= np.where(scale == 0, 1, scale)[..., None]"
NEAREST = "    values = np.rint(padded[:, :n]).astype(np.int8)\n"

WRONG = [
    # eight bits
    Wrong("float32 is kept, rounded", {SYMMETRIC: "        return Quantized(np.clip(values, -127, 127, out=values), scale)"}),
    Wrong(
        "int8 kept as int64",
        {
            SYMMETRIC: "        return Quantized(np.clip(values, -127, 127, out=values).astype(np.int64), scale)",
        },
        says="expected dtype int8, got int64",
    ),
    Wrong(
        "affine integers are uint8",
        {
            ZERO: "    zero_point = np.clip(np.rint(-low / scale), 0, 255).astype(np.uint8)",
            AFFINE: "    return Quantized(np.clip(values, 0, 255, out=values).astype(np.uint8), scale, zero_point)",
        },
    ),
    Wrong(
        "astype wraps around, without a clip",
        {SYMMETRIC: "        return Quantized(values.astype(np.int32).astype(np.int8), scale)"},
    ),
    Wrong(
        "affine values wrap around, without a clip",
        {AFFINE: "    return Quantized(values.astype(np.int32).astype(np.int8), scale, zero_point)"},
    ),
    Wrong(
        "clipped after it was made int8",
        {SYMMETRIC: "        return Quantized(np.clip(values.astype(np.int32).astype(np.int8), -127, 127), scale)"},
    ),
    Wrong("symmetric values down to -128", {SYMMETRIC: SYMMETRIC.replace("-127, 127", "-128, 127")}),
    Wrong("symmetric divided by 128", {STEP: STEP.replace("/ 127", "/ 128")}, says="divided by 128"),
    Wrong("symmetric divided by 127.5", {STEP: STEP.replace("/ 127", "/ 127.5")}),
    Wrong("affine divided by 256", {STEP: STEP.replace("/ 255", "/ 256")}),
    Wrong("affine divided by 254", {STEP: STEP.replace("/ 255", "/ 254")}),
    Wrong("only the positive values count", {STEP: STEP.replace("np.maximum(-low, high)", "high")}),
    Wrong("only the negative values count", {STEP: STEP.replace("np.maximum(-low, high)", "-low")}),
    Wrong(
        "the scale is the deviation",
        {STEP: "    step = x.std(shared, keepdims=True) * 3 / 127 if symmetric else (high - low) / 255"},
    ),
    Wrong("cut, not rounded", {ROUNDED: ROUNDED.replace("np.rint(values", "np.trunc(values")}),
    Wrong("rounded down", {ROUNDED: ROUNDED.replace("np.rint(values", "np.floor(values")}),
    Wrong("rounded up", {ROUNDED: ROUNDED.replace("np.rint(values", "np.ceil(values")}),
    Wrong(
        "half added, then cut",
        {ROUNDED: "    values += 0.5\n    np.trunc(values, out=values)\n    if symmetric:"},
    ),
    Wrong("not rounded", {ROUNDED: "    if symmetric:"}),
    Wrong(
        "the range does not contain 0",
        {
            RANGE: "    low, high = (x.min(shared, keepdims=True), x.max(shared, keepdims=True)) if x.size else (np.zeros([1] * x.ndim),) * 2"
        },
    ),
    Wrong(
        "the range of limits does not contain 0",
        {WIDENED: "        low, high = np.full_like(low, limits[0]), np.full_like(high, limits[1])"},
    ),
    Wrong(
        "the range does not contain 0, and its zero point is float32",
        {
            RANGE: "    low, high = (x.min(shared, keepdims=True), x.max(shared, keepdims=True)) if x.size else (np.zeros([1] * x.ndim),) * 2",
            ZERO: "    zero_point = np.rint(-128 - low / scale).astype(np.float32)",
        },
    ),
    Wrong("the zero point is not rounded", {ZERO: "    zero_point = (-128 - low / scale).astype(np.float32)"}),
    Wrong("the zero point is cut", {ZERO: ZERO.replace("np.rint(", "np.trunc(")}),
    Wrong(
        "the zero point has the other sign",
        {ZERO: "    zero_point = np.clip(np.rint(128 + low / scale), -128, 127).astype(np.int8)"},
    ),
    Wrong("the zero point is that of high", {ZERO: ZERO.replace("-128 - low", "-127 + high")}),
    Wrong("the zero point is not added", {"    values += zero_point\n": ""}),
    Wrong("a step of zero for zeros", {SCALE: "    scale = step.astype(np.float32)"}),
    Wrong(
        "a step of 1 for zeros, and of 0 below float32", {SCALE: "    scale = np.where(step == 0, 1, step).astype(np.float32)"}
    ),
    Wrong("eps is added to the step", {SCALE: "    scale = (step + 1e-8).astype(np.float32)"}),
    Wrong("a step of at least 1e-8", {SCALE: "    scale = np.maximum(step, 1e-8).astype(np.float32)"}),
    Wrong("the scale is float64", {SCALE: SCALE.replace(".astype(np.float32)", "")}, says="float64"),
    Wrong(
        "the scale is float16",
        {SCALE: SCALE.replace("np.float32)", "np.float16)").replace("np.finfo(np.float16)", "np.finfo(np.float16)")},
    ),
    Wrong("the range overflows in float32", {WIDE: ""}),
    Wrong(
        "per channel along the other axis",
        {SHARED: "    shared = tuple(range(x.ndim) if axis is None else {axis % x.ndim})"},
    ),
    Wrong("the axis is always 0", {SHARED: "    shared = tuple(range(x.ndim)) if axis is None else tuple(range(1, x.ndim))"}),
    Wrong("axis 0 is no axis", {SHARED: "    shared = tuple(set(range(x.ndim)) - {axis % x.ndim} if axis else range(x.ndim))"}),
    Wrong(
        "a negative axis does not count from the end",
        {SHARED: "    shared = tuple(range(x.ndim) if axis is None else set(range(x.ndim)) - {axis})"},
    ),
    Wrong(
        "one scale for all, repeated",
        {
            RANGE: "    low, high = (np.broadcast_to(f(initial=0), x.min(shared, initial=0, keepdims=True).shape) for f in (x.min, x.max))"
        },
    ),
    Wrong("any axis is taken modulo", {AXIS: "    if False:"}),
    Wrong("an axis one beyond", {AXIS: AXIS.replace("< x.ndim:", "<= x.ndim:")}),
    Wrong("axes below -2 are none", {AXIS: AXIS.replace("not -x.ndim <= axis", "not -min(x.ndim, 2) <= axis")}),
    Wrong("the lowest negative axis is none", {AXIS: AXIS.replace("not -x.ndim <= axis", "not -x.ndim < axis")}),
    Wrong("limits are not used", {WIDENED: "        pass"}),
    Wrong(
        "limits only make the range narrower",
        {WIDENED: "        low, high = np.maximum(low, min(limits[0], 0)), np.minimum(high, max(limits[1], 0))"},
    ),
    Wrong("limits are finite as float64", {LIMITS: LIMITS.replace("-end <=", "-math.inf <").replace("<= end", "< math.inf")}),
    Wrong("limits are not checked", {LIMITS: "        if axis is not None:"}),
    Wrong("infinite limits", {LIMITS: "        if not limits[0] <= limits[1] or axis is not None:"}),
    Wrong("limits beside an axis", {LIMITS: LIMITS.replace(" or axis is not None", "")}),
    Wrong("axis 0 beside limits", {LIMITS: LIMITS.replace("axis is not None", "axis")}),
    Wrong("equal limits are refused", {LIMITS: LIMITS.replace("limits[0] <= limits[1]", "limits[0] < limits[1]")}),
    Wrong("NaN passes", {REFUSED: "    if not (finite := ~np.isinf(x)).all():"}, says="let through"),
    Wrong("infinity passes", {REFUSED: "    if not (finite := ~np.isnan(x)).all():"}),
    Wrong("NaN becomes 0", {REFUSED: "    x = np.nan_to_num(x)\n" + REFUSED}),
    Wrong("the value is not named", {"not {x[index]} at {index}": "not NaN or infinity at {index}"}, says="is not named"),
    Wrong("the index is not named", {"not {x[index]} at {index}": "not {x[index]}"}),
    Wrong("the last bad value is named", {"np.argwhere(~finite)[0]": "np.argwhere(~finite)[-1]"}),
    Wrong(
        "the zero point is subtracted in int8",
        {
            DEQUANTIZED
            + ZERO_POINT: "        values = self.values[rows]\n        if self.zero_point is not None:\n            values = values - np.broadcast_to(self.zero_point, self.shape)[rows]\n        values = values.astype(np.float32)\n"
        },
        says="wraps around",
    ),
    Wrong("the zero point is not subtracted", {ZERO_POINT: ""}, says="not subtracted"),
    Wrong("the zero point is added", {ZERO_POINT: ZERO_POINT.replace("-=", "+=")}),
    Wrong("dequantized to float64", {DEQUANTIZED: DEQUANTIZED.replace("float32", "float64")}, says="float64"),
    Wrong(
        "rows are not chosen", {DEQUANTIZED + ZERO_POINT + SCALED: (DEQUANTIZED + ZERO_POINT + SCALED).replace("[rows]", "")}
    ),
    Wrong(
        "rows are chosen after all were made",
        {
            DEQUANTIZED + ZERO_POINT + SCALED: (DEQUANTIZED + ZERO_POINT + SCALED)
            .replace("[rows]", "")
            .replace("return values", "return values[rows]")
        },
    ),
    Wrong(
        "each row has the first one's scale",
        {SCALED: "        values *= self.scale[:1] if self.scale.ndim else self.scale\n        return values\n"},
    ),
    Wrong("nbytes counts values only", {NBYTES: "        return self.values.nbytes"}),
    Wrong(
        "the scale is no buffer",
        {
            '        self.register_buffer("scale", scale)\n        if zero': "        self.scale = np.array(scale)\n        if zero"
        },
    ),
    Wrong(
        "a zero point of zeros for symmetric ones",
        {
            "        if zero_point is None:\n            self.zero_point = None\n        else:\n            self.reg": "        if zero_point is None:\n            zero_point = np.zeros(np.shape(scale), np.int8)\n        if True:\n            self.reg"
        },
    ),
    Wrong(
        "x is changed in place",
        {DIVIDED: "        values = np.divide(x, scale, out=x if x.flags.writeable else np.empty(x.shape, np.float32))"},
    ),
    # observers
    Wrong(
        "the last batch only",
        {
            SEEN: "        if x.size:\n            self._low, self._high = float(x.min()), float(x.max())\n",
            COUNTED: COUNTED.replace("+=", "="),
        },
    ),
    Wrong(
        "the percentile of the last batch only",
        {
            COUNTED: COUNTED.replace(
                "+= np.bincount(bits.ravel(), minlength=1 << 16)",
                "= np.bincount(bits.ravel(), minlength=1 << 16) if bits.size else self._counts",
            )
        },
    ),
    Wrong(
        "the first batch only",
        {COUNTED: COUNTED.replace("        self._counts +=", "        self._counts = self._counts if self._counts.any() else")},
    ),
    Wrong(
        "a mean of the batches' ranges",
        {
            SEEN: "        if x.size and self._low > self._high:\n            self._low, self._high = float(x.min()), float(x.max())\n        elif x.size:\n            self._low, self._high = (self._low + float(x.min())) / 2, (self._high + float(x.max())) / 2\n"
        },
    ),
    Wrong(
        "batches of any size count alike",
        {COUNTED: "        self._counts = self._counts + np.bincount(bits.ravel(), minlength=1 << 16) / max(1, bits.size)\n"},
    ),
    Wrong("the range contains 0 from the first", {"percentile, math.inf, -math.inf": "percentile, 0.0, 0.0"}),
    Wrong("magnitudes are observed", {CHECKED: "        x = np.abs(_finite(x))\n        bits"}),
    Wrong("negative floats count upwards", {UPWARDS: "        upwards = np.r_[0x8000:0x10000, 0:0x8000]"}),
    Wrong("positive values come first", {UPWARDS: "        upwards = np.r_[0:0x8000, 0xFFFF:0x7FFF:-1]"}),
    Wrong("a negative zero does not count", {UPWARDS: UPWARDS.replace("0x7FFF", "0x8000")}),
    Wrong("a zero does not count", {UPWARDS: UPWARDS.replace("0:0x8000", "1:0x8000")}),
    Wrong(
        "sixteen bits are rounded, to infinity",
        {BITS: "        bits = (x.view(np.uint32) + np.uint32(0x8000)) >> 16\n"},
    ),
    Wrong("only eight bits are counted", {BITS: "        bits = (x.view(np.uint32) >> 24) << 8\n"}),
    Wrong(
        "the percentile is a fraction of one tail", {NEEDED: "        needed = (50 + self.percentile / 2) * counts.sum() / 100"}
    ),
    Wrong(
        "low is the percentile from below",
        {LOW: "        low = floats[np.searchsorted(np.cumsum(counts), (1 - self.percentile / 100) * counts.sum() / 2)]"},
    ),
    Wrong("low is -high", {LOW: "        low = -high"}),
    Wrong("low is the least value", {LOW: "        low = self._low"}),
    Wrong("100 is a percentile like any other", {ALL: "        if False:\n"}),
    Wrong("99.999 is 100", {ALL: "        if self.percentile > 99.99:\n"}),
    Wrong(
        "limits are NumPy's",
        {
            "        return float(low), float(high)": "        return low, high",
            "float(x.min(initial=self._low)), float(x.max(initial=self._high))": "x.min(initial=self._low), x.max(initial=self._high)",
        },
    ),
    Wrong(
        "an histogram of fixed bins",
        {
            BITS: "        bits = np.clip((x + 32) * 1024, 0, 65535).astype(np.int64)\n",
            "        floats = (upwards.astype(np.uint32) << 16).view(np.float32)\n": "        upwards = np.arange(1 << 16)\n        floats = upwards / 1024 - 32\n",
        },
    ),
    Wrong(
        "a batch counts before it is checked",
        {
            CHECKED: "        x = np.asarray(Tensor(x).data, np.float32)\n        if x.size:\n            self._low, self._high = float(np.fmin(x.min(), self._low)), float(np.fmax(x.max(), self._high))\n        x = _finite(x)\n        bits"
        },
    ),
    Wrong(
        "NaN is left out without a word",
        {CHECKED: "        x = np.asarray(Tensor(x).data, np.float32)\n        x = x[np.isfinite(x)]\n        bits"},
    ),
    Wrong(
        "limits of nothing", {NOTHING: "        if self._low > self._high:\n            return 0.0, 0.0\n        if False:\n"}
    ),
    Wrong("the rank is that of a fraction", {NEEDED: "        needed = math.ceil(self.percentile / 100 * counts.sum())"}),
    Wrong("the rank is a rounded float", {NEEDED: "        needed = math.ceil(self.percentile * counts.sum() / 100)"}),
    Wrong("a rank is rounded to two digits", {NEEDED: NEEDED.replace("100, 6)", "100, 2)")}),
    Wrong("a rank is rounded to four digits", {NEEDED: NEEDED.replace("100, 6)", "100, 4)")}),
    Wrong("limits() begins anew", {NEEDED: NEEDED + "\n        self._counts = 0 * self._counts"}),
    Wrong("a percentile of 50", {PERCENTILE: PERCENTILE.replace("50 <", "50 <=")}),
    Wrong("a fraction is a percentile", {PERCENTILE: "        if not 0 < percentile <= 100:"}),
    Wrong("a percentile above 100", {PERCENTILE: "        if not 50 < percentile <= 101:"}),
    Wrong("NaN is a percentile", {PERCENTILE: "        if percentile <= 50 or percentile > 100:"}),
    Wrong(
        "100 is refused",
        {
            PERCENTILE: PERCENTILE.replace("<= 100", "< 100"),
            'percentile: float = 100.0):\n        """Raises: ValueError that': 'percentile: float = 99.999):\n        """Raises: ValueError that',
        },
    ),
    Wrong(
        "the batches are held",
        {COUNTED: COUNTED + "        self._batches = [*getattr(self, '_batches', []), x]\n"},
    ),
    Wrong(
        "more than the percentile is needed",
        {HIGH: HIGH.replace("needed)", "needed, side='right')"), LOW: LOW.replace("needed)", "needed, side='right')")},
    ),
    Wrong(
        "counters of 16 bits",
        {
            "np.zeros(1 << 16, np.int64)": "np.zeros(1 << 16, np.uint16)",
            COUNTED: COUNTED.replace("1 << 16)", "1 << 16).astype(np.uint16)"),
        },
    ),
    Wrong(
        "observers share their counts",
        {
            "        self._counts = np.zeros(1 << 16, np.int64)\n": "        self._counts = _COUNTS\n",
            "# 17.2 Observer\n": "# 17.2 Observer\n\n_COUNTS = np.zeros(1 << 16, np.int64)\n",
        },
    ),
    # products of int8
    Wrong("NumPy's own product", {PARTS + PART + ADDED: "    total += a @ b.T\n"}, says="int8 @ int8 wraps around"),
    Wrong(
        "float32 for all columns at once",
        {PARTS + PART + ADDED: "    total += (a.astype(np.float32) @ b.astype(np.float32).T).astype(np.int64)\n"},
    ),
    Wrong("sums are int32", {TOTAL: TOTAL.replace("int64", "int32"), ADDED: ADDED.replace("int64", "int32")}),
    Wrong(
        "sums are float32",
        {
            TOTAL: TOTAL.replace("int64", "float32"),
            ADDED: ADDED.replace(".astype(np.int64)", ""),
            "    return total\n": "    return total.astype(np.int64)\n",
        },
    ),
    Wrong(
        "sums are float64",
        {TOTAL: TOTAL.replace("int64", "float64"), ADDED: ADDED.replace(".astype(np.int64)", "")},
        says="expected dtype int64",
    ),
    Wrong("b is not transposed", {FIT: "    b = b.T\n    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:"}),
    Wrong(
        "columns after the last whole part are left out",
        {PARTS: "    for start in range(0, max(a.shape[1] - EXACT, 0) + 1, EXACT):\n"},
    ),
    Wrong("parts overlap by one", {PART: PART.replace("start + EXACT]", "start + EXACT + 1]")}),
    Wrong("parts of 2,048", {"EXACT = 1024": "EXACT = 2048"}),
    Wrong("twice EXACT columns at a time", {PARTS + PART: (PARTS + PART).replace("EXACT", "2 * EXACT")}),
    Wrong("uint8 passes", {EIGHT: "    if a.dtype.itemsize > 1 or b.dtype.itemsize > 1:"}),
    Wrong("other dtypes are cast to int8", {EIGHT: "    a, b = a.astype(np.int8), b.astype(np.int8)\n" + EIGHT}),
    Wrong("only a is checked", {EIGHT: "    if a.dtype != np.int8:"}),
    Wrong("shapes are not checked", {FIT: "    if a.ndim != 2 or b.ndim != 2:"}),
    Wrong(
        "a length of 1 is broadcast",
        {FIT: "    if a.ndim == b.ndim == 2 and a.shape[1] == 1:\n        a = np.repeat(a, b.shape[1], 1)\n" + FIT},
    ),
    # layers
    Wrong(
        "the scale is missing",
        {
            FLOATS: "        floats = weight.values[block].astype(np.float32) if isinstance(weight, Quantized) else weight.dequantize(block)\n"
        },
        says="the scale is missing",
    ),
    Wrong("the bias is missing", {BIAS: ""}, says="the bias is missing"),
    Wrong(
        "the bias is added in each block",
        {
            "def _product(rows: np.ndarray, weight) -> np.ndarray:": "def _product(rows: np.ndarray, weight, bias=None) -> np.ndarray:",
            EMPTY: EMPTY + "\n    y[...] = 0",
            TIMES: TIMES + "        if bias is not None:\n            y += bias.data\n",
            BIAS: "",
            "self.in_features), self.weight)": "self.in_features), self.weight, self.bias)",
        },
    ),
    Wrong("a bias of zeros is none", {LINEAR: LINEAR.replace("bias is None", "bias is None or not np.any(bias)")}),
    Wrong("the bias is added as float32", {BIAS: BIAS.replace("bias.data", "bias.data.astype(np.float32)")}),
    Wrong("the bias is shared", {LINEAR: LINEAR.replace("Parameter(bias)", "bias")}),
    Wrong(
        "a frozen bias is shared",
        {
            LINEAR: LINEAR.replace(
                "else Parameter(bias)", 'else bias if getattr(bias, "requires_grad", True) is False else Parameter(bias)'
            )
        },
    ),
    Wrong(
        "a convolution shares a frozen bias",
        {
            CONV: CONV.replace(
                "else Parameter(bias)", 'else bias if getattr(bias, "requires_grad", True) is False else Parameter(bias)'
            )
        },
    ),
    Wrong("the bias is shared with the convolution's", {CONV: CONV.replace("Parameter(bias)", "bias")}),
    Wrong(
        "the last block is left out", {FROM: FROM.replace("weight.shape[0], step", "max(1, weight.shape[0] - step + 1), step")}
    ),
    Wrong(
        "rows longer than a block are left out",
        {
            BLOCKS: "    step = max(1, BLOCK // (4 * math.prod(weight.shape[1:])))\n    if 4 * math.prod(weight.shape[1:]) > BLOCK:\n        return iter(())\n"
        },
    ),
    Wrong(
        "rows of exactly a block are all made at once",
        {BLOCKS: BLOCKS + "    step = weight.shape[0] if 4 * math.prod(weight.shape[1:]) == BLOCK else step\n"},
    ),
    Wrong("blocks overwrite each other", {FLOATS: FLOATS + "        y = np.zeros_like(y)\n"}),
    Wrong("the result is float32 always", {DTYPE: "    y = y.astype(np.float32)\n"}),
    Wrong("an empty result is float32", {DTYPE: DTYPE.replace("if x.dtype", "if y.size and x.dtype")}),
    Wrong("an empty batch needs no check", {FEATURES: "        if x.size and x.shape[-1:] != (self.in_features,):"}),
    Wrong(
        "an empty batch has a gradient",
        {RESULT: RESULT.replace("if result.requires_grad", "if y.size and result.requires_grad")},
    ),
    Wrong("the result is float64", {DTYPE: "    y = y.astype(np.float64)\n"}),
    Wrong("the result has the promoted dtype", {DTYPE: ""}),
    Wrong("integers give integers", {DTYPE: "    y = y.astype(x.dtype)\n"}),
    Wrong(
        "sums have x's dtype",
        {EMPTY: EMPTY.replace("np.result_type(rows, np.float32)", 'rows.dtype if rows.dtype.kind == "f" else np.float32')},
    ),
    Wrong("sums are float32 for float64", {EMPTY: EMPTY.replace("np.result_type(rows, np.float32)", "np.float32")}),
    Wrong("x is made float16", {FLOATS: FLOATS + "        rows = rows.astype(np.float16).astype(np.float32)\n"}),
    Wrong("a gradient is lost without a word", {RESULT: "    result = Tensor(y)\n    if False:"}, says="let through"),
    Wrong("no_grad does not help", {RESULT: "    result = Tensor(y)\n    if x.requires_grad:"}),
    Wrong("the shape of x is not checked", {FEATURES: "        if x.shape[-1:] == ():"}),
    Wrong("another number of features that fits", {FEATURES: "        if x.size % self.in_features:"}),
    Wrong("a layer holds its inputs", {DTYPE: DTYPE + "    layer._inputs = x\n"}),
    Wrong(
        "the sizes are exchanged",
        {
            "        self.out_features, self.in_features = weight.shape": "        self.in_features, self.out_features = weight.shape"
        },
    ),
    Wrong(
        "the layer is named as Linear",
        {'f"QuantizedLinear({self.in_features}, {self.out_features}) got': 'f"({self.in_features}, {self.out_features}) got'},
    ),
    Wrong("QuantizedLinear is no Linear", {"class QuantizedLinear(Linear):": "class QuantizedLinear(Module):"}),
    Wrong("QuantizedConv2d is no Conv2d", {"class QuantizedConv2d(Conv2d):": "class QuantizedConv2d(Module):"}),
    Wrong("QuantizedEmbedding is no Embedding", {"class QuantizedEmbedding(Embedding):": "class QuantizedEmbedding(Module):"}),
    Wrong(
        "the floats are made once and kept",
        {
            FLOATS: "        floats = vars(weight).setdefault('_floats', {}).get(block.start)\n        if floats is None:\n            floats = weight._floats[block.start] = weight.dequantize(block)\n"
        },
    ),
    Wrong("stride and padding are exchanged", {CONV: CONV.replace("= stride, padding", "= padding, stride")}),
    Wrong(
        "height and width are exchanged",
        {VIEW: "        view = windows(x.data, self.weight.shape[2:], self.stride[::-1], self.padding[::-1])"},
    ),
    Wrong(
        "a convolution has the stride that it was made with",
        {CONV: CONV + "        self._stride = stride\n", VIEW: VIEW.replace("self.stride", "self._stride")},
    ),
    Wrong(
        "an embedding has the size that it was made with",
        {
            '        """ids (…) → float32': '        self._num = vars(self).get("_num", self.weight.shape[0])\n        """ids (…) → float32',
            "        ids, num = Tensor(ids).data, self.weight.shape[0]": "        ids, num = Tensor(ids).data, self._num",
        },
    ),
    Wrong("there is no stride", {VIEW: VIEW.replace("self.stride", "1")}),
    Wrong("there is no padding", {VIEW: VIEW.replace("self.padding", "0")}),
    Wrong("kernel and channel axes are mixed up", {COLUMNS: COLUMNS.replace("0, 2, 3, 1, 4, 5", "0, 2, 3, 4, 5, 1")}),
    Wrong("the kernel is transposed", {COLUMNS: COLUMNS.replace("0, 2, 3, 1, 4, 5", "0, 2, 3, 1, 5, 4")}),
    Wrong(
        "the channels stay last",
        {
            "        return _result(self, y, x).permute(0, 3, 1, 2)": "        return Tensor(_result(self, y, x).data.reshape(batch, -1, out_h, out_w))"
        },
    ),
    Wrong(
        "an image smaller than the kernel gives nothing",
        {
            IMAGES: "        if x.shape[2] < self.weight.shape[2]:\n            return Tensor(np.zeros((len(x), self.weight.shape[0], 0, 0), np.float32))\n"
            + IMAGES
        },
    ),
    Wrong("channels are not checked", {IMAGES: "        if x.ndim != 4:"}),
    Wrong("negative ids count from the end", {OUTSIDE: "        if (outside := ids >= num).any():"}),
    Wrong("the id one beyond", {OUTSIDE: OUTSIDE.replace("ids >= num", "ids > num")}),
    Wrong("floats are ids", {INTEGERS: '        if ids.dtype.kind == "b":'}),
    Wrong("booleans are ids", {INTEGERS: '        if ids.size and ids.dtype.kind not in "iub":'}),
    Wrong("no ids are refused", {INTEGERS: '        if ids.dtype.kind not in "iu":'}),
    Wrong("ids become int16", {LOOKED_UP: LOOKED_UP.replace("np.intp", "np.int16")}),
    Wrong("ids become uint16", {LOOKED_UP: LOOKED_UP.replace("np.intp", "np.uint16")}),
    Wrong("the ids' axes are lost", {LOOKED_UP: "        return Tensor(self.weight.dequantize(ids.ravel().astype(np.intp)))"}),
    Wrong(
        "rows without their scale",
        {
            LOOKED_UP: "        weight = self.weight\n        return Tensor((weight.values[ids] * weight.scale[0]).astype(np.float32) if isinstance(weight, Quantized) else weight.dequantize(ids.astype(np.intp)))"
        },
    ),
    Wrong(
        "a convolution keeps its columns",
        {
            "        y = _product(columns, self.weight).reshape(": "        self._columns = columns\n        y = _product(columns, self.weight).reshape("
        },
    ),
    Wrong(
        "an embedding keeps what it made",
        {
            LOOKED_UP: LOOKED_UP.replace("return Tensor(", "self._made = Tensor(")
            + "\n        return Tensor(self._made.data.copy())"
        },
    ),
    Wrong(
        "floats are kept beside what is used",
        {FLOATS: FLOATS + "        vars(weight).setdefault('_floats', []).append(floats)\n"},
    ),
    # int8 inputs
    Wrong("limits are not used by a layer", {STATIC: "        if False:\n"}, says="inputs stay floats"),
    Wrong(
        "the sums of a row's weights are int8",
        {SUMS: SUMS.replace("values.sum(1, dtype=np.int64)", "values.sum(1, dtype=np.int8).astype(np.int64)")},
        says="Σ w wraps around in int8",
    ),
    Wrong(
        "the zero point of the inputs is forgotten",
        {SUMS: "        y[:, block] = integer_product(rows, values)\n"},
        says="z Σ w is not subtracted",
    ),
    Wrong("the zero point is added to the sums", {SUMS: SUMS.replace("values) - zero", "values) + zero")}),
    Wrong("the sum of weights wraps around", {SUMS: SUMS.replace("dtype=np.int64", "dtype=np.int8")}),
    Wrong(
        "the sum of weights wraps around at 16 bits",
        {SUMS: SUMS.replace("values.sum(1, dtype=np.int64)", "values.sum(1, dtype=np.int16).astype(np.int64)")},
    ),
    Wrong("the scale of the inputs is missing", {BOTH: BOTH.replace("x.scale.item() * ", "")}),
    Wrong("the scale of the weights is missing", {BOTH: "    return np.multiply(y, x.scale.item(), out=y)"}),
    Wrong(
        "each block has the first rows' scales",
        {
            SUMS: SUMS + "        y[:, block] *= np.broadcast_to(weight.scale, (weight.shape[0], 1))[: len(values), 0]\n",
            BOTH: "    return np.multiply(y, x.scale.item(), out=y)",
        },
    ),
    Wrong(
        "a shared scale is that of the first block",
        {
            SUMS: SUMS + "        y[:, block] *= weight.scale[block, 0]\n",
            BOTH: "    return np.multiply(y, x.scale.item(), out=y)",
        },
    ),
    Wrong(
        "both scales are multiplied as float32",
        {BOTH: "    return np.multiply(y, x.scale.ravel() * weight.scale[:, 0], out=y)"},
    ),
    Wrong(
        "inputs are symmetric",
        {INPUTS: INPUTS.replace("symmetric=False", "symmetric=True"), "int(x.zero_point.item())": "0"},
    ),
    Wrong("inputs have the range of the batch", {INPUTS: INPUTS.replace(", limits=self.limits", "")}),
    Wrong(
        "the array of limits is that of the construction",
        {
            STATIC: STATIC.replace("self.limits", "self._kept[0]"),
            INPUTS: INPUTS.replace("self.limits", "self._kept[0]"),
            "[-np.inf, np.inf], np.float32))\n": "[-np.inf, np.inf], np.float32))\n        self._kept = [self.limits]\n",
        },
    ),
    Wrong("one finite limit is enough", {STATIC: STATIC.replace(".all()", ".any()")}),
    Wrong(
        "inputs are rounded and multiplied as floats",
        {
            STATIC: "        if self._observer is None and np.isfinite(self.limits).all():\n            x = Tensor(quantize_array(x, symmetric=False).dequantize())\n        if False:\n"
        },
    ),
    Wrong(
        "the index of what is not finite is that of a row",
        {INPUTS: INPUTS.replace("x.data", "x.data.reshape(-1, self.in_features)")},
    ),
    Wrong("weights are not checked in a call", {STATIC: STATIC.replace("            _check_integers(self.weight)\n", "")}),
    Wrong(
        "weights that don't suit are multiplied as floats",
        {
            STATIC: "        if self._observer is None and np.isfinite(self.limits).all() and isinstance(self.weight, Quantized) and self.weight.zero_point is None:\n"
        },
    ),
    # whole models
    Wrong(
        "subclasses are exchanged too",
        {SUBCLASS: "            if False:", "    if type(layer) is Linear:": "    if isinstance(layer, Linear):"},
    ),
    Wrong(
        "subclasses are left without a word",
        {
            EXCHANGED: EXCHANGED.replace(
                "isinstance(layer, Linear | Conv2d | Embedding)", "type(layer) in (Linear, Conv2d, Embedding)"
            )
        },
        says="let through",
    ),
    Wrong(
        "only a subclass of Linear is refused",
        {SUBCLASS: "            if isinstance(layer, Linear) and type(layer) is not Linear:"},
    ),
    Wrong(
        "the name is the subclass's",
        {"{names[key]}: a subclass, as": "{type(layer).__name__}: a subclass, as"},
        says="is not named",
    ),
    Wrong(
        "every subclass has a weight",
        {EXCHANGED: EXCHANGED.replace(" and isinstance(weight, Parameter)", " and not isinstance(weight, Module)")},
    ),
    Wrong("convolutions are left", {EXCHANGED: EXCHANGED.replace("Linear | Conv2d", "Linear")}),
    Wrong("embeddings are left", {EXCHANGED: EXCHANGED.replace(" | Embedding", "")}),
    Wrong("frozen layers are left", {EXCHANGED: EXCHANGED.replace(":", " and weight.requires_grad:")}),
    Wrong(
        "an array of integers has no dtype",
        {"    dtype = np.dtype(np.float32)  # given: what": "    # what"},
    ),
    Wrong("groups have no dtype", {"    dtype = np.dtype(np.float32)  # given\n": ""}),
    Wrong(
        "the dtype is that of the integers",
        {"    dtype = np.dtype(np.float32)  # given: what": "    dtype = np.dtype(np.int8)  # what"},
    ),
    Wrong(
        "the model itself is changed",
        {
            COPIED: "    result = model\n    for module in model.modules():\n        for name, value in vars(module).items():\n            if id(value) in memo:\n                setattr(module, name, memo[id(value)])\n            elif isinstance(value, list):\n                value[:] = [memo.get(id(member), member) for member in value]\n"
        },
    ),
    Wrong(
        "a shallow copy",
        {
            COPIED: "    result = memo.get(id(model)) or copy.copy(model)\n    for name, value in list(vars(result).items()):\n        if isinstance(value, list):\n            setattr(result, name, [memo.get(id(member), member) for member in value])\n        elif id(value) in memo:\n            setattr(result, name, memo[id(value)])\n"
        },
    ),
    Wrong(
        "arrays that are no buffers are shared",
        {
            COPIED: "    for module in model.modules():\n        memo |= {id(value): value for value in vars(module).values() if type(value) is np.ndarray and id(value) not in {id(array) for _, array in model.named_buffers()}}\n"
            + COPIED
        },
    ),
    Wrong(
        "tied weights are quantized twice",
        {KEY: "            key = id(layer)\n            names[key] = names.get(id(weight), '')\n"},
    ),
    Wrong(
        "equal weights are tied",
        {KEY: "            key = weight.data.tobytes()\n            names[key] = names[id(weight)]\n"},
    ),
    Wrong(
        "tied layers become one",
        {
            MEMO: "            memo[id(layer)] = memo[id(layer.weight), type(layer)] = memo.get((id(layer.weight), type(layer))) or _exchanged(layer, weights[key])\n"
        },
    ),
    Wrong(
        "one scale for each weight",
        {QUANTIZED: QUANTIZED.replace("quantize_array(weight, 0)", "quantize_array(weight)")},
    ),
    Wrong(
        "a scale for each column",
        {QUANTIZED: QUANTIZED.replace("quantize_array(weight, 0)", "quantize_array(weight, 1)")},
    ),
    Wrong(
        "weights are affine",
        {QUANTIZED: QUANTIZED.replace("quantize_array(weight, 0)", "quantize_array(weight, 0, False)")},
    ),
    Wrong("bits are not heeded", {QUANTIZED: QUANTIZED.replace("if bits == 8 else quantize_groups(weight)", "")}),
    Wrong("any bits are 4", {"    if bits not in (8, 4):": "    if False:"}),
    Wrong("float32 is kept beside", {MEMO: MEMO + "            memo[id(layer)]._float = layer.weight.data.copy()\n"}),
    Wrong("biases are lost", {"        return QuantizedLinear(weight, layer.bias)": "        return QuantizedLinear(weight)"}),
    Wrong("a convolution's stride is lost", {"layer.bias, layer.stride, layer.padding)": "layer.bias, (1, 1), layer.padding)"}),
    Wrong("a convolution's padding is lost", {"layer.bias, layer.stride, layer.padding)": "layer.bias, layer.stride)"}),
    Wrong("the copy trains", {EVAL: "    return result"}),
    Wrong("the copy is in train mode", {EVAL: "    return result.train()"}),
    Wrong("only the top is in eval mode", {EVAL: "    result.training = False\n    return result"}),
    Wrong("all of the model has one mode", {COPIED: "    mode = model.training\n" + COPIED + "    model.train(mode)\n"}),
    Wrong("the model is put into eval mode", {EVAL: "    model.eval()\n" + EVAL}),
    Wrong(
        "Parameters still require gradients",
        {FROZEN: FROZEN.replace("parameter.requires_grad, parameter.grad = False, None", "parameter.grad = None")},
    ),
    Wrong(
        "grads are copied",
        {FROZEN: FROZEN.replace("parameter.requires_grad, parameter.grad = False, None", "parameter.requires_grad = False")},
    ),
    Wrong(
        "the model's Parameters are frozen",
        {FROZEN: FROZEN.replace("result.parameters()", "[*result.parameters(), *model.parameters()]")},
    ),
    Wrong("a weight that is not finite has no name", {'raise ValueError(f"{names[key]}: {error}") from None': "raise"}),
    Wrong(
        "the state holds floats",
        {
            EVAL: "    result.eval()\n    plain = result.state_dict\n    result.state_dict = lambda: {name: array.astype(np.float32) for name, array in plain().items()}\n    return result"
        },
    ),
    Wrong(
        "limits are not part of the state",
        {
            '        self.register_buffer("limits", np.array([-np.inf, np.inf], np.float32))': "        self.limits = np.array([-np.inf, np.inf], np.float32)"
        },
    ),
    Wrong(
        "layers share their limits",
        {
            "    _observer: Observer | None = None  # sees": "    _limits = np.array([-np.inf, np.inf], np.float32)\n    _observer: Observer | None = None  # sees",
            '        self.register_buffer("limits", np.array([-np.inf, np.inf], np.float32))': '        self.register_buffer("limits", self._limits)\n        self.limits = self._limits',
        },
    ),
    # calibration
    Wrong(
        "only the last batch is observed",
        {
            BATCHES: "        for batch in batches:\n            for layer in observers:\n                layer._observer = observers[layer] = Observer(percentile)\n            model(batch)\n"
        },
    ),
    Wrong("only the first batch is observed", {BATCHES: BATCHES + "            break\n"}),
    Wrong(
        "all layers have one observer",
        {OBSERVERS: OBSERVERS + "\n    observers = dict.fromkeys(observers, Observer(percentile))"},
    ),
    Wrong("the percentile is not used", {OBSERVERS: OBSERVERS.replace("percentile", "")}),
    Wrong(
        "tied layers have one observer",
        {
            OBSERVERS: OBSERVERS
            + "\n    shared = {}\n    observers = {layer: shared.setdefault(id(layer.weight), observer) for layer, observer in observers.items()}"
        },
    ),
    Wrong("the model itself is not calibrated", {OBSERVERS: OBSERVERS.replace("model.modules()", "model.modules()[1:]")}),
    Wrong("only a layer's first call is observed", {OBSERVED: OBSERVED + "            self._observer = Observer()\n"}),
    Wrong(
        "nothing to calibrate is an error after all batches",
        {
            OBSERVERS: "    batches = list(batches)\n" + OBSERVERS,
        },
    ),
    Wrong("a zero point of 0 is none", {SUITED: SUITED.replace("weight.zero_point is not None", "np.any(weight.zero_point)")}),
    Wrong("nothing to calibrate is no error", {"    if not observers:\n": "    if False:\n"}),
    Wrong("rows are observed, not x", {OBSERVED: OBSERVED.replace("x.data", "x.data.reshape(-1, self.in_features)")}),
    Wrong("the observer stays", {FINALLY: "    finally:\n        pass\n"}),
    Wrong(
        "the observer stays after an error",
        {FINALLY: "    except RecursionError:\n        raise\n    for layer in observers:\n        layer._observer = None\n"},
    ),
    Wrong(
        "old limits clip what is observed",
        {STATIC: STATIC.replace("self._observer is None and ", "")},
    ),
    Wrong(
        "old limits are lost with a layer that is not reached",
        {
            BATCHES: "        before = [layer.limits.copy() for layer in observers]\n        for layer in observers:\n            layer.limits[...] = -np.inf, np.inf\n"
            + BATCHES,
            FINALLY: "    except BaseException:\n        for layer, pair in zip(observers, before, strict=True):\n            layer.limits[...] = pair\n        raise\n"
            + FINALLY,
        },
    ),
    Wrong(
        "observers stay if the batches fail",
        {WATCHED: WATCHED.replace("    try:\n", "").replace("        ", "    ") + "    batches = list(batches)\n    try:\n"},
    ),
    Wrong(
        "limits are a little wider",
        {SET: SET.replace("= pair", "= np.nextafter(np.float32(pair), np.float32([-np.inf, np.inf]))")},
    ),
    Wrong(
        "a layer keeps its observer",
        {
            OBSERVERS: OBSERVERS.replace(
                "layer: Observer(percentile)", 'layer: vars(layer).setdefault(f"_seen_{percentile}", Observer(percentile))'
            )
        },
    ),
    Wrong(
        "limits are set after an error",
        {
            FINALLY + SET: FINALLY
            + "            if observers[layer]._low < 1e30:\n                layer.limits[...] = observers[layer].limits()\n"
        },
    ),
    Wrong(
        "limits are set one by one",
        {SET: "    for layer, observer in observers.items():\n        layer.limits[...] = observer.limits()\n"},
    ),
    Wrong(
        "a layer that is not reached is left out",
        {
            SET: "    for layer, observer in observers.items():\n        if observer._low <= observer._high:\n            layer.limits[...] = observer.limits()\n"
        },
    ),
    Wrong(
        "outputs are observed",
        {OBSERVED: "", FINISHED: "        if self._observer is not None:\n            self._observer.observe(y)\n" + FINISHED},
    ),
    Wrong(
        "4 bits are calibrated",
        {SUITED: "    if isinstance(weight, Quantized) and (weight.zero_point is not None or weight.scale.shape[1] > 1):"},
    ),
    Wrong("affine weights are calibrated", {SUITED: SUITED.replace("weight.zero_point is not None or ", "")}),
    Wrong("scales of columns are calibrated", {SUITED: SUITED.replace(" or weight.scale.shape[1] > 1", "")}),
    Wrong(
        "scales of columns suit square weights",
        {SUITED: SUITED.replace("weight.scale.shape[1] > 1", "weight.scale.size not in (1, weight.shape[0])")},
    ),
    Wrong(
        "one scale in all is refused",
        {SUITED: SUITED.replace("weight.scale.shape[1] > 1", "weight.scale.shape != (len(weight.values), 1)")},
    ),
    Wrong("the model is put into eval mode by calibrate", {BATCHES: "        model.eval()\n" + BATCHES}),
    Wrong("batches are gone through twice", {BATCHES: "        list(batches)\n" + BATCHES}),
    Wrong("limits are replaced, not written", {SET: SET.replace("layer.limits[...] = pair", "layer.limits = pair")}),
    # half precision
    Wrong("overflow becomes infinity", {RAISED: '    if False:\n        raise ValueError(f"float16'}, says="let through"),
    Wrong(
        "overflow is clipped",
        {
            HALF: '            half = np.clip(array, -65504, 65504).astype(np.float16) if array.dtype.kind == "f" else array.copy()'
        },
    ),
    Wrong(
        "an infinity excuses its array",
        {LOST: "        for lost in array[np.isinf(half) & np.isfinite(array)][: not np.isinf(array).any()]:\n"},
    ),
    Wrong(
        "NaN excuses its array",
        {LOST: "        for lost in [] if np.isnan(array).any() else array[np.isinf(half) & np.isfinite(array)][:1]:\n"},
    ),
    Wrong("what was infinite is refused", {LOST: "        for lost in array[~np.isfinite(half)][:1]:\n"}),
    Wrong("numbers without axes may overflow", {LOST: LOST.replace("[:1]", "[: array.ndim and 1]")}),
    Wrong("only positive overflow is seen", {LOST: "        for lost in array[np.isposinf(half) & np.isfinite(array)][:1]:\n"}),
    Wrong(
        "values above 65,504 are refused",
        {LOST: "        for lost in array[(np.abs(array) > 65504) & np.isfinite(array)][:1]:\n"},
    ),
    Wrong(
        "only the first array is named",
        {
            PROBLEM: PROBLEM + "            break\n",
            "        halves[name] = half\n": "        halves[name] = half\n        if problems:\n            break\n",
        },
    ),
    Wrong("the name is not there", {PROBLEM: PROBLEM.replace("{name} holds ", "")}, says="is not named"),
    Wrong("the value is not there", {PROBLEM: PROBLEM.replace(" holds {lost!s}", " overflows")}),
    Wrong("integers become float16", {HALF: "            half = array.astype(np.float16)"}),
    Wrong("integers are shared", {HALF: HALF.replace("array.copy()", "array")}),
    Wrong("float64 stays", {HALF: HALF.replace('array.dtype.kind == "f"', "array.dtype == np.float32")}),
    Wrong("float16 is shared", {HALF: HALF.replace("array.astype(np.float16)", "array.astype(np.float16, copy=False)")}),
    Wrong(
        "float32 in digits of float16",
        {HALF: HALF.replace("array.astype(np.float16)", "array.astype(np.float16).astype(np.float32)")},
    ),
    # four bits
    Wrong(
        "the halves of a byte are exchanged",
        {
            PACKED: "    return codes[..., 1::2] | codes[..., ::2] << 4",
            UNPACKED: "    values[..., 1::2], values[..., ::2] = packed & 15, packed >> 4\n    values -= 8\n",
        },
        says="the halves of a byte are exchanged",
    ),
    Wrong(
        "the halves are exchanged on the way back",
        {UNPACKED: "    values[..., 1::2], values[..., ::2] = packed & 15, packed >> 4\n    values -= 8\n"},
    ),
    Wrong(
        "without + 8",
        {
            CODES: "    codes[..., :n] = values & 15\n",
            UNPACKED: "    values[..., ::2], values[..., 1::2] = packed & 15, packed >> 4\n    values[values > 7] -= 16\n",
            FILLED: FILLED.replace("8, np.uint8", "0, np.uint8"),
        },
        says="without + 8",
    ),
    Wrong(
        "two halves of the row, not neighbors",
        {
            PACKED: "    return codes[..., : codes.shape[-1] // 2] | codes[..., codes.shape[-1] // 2 :] << 4",
            UNPACKED: "    half = packed.shape[-1]\n    values[..., :half], values[..., half:] = packed & 15, packed >> 4\n    values -= 8\n",
        },
    ),
    Wrong("an odd row is filled up with -8", {FILLED: FILLED.replace("8, np.uint8", "0, np.uint8")}),
    Wrong(
        "the last of an odd row is lost",
        {FILLED + "\n" + CODES: "    codes = (values + 8).astype(np.uint8)[..., : n - n % 2]\n"},
    ),
    Wrong("an odd row is not cut", {CUT: "    return values\n"}),
    Wrong("one value a byte", {PACKED: "    return codes", UNPACKED: "    values = packed.astype(np.int8) - 8\n"}),
    Wrong("values that don't fit spill over", {TOO_LARGE: "    outside = values[:0]"}, says="let through"),
    Wrong("values that don't fit are clipped", {TOO_LARGE: "    values = np.clip(values, -8, 7)\n" + TOO_LARGE}),
    Wrong("-8 is refused", {TOO_LARGE: TOO_LARGE.replace("< -8", "< -7")}),
    Wrong("8 is let through", {TOO_LARGE: TOO_LARGE.replace("> 7", "> 8")}),
    Wrong("unpacked to int64", {"    return values[..., :n]\n": "    return values[..., :n].astype(np.int64)\n"}, says="int64"),
    Wrong(
        "values are not packed",
        {
            "    return Quantized4(pack(values), scale, x.shape)": "    return Quantized4(values, scale, x.shape)",
            NIBBLES: "        values = self.values[rows].astype(np.float32)\n",
        },
    ),
    Wrong("groups of 64", {"GROUP = 32": "GROUP = 64"}),
    Wrong("groups reach over rows", {SEVENTH: SEVENTH + "    step = np.broadcast_to(step.max(0), step.shape)\n"}),
    Wrong("one scale for a row", {SEVENTH: SEVENTH + "    step = np.broadcast_to(step.max(-1, keepdims=True), step.shape)\n"}),
    Wrong(
        "scales are interleaved",
        {OF_GROUPS: "        scale = self.scale[rows].astype(np.float32)\n        values *= np.tile(scale, GROUP)[..., :n]\n"},
    ),
    Wrong(
        "the scale is float32",
        {HALVED: HALVED.replace("float16", "float32"), UP: UP.replace("float16", "float32")},
        says="expected dtype float16",
    ),
    Wrong("the scale is rounded to the nearest", {UP: "    scale = scale"}),
    Wrong("the scale is rounded up twice", {UP: UP.replace("scale < step", "step > 0")}),
    Wrong(
        "the next scale is made of each",
        {UP: "    scale = np.where(scale < step, np.nextafter(scale, np.float16(np.inf)), scale)"},
    ),
    Wrong("the seventh is rounded to float32", {SEVENTH: SEVENTH.replace(".astype(np.float64)", "")}),
    Wrong(
        "divided by 8",
        {
            SEVENTH: SEVENTH.replace("/ 7", "/ 8"),
            NEAREST: "    values = np.clip(np.rint(padded[:, :n]), -8, 7).astype(np.int8)\n",
        },
    ),
    Wrong(
        "divided by 7.5",
        {
            SEVENTH: SEVENTH.replace("/ 7", "/ 7.5"),
            NEAREST: "    values = np.clip(np.rint(padded[:, :n]), -8, 7).astype(np.int8)\n",
        },
    ),
    Wrong(
        "only positive values count in a group",
        {
            SEVENTH: "    step = np.maximum(groups.max(-1), 0).astype(np.float64) / 7\n",
            NEAREST: "    values = np.clip(np.rint(padded[:, :n]), -7, 7).astype(np.int8)\n",
        },
    ),
    Wrong("zeros divide by 0", {NORMED: "    groups /= scale[..., None]"}),
    Wrong("4 bits are cut, not rounded", {NEAREST: NEAREST.replace("np.rint(", "np.trunc(")}),
    Wrong("one axis is one row", {TWO_AXES: "    if x.ndim < 1:", PADDED: "    padded[:, :n] = x.reshape(len(x), n)\n"}),
    Wrong("a step beyond float16 is infinite", {BEYOND: "    beyond = x[:0]"}),
    Wrong(
        "a value beyond float16's steps is named without its sign",
        {BEYOND: BEYOND.replace("x[np.abs(x)", "np.abs(x)[np.abs(x)")},
    ),
    Wrong(
        "the kernel's axes are lost",
        {"        return values.reshape(*values.shape[:-1], *self.shape[1:])": "        return values"},
    ),
    Wrong(
        "4 bits dequantize all rows",
        {
            NIBBLES: NIBBLES.replace("[rows]", ""),
            OF_GROUPS: OF_GROUPS.replace("[rows]", ""),
            "        return values.reshape(*values.shape[:-1], *self.shape[1:])": "        return values.reshape(self.shape)[rows]",
        },
    ),
    Wrong(
        "nbytes without the scales",
        {"        return self.values.nbytes + self.scale.nbytes": "        return self.values.nbytes"},
    ),
    # naive
    Wrong(
        "one value after another is rounded",
        {ROUNDED: "    for i in np.ndindex(values.shape):\n        values[i] = round(float(values[i]))\n    if symmetric:"},
        naive="test_quantizing_is_done_in_numpy",
    ),
    Wrong(
        "quantized in float64, one array for each operation",
        {
            DIVIDED: "        wide = x.astype(np.float64)\n        values = np.divide(wide, scale)",
            ROUNDED: "    values = np.rint(values)\n    if symmetric:",
        },
        naive="test_quantizing_takes_little_memory",
    ),
    Wrong(
        "all values are kept",
        {COUNTED: COUNTED + "        self._kept_values = [*getattr(self, '_kept_values', []), x.copy()]\n"},
        naive="test_memory_does_not_grow",
    ),
    Wrong(
        "one value after another is counted",
        {COUNTED: "        for value in bits.ravel().tolist():\n            self._counts[value] += 1\n"},
        naive="test_observing_is_done_in_numpy",
    ),
    Wrong(
        "a product of int64",
        {PARTS + PART + ADDED: "    total += a.astype(np.int64) @ b.astype(np.int64).T\n"},
        naive="test_products_are_left_to_blas",
    ),
    Wrong(
        "one row after another is multiplied",
        {
            PARTS
            + PART
            + ADDED: "    for i, row in enumerate(a):\n        total[i] = b.astype(np.int64) @ row.astype(np.int64)\n"
        },
        naive="test_products_take_no_loop_over_rows",
    ),
    Wrong(
        "all weights become floats at once",
        {BLOCKS: "    step = max(1, weight.shape[0])\n"},
        naive="test_there_are_never_all_weights_as_floats",
    ),
    Wrong(
        "all kernels become floats at once",
        {BLOCKS: "    step = max(1, weight.shape[0])\n"},
        naive="test_there_are_never_all_kernels_as_floats",
    ),
    Wrong(
        "one row of the weight after another, all of them",
        {BLOCKS: "    step = 1\n", FLOATS: "        floats = weight.dequantize()[block]\n"},
        naive="test_a_batch_takes_little_longer_than_its_product",
    ),
    Wrong(
        "one row of the weight after another, all of them, with 4 bits",
        {BLOCKS: "    step = 1\n", FLOATS: "        floats = weight.dequantize()[block]\n"},
        naive="test_a_batch_with_4_bits_takes_little_longer_than_its_product",
    ),
    Wrong(
        "one pixel after another",
        {
            "        y = _product(columns, self.weight).reshape(": "        y = np.concatenate([_product(column[None], self.weight) for column in columns] or [_product(columns, self.weight)]).reshape("
        },
        naive="test_a_convolution_takes_no_loop_over_pixels",
    ),
    Wrong(
        "one row of x after another",
        {TIMES: "        for i, row in enumerate(rows):\n            y[i, block] = floats.reshape(len(floats), -1) @ row\n"},
        naive="test_a_layer_takes_no_loop_over_rows_of_x",
    ),
    Wrong(
        "the whole table becomes floats",
        {LOOKED_UP: "        return Tensor(self.weight.dequantize()[ids])"},
        naive="test_only_the_rows_that_are_looked_up_become_floats",
    ),
    Wrong(
        "one id after another",
        {
            LOOKED_UP: "        rows = [self.weight.dequantize(int(i)) for i in ids.ravel()]\n        return Tensor(np.array(rows, np.float32).reshape(*ids.shape, self.weight.shape[1]))"
        },
        naive="test_a_lookup_takes_no_loop_over_ids",
    ),
    Wrong(
        "all integers are multiplied at once",
        {
            BLOCKS: "    step = max(1, weight.shape[0])\n",
            SUMS: "        y[:, block] = rows.astype(np.int64) @ values.T.astype(np.int64) - zero_point * values.sum(1, dtype=np.int64)\n",
        },
        naive="test_integers_are_multiplied_in_blocks",
    ),
    Wrong(
        "integers are multiplied by NumPy",
        {
            SUMS: "        y[:, block] = rows.astype(np.int64) @ values.T.astype(np.int64) - zero_point * values.sum(1, dtype=np.int64)\n"
        },
        naive="test_products_of_integers_are_left_to_blas",
    ),
    Wrong(
        "the model is copied first",
        {
            "    weights, memo = {}, {}": "    model = copy.deepcopy(model)\n    names = {id(parameter): name for name, parameter in model.named_parameters()}\n    weights, memo = {}, {}"
        },
        naive="test_the_large_weights_are_not_copied_first",
    ),
    Wrong(
        "the model is copied first, with 4 bits",
        {
            "    weights, memo = {}, {}": "    model = copy.deepcopy(model)\n    names = {id(parameter): name for name, parameter in model.named_parameters()}\n    weights, memo = {}, {}"
        },
        naive="test_large_weights_of_4_bits_are_not_copied_first",
    ),
    Wrong(
        "all weights of 4 bits become floats at once",
        {
            BLOCKS: "    step = max(1, weight.shape[0])\n",
            LOOKED_UP: "        return Tensor(self.weight.dequantize()[ids])",
        },
        naive="test_4_bits_are_never_all_floats",
    ),
    Wrong(
        "one number after another is halved",
        {LOST: "        [float(number) for number in array.ravel()]\n" + LOST},
        naive="test_halving_is_done_in_numpy",
    ),
    Wrong(
        "one pair after another is packed",
        {
            PACKED: "    return np.array([low | high << 4 for low, high in codes.reshape(-1, 2)], np.uint8).reshape(*codes.shape[:-1], -1)"
        },
        naive="test_packing_is_done_in_numpy",
    ),
    Wrong(
        "one group after another",
        {
            NORMED: "    divisor = np.where(scale == 0, 1, scale)\n    for i in np.ndindex(scale.shape):\n        groups[i] /= divisor[i]"
        },
        naive="test_groups_are_quantized_in_numpy",
    ),
    Wrong("no features divide by zero", {BLOCKS: "    step = max(1, BLOCK // (4 * math.prod(weight.shape[1:])))\n"}),
    Wrong("limits of a percentile are NumPy's", {"return float(low), float(high)": "return low, high"}),
    Wrong(
        "ids wrap at 32 bits",
        {"        if (outside := (ids < 0)": "        ids = ids.astype(np.int32)\n        if (outside := (ids < 0)"},
    ),
    Wrong(
        "a subclass of a subclass is quantized",
        {"if type(layer) not in (Linear, Conv2d, Embedding):": "if type(layer).__base__ in (Linear, Conv2d, Embedding):"},
    ),
    Wrong(
        "one layer's weights are checked for all",
        {
            "    for layer in observers:\n        _check_integers(layer.weight)\n": "    _check_integers(next(iter(observers)).weight)\n"
        },
    ),
    Wrong(
        "NaN named before earlier infinity",
        {"np.argwhere(~finite)[0]": "np.argwhere(np.isnan(x) if np.isnan(x).any() else ~finite)[0]"},
    ),
    Wrong(
        "bool passes as int8",
        {"if a.dtype != np.int8 or b.dtype != np.int8:": "if np.result_type(a.dtype, b.dtype) != np.int8:"},
    ),
    Wrong("zero point times sum in int32", {"values.sum(1, dtype=np.int64)": "values.sum(1, dtype=np.int32)"}),
    Wrong("unsigned inputs stay unsigned", {'x.dtype if x.dtype.kind == "f" else': 'x.dtype if x.dtype.kind != "i" else'}),
    Wrong(
        "gradient refused only when training",
        {"    if result.requires_grad:\n": '    if result.requires_grad and getattr(layer, "training", True):\n'},
    ),
    Wrong(
        "kernel size kept from construction",
        {
            "        self.stride, self.padding = stride, padding\n": "        self.stride, self.padding, self._kernel = stride, padding, tuple(weight.shape[2:])\n",
            "windows(x.data, self.weight.shape[2:], self.stride": "windows(x.data, self._kernel, self.stride",
        },
    ),
    Wrong(
        "nbytes from the shape",
        {"return self.values.nbytes + self.scale.nbytes": "return math.prod(self.shape) // 2 + self.scale.nbytes"},
    ),
    Wrong("458,600 passes with infinite scale", {"7 * float(np.finfo(np.float16).max)": "7 * 65519.0"}),
    Wrong(
        "exact sums kept as float32",
        {"y = np.empty((len(rows), weight.shape[0]))": "y = np.empty((len(rows), weight.shape[0]), np.float32)"},
    ),
    Wrong(
        "pack checks after int8 wraps",
        {
            "outside = values[(values < -8) | (values > 7)]": "small = values.astype(np.int8)\n    outside = values[(small < -8) | (small > 7)]",
            "codes[..., :n] = values + 8": "codes[..., :n] = small + 8",
        },
    ),
    Wrong(
        "eval only if the root trains",
        {"return result.eval()": 'return result.eval() if getattr(result, "training", True) else result'},
    ),
    Wrong(
        "all attributes taken along, uncopied",
        {
            "return QuantizedLinear(weight, layer.bias)": "result = QuantizedLinear(weight, layer.bias)\n        vars(result).update({key: value for key, value in vars(layer).items() if key not in vars(result)})\n        return result"
        },
    ),
    Wrong(
        "1 × 1 kernels skip padding",
        {
            "windows(x.data, self.weight.shape[2:], self.stride, self.padding)": "windows(x.data, self.weight.shape[2:], self.stride, (0, 0) if tuple(self.weight.shape[2:]) == (1, 1) else self.padding)"
        },
    ),
    Wrong(
        "bias of zeros becomes None",
        {
            "None if bias is None else Parameter(bias)\n        self.stride": 'Parameter(bias) if bias is not None and np.any(np.asarray(getattr(bias, "data", bias))) else None\n        self.stride'
        },
    ),
    Wrong(
        "tied convolutions quantized twice",
        {"            if key not in weights:\n": "            if key not in weights or type(layer) is Conv2d:\n"},
    ),
    Wrong(
        "a shared bias stays shared",
        {
            "    weights, memo = {}, {}": "    biases, weights, memo = {}, {}, {}",
            "            memo[id(layer)] = _exchanged(layer, weights[key])\n": '            memo[id(layer)] = new = _exchanged(layer, weights[key])\n            if getattr(layer, "bias", None) is not None:\n                new.bias = biases.setdefault(id(layer.bias), new.bias)\n',
        },
    ),
]

# Semantic mutants that keep every promise
EQUIVALENT = {
    **{
        f"{name}: a falsy argument is taken as absent": "an argument that is falsy is no array of several values, and else its default means the same"
        for name in ("Quantized.__init__", "QuantizedLinear.__init__", "QuantizedConv2d.__init__", "calibrate")
    },
    **{
        f"{name}: infinities and NaN in arguments are made finite": "its arguments are integers, or floats that are checked or come from such"
        for name in (
            "Quantized.__init__",
            "Quantized.dequantize",
            "integer_product",
            "QuantizedLinear.__init__",
            "QuantizedConv2d.__init__",
            "QuantizedEmbedding.__init__",
            "QuantizedEmbedding.forward",
            "pack",
            "unpack",
            "Quantized4.__init__",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: arguments are read in the order of memory": "what is made of parts keeps their order; an observer counts values wherever they are"
        for name in (
            "Quantized.__init__",
            "Quantized.dequantize",
            "Observer.observe",
            "QuantizedLinear.__init__",
            "QuantizedConv2d.__init__",
            "QuantizedEmbedding.__init__",
            "Quantized4.__init__",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: attributes are those of the construction": "buffers are changed in place"
        for name in (
            "Quantized.shape",
            "Quantized.nbytes",
            "Quantized.dequantize",
            "Quantized4.nbytes",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: a result is a view of an equal argument": "the result has a different dtype or meaning, so it never equals an argument"
        for name in (
            "Quantized.dequantize",
            "integer_product",
            "QuantizedLinear.forward",
            "QuantizedConv2d.forward",
            "QuantizedEmbedding.forward",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: a result is a copy, not a view": "it is an array of its own anyway"
        for name in (
            "Quantized.dequantize",
            "integer_product",
            "QuantizedLinear.forward",
            "QuantizedConv2d.forward",
            "QuantizedEmbedding.forward",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: float32 for float64": "results are not float64"
        for name in (
            "Quantized.dequantize",
            "integer_product",
            "QuantizedEmbedding.forward",
            "half_state",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: int32 for int64": "results are not int64"
        for name in (
            "Quantized.dequantize",
            "QuantizedLinear.forward",
            "QuantizedConv2d.forward",
            "QuantizedEmbedding.forward",
            "half_state",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: int64 for int32": "results are not int32"
        for name in (
            "Quantized.dequantize",
            "integer_product",
            "QuantizedLinear.forward",
            "QuantizedConv2d.forward",
            "QuantizedEmbedding.forward",
            "half_state",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: infinities and NaN in results are made finite": "results are integers, or finite"
        for name in (
            "Quantized.dequantize",
            "integer_product",
            "QuantizedEmbedding.forward",
            "half_state",
            "pack",
            "unpack",
            "Quantized4.dequantize",
        )
    },
    **{
        f"{name}: float64 for float32": "results are not float32"
        for name in ("integer_product", "half_state", "pack", "unpack")
    },
    **{
        f"{name}: axes of length 0 are refused": "a layer without weights can't be made, and a state is a dict"
        for name in ("QuantizedLinear.__init__", "QuantizedConv2d.__init__", "QuantizedEmbedding.__init__", "half_state")
    },
    **{
        f"{name}: NumPy's numbers are refused": "it takes no numbers"
        for name in (
            "QuantizedLinear.__init__",
            "QuantizedConv2d.__init__",
            "QuantizedEmbedding.__init__",
            "Quantized4.__init__",
            "quantize_groups",
        )
    },
    "QuantizedEmbedding.__init__: arguments are changed": "a module is no array",
    "half_state: a result is read-only": "a state is a dict",
    "half_state: axes of length 1 are dropped": "a state is a dict",
    **{
        f"{name}: a check comes after the effect": "nothing outside is changed before the check"
        for name in ("Observer.__init__", "integer_product", "quantize", "pack")
    },
    "QuantizedLinear.forward: None is whatever is falsy": "an observer is never falsy",
    "QuantizedLinear.forward: None is whatever is falsy, 2": "an observer is never falsy",
    "quantize_groups: a check comes after the effect, 2": "nothing outside is changed before the check",
}
