"""Wrong solutions of kata 18, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WEIGHTS = "named_parameters() if parameter.ndim > 1]"
SMALLEST = '    kept[np.argsort(values, kind="stable")[: round(float(amount) * values.size)]] = False\n'
NAN = "        if np.isnan(weight.data).any():\n"
MAGNITUDES = "    magnitudes = [np.abs(weight.data).ravel() for _, weight in weights]\n"
APPLY = "            weight.data[~kept] = 0\n"
STEP = "        self.optimizer.step()\n        self.masks.apply()"
STATE = '"masks": [kept.copy() for _, kept in self.masks.pairs]}'
LOADED = "            kept[...] = loaded\n"
FITS = '        if "masks" not in state_dict or own != given:\n'
CUTS = "            new.cuts += [_Cut(writer, name, 0) for name in"
READ = '        space.cuts.append(_Cut(layer, "weight", 1, repeat))\n'
NORM = '_NORM = "weight", "bias", "running_mean", "running_var"\n'
UNITWISE = "_UNITWISE = ReLU, LeakyReLU, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d"
OUTPUT = '        end.fixed = end.fixed or "they are the output"\n'
JOINED = "            space.cuts += end.cuts\n"
USES = "        if cut[:3] in others or held.count(id(value)) > 1:\n"
DEDUPED = "    space.cuts = list(dict.fromkeys(space.cuts))  # a layer may run twice in one stream\n"
SCORES = "    return norms(scales or written) * norms(read)\n"
NORMS = "    return np.linalg.norm(rows / scale, axis=1) * scale[:, 0]\n"
FLOATS = "    rows = rows.astype(np.float64)\n"
STRONGEST = '    return np.sort(np.argsort(-scores, kind="stable")[:count])\n'
SORTED = "    return np.sort(keep).astype(np.intp)\n"
TAKE = "np.take(array, indices, axis)\n"
REPLACED = "            value.data, value.grad = array, None\n"
COLUMNS = "        return (kept[:, None] * repeat + np.arange(repeat)).ravel()\n"
ROOM = "            if room > 0:\n"
SIGHT = "        sight = None if real is None else real[:, None, None], self.causal, self.window\n"
PADDING = "            if real is not None and (real[:, 1:] > real[:, :-1]).any():\n"
MASKED = "        if real.shape != x.shape[:2]:\n"
ROWS = "    rows = (np.arange(3)[:, None] * n_head * width + columns).ravel()"
LOST = "            lost = np.append(np.hypot.accumulate(s[::-1])[::-1], 0)"
RANK = "            rank = max(1, int(np.argmax(lost <= error * lost[0])))\n"
SMALLER = "            if rank * sum(weight.shape) < weight.size:\n"
ROOT = "                root = np.sqrt(s[:rank])"
TIED = "        if type(layer) is Linear and id(layer.weight) in names and held.count(id(layer.weight)) == 1:\n"
CLEAR = "    vars(layer).clear()\n"
P = "    share = log_q.dtype.type(temperature**2 / counts.sum())\n"
LOG_Q = "    log_q = LogSoftmax(-1)(student[counts] * (1 / temperature))  # (rows, classes)\n"
ADDS = "    adds = p != 0\n"
KL = "    return ((np.where(adds, log_p, 0) - where(adds, log_q, 0)) * (p * share)).sum()\n"
SHAPES = "    if student.shape != given.shape or student.shape[:-1] != counts.shape or 0 in (student.ndim, student.size):\n"
FROZEN = "        frozen = copy.deepcopy(teacher, {id(value): value for value in shared}).eval()\n"
TAUGHT = "        self._taught = lambda x: frozen(x).data"
MIX = "        return soft * self.alpha + hard * (1 - self.alpha)\n"
SAVED = "    return len(zlib.compress(save("
HELD = "        while isinstance(array.base, np.ndarray):\n"
EVAL = "        before.eval(), after.eval()\n"
LEAST = "                    seconds[i] = min(seconds[i], time.perf_counter() - start)\n"

WRONG = [
    # 18.1
    Wrong(
        "a threshold prunes all that are equal",
        {SMALLEST: "    kept[values <= np.sort(values)[max(0, round(amount * values.size) - 1)]] = amount == 0\n"},
        says="a threshold prunes all that are equal",
    ),
    Wrong(
        "the largest weights are pruned", {SMALLEST: SMALLEST.replace("argsort(values", "argsort(-values")}, says="the largest"
    ),
    Wrong(
        "of equal weights the last ones are pruned",
        {
            SMALLEST: SMALLEST.replace("[: round", "[: round").replace(
                'np.argsort(values, kind="stable")', "np.lexsort((-np.arange(values.size), values))"
            )
        },
    ),
    Wrong("the sort is not stable", {SMALLEST: SMALLEST.replace(', kind="stable"', "")}),
    Wrong("the number is cut off, not rounded", {SMALLEST: SMALLEST.replace("round(", "int(")}),
    Wrong(
        "the number is rounded up",
        {SMALLEST: SMALLEST.replace("round(float(amount) * values.size)", "math.ceil(float(amount) * values.size)")},
    ),
    Wrong(
        "signs count", {MAGNITUDES: MAGNITUDES.replace("np.abs(weight.data)", "weight.data")}, says="magnitudes are forgotten"
    ),
    Wrong(
        "each layer loses the same share",
        {"    if per_layer:\n        kept": "    if True:\n        kept"},
        says="each layer loses the same share",
    ),
    Wrong("per_layer is ignored", {"    if per_layer:\n        kept": "    if False:\n        kept"}),
    Wrong("biases and norms are pruned too", {WEIGHTS: "named_parameters()]"}),
    Wrong("only Linear's weights are pruned, which have two axes", {WEIGHTS: WEIGHTS.replace("> 1", "== 2")}),
    Wrong(
        "a tied weight is listed for each use",
        {
            "    weights = [(name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1]\n": '    weights = [("", value) for module in model.modules() for name, value in vars(module).items() if isinstance(value, Parameter) and value.ndim > 1]\n'
            "    weights += [(name, parameter) for name, parameter in model.named_parameters() if parameter.ndim > 1 and not any(parameter is w for _, w in weights)]\n",
        },
    ),
    Wrong("NaN is let through", {NAN: "        if False:\n"}),
    Wrong(
        "NaN is found after the first layers were pruned",
        {
            NAN: "        if not np.isnan(weight.data).any():\n            weight.data[...] = weight.data * (np.abs(weight.data) > 0.1)\n        else:\n"
        },
    ),
    Wrong("an amount of 1 is allowed", {"    if not 0 <= amount < 1:\n": "    if not 0 <= amount <= 1:\n"}),
    Wrong("an amount of 0 is refused", {"    if not 0 <= amount < 1:\n": "    if not 0 < amount < 1:\n"}),
    Wrong(
        "an amount is a percentage",
        {
            "    if not 0 <= amount < 1:\n": "    amount = amount / 100 if amount >= 1 else amount\n    if not 0 <= amount < 1:\n"
        },
    ),
    Wrong(
        "weights get a new array", {APPLY: "            weight.data = np.where(kept, weight.data, 0).astype(weight.dtype)\n"}
    ),
    Wrong("masks multiply: NaN stays, 0 becomes -0", {APPLY: "            weight.data *= kept\n"}),
    Wrong("masks set weights where they should stay", {APPLY: APPLY.replace("~kept", "kept")}),
    Wrong("the first apply is forgotten", {"    masks.apply()\n    return masks\n": "    return masks\n"}),
    Wrong(
        "the sparsity is a mean of shares",
        {
            "        return pruned / max(1, sum(kept.size for _, kept in self.pairs))\n": "        return float(np.mean([1 - kept.mean() for _, kept in self.pairs]))\n"
        },
    ),
    Wrong(
        "the sparsity is the share that stays",
        {"        pruned = sum(kept.size - int(kept.sum())": "        pruned = sum(int(kept.sum())"},
    ),
    Wrong("the pairs of a generator are used up", {"        self.pairs = list(pairs)\n": "        self.pairs = pairs\n"}),
    Wrong("masks of a model: NaN counts as 0", {"(weight, weight.data != 0)": "(weight, np.abs(weight.data) > 0)"}),
    Wrong("masks are not applied after a step", {STEP: "        self.optimizer.step()\n        self.masks"}),
    Wrong(
        "gradients are masked, not weights",
        {
            STEP: "        for weight, kept in self.masks.pairs:\n            if weight.grad is not None:\n                weight.grad[~kept] = 0\n        self.optimizer.step()\n        self.masks"
        },
    ),
    Wrong(
        "masks are applied before the step",
        {STEP: "        self.masks.apply()\n        self.optimizer.step()\n        self.masks"},
    ),
    Wrong("the state does not hold the masks", {STATE: '"masks": [np.ones_like(kept) for _, kept in self.masks.pairs]}'}),
    Wrong("the state's masks are not loaded", {LOADED: "            pass\n"}),
    Wrong(
        "the state's masks are not copied",
        {
            LOADED: '            pass\n        self.masks.pairs = [(w, m) for (w, _), m in zip(self.masks.pairs, state_dict["masks"], strict=True)]\n',
            STATE: STATE.replace("kept.copy()", "kept"),
        },
    ),
    Wrong("masks of other shapes are let through", {FITS: "        if False:\n"}),
    Wrong("no masks are taken for masks of nothing", {FITS: "        if own != given:\n"}),
    Wrong(
        "masks are loaded before the optimizer complains",
        {
            '        self.optimizer.load_state_dict(state_dict["optimizer"])\n        for': "        for",
            LOADED: LOADED + '        self.optimizer.load_state_dict(state_dict["optimizer"])\n',
        },
    ),
    Wrong(
        "flat(masked()) steps around the masks",
        {
            "    def zero_grad(self) -> None:\n        self.optimizer.zero_grad()\n": "    def update(self, *args):\n        self.optimizer.update(*args)\n\n    def zero_grad(self) -> None:\n        self.optimizer.zero_grad()\n"
        },
    ),
    Wrong(
        "a masked optimizer has param_groups of its own",
        {
            "        return self.optimizer.param_groups\n": "        return [dict(group) for group in self.optimizer.param_groups]\n"
        },
    ),
    Wrong("magnitudes are squares", {MAGNITUDES: MAGNITUDES.replace("np.abs", "np.square")}),
    Wrong("float16 has no 100,000", {SMALLEST: SMALLEST.replace("float(amount)", "amount")}),
    Wrong(
        "an amount of 0 comes before all checks",
        {
            "    weights = _weights(model)\n    for": "    if not amount:\n        return Masks((p, np.ones(p.shape, bool)) for p in model.parameters() if p.ndim > 1)\n    weights = _weights(model)\n    for"
        },
    ),
    Wrong(
        "what is read-only is found after the first layers were pruned",
        {"        if not weight.data.flags.writeable:\n": "        if False:\n"},
    ),
    Wrong(
        "nothing has no sparsity",
        {"max(1, sum(kept.size for _, kept in self.pairs))": "sum(kept.size for _, kept in self.pairs)"},
    ),
    Wrong(
        "a masked optimizer has the state from before a load",
        {
            "        self.optimizer, self.masks = optimizer, masks\n": "        self.optimizer, self.masks, self._state = optimizer, masks, optimizer.state\n",
            "        return self.optimizer.state\n": "        return self._state\n",
        },
    ),
    Wrong("a state without masks is a KeyError", {'state_dict.get("masks", ())': 'state_dict["masks"]'}),
    Wrong(
        "a state without masks is loaded, and the masks stay",
        {FITS: '        if "masks" not in state_dict:\n            return self.optimizer.load_state_dict(state_dict)\n' + FITS},
    ),
    # 18.2
    Wrong(
        "a Residual does not add its input",
        {"        return x + super().forward(x)\n": "        return super().forward(x)\n"},
        says="the input is not added",
    ),
    Wrong("the bias is forgotten", {CUTS: CUTS + ' ("weight",)]  #'}),
    Wrong("running_mean and running_var are forgotten", {NORM: '_NORM = "weight", "bias"\n'}),
    Wrong("only running_var is forgotten", {NORM: NORM.replace(', "running_var"', "")}),
    Wrong("the reader is forgotten", {READ: ""}),
    Wrong("a flattened channel has one column", {COLUMNS: "        return (kept + 0 * repeat).ravel()\n"}),
    Wrong(
        "a flattened channel's columns lie channels apart",
        {COLUMNS: "        return (kept + space.size * np.arange(repeat)[:, None]).ravel()\n"},
    ),
    Wrong(
        "columns of a channel are in the order of pixels",
        {COLUMNS: "        return (kept[:, None] * repeat + np.arange(repeat)).T.ravel()\n"},
    ),
    Wrong("units are kept in the order of keep", {SORTED: "    return keep.astype(np.intp)\n"}),
    Wrong(
        "the units in keep are removed",
        {"    kept = _kept(keep, space.size)\n": "    kept = np.setdiff1d(np.arange(space.size), _kept(keep, space.size))\n"},
    ),
    Wrong(
        "as many units as keep has: the first ones",
        {"    kept = _kept(keep, space.size)\n": "    kept = np.arange(len(_kept(keep, space.size)))\n"},
    ),
    Wrong(
        "units are set to 0, and no array becomes smaller",
        {
            TAKE: "np.where(np.isin(np.arange(array.shape[axis]), indices).reshape([-1 if a == axis else 1 for a in range(array.ndim)]), array, 0).astype(array.dtype)\n"
        },
    ),
    Wrong(
        "new arrays are views of the old",
        {
            TAKE: "np.moveaxis(np.append(np.take(array, indices, axis), array, axis), axis, 0)[: len(indices)].swapaxes(0, 0) if axis == 0 else np.take(array, indices, axis)\n"
        },
    ),
    Wrong(
        "arrays are exchanged one by one",
        {
            TAKE: "np.take(array, indices, axis)\n        if isinstance(getattr(module, name), Parameter):\n            getattr(module, name).data = arrays[key][2]\n"
        },
    ),
    Wrong("the old grad stays", {REPLACED: "            value.data = array\n"}),
    Wrong(
        "all grads are dropped",
        {
            "    _shrink([(*cut[:3], indices(cut.repeat)) for cut in space.cuts])\n": "    _shrink([(*cut[:3], indices(cut.repeat)) for cut in space.cuts])\n    model.zero_grad()\n"
        },
    ),
    Wrong("the sizes stay", {'if size in vars(module) and name == "weight"': "if False"}),
    Wrong("the size of the bias is taken for that of the input", {'and name == "weight"': 'and name == "bias"'}),
    Wrong(
        "a stream's other writers are forgotten", {JOINED: "            space.cuts += [cut for cut in end.cuts if cut.axis]\n"}
    ),
    Wrong(
        "a stream's later readers are forgotten",
        {
            "return self.joined(space, end, form) if isinstance(layer, Residual) else (end, after)": "return (self.joined(space, end, form)[0], form) if isinstance(layer, Residual) and len(layer.layers) > 99 else (end, after)"
        },
    ),
    Wrong("the model's results can be removed", {OUTPUT: ""}),
    Wrong(
        "the model's input can be removed",
        {
            'self.new(0, "they are the input")': "self.new(0)",
            '"" if end.size == space.size': '"" if space.size in (0, end.size)',
        },
    ),
    Wrong("a Sigmoid is let through", {UNITWISE: UNITWISE + ", __import__('katas.activations').activations.Sigmoid"}),
    Wrong("a LayerNorm is let through", {UNITWISE: UNITWISE + ", __import__('katas.transformers').transformers.LayerNorm"}),
    Wrong("any layer is let through", {"        elif not isinstance(layer, _UNITWISE):\n": "        elif False:\n"}),
    Wrong("Tanh and LeakyReLU are unknown", {UNITWISE: "_UNITWISE = ReLU, GELU, Dropout, MaxPool2d, AvgPool2d"}),
    Wrong("a Flatten of the last axes is one of all", {" and layer.start_dim == 1):\n": "):\n"}),
    Wrong(
        "a Linear that reads an image's last axis is let through", {'(form == "image") != isinstance(layer, Conv2d) or ': ""}
    ),
    Wrong(
        "rows that are flattened are let through",
        {
            ' or (form != "flat" and repeat != 1):': ":",
            'isinstance(layer, Flatten) and form != "rows"': "isinstance(layer, Flatten)",
        },
    ),
    Wrong("several uses are let through", {USES: "        if False:\n"}),
    Wrong("a layer that runs twice is let through", {USES: "        if held.count(id(value)) > 1:\n"}),
    Wrong("a tied weight is let through", {USES: "        if cut[:3] in others:\n"}),
    Wrong(
        "only a writer's tied weight is refused",
        {USES: "        if cut[:3] in others or (held.count(id(value)) > 1 and cut.axis == 0):\n"},
    ),
    Wrong(
        "a layer that runs twice in a stream shrinks twice",
        {DEDUPED: ""},
    ),
    Wrong(
        "unknown layers elsewhere forbid everything",
        {"    if space.fixed:\n": '    if space.fixed or any("go through" in other.fixed for other in spaces):\n'},
    ),
    Wrong(
        "a norm's units can be removed by naming it",
        {"    if not written or not isinstance(layer, Linear | Conv2d):\n": "    if not written:\n"},
    ),
    Wrong(
        "layers are compared by their class",
        {
            "if any(cut.module is writer and cut.axis == 0": "if any(type(cut.module) is type(writer) and cut.axis == 0",
        },
    ),
    Wrong(
        "a score is the norm of the row alone",
        {SCORES: "    return norms(scales or written)\n"},
        says="only the norm of the row",
    ),
    Wrong(
        "a score is that of the filter, behind a BatchNorm2d too",
        {SCORES: SCORES.replace("scales or written", "written")},
        says="filters count, and the BatchNorm2d does not",
    ),
    Wrong(
        "filters count beside the norms of a stream",
        {SCORES: SCORES.replace("scales or written", "scales + written")},
        says="both filters count too",
    ),
    Wrong(
        "a filter of a stream counts unless a norm is right behind it",
        {
            SCORES: "    bare = [cut for cut, behind in zip(weights, [*weights[1:], None], strict=True) if behind not in scales]\n"
            + SCORES.replace("scales or written", "scales + [cut for cut in bare if cut in written]")
        },
        says="the first Conv2d's filter counts too",
    ),
    Wrong(
        "filters behind the last norm of a stream count",
        {
            SCORES: "    ends = max((weights.index(cut) for cut in scales), default=0)\n"
            + SCORES.replace("scales or written", "scales + [cut for cut in weights[ends:] if cut in written]")
        },
        says="the second Conv2d's filter counts too",
    ),
    Wrong(
        "L1 norms",
        {NORMS: "    return np.abs(rows).sum(1)\n"},
        says="L1 norms",
    ),
    Wrong(
        "the bias counts",
        {
            '    weights = [cut for cut in space.cuts if cut.name == "weight"]\n': '    weights = [cut for cut in space.cuts if cut.name in ("weight", "bias")]\n'
        },
        says="the bias counts",
    ),
    Wrong(
        "norms are rounded to float32",
        {FLOATS: "", NORMS: NORMS.replace(" * scale[:, 0]", " * scale[:, 0].astype(np.float64)")},
    ),
    Wrong("the strongest come by score", {STRONGEST: STRONGEST.replace("np.sort(", "(")}),
    Wrong(
        "of equal scores the last are chosen", {STRONGEST: '    return np.sort(np.argsort(scores, kind="stable")[-count:])\n'}
    ),
    Wrong("the weakest are chosen", {STRONGEST: STRONGEST.replace("-scores", "scores")}),
    Wrong(
        "bytes wrap when they are negated",
        {"    scores = np.asarray(scores, np.float64)\n": "    scores = np.asarray(scores)\n"},
    ),
    Wrong("a score of NaN is the largest", {" or np.isnan(scores).any():\n": ":\n"}),
    Wrong("a count of 0 is let through", {"    if not 1 <= count <= len(scores)": "    if not 0 <= count <= len(scores)"}),
    Wrong(
        "negative indices count from the end",
        {
            "    if keep.min() < 0 or keep.max() >= count:\n": "    keep = np.where(keep < 0, keep + count, keep)\n    if keep.min() < 0 or keep.max() >= count:\n"
        },
    ),
    Wrong(
        "an index twice is kept once",
        {"    if len(np.unique(keep)) < keep.size:\n": "    keep = np.unique(keep)\n    if False:\n"},
    ),
    Wrong("booleans are indices", {'    if keep.dtype.kind not in "iu":\n': '    if keep.dtype.kind not in "iub":\n'}),
    Wrong(
        "an unbroken run of units is a view",
        {
            TAKE: "np.take(array, indices, axis) if indices[-1] - indices[0] >= len(indices) else array[(slice(None),) * axis + (slice(indices[0], indices[-1] + 1),)]\n"
        },
    ),
    Wrong("indices stay uint8", {SORTED: "    return np.sort(keep)\n"}),
    Wrong(
        "a CNN flattens before Linears in its Sequentials, too",
        {
            "                if isinstance(layer, CNN) and isinstance(inner, Linear)": "                if (isinstance(layer, CNN) or any(isinstance(outer, CNN) for outer in self.seen)) and isinstance(inner, Linear)"
        },
    ),
    Wrong(
        "tied biases are let through",
        {USES: '        if cut[:3] in others or (cut.name != "bias" and held.count(id(value)) > 1):\n'},
    ),
    Wrong(
        "shared buffers are let through",
        {USES: USES.replace("held.count", "isinstance(value, Parameter) and held.count")},
    ),
    Wrong(
        "lists are not looked into", {"        held += value if isinstance(value, list | tuple) else ()\n": "        pass\n"}
    ),
    Wrong(
        "lists in lists are not looked into",
        {
            "    for value in held:  # which grows\n        held += value if isinstance(value, list | tuple) else ()\n": "    held += [member for value in held if isinstance(value, list | tuple) for member in value]\n"
        },
    ),
    Wrong(
        "a Parameter of two names in one module is let through",
        {
            'for name, value in vars(module).items() if name != "_kept"]': 'for value in {id(value): value for name, value in vars(module).items() if name != "_kept"}.values()]'
        },
    ),
    Wrong(
        "a reader that runs twice is let through",
        {USES: USES.replace("cut[:3] in others", "(cut.axis == 0 and cut[:3] in others)")},
    ),
    Wrong(
        "only the first Sequential is looked at",
        {
            "            if isinstance(root, Sequential | FeedForward) and root not in self.seen:\n": "            if isinstance(root, Sequential | FeedForward) and not self.seen:\n"
        },
    ),
    Wrong(
        "what is in another module in a Sequential is not found",
        {
            "            if isinstance(root, Sequential | FeedForward) and root not in self.seen:\n                end": "            if isinstance(root, Sequential | FeedForward) and root not in self.seen:\n                self.seen += root.modules()\n                end"
        },
    ),
    Wrong(
        "what a Sigmoid adds to a stream is let through", {"space.fixed or end.fixed or different": "space.fixed or different"}
    ),
    Wrong("a stream may be flattened", {"space.fixed or end.fixed or different": "space.fixed or end.fixed"}),
    Wrong(
        "a FeedForward has a GELU, whatever it has",
        {'                if hasattr(inner, "forward") and inner': "                if False and inner"},
    ),
    Wrong(
        "a Sequential in a FeedForward is not looked into",
        {
            '                if hasattr(inner, "forward") and inner': '                if hasattr(inner, "forward") and type(inner) is not Sequential and inner'
        },
    ),
    Wrong(
        "behind a GlobalAvgPool nothing is flattened",
        {'            form = "flat"\n': '            form = "rows" if isinstance(layer, GlobalAvgPool) else "flat"\n'},
    ),
    Wrong(
        "a layer that runs twice in a stream counts twice",
        {
            DEDUPED: "",
            "    _shrink([(*cut[:3], indices(cut.repeat)) for cut in space.cuts])\n": "    _shrink([(*cut[:3], indices(cut.repeat)) for cut in dict.fromkeys(space.cuts)])\n",
        },
    ),
    Wrong("squares of 1e200 overflow", {NORMS: "    return np.linalg.norm(rows, axis=1)\n"}),
    Wrong("rows of zeros are divided by 0", {"(largest > 0) & (largest < math.inf)": "largest < math.inf"}),
    Wrong("infinite rows are NaN", {"(largest > 0) & (largest < math.inf)": "largest > 0"}),
    Wrong(
        "one huge row makes all others 0", {"np.abs(rows).max(1, keepdims=True)": "np.full((len(rows), 1), np.abs(rows).max())"}
    ),
    # heads
    Wrong(
        "only the queries' rows are removed",
        {
            ROWS: "    rows = np.concatenate([columns, np.arange(n_head * width, 3 * n_head * width)])",
        },
    ),
    Wrong(
        "heads are taken as every n-th channel",
        {
            "    columns = (kept[:, None] * width + np.arange(width)).ravel()\n    rows": "    columns = (kept + n_head * np.arange(width)[:, None]).ravel()\n    rows"
        },
    ),
    Wrong(
        "q, k and v of one head lie side by side",
        {ROWS: "    rows = ((kept[:, None] * 3 * width) + np.arange(3 * width)).ravel()"},
    ),
    Wrong(
        "n_head stays",
        {
            "    attention.n_head, attention.__class__ = len(kept), PrunedAttention\n": "    attention.__class__ = PrunedAttention\n"
        },
    ),
    Wrong(
        "the class stays",
        {"    attention.n_head, attention.__class__ = len(kept), PrunedAttention\n": "    attention.n_head = len(kept)\n"},
    ),
    Wrong(
        "d_model shrinks",
        {
            "    attention.n_head, attention.__class__ = len(kept), PrunedAttention\n": "    attention.n_head, attention.__class__, attention.d_model = len(kept), PrunedAttention, len(columns)\n"
        },
    ),
    Wrong("a pruned attention is causal always", {SIGHT: SIGHT.replace("self.causal", "True")}),
    Wrong("a pruned attention forgets the window", {SIGHT: SIGHT.replace("self.window", "None")}),
    Wrong(
        "a pruned attention forgets the padding",
        {SIGHT: SIGHT.replace("None if real is None else real[:, None, None]", "None")},
    ),
    Wrong("positions are forgotten", {"return [q, k, v] if self.positions is None else": "return [q, k, v] if True else"}),
    Wrong("positions begin at 0 with a cache", {"self._split(x, 0 if cache is None else cache.lengths)": "self._split(x, 0)"}),
    Wrong("values are rotated too", {"self.positions(k, start), v]": "self.positions(k, start), self.positions(v, start)]"}),
    Wrong("an empty cache is none", {"        if cache is not None:\n            if": "        if cache:\n            if"}),
    Wrong("a cache gets no zeros for the heads that are gone", {ROOM: "            if False:\n"}),
    Wrong("a cache without n_head is refused", {'getattr(cache, "n_head", self.n_head)': "cache.n_head"}),
    Wrong("the causal mask is applied again behind a cache", {"(seen, False, None)": "(seen, True, self.window)"}),
    Wrong("a cache is not told of padding", {"*(() if real is None or real.all() else (real,))": ""}),
    Wrong(
        "a cache is told of padding that is none",
        {"*(() if real is None or real.all() else (real,))": "*(() if real is None else (real,))"},
    ),
    Wrong("all layers use the cache's first", {"cache.extend(self.layer, k, v": "cache.extend(0, k, v"}),
    Wrong(
        "weights are not dropped",
        {
            "            y = drop(attention_weights(q, k, *sight)) @ v\n": "            y = attention_weights(q, k, *sight) @ v\n"
        },
    ),
    Wrong(
        "the result is not dropped",
        {
            "        return drop(self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape[:2], self.c_proj.in_features)))\n": "        return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape[:2], -1))\n"
        },
    ),
    Wrong(
        "all scores are made at once",
        {"            y = fused_attention(q, k, v, *sight)": "            y = attention_weights(q, k, *sight) @ v"},
    ),
    Wrong(
        "padding before a token is let through",
        {PADDING: "            if False:\n"},
    ),
    Wrong("a cache without causal is let through", {"            if not self.causal:\n": "            if False:\n"}),
    Wrong(
        "head scores are those of the queries",
        {"cuts[0].array[2 * len(cuts[0].array) // 3 :]": "cuts[0].array[: len(cuts[0].array) // 3]"},
        says="the queries' rows",
    ),
    Wrong(
        "head scores are those of c_proj alone",
        {"_norms(values.reshape(n_head, -1)) * ": ""},
        says="only c_proj",
    ),
    Wrong("anything with c_attn has heads", {"    if not isinstance(attention, MultiHeadAttention):\n": "    if False:\n"}),
    Wrong(
        "a cache gets zeros of float32",
        {"np.zeros((len(k), room, *k.shape[2:]), k.dtype)": "np.zeros((len(k), room, *k.shape[2:]), np.float32)"},
    ),
    Wrong(
        "the attention's mode counts, not its Dropout's",
        {"        if drop.training and isinstance": "        if self.training and isinstance"},
    ),
    Wrong(
        "all rows begin where the first does",
        {
            "self._split(x, 0 if cache is None else cache.lengths)": "self._split(x, 0 if cache is None else int(cache.lengths[0]))"
        },
    ),
    Wrong(
        "a mask without elements must be boolean",
        {"if real.dtype != np.bool_ and real.size:": "if real.dtype != np.bool_:"},
    ),
    Wrong(
        "the dtype of a mask comes before its shape",
        {
            "        if real.shape != x.shape[:2]:\n": '        if real.dtype != np.bool_ and real.size:\n            raise TypeError(f"not {real.dtype}")\n        if real.shape != x.shape[:2]:\n'
        },
    ),
    Wrong(
        "what a cache needs comes before the mask",
        {
            "        real = self._real(x, mask)\n        q, k, v": '        if cache is not None and not self.causal:\n            raise ValueError("causal")\n        real = self._real(x, mask)\n        q, k, v'
        },
    ),
    Wrong("no tokens have no width", {"self.n_head, width).permute": "self.n_head, -1).permute"}),
    # 18.3
    Wrong("a layer becomes larger", {SMALLER: "            if rank < min(weight.shape):\n"}),
    Wrong("a layer as large as before is exchanged", {SMALLER: SMALLER.replace("< weight.size", "<= weight.size")}),
    Wrong(
        "the error is that of the largest singular value",
        {LOST: "            lost = np.append(s, 0)"},
    ),
    Wrong(
        "the error is one of squares",
        {LOST: "            lost = np.append(np.cumsum(np.square(s)[::-1])[::-1], 0)"},
    ),
    Wrong("the error is absolute", {RANK: RANK.replace(" * lost[0]", "")}),
    Wrong(
        "one rank more than needed",
        {RANK: RANK.replace("int(np.argmax(lost <= error * lost[0]))", "1 + int(np.argmax(lost <= error * lost[0]))")},
    ),
    Wrong("a rank of 0", {RANK: "            rank = int(np.argmax(lost <= error * lost[0]))\n"}),
    Wrong(
        "the smallest singular values are kept",
        {
            "                found[name] = layer, root[:, None] * v[:rank], u[:, :rank] * root\n": "                found[name] = layer, root[:, None] * v[-rank:], u[:, -rank:] * root\n"
        },
    ),
    Wrong("the singular values are forgotten", {ROOT: "                root = np.ones(rank)"}),
    Wrong(
        "one factor takes all singular values",
        {ROOT: "                root = s[:rank]", "u[:, :rank] * root\n": "u[:, :rank]\n"},
    ),
    Wrong(
        "float32 loses small singular values",
        {"np.linalg.svd(weight.astype(np.float64)": "np.linalg.svd(weight.astype(np.float16).astype(np.float64)"},
    ),
    Wrong(
        "the factors are float64",
        {"        factor.weight = Parameter(array.astype(dtype))\n": "        factor.weight = Parameter(array)\n"},
    ),
    Wrong("the old weight stays", {CLEAR: ""}),
    Wrong(
        "the old weight hides in a private attribute",
        {CLEAR: "    old = layer.weight.data\n    vars(layer).clear()\n    layer._old = old\n"},
    ),
    Wrong("the bias is lost", {"    factors[1].bias = bias": "    factors[1].bias = None"}),
    Wrong(
        "the bias is another Parameter",
        {"    factors[1].bias = bias": "    factors[1].bias = None if bias is None else Parameter(bias)"},
    ),
    Wrong("the mode is lost", {"    layer.train(training)\n": ""}),
    Wrong("tied weights are exchanged", {TIED: "        if type(layer) is Linear and id(layer.weight) in names:\n"}),
    Wrong(
        "subclasses are exchanged",
        {TIED: TIED.replace("type(layer) is Linear", "isinstance(layer, Linear) and type(layer) is not LowRankLinear")},
    ),
    Wrong(
        "the first layers are exchanged before an error",
        {
            "                found[name] = layer, root": "                found[name] = (layer, root",
            "u[:, :rank] * root\n": "u[:, :rank] * root)\n                _factor(*found[name])\n",
            "    for layer, down, up in found.values():\n        _factor(layer, down, up)\n": "",
        },
    ),
    Wrong(
        "weights that are not finite are let through to an error of NumPy's",
        {"            if not np.isfinite(weight).all():\n": "            if False:\n"},
    ),
    Wrong("an error of 1 is allowed", {"    if not 0 <= error < 1:\n": "    if not 0 <= error <= 1:\n"}),
    Wrong("an error of 0 is refused", {"    if not 0 <= error < 1:\n": "    if not 0 < error < 1:\n"}),
    Wrong(
        "squares of singular values overflow",
        {LOST: "            lost = np.sqrt(np.append(np.cumsum(np.square(s)[::-1])[::-1], 0))"},
    ),
    Wrong(
        "squares are subtracted, and small ones lost",
        {
            LOST: "            lost = np.sqrt(np.maximum(np.square(s / (s[0] or 1)).sum() - np.append(0, np.cumsum(np.square(s / (s[0] or 1)))), 0))"
        },
    ),
    Wrong(
        "a weight that is no Parameter is exchanged",
        {TIED: TIED.replace("id(layer.weight) in names and ", ""), "names[id(layer.weight)]": "names.get(id(layer.weight))"},
    ),
    # 18.4
    Wrong("T² is missing", {P: P.replace("temperature**2 / ", "1 / ")}, says="T² is missing"),
    Wrong("T instead of T²", {P: P.replace("temperature**2", "temperature")}),
    Wrong(
        "mean over the classes",
        {P: P.replace("counts.sum()", "(counts.sum() * student.shape[-1])")},
        says="mean over the classes",
    ),
    Wrong("sum over the rows", {P: P.replace(" / counts.sum()", "")}, says="sum over the rows"),
    Wrong("mean over the first axis only", {P: P.replace("counts.sum()", "(len(counts) if counts.ndim else 1)")}),
    Wrong(
        "mean over rows that don't count, too", {P: P.replace("counts.sum()", "counts.size")}, says="the mean is over all rows"
    ),
    Wrong(
        "only the student has a temperature",
        {"log_q.dtype.type(1 / temperature))).data": "log_q.dtype.type(1))).data"},
        says="only the student's logits are divided by T",
    ),
    Wrong("only the teacher has a temperature", {LOG_Q: "    log_q = LogSoftmax(-1)(student * 1.0)\n"}),
    Wrong(
        "the cross-entropy alone",
        {KL: "    return ((0 - where(adds, log_q, 0)) * (p * share)).sum()\n"},
        says="without the teacher's entropy",
    ),
    Wrong(
        "the divergence of the student",
        {KL: "    return ((where(adds, log_q, 0) - np.where(adds, log_p, 0)) * (np.exp(log_q.data) * share)).sum()\n"},
    ),
    Wrong("0 · ∞ is NaN", {ADDS: "    adds = np.ones(p.shape, bool)\n"}),
    Wrong("NaN is taken for a class that is excluded", {ADDS: "    adds = p > 0\n    p = np.where(adds, p, 0)\n"}),
    Wrong(
        "rows that don't count are only not averaged over",
        {LOG_Q: LOG_Q.replace("[counts]", ""), "given[counts]": "given"},
    ),
    Wrong(
        "rows that don't count are multiplied by 0",
        {LOG_Q: LOG_Q.replace("[counts]", ""), "given[counts]": "given", P: P + "    share = share * counts[..., None]\n"},
    ),
    Wrong(
        "rows that don't count are left out after the logarithms, and have a gradient of NaN",
        {
            LOG_Q: LOG_Q.replace("[counts]", ""),
            "given[counts]": "given",
            ADDS: "    adds = (p != 0) & counts[..., None]\n    p = np.where(adds, p, 0)\n",
        },
    ),
    Wrong("only a teacher's -∞ excludes a class", {ADDS: "    adds = log_p != -np.inf\n"}),
    Wrong("the square of a temperature in uint8 wraps", {"    temperature = float(temperature)\n": ""}),
    Wrong(
        "the logarithm of a softmax",
        {
            LOG_Q: "    odds = (student[counts] * (1 / temperature)).exp()\n    log_q = (odds / odds.sum(-1, keepdim=True)).log()\n"
        },
    ),
    Wrong(
        "float64 from the teacher",
        {
            "given[counts].astype(log_q.dtype, copy=False) * log_q.dtype.type(1 / temperature)": "given[counts] * (1 / temperature)",
            P: "    share = temperature**2 / counts.sum()\n",
        },
    ),
    Wrong("shapes are broadcast", {SHAPES: "    if not student.size or student.ndim == 0:\n"}),
    Wrong("no row counts: 0 / 0", {"    if not counts.any():\n": "    if False:\n"}),
    Wrong("any temperature", {"    if not 0 < temperature < math.inf:\n": "    if temperature == 0:\n"}),
    Wrong("a temperature of infinity", {"    if not 0 < temperature < math.inf:\n": "    if not 0 < temperature:\n"}),
    Wrong("the teacher is a submodule", {FROZEN: FROZEN + "        self.teacher = teacher\n"}),
    Wrong("the teacher is a submodule in a list", {FROZEN: FROZEN + "        self.teachers = [teacher]\n"}),
    Wrong("the teacher runs in its own mode", {FROZEN: FROZEN.replace(".eval()\n", "\n")}),
    Wrong("the teacher is put into eval mode for good", {FROZEN: "        frozen = teacher.eval()\n"}),
    Wrong(
        "the teacher is put into eval mode and back, for each call",
        {
            FROZEN: "        frozen = teacher\n",
            "            taught = self._taught(x)\n": "            modes = [(module, module.training) for module in self._modules()]\n            for module, _ in modes:\n                module.training = False\n            taught = self._taught(x)\n            for module, mode in modes:\n                module.training = mode\n",
            "        self._taught = lambda": "        self._modules = lambda: teacher.modules()\n        self._taught = lambda",
        },
    ),
    Wrong("the teacher's arrays are copied", {FROZEN: "        frozen = copy.deepcopy(teacher).eval()\n"}),
    Wrong(
        "the teacher's buffers are copied",
        {
            "        shared = [*teacher.parameters(), *(array for _, array in teacher.named_buffers())]\n": "        shared = teacher.parameters()\n"
        },
    ),
    Wrong("the teacher is recorded", {"        with no_grad():\n            taught": "        if True:\n            taught"}),
    Wrong(
        "the teacher gets a gradient",
        {
            TAUGHT: "        self._taught = lambda x: frozen(x)",
            "        with no_grad():\n            taught": "        if True:\n            taught",
            "    given = Tensor(teacher).data\n    counts": "    loose = teacher if isinstance(teacher, Tensor) else Tensor(teacher)\n    given = loose.data\n    counts",
            KL: KL.replace("return ", "return (loose * 0).sum() + "),
        },
    ),
    Wrong("alpha and 1 - alpha are exchanged", {MIX: "        return soft * (1 - self.alpha) + hard * self.alpha\n"}),
    Wrong("the losses are added", {MIX: "        return soft * self.alpha + hard\n"}),
    Wrong("with alpha 0 the teacher is called", {"        if not self.alpha:\n            return hard\n": ""}),
    Wrong(
        "alpha of 0 is the default",
        {
            "        self.student, self.temperature, self.alpha = student, temperature, alpha\n": "        self.student, self.temperature, self.alpha = student, temperature, alpha or 0.5\n"
        },
    ),
    Wrong(
        "a criterion of one's own is not used",
        {"CrossEntropyLoss() if criterion is None else criterion\n": "CrossEntropyLoss()\n"},
    ),
    Wrong(
        "ignored targets count in the soft loss",
        {"self.temperature, Tensor(y).data != self.criterion.ignore_index)": "self.temperature)"},
    ),
    Wrong("ignored targets are those below 0", {"Tensor(y).data != self.criterion.ignore_index)": "Tensor(y).data != -100)"}),
    Wrong("counted counts all rows", {"        return self.criterion.counted(y)\n": "        return Tensor(y).data.size\n"}),
    Wrong("any alpha", {"        if not 0 <= alpha <= 1:\n": "        if False:\n"}),
    Wrong("an alpha of 1 is refused", {"        if not 0 <= alpha <= 1:\n": "        if not 0 <= alpha < 1:\n"}),
    # 18.5
    Wrong(
        "the file is not compressed",
        {SAVED: "    return len(bytes(save(", ".items()}), 9))": ".items()})))"},
        says="not compressed",
    ),
    Wrong("the file is compressed with little effort", {".items()}), 9))": ".items()}), 1))"}),
    Wrong("arrays are saved in the order of memory", {'np.array(Tensor(value).data, order="C")': "Tensor(value).data"}),
    Wrong("0-d arrays become rows", {'np.array(Tensor(value).data, order="C")': "np.ascontiguousarray(Tensor(value).data)"}),
    Wrong(
        "only parameters are saved",
        {
            "    state = model.state_dict() if isinstance(model, Module) else model\n": "    state = dict(model.named_parameters()) if isinstance(model, Module) else model\n"
        },
    ),
    Wrong(
        "buffers hold no bytes", {"*(array for _, array in model.named_buffers())]:\n": "]:\n"}, says="buffers are forgotten"
    ),
    Wrong("a view holds only its own bytes", {HELD: "        while False:\n"}),
    Wrong("a view of a view holds the middle one", {HELD: "        if isinstance(array.base, np.ndarray):\n"}),
    Wrong(
        "shared memory counts for each use", {"        arrays[id(array)] = array\n": "        arrays[len(arrays)] = array\n"}
    ),
    Wrong(
        "grads are held too",
        {
            "    return sum(array.nbytes for array in arrays.values())\n": "    return sum(array.nbytes for array in arrays.values()) + sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)\n"
        },
    ),
    Wrong("before and after are exchanged", {"    models = before, after\n": "    models = after, before\n"}),
    Wrong(
        "one model after the other",
        {
            "                for i in (0, 1) if number % 2 else (1, 0):\n": "                for i in (number % 2, number % 2) if rounds > 1 else (0, 1):\n"
        },
    ),
    Wrong(
        "seconds are the sum",
        {
            LEAST: "                    seconds[i] = (0 if seconds[i] == math.inf else seconds[i]) + time.perf_counter() - start\n"
        },
    ),
    Wrong(
        "seconds are CPU time",
        {
            LEAST: LEAST.replace("time.perf_counter()", "time.process_time()"),
            "                    start = time.perf_counter()\n": "                    start = time.process_time()\n",
        },
    ),
    Wrong("calls run in the mode they are in", {EVAL: ""}),
    Wrong("only the model itself is put into eval mode", {EVAL: "        before.training = after.training = False\n"}),
    Wrong("modes are not put back", {"            module.training = mode\n    numbers": "            pass\n    numbers"}),
    Wrong(
        "modes are put back to train",
        {"            module.training = mode\n    numbers": "            module.training = True\n    numbers"},
    ),
    Wrong(
        "calls are recorded", {"        with no_grad():\n            for number": "        if True:\n            for number"}
    ),
    Wrong(
        "the score is not a float", {"[float(evaluate(model)) for model in models]": "[evaluate(model) for model in models]"}
    ),
    Wrong(
        "numbers are those of parameters alone",
        {"sum(array.size for array in model.state_dict().values())": "sum(parameter.size for parameter in model.parameters())"},
    ),
    Wrong("no rounds: infinity", {"    if rounds < 1:\n": "    if False:\n"}),
    Wrong("five rounds by default", {"rounds: int = 9": "rounds: int = 5"}),
    Wrong(
        "accelerated layers are unknown",
        {"        if isinstance(layer, FeedForward):\n": "        if type(layer) is FeedForward:\n"},
    ),
    Wrong(
        "an accelerated ReLU or pool is unknown",
        {"        elif not isinstance(layer, _UNITWISE):\n": "        elif type(layer) not in _UNITWISE:\n"},
    ),
    Wrong("new arrays lie in another order", {TAKE: "np.asfortranarray(np.take(array, indices, axis))\n"}),
    Wrong(
        "heads of factors are refused",
        {"_ends(attention.c_attn)[1], ": "attention.c_attn, "},
    ),
    Wrong(
        "evaluate is recorded",
        {
            "            scores = [float(evaluate(model)) for model in models]\n": "        scores = [float(evaluate(model)) for model in models]\n"
        },
    ),
    Wrong(
        "the teacher's Parameters are copied, their arrays are not",
        {"shared = [*teacher.parameters(), *(": "shared = [*(parameter.data for parameter in teacher.parameters()), *("},
    ),
    Wrong(
        "a Residual that only adds its activations is refused",
        {
            "        if end is not space:\n": '        if end is space:\n            space.fixed = "it writes nothing"\n        else:\n'
        },
    ),
    Wrong(
        "an empty batch has no shape",
        {
            "        q, k, v = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, width).permute(2, 0, 3, 1, 4)\n": "        q, k, v = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, -1).permute(2, 0, 3, 1, 4)\n"
        },
    ),
    # axes, dtypes, shapes and bounds
    Wrong("tiny weights count as 0", {"(weight, weight.data != 0)": "(weight, ~np.isclose(weight.data, 0))"}),
    Wrong("weights have 2 or 4 axes", {WEIGHTS: WEIGHTS.replace("> 1", "in (2, 4)")}),
    Wrong(
        "an axis of length 1 is none",
        {WEIGHTS: WEIGHTS.replace("parameter.ndim > 1", "sum(n > 1 for n in parameter.shape) > 1")},
    ),
    Wrong(
        "magnitudes are compared as float32",
        {MAGNITUDES: MAGNITUDES.replace("np.abs(weight.data)", "np.abs(weight.data.astype(np.float32))")},
    ),
    Wrong(
        "magnitudes are compared as float16 where a weight is",
        {MAGNITUDES: MAGNITUDES + "    magnitudes = [values.astype(magnitudes[-1].dtype) for values in magnitudes]\n"},
    ),
    Wrong(
        "squares are compared",
        {MAGNITUDES: MAGNITUDES.replace("np.abs(weight.data)", "np.square(weight.data.astype(np.float64))")},
    ),
    Wrong(
        "read-only weights are refused only if something is pruned",
        {"        if not weight.data.flags.writeable:\n": "        if amount and not weight.data.flags.writeable:\n"},
    ),
    Wrong(
        "scores are compared as float32",
        {"    scores = np.asarray(scores, np.float64)\n": "    scores = np.asarray(scores, np.float32)\n"},
    ),
    Wrong(
        "the caller's scores are negated",
        {STRONGEST: '    np.negative(scores, out=scores)\n    return np.sort(np.argsort(scores, kind="stable")[:count])\n'},
    ),
    Wrong(
        "the caller's keep is sorted",
        {
            "    keep = Tensor(keep).data\n": "    keep = keep if isinstance(keep, np.ndarray) else Tensor(keep).data\n",
            SORTED: "    keep.sort()\n    return keep.astype(np.intp)\n",
        },
    ),
    Wrong("other heads of a cache get ones", {"Tensor(np.zeros((len(k), room": "Tensor(np.ones((len(k), room"}),
    Wrong(
        "other heads of a cache get this attention's first one",
        {
            "                k, v = concatenate([k, zeros], 1), concatenate([v, zeros], 1)\n": "                k, v = (concatenate([values, *room * [values[:, :1]]], 1) for values in (k, v))\n"
        },
    ),
    Wrong(
        "other heads of a cache are read",
        {
            "k, v, sight = k[:, : self.n_head], v[:, : self.n_head], (seen, False, None)": "zero = (v[:, self.n_head :] * 0).sum(1, keepdim=True)\n            k, v, sight = k[:, : self.n_head], v[:, : self.n_head] + zero, (seen, False, None)"
        },
    ),
    Wrong(
        "padding with a cache: only the ends are compared",
        {PADDING: PADDING.replace("real[:, 1:] > real[:, :-1]", "real[:, -1:] > real[:, :1]")},
    ),
    Wrong(
        "padding with a cache: only the first row is looked at",
        {PADDING: PADDING.replace("real[:, 1:] > real[:, :-1]", "real[0, 1:] > real[0, :-1]")},
    ),
    Wrong(
        "padding with a cache: only the first token is looked at",
        {PADDING: PADDING.replace("(real[:, 1:] > real[:, :-1]).any()", "not real[:, 0].all() and real.any()")},
    ),
    Wrong(
        "a mask is broadcast over the rows",
        {
            MASKED: "        if real.ndim != 2 or real.shape[1] != x.shape[1] or real.shape[0] not in (1, x.shape[0]):\n",
            "        return real.astype(bool)\n": "        return np.broadcast_to(real.astype(bool), x.shape[:2])\n",
        },
    ),
    Wrong(
        "a mask of as many numbers is reshaped",
        {
            MASKED: "        if real.size != math.prod(x.shape[:2]):\n",
            "        return real.astype(bool)\n": "        return real.astype(bool).reshape(x.shape[:2])\n",
        },
    ),
    Wrong(
        "x needs only the width",
        {"        if x.ndim != 3 or x.shape[-1] != self.d_model:\n": "        if x.shape[-1] != self.d_model:\n"},
    ),
    Wrong("a map has no window", {"self.causal, self.window).data": "self.causal, None).data"}),
    Wrong("a map is always causal", {"self.causal, self.window).data": "True, self.window).data"}),
    Wrong(
        "an error of 0 does nothing",
        {"    names = {id(parameter): name": "    if not error:\n        return {}\n    names = {id(parameter): name"},
    ),
    Wrong(
        "an error of 0 needs no finite weights",
        {
            "            if not np.isfinite(weight).all():\n": "            if error and not np.isfinite(weight).all():\n",
            "            u, s, v = ": "            weight = np.nan_to_num(weight)\n            u, s, v = ",
        },
    ),
    Wrong("an error of 0 needs all ranks", {RANK: RANK + "            rank = rank if error else len(s)\n"}),
    Wrong("an error is at least 1e-12", {RANK: RANK.replace("error * lost[0]", "max(error, 1e-12) * lost[0]")}),
    Wrong(
        "counts may have fewer axes",
        {SHAPES: SHAPES.replace("student.shape[:-1] != counts.shape", "student.shape[:-1][: counts.ndim] != counts.shape")},
    ),
    Wrong(
        "counts are broadcast",
        {
            SHAPES: "    with contextlib.suppress(ValueError):\n        counts = np.broadcast_to(counts, student.shape[:-1])\n"
            + SHAPES,
            "import copy\n": "import contextlib\nimport copy\n",
        },
    ),
    Wrong("counts must be an array", {"Tensor(counts).data\n    if student": "counts\n    if student"}),
    Wrong("a tiny probability is none", {ADDS: "    adds = p > np.finfo(p.dtype).eps\n"}),
    Wrong(
        "one criterion for all objectives",
        {"criterion: CrossEntropyLoss | None = None,": "criterion: CrossEntropyLoss | None = CrossEntropyLoss(),"},
    ),
    Wrong("the criterion is the class's", {"        self.criterion = ": "        type(self).criterion = "}),
    Wrong(
        "a criterion that is falsy is none",
        {"CrossEntropyLoss() if criterion is None else criterion\n": "criterion or CrossEntropyLoss()\n"},
    ),
    Wrong(
        "a target must be an array or a list",
        {
            "        logits = self.student(x)\n": '        if isinstance(y, np.integer):\n            raise TypeError("no targets")\n        logits = self.student(x)\n'
        },
    ),
    Wrong(
        "a view of another dtype holds its own bytes",
        {HELD: "        while isinstance(array.base, np.ndarray) and array.base.dtype == array.dtype:\n"},
    ),
    Wrong(
        "a view of another shape holds its own bytes",
        {HELD: "        while isinstance(array.base, np.ndarray) and array.base.size > array.size > 0:\n"},
    ),
    Wrong(
        "the modes are put back after an error of evaluate alone",
        {
            "    try:\n        before.eval(), after.eval()\n        with no_grad():\n            for number": "    before.eval(), after.eval()\n    with no_grad():\n        if True:\n            for number",
            "            scores = [float(evaluate(model)) for model in models]\n    finally:\n": "    try:\n        with no_grad():\n            scores = [float(evaluate(model)) for model in models]\n    finally:\n",
        },
    ),
    Wrong(
        "inputs are copied",
        {"                    models[i](inputs)\n": "                    models[i](copy.deepcopy(inputs))\n"},
    ),
    Wrong(
        "a model is measured before rounds are checked",
        {
            '    if rounds < 1:\n        raise ValueError(f"rounds must be 1 or more, not {rounds!r}")\n': '    float(evaluate(before))\n    if rounds < 1:\n        raise ValueError(f"rounds must be 1 or more, not {rounds!r}")\n'
        },
    ),
    # models in models
    Wrong(
        "a factored layer reads its units one by one",
        {
            "            self.read(reader, space, form)\n": '            self.read(reader, space, "rows" if isinstance(layer, LowRankLinear) else form)\n'
        },
    ),
    Wrong(
        "a FeedForward in a Sequential is an unknown layer",
        {
            "        if isinstance(layer, FeedForward):\n": "        if isinstance(layer, FeedForward) and len(self.seen) == 1:\n"
        },
    ),
    Wrong(
        "a Residual in a Residual is a Sequential",
        {
            "            return self.joined(space, end, form) if isinstance(layer, Residual)": "            inner = any(layer in other.layers for other in self.seen if isinstance(other, Residual))\n            return self.joined(space, end, form) if isinstance(layer, Residual) and not inner"
        },
    ),
    Wrong(
        "a CNN in a Sequential flattens nothing",
        {"                if isinstance(layer, CNN) and": "                if isinstance(self.seen[0], CNN) and"},
    ),
    Wrong(
        "factors of float16 are float32",
        {
            "        factor.weight = Parameter(array.astype(dtype))\n": "        factor.weight = Parameter(array.astype(np.promote_types(dtype, np.float32)))\n"
        },
    ),
    # rounding, loops and subclasses
    Wrong(
        "half a weight is rounded up",
        {SMALLEST: SMALLEST.replace("round(float(amount) * values.size)", "int(float(amount) * values.size + 0.5)")},
    ),
    Wrong(
        "a masked step makes new floats",
        {
            STEP: "        self.optimizer.step()\n        for weight, kept in self.masks.pairs:\n            weight.data[...] = np.where(kept, weight.data, 0)\n        self.masks.pairs"
        },
    ),
    Wrong(
        "a message has only the layer that is in the way",
        {
            "the outputs of {type(layer).__name__} can't be removed: {space.fixed}": "{space.fixed if 'go through' in space.fixed else type(layer).__name__ + space.fixed}"
        },
    ),
    Wrong(
        "a loop over columns behind a Flatten",
        {COLUMNS: "        return np.array([kept[i] * repeat + j for i in range(len(kept)) for j in range(repeat)])\n"},
    ),
    Wrong(
        "a loop over the columns of heads",
        {ROWS: "    rows = np.array([part * n_head * width + column for part in range(3) for column in columns])"},
    ),
    Wrong(
        "a loop over the weights of a Linear",
        {
            "np.linalg.svd(weight.astype(np.float64)": "np.linalg.svd(np.array([[float(value) for value in row] for row in weight])"
        },
    ),
    Wrong(
        "a subclass of CNN flattens nothing",
        {"                if isinstance(layer, CNN) and": "                if type(layer) is CNN and"},
    ),
    Wrong(
        "a subclass of Residual is a Sequential",
        {
            "return self.joined(space, end, form) if isinstance(layer, Residual)": "return self.joined(space, end, form) if type(layer) is Residual"
        },
    ),
    Wrong(
        "a subclass of Conv2d makes rows",
        {'"image" if isinstance(layer, Conv2d) else "rows"': '"image" if type(layer) is Conv2d else "rows"'},
    ),
    Wrong(
        "a subclass of BatchNorm2d is an unknown layer",
        {"        if isinstance(layer, BatchNorm2d):\n": "        if type(layer) is BatchNorm2d:\n"},
    ),
    Wrong(
        "the scale of a subclass of BatchNorm2d does not count",
        {"if isinstance(cut.module, BatchNorm2d)]": "if type(cut.module) is BatchNorm2d]"},
    ),
    Wrong("a subclass of Flatten is an unknown layer", {"(isinstance(layer, Flatten) and": "(type(layer) is Flatten and"}),
    Wrong(
        "a subclass of GlobalAvgPool is an unknown layer",
        {"        elif isinstance(layer, GlobalAvgPool) or": "        elif type(layer) is GlobalAvgPool or"},
    ),
    Wrong(
        "a subclass of Sequential is an unknown module",
        {"        if isinstance(layer, Sequential):\n": "        if type(layer) in (Sequential, CNN, Residual):\n"},
    ),
    Wrong(
        "the scores of factored heads are those of the inner rows",
        {
            "    values, read = cuts[0].array[2 * len(cuts[0].array) // 3 :]": "    array = attention.c_attn.up.weight.data @ np.abs(attention.c_attn.down.weight.data) if isinstance(attention.c_attn, LowRankLinear) else cuts[0].array\n    values, read = array[2 * len(array) // 3 :]"
        },
    ),
    Wrong("with a cache later keys are not seen, wherever they lie", {"(seen, False, None)": "(seen, True, None)"}),
    Wrong("with a cache the window counts once more", {"(seen, False, None)": "(seen, False, self.window)"}),
    Wrong(
        "scores are negated before an error",
        {
            "    if not 1 <= count <= len(scores) or": "    np.negative(scores, out=scores)\n    if not 1 <= count <= len(scores) or",
            STRONGEST: STRONGEST.replace("argsort(-scores", "argsort(scores"),
        },
    ),
    Wrong("a cache that is falsy is none", {"self._split(x, 0 if cache is None else": "self._split(x, 0 if not cache else"}),
    Wrong("positions that are falsy are none", {"if self.positions is None else": "if not self.positions else"}),
    Wrong(
        "no row counts: 0 is divided by first",
        {
            P: "",
            "    if not counts.any():\n": "    share = Tensor(student).dtype.type(float(temperature) ** 2 / counts.sum())\n    if not counts.any():\n",
        },
    ),
    Wrong(
        "results of an inner Sequential can be removed",
        {
            'end.fixed = end.fixed or "they are the output"': 'end.fixed = end.fixed or ("they are the output" if root is model else "")'
        },
    ),
    Wrong(
        "a LogSoftmax keeps units apart",
        {
            "_UNITWISE = ReLU, LeakyReLU, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d": (
                "_UNITWISE = ReLU, LeakyReLU, Tanh, GELU, Dropout, MaxPool2d, AvgPool2d, LogSoftmax"
            )
        },
    ),
    Wrong(
        "a reader of rows and of channels is two",
        {
            "others = [cut[:3] for other in spaces": "others = [cut for other in spaces",
            "if cut[:3] in others": "if cut in others",
        },
    ),
    Wrong(
        "keeping all heads changes nothing",
        {"kept = _kept(keep, n_head)\n": "kept = _kept(keep, n_head)\n    if len(kept) == n_head:\n        return\n"},
    ),
    Wrong("bytes have a base", {"while isinstance(array.base, np.ndarray):": "while array.base is not None:"}),
    Wrong(
        "branch through Sigmoid forgotten",
        {"space.fixed = space.fixed or end.fixed or different": "space.fixed = end.fixed or different"},
    ),
    Wrong(
        "an error just reached refused",
        {"np.argmax(lost <= error * lost[0])": "np.argmax((lost < error * lost[0]) | (lost == 0))"},
    ),
    Wrong(
        "factors remember their first size",
        {"        return self.down.in_features": '        return vars(self).setdefault("_in_features", self.down.in_features)'},
    ),
    Wrong(
        "sparsity computed once",
        {
            "        return pruned / max(1, sum(kept.size for _, kept in self.pairs))": '        return vars(self).setdefault("_sparsity", pruned / max(1, sum(kept.size for _, kept in self.pairs)))'
        },
    ),
]

_FORWARDS = (
    "Residual.forward",
    "PrunedAttention.forward",
    "PrunedAttention.weights",
    "LowRankLinear.forward",
    "distillation_loss",
)

EQUIVALENT = {
    **{f"{name}: a result is a copy, not a view": "it is an array of its own anyway" for name in _FORWARDS},
    **{
        f"{name}: {habit}": "results are floats"
        for name in (*_FORWARDS[1:], "unit_scores", "head_scores")
        for habit in ("int32 for int64", "int64 for int32")
    },
    **{f"{name}: float64 for float32": "scores are float64 anyway" for name in ("unit_scores", "head_scores")},
    **{f"{name}: axes of length 0 are refused": "a layer has units" for name in ("unit_scores", "head_scores")},
    **{f"{name}: axes of length 0 are refused": "an empty keep is refused" for name in ("prune_units", "prune_heads")},
    **{
        f"{name}: {habit}": "keep holds integers, which are sorted"
        for name in ("prune_units", "prune_heads")
        for habit in ("infinities and NaN in arguments are made finite", "arguments are read in the order of memory")
    },
    "Masks.of: attributes are those of the construction": "it is a classmethod",
    "Masks.__init__: infinities and NaN in arguments are made finite": "it reads no weight",
    "PrunedAttention.forward: a falsy argument is taken as absent": "its defaults are falsy",
    "PrunedAttention.weights: a falsy argument is taken as absent": "its defaults are falsy",
    "PrunedAttention.weights: a result is a view of an equal argument": "a map has an axis more than x",
    "PrunedAttention.forward: NumPy's numbers are refused": "it takes no numbers",
    "PrunedAttention.weights: NumPy's numbers are refused": "it takes no numbers",
    **{
        f"Distillation.forward: {habit}": "the loss is a float without axes, and an array of its own"
        for habit in (
            "a result is a view of an equal argument",
            "a result is a copy, not a view",
            "axes of length 1 are dropped",
            "int32 for int64",
            "int64 for int32",
        )
    },
    "Distillation.forward: axes of length 0 are refused": "without a target that counts there is no loss",
    "Distillation.counted: infinities and NaN in arguments are made finite": "it does not read x, and y holds integers",
    "Distillation.counted: arguments are read in the order of memory": "the number of targets is the same in any order",
    "Distillation.__init__: a check comes after the effect": "after the error there is no object",
    **{
        f"strongest: {habit}": "indices are integers, of any number of bits, in an array of their own"
        for habit in (
            "a result is a copy, not a view",
            "float64 for float32",
            "float32 for float64",
            "int32 for int64",
            "int64 for int32",
            "infinities and NaN in results are made finite",
        )
    },
    "strongest: axes of length 0 are refused": "of no scores none can be chosen",
    "distillation_loss: a result is a view of an equal argument": "the loss has no axes, and logits have",
    "distillation_loss: axes of length 1 are dropped": "the loss has no axes",
}
