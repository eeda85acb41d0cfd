"""Wrong solutions of kata 14, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

ATTENTION = "        x = x + self.attn(self.ln_1(x), mask, cache)\n"
FEED_FORWARD = "        return x + self.mlp(self.ln_2(x))"
VARIANCE = "        variance = (deviation * deviation).mean(-1, keepdim=True)"
SCALED = "        y = deviation * (1 / (variance + self.eps).sqrt()) * self.weight"
MEAN_SQUARE = "        mean_square = (x * x).mean(-1, keepdim=True)"
RMS = "        return x * (1 / (mean_square + self.eps).sqrt()) * self.weight"
LAYER_BIAS = "        self.bias = Parameter(np.zeros(d_model, np.float32)) if bias else None"
STD = '                std = 0.02 / math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 0.02'
DRAWN = "                parameter.data[...] = std * rng.standard_normal(parameter.shape, np.float32)"
TIED = "        self.lm_head.weight = body.wte.weight"
ORDER = '            order = np.argsort(~mask, axis=1, kind="stable")'
BACK = "            x = x[np.arange(len(ids))[:, None], np.argsort(order, 1)]"
START = "        start = 0 if cache is None else np.array(cache.lengths)"
BLOCKS = "            x = block(x, None if cache is None else mask, cache)"
HEAD = "        return self.lm_head(body.ln_f(x))"
MATRICES = "        matrices = [parameter for parameter in self.parameters() if parameter.ndim > 1]"
LINEAR = r'_IN_OUT = re.compile(r"h\.\d+\.(attn|mlp)\.c_\w+\.weight")'
MISSING = '        problems += [f"{name} is missing" for name in names if name not in arrays]\n'
UNEXPECTED = '        problems += [f"{name} is unexpected" for name in arrays if name not in names]\n'
SHAPES = "            if arrays[name].shape != shape\n"
LOADED = (
    '            {f"transformer.{name}": array.T if _IN_OUT.fullmatch(name) else array for name, array in arrays.items()}\n'
)
MASKS = "        arrays = {name: array for name, array in arrays.items() if name not in masks}\n"
UNTIED = "        if not np.array_equal(head, arrays["
WINDOWS = "    windows = np.lib.stride_tricks.sliding_window_view(ids, int(length) + 1)  # (samples, length + 1)"
DATASET = "    return ArrayDataset(windows[:, :-1], windows[:, 1:])"
FULL = "            if length + number > room:"
LOGITS = "            logits = _last_logits(model, text[-new:] if cache is not None else text[-_reach(model.config) :], cache)"
STOPS = "    stop = frozenset(map(operator.index, stop.data if isinstance(stop, Tensor) else stop))\n"
STOP = "            if token in stop:\n                return\n            yield token\n"
EVAL = "    for module in training:\n        module.training = False\n"
RESTORE = "        for module in training:\n            module.training = True\n"
GREEDY = "    if temperature == 0:\n        return int(logits.argmax())\n"
RANKED = '    order = np.argsort(-logits, kind="stable")[:top_k]  # the most probable first'
SHIFTED = "    shifted = logits[order].astype(np.float64) - logits[order[0]]"
P = "    p = np.exp(shifted / temperature)\n    p /= p.sum()\n"
TOP_P = "        p = p[: np.searchsorted(np.cumsum(p), top_p) + 1]\n        p /= p.sum()\n"
CHOICE = "    return int(rng.choice(order[: len(p)], p=p))"

WRONG = [
    # normalization
    Wrong(
        "the variance divides by n - 1",
        {VARIANCE: "        variance = (deviation * deviation).sum(-1, keepdim=True) / (x.shape[-1] - 1)"},
        says="the variance divides by n - 1",
    ),
    Wrong(
        "eps of LayerNorm stands outside the root",
        {SCALED: "        y = deviation * (1 / (variance.sqrt() + self.eps)) * self.weight"},
    ),
    Wrong("LayerNorm without eps", {SCALED: "        y = deviation * (1 / variance.sqrt()) * self.weight"}, says="without eps"),
    Wrong("eps of LayerNorm is fixed", {SCALED: "        y = deviation * (1 / (variance + 1e-5).sqrt()) * self.weight"}),
    Wrong("eps is 1e-6", {"bias: bool = True, eps: float = 1e-5": "bias: bool = True, eps: float = 1e-6"}),
    Wrong("eps of RMSNorm is 1e-6", {"d_model: int, eps: float = 1e-5": "d_model: int, eps: float = 1e-6"}),
    Wrong("the deviation is not divided", {SCALED: "        y = deviation * self.weight"}),
    Wrong(
        "divided by the variance, not its root", {SCALED: "        y = deviation * (1 / (variance + self.eps)) * self.weight"}
    ),
    Wrong("the mean is not subtracted", {"deviation = x - x.mean(-1, keepdim=True)": "deviation = x"}),
    Wrong(
        "mean and variance of the whole batch",
        {
            "deviation = x - x.mean(-1, keepdim=True)": "deviation = x - x.mean()",
            VARIANCE: "        variance = (deviation * deviation).mean()",
        },
    ),
    Wrong(
        "the variance as mean of squares less square of mean",
        {VARIANCE: "        variance = (x * x).mean(-1, keepdim=True) - x.mean(-1, keepdim=True) * x.mean(-1, keepdim=True)"},
        says="the digits of the variance are lost",
    ),
    Wrong(
        "the mean is a constant to the gradient",
        {"deviation = x - x.mean(-1, keepdim=True)": "deviation = x - Tensor(x.data.mean(-1, keepdims=True))"},
    ),
    Wrong(
        "the variance is a constant to the gradient",
        {VARIANCE: "        variance = Tensor((deviation.data * deviation.data).mean(-1, keepdims=True))"},
    ),
    Wrong(
        "the weight of LayerNorm is not used",
        {SCALED: "        y = deviation * (1 / (variance + self.eps).sqrt())"},
        says="the weight is not used",
    ),
    Wrong("the bias of LayerNorm is not added", {"return y if self.bias is None else y + self.bias": "return y"}),
    Wrong("LayerNorm has a bias always", {LAYER_BIAS: "        self.bias = Parameter(np.zeros(d_model, np.float32))"}),
    Wrong(
        "LayerNorm's parameters are float64", {LAYER_BIAS: "        self.bias = Parameter(np.zeros(d_model)) if bias else None"}
    ),
    Wrong(
        "LayerNorm promotes",
        {SCALED: "        y = deviation * (1 / (variance + Tensor(np.array(self.eps))).sqrt()) * self.weight"},
        says="promotion",
    ),
    Wrong("the weight starts as zeros", {LAYER_BIAS: LAYER_BIAS + "\n        self.weight.data[...] = 0"}),
    Wrong("RMSNorm sums", {MEAN_SQUARE: "        mean_square = (x * x).sum(-1, keepdim=True)"}, says="the sum, not the mean"),
    Wrong("RMSNorm subtracts the mean", {MEAN_SQUARE: "        x = x - x.mean(-1, keepdim=True)\n" + MEAN_SQUARE}),
    Wrong(
        "RMSNorm is a norm of length 1",
        {RMS: "        return x * (1 / (mean_square * x.shape[-1] + self.eps).sqrt()) * self.weight"},
    ),
    Wrong(
        "eps of RMSNorm stands outside the root",
        {RMS: "        return x * (1 / (mean_square.sqrt() + self.eps)) * self.weight"},
    ),
    Wrong("the weight of RMSNorm is not used", {RMS: "        return x * (1 / (mean_square + self.eps).sqrt())"}),
    Wrong(
        "RMSNorm's gradient misses the mean of squares",
        {MEAN_SQUARE: "        mean_square = Tensor((x.data * x.data).mean(-1, keepdims=True))"},
    ),
    Wrong(
        "an axis of length 1 is broadcast",
        {"    if x.shape[-1:] != layer.weight.shape:": "    if x.shape[-1:] not in (layer.weight.shape, (1,)):"},
        says="let through",
    ),
    Wrong("the shape is missing from the error", {" got input of shape {x.shape}": " got another input"}, says="is not named"),
    # feed forward
    Wrong("there is no GELU", {"self.c_proj(self.gelu(self.c_fc(x)))": "self.c_proj(self.c_fc(x))"}, says="there is no GELU"),
    Wrong(
        "ReLU for GELU",
        {"from katas.activations import GELU": "from katas.activations import ReLU as GELU"},
    ),
    Wrong(
        "the GELU with erf",
        {
            "self.c_proj(self.gelu(self.c_fc(x)))": "self.c_proj(_erf(self.c_fc(x)))",
            "# 14.2 FeedForward\n": "# 14.2 FeedForward\n\n\ndef _erf(x):\n    return x * Tensor(np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(x.data))\n",
        },
        says="the form with erf",
    ),
    Wrong(
        "twice as wide, not four times",
        {
            "self.c_fc = Linear(d_model, 4 * d_model": "self.c_fc = Linear(d_model, 2 * d_model",
            "self.c_proj = Linear(4 * d_model": "self.c_proj = Linear(2 * d_model",
        },
    ),
    Wrong(
        "FeedForward has biases always",
        {"self.c_fc = Linear(d_model, 4 * d_model, bias, rng)": "self.c_fc = Linear(d_model, 4 * d_model, True, rng)"},
    ),
    Wrong(
        "FeedForward does not use its generator",
        {"self.c_fc = Linear(d_model, 4 * d_model, bias, rng)": "self.c_fc = Linear(d_model, 4 * d_model, bias)"},
    ),
    Wrong(
        "dropout falls on the hidden values",
        {"self.dropout(self.c_proj(self.gelu(self.c_fc(x))))": "self.c_proj(self.dropout(self.gelu(self.c_fc(x))))"},
    ),
    Wrong(
        "FeedForward drops nothing",
        {"self.dropout(self.c_proj(self.gelu(self.c_fc(x))))": "self.c_proj(self.gelu(self.c_fc(x)))"},
    ),
    Wrong("masks are drawn without dropout too", {"return Dropout(p, rng) if p else Sequential()": "return Dropout(p, rng)"}),
    Wrong(
        "negative dropout is none",
        {"return Dropout(p, rng) if p else Sequential()": "return Dropout(p, rng) if p > 0 else Sequential()"},
        says="let through",
    ),
    # config
    Wrong("a config is not frozen", {"@dataclass(frozen=True)": "@dataclass(unsafe_hash=True)"}),
    Wrong(
        "sizes are not checked",
        {
            '            if (name, value) != ("window", None) and not _is_integer(value, 1):': "            if False:",
            "(self, name, int(value))": "(self, name, value)",
        },
        says="let through",
    ),
    Wrong("True is a size", {" and not isinstance(value, bool) and value >= least": " and value >= least"}, says="let through"),
    Wrong(
        "0 is a size",
        {"and not _is_integer(value, 1):": "and not _is_integer(value, 0):"},
        says="let through",
    ),
    Wrong(
        "whole floats are sizes",
        {"isinstance(value, int | np.integer) and": "(isinstance(value, int | np.integer) or value in (3.0,)) and"},
        says="let through",
    ),
    Wrong("NumPy's integers are refused", {"isinstance(value, int | np.integer)": "isinstance(value, int)"}),
    Wrong("the window is not checked", {', "d_model", "window"):': ', "d_model"):'}, says="let through"),
    Wrong(
        "a dropout of 1 is accepted",
        {"        if not 0 <= self.dropout < 1:": "        if not 0 <= self.dropout <= 1:"},
        says="let through",
    ),
    Wrong(
        "a dropout of NaN is accepted",
        {"        if not 0 <= self.dropout < 1:": "        if self.dropout < 0 or self.dropout >= 1:"},
        says="let through",
    ),
    Wrong(
        "any positions are accepted",
        {'        if self.positions not in ("learned", "sinusoidal", "rotary"):': "        if False:"},
        says="let through",
    ),
    Wrong("any norm is accepted", {'        if self.norm not in ("layer", "rms"):': "        if False:"}, says="let through"),
    Wrong(
        "any case of norm is accepted",
        {'        if self.norm not in ("layer", "rms"):': '        if str(self.norm).lower() not in ("layer", "rms"):'},
        says="let through",
    ),
    Wrong(
        "heads need not divide the width", {"        if self.d_model % self.n_head:": "        if False:"}, says="let through"
    ),
    Wrong(
        "the width is missing from the error",
        {" does not divide d_model {self.d_model}": " does not divide it"},
        says="is not named",
    ),
    Wrong(
        "an odd head may rotate",
        {'        if self.positions == "rotary" and self.d_model // self.n_head % 2:': "        if False:"},
        says="let through",
    ),
    Wrong("an odd width is refused, not an odd head", {"self.d_model // self.n_head % 2:": "self.d_model % 2:"}),
    Wrong(
        "an odd width may have sines",
        {'        if self.positions == "sinusoidal" and self.d_model % 2:': "        if False:"},
        says="let through",
    ),
    Wrong(
        "a window goes with any positions",
        {'        if self.window is not None and self.positions != "rotary":': "        if False:"},
        says="let through",
    ),
    Wrong("context comes first", {"    vocab_size: int\n    context: int\n": "    context: int\n    vocab_size: int\n"}),
    Wrong("no bias by default", {"    bias: bool = True\n    positions": "    bias: bool = False\n    positions"}),
    Wrong(
        "a window longer than the context is refused",
        {
            '        if self.window is not None and self.positions != "rotary":': '        if self.window is not None and (self.positions != "rotary" or self.window > self.context):'
        },
    ),
    # block
    Wrong(
        "the first half is not added",
        {ATTENTION: "        x = self.attn(self.ln_1(x), mask, cache)\n"},
        says="the first half is not added",
    ),
    Wrong(
        "the second half is not added",
        {FEED_FORWARD: "        return self.mlp(self.ln_2(x))"},
        says="the second half is not added",
    ),
    Wrong(
        "normalization comes after (post-norm)",
        {
            ATTENTION: "        x = self.ln_1(x + self.attn(x, mask, cache))\n",
            FEED_FORWARD: "        return self.ln_2(x + self.mlp(x))",
        },
    ),
    Wrong("what is normalized is added", {ATTENTION: "        x = self.ln_1(x)\n        x = x + self.attn(x, mask, cache)\n"}),
    Wrong(
        "both halves see the input (parallel)",
        {
            ATTENTION: "        y = self.attn(self.ln_1(x), mask, cache)\n",
            FEED_FORWARD: "        return x + y + self.mlp(self.ln_2(x))",
        },
    ),
    Wrong("ln_1 is used twice", {FEED_FORWARD: "        return x + self.mlp(self.ln_1(x))"}),
    Wrong("ln_2 is ln_1", {"        self.ln_2 = _norm(config)": "        self.ln_2 = self.ln_1"}),
    Wrong("the FeedForward is not normalized", {FEED_FORWARD: "        return x + self.mlp(x)"}),
    Wrong("the attention is not normalized", {ATTENTION: "        x = x + self.attn(x, mask, cache)\n"}),
    Wrong(
        "the second half adds the first input again",
        {ATTENTION: "        first = x\n" + ATTENTION, FEED_FORWARD: "        return first + x + self.mlp(self.ln_2(x))"},
        says="the second half adds the first input again",
    ),
    Wrong("the FeedForward is missing", {FEED_FORWARD: "        return x"}, says="the FeedForward is missing"),
    Wrong("the mask stays outside", {ATTENTION: "        x = x + self.attn(self.ln_1(x), None, cache)\n"}),
    Wrong("the cache stays outside", {ATTENTION: "        x = x + self.attn(self.ln_1(x), mask)\n"}),
    Wrong("every block is layer 0", {"window=config.window, layer=layer, rng=rng)": "window=config.window, rng=rng)"}),
    Wrong("attention has no window", {"window=config.window, layer=layer": "layer=layer"}),
    Wrong("nothing is rotated", {"*sizes, positions=rotary, window": "*sizes, window"}),
    Wrong(
        "attention sees the future", {"*sizes, positions=rotary": "*sizes, causal=config.window is not None, positions=rotary"}
    ),
    Wrong(
        "attention has biases always", {"config.n_head, config.dropout, config.bias\n": "config.n_head, config.dropout, True\n"}
    ),
    Wrong("attention drops nothing", {"config.n_head, config.dropout, config.bias\n": "config.n_head, 0.0, config.bias\n"}),
    Wrong("one head whatever the config", {"sizes = config.d_model, config.n_head": "sizes = config.d_model, 1"}),
    Wrong("attention has a generator of its own", {"layer=layer, rng=rng)": "layer=layer)"}),
    Wrong(
        "norms have biases always", {"return LayerNorm(config.d_model, config.bias) if": "return LayerNorm(config.d_model) if"}
    ),
    Wrong("always LayerNorm", {'config.bias) if config.norm == "layer" else RMSNorm(config.d_model)': "config.bias)"}),
    # GPT: parameters
    Wrong(
        "all blocks are one",
        {
            "        body.h = [Block(config, layer, rotary, rng) for layer in range(config.n_layer)]": "        body.h = [Block(config, 0, rotary, rng)] * config.n_layer"
        },
    ),
    Wrong("one block too few", {"for layer in range(config.n_layer)]": "for layer in range(max(1, config.n_layer - 1))]"}),
    Wrong(
        "every block is the same part of the cache",
        {"[Block(config, layer, rotary, rng) for": "[Block(config, 0, rotary, rng) for"},
    ),
    Wrong(
        "the last part of the cache for all",
        {"[Block(config, layer, rotary, rng) for": "[Block(config, config.n_layer - 1, rotary, rng) for"},
    ),
    Wrong("the head is not tied", {TIED: "        pass"}),
    Wrong("the head starts as a copy", {TIED: "        self.lm_head.weight = Parameter(body.wte.weight)"}),
    Wrong("the head shares the array, not the Parameter", {TIED: "        self.lm_head.weight.data = body.wte.weight.data"}),
    Wrong("the head has a bias", {"config.vocab_size, bias=False, rng=rng)": "config.vocab_size, rng=rng)"}),
    Wrong(
        "the tied weight is named after the head",
        {
            "        body = self.transformer = Module()": "        self.lm_head = None\n        body = self.transformer = Module()"
        },
    ),
    Wrong("PyTorch's initialization", {DRAWN: "                pass"}),
    Wrong("residual projections as all others", {STD: "                std = 0.02"}),
    Wrong("1/√layers, not 1/√(2·layers)", {STD: STD.replace("2 * config.n_layer", "config.n_layer")}),
    Wrong("only attention's projection is scaled", {STD: STD.replace('"c_proj.weight"', '"attn.c_proj.weight"')}),
    Wrong("all matrices are scaled", {STD: "                std = 0.02 / math.sqrt(2 * config.n_layer)"}),
    Wrong("a variance of 0.02", {DRAWN: DRAWN.replace("std * ", "std**0.5 * ")}),
    Wrong(
        "uniform, not normal",
        {DRAWN: "                parameter.data[...] = std * math.sqrt(3) * (2 * rng.random(parameter.shape, np.float32) - 1)"},
    ),
    Wrong(
        "embeddings as kata 12 draws them",
        {
            "            if parameter.ndim > 1:\n                std": '            if parameter.ndim > 1 and "wte" not in name:\n                std'
        },
    ),
    Wrong(
        "biases as kata 04 draws them",
        {'            elif name.endswith("bias"):\n                parameter.data[...] = 0\n': ""},
    ),
    Wrong("all vectors start as 0", {'            elif name.endswith("bias"):': "            else:"}),
    Wrong(
        "seed 0 is none",
        {
            "        rng = np.random.default_rng(rng)\n        self.config = config": "        rng = np.random.default_rng(0)\n        self.config = config"
        },
    ),
    Wrong(
        "matrices are float64",
        {DRAWN: "                parameter.data = std * rng.standard_normal(parameter.shape)"},
        says="promotion",
    ),
    Wrong(
        "every matrix from the same seed",
        {DRAWN: DRAWN.replace("rng.standard_normal", "np.random.default_rng(1).standard_normal")},
    ),
    Wrong("the config is copied", {"        self.config = config\n": "        self.config = GPTConfig(**vars(config))\n"}),
    # GPT: logits
    Wrong("the last norm is missing", {HEAD: "        return self.lm_head(x)"}),
    Wrong(
        "probabilities, not logits",
        {HEAD: "        y = self.lm_head(body.ln_f(x)).exp()\n        return y / y.sum(-1, keepdim=True)"},
    ),
    Wrong("logits of the last token alone", {HEAD: "        return self.lm_head(body.ln_f(x[:, -1:]))"}),
    Wrong("positions are not added", {"            x = body.wpe(x, start)\n": "            x = x + 0 * body.wpe(x, start)\n"}),
    Wrong("sines drown the tokens", {"            x = x * math.sqrt(self.config.d_model)  #": "            x = x * 1  #"}),
    Wrong(
        "all embeddings are scaled",
        {'        if self.config.positions == "sinusoidal":\n            x': "        if True:\n            x"},
    ),
    Wrong("embeddings are not dropped", {"        x = body.drop(x)\n": ""}),
    Wrong(
        "dropout has a generator of its own",
        {
            "        body.drop = _dropout(config.dropout, rng)": "        body.drop = _dropout(config.dropout, np.random.default_rng())"
        },
    ),
    Wrong("the logits are not recorded", {HEAD: "        return Tensor(self.lm_head(body.ln_f(x)).data)"}),
    Wrong(
        "long texts are cut off",
        {
            "        self._make_room(int(np.max(start)) + ids.shape[1])\n": "        ids = ids if self.config.window else ids[:, -self.config.context :]\n        self._make_room(int(np.max(start)) + ids.shape[1])\n"
        },
    ),
    Wrong("a window is bound to the context", {" and self.config.window is None:\n": ":\n"}),
    Wrong(
        "the context is not checked",
        {
            '            raise ValueError(f"a row has {length} tokens, but the context is {self.config.context}")': "            pass"
        },
    ),
    Wrong(
        "room for rotations, but only in the first block",
        {
            "            for block in self.transformer.h:\n                block.attn": "            for block in self.transformer.h[:1]:\n                block.attn"
        },
    ),
    Wrong(
        "room is made once",
        {
            "            self._room = 2 * length\n": "            self._room = math.inf\n",
            "_rotary(self.config, self._room)": "_rotary(self.config, 2 * length)",
        },
    ),
    Wrong(
        "more room for other heads",
        {
            "    return RotaryPositions(max_positions, config.d_model // config.n_head)": "    return RotaryPositions(max_positions, config.d_model // config.n_head, 10000.0 if max_positions <= 2 * config.context else 9999.0)"
        },
    ),
    Wrong("rows of one shape only", {"        if ids.ndim != 2 or not ids.size:": "        if ids.ndim != 2:"}),
    Wrong(
        "one row may come without its axis",
        {
            "        if ids.ndim != 2 or not ids.size:": "        ids = ids[None] if ids.ndim == 1 else ids\n        if ids.ndim != 2 or not ids.size:"
        },
        says="let through",
    ),
    Wrong(
        "ids are taken modulo the vocabulary",
        {"        x = body.wte(ids)": "        x = body.wte(ids % self.config.vocab_size)"},
        says="let through",
    ),
    Wrong(
        "ids are made integers", {"        x = body.wte(ids)": "        x = body.wte(ids.astype(np.int64))"}, says="let through"
    ),
    # padding
    Wrong(
        "the mask is not used",
        {
            "        if mask is not None:\n            mask = Tensor(mask).data": "        if False:\n            mask = Tensor(mask).data"
        },
    ),
    Wrong("True means padding", {ORDER: ORDER.replace("~mask", "mask")}),
    Wrong(
        "real tokens change their order",
        {ORDER: ORDER.replace('kind="stable"', 'kind="quicksort"').replace("~mask", "~mask * 100 - np.arange(mask.shape[1])")},
    ),
    Wrong("the logits stay in front", {BACK: "            pass"}),
    Wrong("back by the same order, not by its inverse", {BACK: BACK.replace("np.argsort(order, 1)", "order")}),
    Wrong(
        "padding is masked where it stands",
        {ORDER: ORDER + "\n            order = np.tile(np.arange(ids.shape[1]), (len(ids), 1))"},
    ),
    Wrong("all rows in the order of the first", {ORDER: ORDER + "\n            order[:] = order[0]"}),
    Wrong("booleans are ids where there is padding", {"np.where(mask, ids, ids.dtype.type(0))": "np.where(mask, ids, 0)"}),
    Wrong("padding needs ids that exist", {"np.where(mask, ids, ids.dtype.type(0))": "ids"}),
    Wrong(
        "padding changes the ids",
        {
            "            ids = np.take_along_axis(np.where(mask, ids, ids.dtype.type(0)), order, 1)": "            ids[~mask] = 0\n            ids = np.take_along_axis(ids, order, 1)"
        },
    ),
    Wrong(
        "numbers are a mask",
        {
            "            if mask.dtype != np.bool_:\n": "            mask = mask.astype(bool)\n            if mask.dtype != np.bool_:\n"
        },
        says="let through",
    ),
    Wrong(
        "a mask is broadcast",
        {
            "            if mask.shape != ids.shape:\n": "            mask = np.broadcast_to(mask, ids.shape) if mask.shape[-1:] in (ids.shape[1:], (1,)) else mask\n            if mask.shape != ids.shape:\n"
        },
        says="let through",
    ),
    Wrong("the shape of the ids is missing from the error", {", but the ids have {ids.shape}": ""}, says="is not named"),
    # cache
    Wrong("positions start at 0 with a cache too", {START: "        start = 0"}),
    Wrong(
        "all rows start where the longest is", {START: START.replace("np.array(cache.lengths)", "int(np.max(cache.lengths))")}
    ),
    Wrong("all rows start where the first is", {START: START.replace("np.array(cache.lengths)", "int(cache.lengths[0])")}),
    Wrong("the cache is not told of padding", {BLOCKS: "            x = block(x, None, cache)"}),
    Wrong(
        "the first part of a text is not cached",
        {
            BLOCKS: "            x = block(x, None if cache is None else mask, None if np.max(start) == 0 and ids.shape[1] > 1 else cache)"
        },
    ),
    Wrong(
        "the cache is not counted",
        {"        self._make_room(int(np.max(start)) + ids.shape[1])": "        self._make_room(ids.shape[1])"},
    ),
    Wrong("the shortest row is counted", {"int(np.max(start)) + ids": "int(np.min(start)) + ids"}),
    Wrong(
        "a model remembers its last cache",
        {
            START: "        self._cache = cache = cache if cache is not None else getattr(self, '_cache', None) if len(ids) == 1 else None\n"
            + START
        },
    ),
    # groups
    Wrong(
        "everything decays",
        {
            MATRICES: "        matrices = self.parameters()[:-1]",
            "        others = [parameter for parameter in self.parameters() if parameter.ndim <= 1]": "        others = self.parameters()[-1:]",
        },
    ),
    Wrong(
        "embeddings don't decay",
        {
            MATRICES: '        matrices = [p for name, p in self.named_parameters() if p.ndim > 1 and ".h." in name]',
            "        others = [parameter for parameter in self.parameters() if parameter.ndim <= 1]": '        others = [p for name, p in self.named_parameters() if p.ndim <= 1 or ".h." not in name]',
        },
    ),
    Wrong("the tied weight is there twice", {MATRICES: MATRICES + " + [self.lm_head.weight]"}),
    Wrong(
        "the tied weight is in no group",
        {MATRICES: MATRICES.replace("parameter.ndim > 1]", "parameter.ndim > 1 and parameter is not self.lm_head.weight]")},
    ),
    Wrong("the decay is fixed", {'"weight_decay": weight_decay}': '"weight_decay": 0.01}'}),
    Wrong(
        "the groups are exchanged",
        {
            'return [{"params": matrices, "weight_decay": weight_decay}, {"params": others,': 'return [{"params": others, "weight_decay": weight_decay}, {"params": matrices,'
        },
    ),
    # GPT-2
    Wrong("nothing is transposed", {"array.T if _IN_OUT.fullmatch(name) else array": "array"}),
    Wrong(
        "what is not square is transposed",
        {
            "array.T if _IN_OUT.fullmatch(name) else array": "array.T if _IN_OUT.fullmatch(name) and len(array) != d_model * array.shape[-1] // d_model else array"
        },
        says="attn.c_proj is not transposed",
    ),
    Wrong("only c_proj stays as it is", {LINEAR: LINEAR.replace(r"c_\w+", "c_(attn|fc)")}),
    Wrong("the FeedForward's projection only", {LINEAR: LINEAR.replace("(attn|mlp)", "(mlp)")}),
    Wrong("the first ten blocks", {'.removeprefix("transformer."): Tensor': '.replace("transformer.h.1", "h.1"): Tensor'}),
    Wrong(
        "names must begin with transformer",
        {
            '{name.removeprefix("transformer."): Tensor(value).data for name, value in state.items()}': '{name.removeprefix("transformer."): Tensor(value).data for name, value in state.items() if name[:1] in "tl"}'
        },
    ),
    Wrong("names must not begin with transformer", {'{name.removeprefix("transformer."): Tensor': "{name: Tensor"}),
    Wrong("masks are unexpected", {MASKS: ""}),
    Wrong(
        "biases of the attention are taken for masks",
        {'for kind in ("bias", "masked_bias")': 'for kind in ("bias", "masked_bias", "c_attn.bias")'},
    ),
    Wrong(
        "all that ends in bias below attn is a mask",
        {
            "if name not in masks}": 'if name.count(".") != 4 or "attn" not in name or not name.endswith("bias") or "c_" in name}',
        },
    ),
    Wrong(
        "a head of its own is thrown away",
        {'            raise ValueError("lm_head.weight is not tied: it differs from wte.weight")': "            pass"},
        says="let through",
    ),
    Wrong(
        "the head is unexpected",
        {'arrays.pop("lm_head.weight", None)': 'arrays.get("lm_head.weight", None)'},
    ),
    Wrong(
        "unexpected names are left out",
        {UNEXPECTED: "", LOADED: LOADED.replace("arrays.items()}", "arrays.items() if name in names}")},
        says="let through",
    ),
    Wrong(
        "missing names keep their random values",
        {
            MISSING: MISSING.replace("in names if", 'in ("wte.weight", "wpe.weight") if'),
            SHAPES: "            if name in arrays and arrays[name].shape != shape\n",
            LOADED: "            model.state_dict() |\n" + LOADED,
        },
        says="let through",
    ),
    Wrong("twelve heads", {"n_layer, n_head, d_model))": "n_layer, 2, d_model))"}),
    Wrong(
        "the context is GPT-2's", {'arrays["wte.weight"].shape, len(arrays["wpe.weight"])': 'arrays["wte.weight"].shape, 1024'}
    ),
    Wrong(
        "the axes of the embeddings are not looked at",
        {"            if name in arrays and arrays[name].ndim != 2\n": "            if False\n"},
    ),
    Wrong("only dicts", {"        if isinstance(state, str | os.PathLike):": "        if False:"}),
    Wrong("only text is a path", {"        if isinstance(state, str | os.PathLike):": "        if isinstance(state, str):"}),
    Wrong("only one layer", {"n_layer = max(1, len(blocks))": "n_layer = 1"}),
    Wrong(
        "a missing block is passed over",
        {'removeprefix("transformer."): Tensor': 'removeprefix("transformer.").replace("h.2.", "h.1."): Tensor'},
    ),
    # windows
    Wrong(
        "targets are not shifted", {DATASET: "    return ArrayDataset(windows[:, :-1], windows[:, :-1])"}, says="not shifted"
    ),
    Wrong(
        "targets are shifted twice",
        {
            WINDOWS: WINDOWS.replace("+ 1)  #", "+ 2)  #"),
            DATASET: "    return ArrayDataset(windows[:, :-2], windows[:, 2:])",
        },
        says="shifted twice",
    ),
    Wrong("inputs and targets are exchanged", {DATASET: "    return ArrayDataset(windows[:, 1:], windows[:, :-1])"}),
    Wrong("windows don't overlap", {DATASET: "    return ArrayDataset(windows[::length, :-1], windows[::length, 1:])"}),
    Wrong("the last window is forgotten", {DATASET: "    return ArrayDataset(windows[:-1, :-1], windows[:-1, 1:])"}),
    Wrong("a window is one id too long", {DATASET: "    return ArrayDataset(windows, windows)"}),
    Wrong("ids become int64", {WINDOWS: WINDOWS.replace("(ids, int", "(ids.astype(np.int64), int")}),
    Wrong(
        "floats are ids",
        {
            '    if ids.dtype.kind not in "iu":\n        raise TypeError(f"ids must be integers, not {ids.dtype}")\n    windows': "    windows"
        },
        says="let through",
    ),
    Wrong("as many ids as the length will do", {" or length >= len(ids):": " or length > len(ids):"}),
    Wrong("a length of 0 will do", {"_is_integer(length, 1)": "_is_integer(length, 0)"}),
    Wrong(
        "rows are joined",
        {
            "    if ids.ndim != 1 or not _is_integer(length, 1)": "    ids = ids.ravel()\n    if ids.ndim != 1 or not _is_integer(length, 1)"
        },
    ),
    Wrong(
        "windows are copied",
        {WINDOWS: "    windows = np.array([ids[i : i + length + 1] for i in range(len(ids) - length)])"},
        naive="test_nothing_is_copied",
    ),
    Wrong(
        "samples one by one",
        {
            DATASET: DATASET.replace("return", "dataset =")
            + "\n    dataset.batch = lambda indices: Dataset.batch(dataset, indices)\n    return dataset"
        },
        naive="test_a_batch_is_one_gather",
    ),
    # generate
    Wrong(
        "the prompt comes first",
        {"        new = len(text)\n": "        new = len(text)\n        yield from text\n"},
    ),
    Wrong("all at once", {"    return generated()": "    return iter(list(generated()))"}),
    Wrong("one id too few", {"for number in range(max_new_tokens):": "for number in range(max_new_tokens - 1):"}),
    Wrong("0 means without end", {"for number in range(max_new_tokens):": "for number in range(max_new_tokens or 10**9):"}),
    Wrong("new ids are not appended", {"            text.append(token)\n": ""}),
    Wrong("the first logits, not the last", {".data[0, -1]": ".data[0, 0]"}),
    Wrong(
        "NumPy's integers",
        {
            "        return int(logits.argmax())": "        return logits.argmax()",
            CHOICE: "    return rng.choice(order[: len(p)], p=p)",
        },
    ),
    Wrong("the stop id is yielded", {STOP: "            yield token\n            if token in stop:\n                return\n"}),
    Wrong("stop ids are not looked at", {STOP: "            yield token\n"}),
    Wrong("stop ids are passed over", {STOP: "            if token not in stop:\n                yield token\n"}),
    Wrong("stop id 0 is none", {STOP: STOP.replace("if token in stop", "if token and token in stop")}),
    Wrong(
        "a stop id in the prompt ends it",
        {
            "        for number in range(max_new_tokens):\n": "        for number in range(0 if stop & set(text) else max_new_tokens):\n"
        },
    ),
    Wrong("only the first stop id", {STOPS: STOPS + "    stop = frozenset(list(stop)[:1])\n"}),
    Wrong("temperature multiplies", {"np.exp(shifted / temperature)": "np.exp(shifted * temperature)"}),
    Wrong("temperature is not used", {"np.exp(shifted / temperature)": "np.exp(shifted)"}),
    Wrong(
        "probabilities are divided by the temperature",
        {P: "    p = np.exp(shifted)\n    p /= p.sum()\n    p = p / temperature\n    p /= p.sum()\n"},
    ),
    Wrong("temperature 0 divides by almost nothing", {GREEDY: "    temperature = temperature or 1e-8\n"}),
    Wrong(
        "temperature 0 takes the last of equal ones", {"int(logits.argmax())": "len(logits) - 1 - int(logits[::-1].argmax())"}
    ),
    Wrong(
        "temperature 0 draws all the same",
        {"        return int(logits.argmax())": "        rng.random()\n        return int(logits.argmax())"},
    ),
    Wrong("always greedy", {"    if temperature == 0:\n": "    if True:\n"}),
    Wrong("logits overflow", {SHIFTED: "    shifted = logits[order].astype(np.float64)"}),
    Wrong(
        "top_k keeps all ties",
        {
            RANKED: '    order = np.argsort(-logits, kind="stable")\n    order = order[: np.count_nonzero(logits >= np.sort(logits)[-min(top_k or len(logits), len(logits))])]'
        },
    ),
    Wrong(
        "top_k keeps the last of equal ones",
        {RANKED: '    order = len(logits) - 1 - np.argsort(-logits[::-1], kind="stable")[:top_k]'},
    ),
    Wrong("top_k keeps one more", {RANKED: RANKED.replace("[:top_k]", "[: top_k and top_k + 1]")}),
    Wrong("top_k keeps the least probable", {RANKED: RANKED.replace("-logits", "logits")}),
    Wrong("top_k is not used", {RANKED: RANKED.replace("[:top_k]", "")}),
    Wrong("top_p without the id that crosses it", {TOP_P: TOP_P.replace("top_p) + 1]", "top_p) or 1]")}),
    Wrong("top_p keeps one more", {TOP_P: TOP_P.replace("top_p) + 1]", "top_p) + 2]")}),
    Wrong(
        "top_p drops what is less probable than p",
        {TOP_P: "        p = p[: max(1, np.count_nonzero(p >= top_p))]\n        p /= p.sum()\n"},
    ),
    Wrong(
        "top_p of probabilities that don't add up to 1",
        {P: "    p = np.exp(shifted / temperature)\n", CHOICE: "    p = p / p.sum()\n" + CHOICE},
    ),
    Wrong("top_p is not used", {TOP_P: "        pass\n"}),
    Wrong(
        "top_p comes before top_k",
        {RANKED: RANKED.replace("[:top_k]", ""), TOP_P: TOP_P + "    p = p[:top_k] / p[:top_k].sum()\n"},
    ),
    Wrong(
        "top_p comes before the temperature",
        {
            P: "    p = np.exp(shifted)\n    p /= p.sum()\n",
            CHOICE: "    p = p ** (1 / temperature)\n    p /= p.sum()\n" + CHOICE,
        },
    ),
    Wrong("of what is left all are equally probable", {CHOICE: "    return int(rng.choice(order[: len(p)]))"}),
    Wrong("a new generator for each id", {CHOICE: CHOICE.replace("rng.choice", "np.random.default_rng(0).choice")}),
    Wrong(
        "the generator is not used",
        {
            "    text, rng = ids.tolist(), np.random.default_rng(rng)\n": "    text, rng = ids.tolist(), np.random.default_rng()\n"
        },
    ),
    Wrong(
        "no generator means seed 0",
        {
            "    text, rng = ids.tolist(), np.random.default_rng(rng)\n": "    text, rng = ids.tolist(), np.random.default_rng(0 if rng is None else rng)\n"
        },
    ),
    Wrong("NumPy's global generator", {CHOICE: CHOICE.replace("rng.choice", "np.random.choice")}),
    Wrong(
        "a loop over the vocabulary",
        {RANKED: "    order = np.array(sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:top_k])"},
        naive="test_steps_do_not_grow_with_the_vocabulary",
    ),
    Wrong("dropout while it generates", {EVAL: ""}),
    Wrong("the model stays in eval mode", {RESTORE: "        pass\n"}),
    Wrong("all modules train afterwards", {RESTORE: "        model.train()\n"}),
    Wrong(
        "after an error the model stays in eval mode",
        {
            "    try:\n        with no_grad():\n            return model.forward(np.array([ids]), cache=cache).data[0, -1]\n    finally:\n"
            + RESTORE: "    with no_grad():\n        logits = model.forward(np.array([ids]), cache=cache).data[0, -1]\n    for module in training:\n        module.training = True\n    return logits\n"
        },
    ),
    Wrong("everything is recorded", {"        with no_grad():\n": "        if True:\n"}),
    Wrong(
        "the caller does not record between ids",
        {
            "        new = len(text)\n        for number in range(max_new_tokens):\n": "        new = len(text)\n        entered = no_grad()\n        entered.__enter__()\n        for number in range(max_new_tokens):\n"
        },
    ),
    Wrong(
        "the model stays in eval mode until the end",
        {
            EVAL: "    model.eval()\n",
            RESTORE: "        pass\n",
            "    return generated()": "    modes = [(module, module.training) for module in model.modules()]\n\n    def restored():\n        yield from generated()\n        for module, mode in modes:\n            module.training = mode\n\n    return restored()",
        },
    ),
    Wrong(
        "the context slides", {FULL: "            if False:", "text[-_reach(model.config) :]": "text[-model.config.context :]"}
    ),
    Wrong(
        "it ends without a word",
        {'                warnings.warn(f"the context of {room} tokens is full after {number} new ones", stacklevel=2)\n': ""},
    ),
    Wrong("it ends one id too early", {FULL: "            if length + number >= room:"}),
    Wrong("the context is missing from the warning", {"the context of {room} tokens is full": "the context is full"}),
    Wrong(
        "it warns before it is asked",
        {
            "    text, rng = ids.tolist(), np.random.default_rng(rng)\n": '    if length + max_new_tokens > room + 1:\n        warnings.warn(f"the context of {room} tokens is full", stacklevel=2)\n    text, rng = ids.tolist(), np.random.default_rng(rng)\n'
        },
    ),
    Wrong(
        "long prompts are cut off",
        {"    if length > room:\n": "    if length > room:\n        ids, length = ids[-room:], room\n    if length > room:\n"},
        says="let through",
    ),
    Wrong(
        "a window ends with the context too",
        {"math.inf if model.config.window else model.config.context\n": "model.config.context\n"},
    ),
    Wrong(
        "a window sees the context only",
        {
            "return config.n_layer * (config.window - 1) + 1 if config.window else config.context": "return min(config.context, config.window)"
        },
    ),
    Wrong("one layer's window", {"return config.n_layer * (config.window - 1) + 1 if": "return config.window if"}),
    Wrong(
        "one token too few for a window",
        {"return config.n_layer * (config.window - 1) + 1 if": "return config.n_layer * (config.window - 1) if"},
    ),
    Wrong("the whole text with a cache", {LOGITS: LOGITS.replace("text[-new:] if cache is not None else text", "text")}),
    Wrong("the prompt again with each id", {"            new = 1\n": ""}),
    Wrong("the cache is not used", {"model.forward(np.array([ids]), cache=cache)": "model.forward(np.array([ids]))"}),
    Wrong("what the cache holds does not count", {"        length += int(cache.lengths[0])": "        pass"}),
    Wrong(
        "a cache must be empty",
        {
            "        length += int(cache.lengths[0])": "        length += int(cache.lengths[0])\n        assert not cache.lengths.any()"
        },
    ),
    Wrong(
        "the last id is computed too",
        {
            "            text.append(token)\n            new = 1\n": "            text.append(token)\n            new = 1\n            if cache is not None and number == max_new_tokens - 1:\n                _last_logits(model, [token], cache)\n"
        },
    ),
    Wrong(
        "the prompt is read with the first id",
        {"        new = len(text)\n": "        text[:] = ids.tolist()\n        new = len(text)\n"},
    ),
    Wrong("stop ids are read with each id", {STOPS: STOPS.replace("stop = ", "frozen = ")}),
    Wrong(
        "an error comes with the first id",
        {
            "    return generated()": "    return generated()",
            '    if length > room:\n        raise ValueError(f"a prompt': '    if length > room and cache is not None:\n        raise ValueError(f"a prompt',
        },
        says="let through",
    ),
    Wrong("options are not checked", {"        if not fits:\n": "        if False:\n"}, says="let through"),
    Wrong(
        "a top_p of 0 means none", {"top_p is None or 0 < top_p <= 1": "top_p is None or 0 <= top_p <= 1"}, says="let through"
    ),
    Wrong("a top_k of 0 means none", {"top_k is None or _is_integer": "not top_k or _is_integer"}, says="let through"),
    Wrong("a temperature of infinity", {"0 <= temperature < math.inf": "0 <= temperature"}, says="let through"),
    Wrong("a negative temperature is 0", {"0 <= temperature < math.inf": "-1 <= temperature < math.inf"}, says="let through"),
    Wrong(
        "a negative number of ids is none",
        {"_is_integer(max_new_tokens, 0))": "_is_integer(max_new_tokens, -math.inf))"},
        says="let through",
    ),
    Wrong("the value is missing from the error", {"{name} can't be {value!r}": "{name} can't be this"}, says="is not named"),
    Wrong("an empty prompt will do", {"    if ids.ndim != 1 or not ids.size:": "    if ids.ndim != 1:"}),
    Wrong(
        "a batch of one is a prompt",
        {
            "    if ids.ndim != 1 or not ids.size:": "    ids = ids[0] if ids.ndim == 2 else ids\n    if ids.ndim != 1 or not ids.size:"
        },
        says="let through",
    ),
    Wrong(
        "floats are a prompt",
        {
            '    if ids.dtype.kind not in "iu":\n        raise TypeError(f"ids must be integers, not {ids.dtype}")\n    length, room': "    ids = ids.astype(np.int64)\n    length, room"
        },
        says="let through",
    ),
    # what it costs
    Wrong(
        "row by row",
        {
            "from katas.tensor import Tensor\n": "from katas.tensor import Tensor, concatenate\n",
            BLOCKS: "            x = concatenate([block(x[row : row + 1]) for row in range(len(ids))]) if cache is None else block(x, mask, cache)",
        },
        naive="test_steps_do_not_grow_with_the_batch",
    ),
    Wrong(
        "activations are kept",
        {HEAD: "        self._last = [x, self.lm_head(body.ln_f(x))]\n        return self._last[1]"},
        naive="test_nothing_is_left_of_a_forward_without_gradients",
    ),
    Wrong(
        "all blocks' activations are held",
        {BLOCKS: "            held = [*(held if block is not body.h[0] else []), x]\n" + BLOCKS},
    ),
    # more of every section
    Wrong(
        "eps of RMSNorm is fixed",
        {
            "return x * (1 / (mean_square + self.eps).sqrt()) * self.weight": "return x * (1 / (mean_square + 1e-5).sqrt()) * self.weight"
        },
    ),
    Wrong(
        "RMSNorm is called LayerNorm in the error",
        {'f"{type(layer).__name__}({len(layer.weight)}) got': 'f"LayerNorm({len(layer.weight)}) got'},
    ),
    Wrong(
        "the sizes are missing from the error of an odd head",
        {
            'f"rotary positions need an even head, not d_model {self.d_model} / n_head {self.n_head}"': 'f"rotary positions need an even head, not {self.d_model // self.n_head}"'
        },
    ),
    Wrong(
        "an odd head may have no sines",
        {
            'if self.positions == "sinusoidal" and self.d_model % 2:': 'if self.positions == "sinusoidal" and self.d_model // self.n_head % 2:'
        },
    ),
    Wrong(
        "a window goes with sines",
        {
            'if self.window is not None and self.positions != "rotary":': 'if self.window is not None and self.positions == "learned":'
        },
    ),
    Wrong(
        "the last norm is always LayerNorm", {"body.ln_f = _norm(config)": "body.ln_f = LayerNorm(config.d_model, config.bias)"}
    ),
    Wrong(
        "masks for the embeddings are drawn without dropout too",
        {"body.drop = _dropout(config.dropout, rng)": "body.drop = Dropout(config.dropout, rng)"},
    ),
    Wrong(
        "embedding dropout has its own rng",
        {"body.drop = _dropout(config.dropout, rng)": "body.drop = _dropout(config.dropout, None)"},
    ),
    Wrong(
        "without position vectors embeddings are not dropped",
        {"            x = body.wpe(x, start)\n        x = body.drop(x)\n": "            x = body.drop(body.wpe(x, start))\n"},
    ),
    Wrong(
        "attn c proj not scaled",
        {'if name.endswith("c_proj.weight") else 0.02': 'if name.endswith("mlp.c_proj.weight") else 0.02'},
    ),
    Wrong(
        "an argsort that is not stable",
        {'order = np.argsort(~mask, axis=1, kind="stable")': "order = np.argsort(~mask, axis=1)"},
    ),
    Wrong(
        "one row of a mask holds for all",
        {
            "            if mask.shape != ids.shape:\n": "            if mask.shape == (1, ids.shape[1]):\n                mask = np.broadcast_to(mask, ids.shape)\n            if mask.shape != ids.shape:\n"
        },
    ),
    Wrong(
        "the first row's length is counted",
        {"self._make_room(int(np.max(start)) + ids.shape[1])": "self._make_room(int(np.ravel(start)[0]) + ids.shape[1])"},
    ),
    Wrong(
        "blocks are held a second time",
        {
            "body.ln_f = _norm(config)": "self._blocks = tuple(body.h)\n        body.ln_f = _norm(config)",
            "        for block in body.h:\n": "        for block in self._blocks:\n",
        },
    ),
    Wrong("a batch of no rows will do", {"if ids.ndim != 2 or not ids.size:": "if ids.ndim != 2 or not ids.shape[1]:"}),
    Wrong(
        "with a mask floats are ids",
        {"np.where(mask, ids, ids.dtype.type(0)), order, 1)": "np.where(mask, ids, 0).astype(np.intp), order, 1)"},
    ),
    Wrong("the cache gets the mask before it was sorted", {"            mask = np.take_along_axis(mask, order, 1)\n": ""}),
    Wrong(
        "positions don't decay",
        {
            "[parameter for parameter in self.parameters() if parameter.ndim > 1]": '[p for name, p in self.named_parameters() if p.ndim > 1 and "wpe" not in name]',
            "[parameter for parameter in self.parameters() if parameter.ndim <= 1]": '[p for name, p in self.named_parameters() if p.ndim <= 1 or "wpe" in name]',
        },
    ),
    Wrong(
        "a head that is nearly tied is thrown away",
        {
            'not np.array_equal(head, arrays["wte.weight"], equal_nan=True):': 'not (head.shape == arrays["wte.weight"].shape and np.allclose(head, arrays["wte.weight"], atol=1e-3, equal_nan=True)):'
        },
    ),
    Wrong(
        "blocks are counted by the largest of their numbers as text",
        {"n_layer = max(1, len(blocks))": 'n_layer = int(max(blocks, default="0")) + 1'},
    ),
    Wrong(
        "the model holds the given arrays",
        {
            "        return model\n\n\n_IN_OUT": '        own = dict(model.named_parameters())\n        for name, array in arrays.items():\n            own[f"transformer.{name}"].data = array.T if _IN_OUT.fullmatch(name) else array\n        return model\n\n\n_IN_OUT'
        },
    ),
    Wrong(
        "a missing wpe is a KeyError",
        {"for name in names if name not in arrays]": 'for name in names if name not in arrays and name != "wpe.weight"]'},
    ),
    Wrong(
        "names outside the model are left out",
        {"if name not in masks}": 'if name not in masks and name.startswith(("wte.", "wpe.", "h.", "ln_f.", "lm_head."))}'},
    ),
    Wrong(
        "one value is broadcast to a vector",
        {
            "            if arrays[name].shape != shape\n": "            if arrays[name].shape not in (shape, (1,))\n",
            "array.T if _IN_OUT.fullmatch(name) else array for": "array.T if _IN_OUT.fullmatch(name) else np.broadcast_to(array, (d_model,)) if array.shape == (1,) else array for",
        },
    ),
    Wrong("one window is none", {" or length >= len(ids):": " or length >= len(ids) - 1:"}),
    Wrong(
        "a set that reaches p exactly is not enough",
        {"np.searchsorted(np.cumsum(p), top_p)": 'np.searchsorted(np.cumsum(p), top_p, side="right")'},
    ),
    Wrong(
        "top_p is of all, not of what top_k left",
        {
            'order = np.argsort(-logits, kind="stable")[:top_k]': 'order = np.argsort(-logits, kind="stable")',
            "        p /= p.sum()\n    return int(rng.choice(order[: len(p)], p=p))": "    p = p[:top_k]\n    p /= p.sum()\n    return int(rng.choice(order[: len(p)], p=p))",
        },
    ),
    Wrong(
        "top p before temperature",
        {
            "        p = p[: np.searchsorted(np.cumsum(p), top_p) + 1]\n": "        cold = np.exp(shifted)\n        p = p[: np.searchsorted(np.cumsum(cold / cold.sum()), top_p) + 1]\n"
        },
    ),
    Wrong(
        "cached tokens are not counted when it is called",
        {
            "        length += int(cache.lengths[0])\n    if length > room:": "        length += int(cache.lengths[0])\n    if len(ids) > room:"
        },
    ),
    Wrong(
        "modules that were in eval mode train afterwards",
        {
            "        for module in training:\n            module.training = True\n": "        if training:\n            model.train()\n"
        },
    ),
    Wrong(
        "a text with a window is cut to the context",
        {"text[-_reach(model.config) :], cache)": "text[-model.config.context :], cache)"},
    ),
    Wrong(
        "it warns although all ids were there",
        {
            "for number in range(max_new_tokens):": "for number in range(max_new_tokens + 1):",
            "                return\n            logits =": "                return\n            if number == max_new_tokens:\n                return\n            logits =",
        },
    ),
    Wrong(
        "vocabulary sorted in python",
        {
            'order = np.argsort(-logits, kind="stable")[:top_k]': "order = np.array(sorted(range(len(logits)), key=lambda i: -logits[i])[:top_k])"
        },
    ),
    Wrong(
        "the last hidden values are an attribute",
        {"        return self.lm_head(body.ln_f(x))": "        self._hidden = x\n        return self.lm_head(body.ln_f(x))"},
    ),
    Wrong("sizes stay NumPy's", {"object.__setattr__(self, name, int(value))": "pass"}),
    Wrong("a fraction of ids", {"_is_integer(max_new_tokens, 0))": "max_new_tokens >= 0)"}, says="let through"),
    Wrong("a top_k of 1.5", {"top_k is None or _is_integer(top_k, 1))": "top_k is None or top_k >= 1)"}, says="let through"),
    Wrong(
        "True is a top_k",
        {"top_k is None or _is_integer(top_k, 1))": "top_k is None or top_k is True or _is_integer(top_k, 1))"},
        says="let through",
    ),
    Wrong("stop ids may be floats", {"frozenset(map(operator.index, ": "frozenset(map(int, "}, says="let through"),
    Wrong(
        "a Tensor of stop ids holds Tensors", {"map(operator.index, stop.data if isinstance(stop, Tensor) else stop)": "stop"}
    ),
    Wrong("the length of windows overflows", {"(ids, int(length) + 1)": "(ids, length + 1)"}),
    Wrong(
        "any number is a length of windows",
        {
            " or not _is_integer(length, 1) or length": " or length < 1 or length",
            "(ids, int(length) + 1)": "(ids, int(length + 1))",
        },
        says="let through",
    ),
    Wrong(
        "a name that is given twice replaces the first",
        {'problems = [f"{name} is given twice" for name in state if f"transformer.{name}" in state]': "problems = []"},
        says="let through",
    ),
    Wrong(
        "masks of anything are ignored",
        {"if name not in masks}": 'if not name.endswith((".attn.bias", ".attn.masked_bias"))}'},
        says="let through",
    ),
    Wrong("a mask makes a block", {"\\.(?!attn\\.(masked_)?bias$)": "\\."}),
    Wrong("NaN is never tied", {", equal_nan=True)": ")"}),
    Wrong(
        "the shape in the error is the transposed one",
        {"has shape {arrays[name].shape}, not {shape}": "has shape {arrays[name].shape[::-1]}, not {shape[::-1]}"},
        says="is not named",
    ),
    Wrong(
        "the first missing name alone is named",
        {"for name in names if name not in arrays]": "for name in names if name not in arrays][:1]"},
        says="is not named",
    ),
    Wrong(
        "no block at all is no block too few", {"n_layer = max(1, len(blocks))": "n_layer = len(blocks)"}, says="is not named"
    ),
    Wrong(
        "the shape of the embeddings is missing from the error",
        {"must have two axes, not the shape {arrays[name].shape}": "must have two axes"},
        says="is not named",
    ),
]

FORWARDS = [f"{name}.forward" for name in ("LayerNorm", "RMSNorm", "FeedForward", "Block", "GPT")]
EQUIVALENT = {
    **{f"{name}: a result is a copy, not a view": "it is an array of its own anyway" for name in FORWARDS},
    **{f"{name}: {habit}": "results are floats" for name in FORWARDS for habit in ("int32 for int64", "int64 for int32")},
    **{f"{name}: NumPy's numbers are refused": "it takes no numbers" for name in ("Block.forward", "GPT.forward")},
    **{
        f"{name}: a falsy argument is taken as absent": "its defaults are falsy, or no number"
        for name in ("Block.__init__", "Block.forward", "GPT.__init__", "GPT.forward")
    },
    "GPT.forward: a result is a view of an equal argument": "ids are integers, and logits floats",
    "GPT.forward: infinities and NaN in arguments are made finite": "ids are integers",
    "next_token_windows: infinities and NaN in arguments are made finite": "ids are integers",
    "next_token_windows: axes of length 0 are refused": "a text without ids is refused anyway",
    **{
        f"{name}: None is whatever is falsy{number}": "a cache that is false is empty"
        for name, number in (("GPT.forward", ", 3"), ("generate", ""), ("generate", ", 4"))
    },
    "GPT._make_room: None is whatever is falsy": "a window is never 0",
    "_drawn: None is whatever is falsy": "a top_p of 0 was refused before",
    "GPT._make_room: a check comes after the effect": "more room changes no result",
    **{
        f"{name}: a check comes after the effect, {number}": "what came before the check is dropped with the error"
        for name, number in (("GPT.from_gpt2", 2), ("next_token_windows", 2), ("generate", 2), ("generate", 3))
    },
    "GPTConfig.__post_init__: None is whatever is falsy": "a window of 0 was refused before",
    "GPTConfig.__post_init__: None is whatever is falsy, 2": "a window of 0 was refused before",
    "generate: arguments are changed": "nothing is computed when it returns",
    "generate: shapes that differ are broadcast": "only the prompt has a shape",
    **{
        f"Block.__init__: {habit}": "it takes no arrays"
        for habit in (
            "arguments are changed",
            "axes of length 0 are refused",
            "infinities and NaN in arguments are made finite",
            "arguments are read in the order of memory",
        )
    },
}
