"""Wrong solutions of kata 12, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

ADDED = "    result[rows] = np.add.reduceat(g, first, 0, np.float64)\n"
GATHERED = "weight.data[ids], weight, ids=ids, padding_idx=padding_idx)"
COPIED = "    ids = ids.astype(np.intp)  # a copy, which the record holds\n"
OUTSIDE = "    outside = (ids < 0) | (ids >= num)\n"
KINDS = '    if array.size and array.dtype.kind not in "iu":  # without values, as in [], there is no type\n'
PLACED = "    positions = starts.astype(np.intp)[..., None] + np.arange(x.shape[-2])  # (time,) or (batch, time)\n"
SHAPED = "return positions.reshape(*starts.shape, *(1,) * (x.ndim - 2 - starts.ndim), x.shape[-2])"
ANGLES = "return np.arange(max_positions)[:, None] * float(base) ** (-np.arange(0, dim, 2) / dim)"
WAVES = "self._table = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(max_positions, dim)"
ADDS = "return x + Tensor(self._table[_positions(self, self._table, x, start)].astype(x.dtype))"
LEARNED = "return x + embedding(_positions(self, self.weight, x, start), self.weight)"
TABLES = "cos, sin = self._cos[positions].astype(x.dtype), self._sin[positions].astype(x.dtype)\n"
RECORDED = 'return Tensor._result("rotary", _rotated(x.data, cos, sin, self._pair), x, cos=cos, sin=sin, pair=self._pair)'
TURNED = "            self._cos[:, channels], self._sin[:, channels] = np.cos(angles), sign * np.sin(angles)\n"
BACK = "_rotated(g, cos, -sin, pair)"
SWAPPED = "    y[..., first], y[..., second] = x[..., second], x[..., first]\n"

WRONG = [
    # embedding: looking up
    Wrong("zeros are looked up", {GATHERED: "0 * weight.data[ids], weight, ids=ids, padding_idx=padding_idx)"}),
    Wrong("ids are counted from 1", {GATHERED: "weight.data[ids - 1], weight, ids=ids, padding_idx=padding_idx)"}),
    Wrong(
        "columns are looked up", {GATHERED: "weight.data.T[ids % weight.shape[1]], weight, ids=ids, padding_idx=padding_idx)"}
    ),
    Wrong(
        "a product with one-hot rows",
        {
            GATHERED: "(ids[..., None] == np.arange(num)).astype(weight.dtype) @ weight.data, weight, ids=ids, padding_idx=padding_idx)"
        },
        says="0 times infinity",
    ),
    Wrong("ids are flattened", {GATHERED: "weight.data[ids.ravel()], weight, ids=ids, padding_idx=padding_idx)"}),
    Wrong("one id becomes a row with a batch of one", {COPIED: COPIED + "    ids = np.atleast_1d(ids)\n"}),
    Wrong(
        "ids in order are a view of the weight",
        {
            GATHERED: "_looked_up(weight.data, ids), weight, ids=ids, padding_idx=padding_idx)",
            "def _integers(": "def _looked_up(weight, ids):\n    if ids.ndim == 1 and ids.size and (np.diff(ids) == 1).all():\n        return weight[ids[0] : ids[-1] + 1]\n    return weight[ids]\n\n\ndef _integers(",
        },
    ),
    Wrong(
        "one id is a view of the weight",
        {GATHERED: "weight.data[ids if ids.ndim else int(ids)], weight, ids=ids, padding_idx=padding_idx)"},
    ),
    Wrong(
        "the record is cut",
        {
            'return Tensor._result("embedding", weight.data[ids], weight, ids=ids, padding_idx=padding_idx)': "return Tensor(weight.data[ids])"
        },
    ),
    Wrong(
        "the result is float32",
        {GATHERED: "weight.data[ids].astype(np.float32), weight, ids=ids, padding_idx=padding_idx)"},
    ),
    Wrong(
        "the result is float64",
        {GATHERED: "weight.data[ids].astype(np.float64), weight, ids=ids, padding_idx=padding_idx)"},
        says="a silent promotion",
    ),
    Wrong(
        "ids are as they are at backward", {COPIED: "    ids = ids.astype(np.intp, copy=False)\n"}, says="were changed after"
    ),
    Wrong("ids stay of a small dtype", {COPIED: "    ids = ids.astype(np.int8)\n"}),
    Wrong("ids are uint8", {COPIED: "    ids = ids.astype(np.uint8)\n"}),
    Wrong("ids must have axes", {COPIED: COPIED + '    if not ids.ndim:\n        raise ValueError("no axes")\n'}),
    Wrong(
        "padding is looked up as zeros",
        {GATHERED: "weight.data[ids] * (ids != padding_idx)[..., None], weight, ids=ids, padding_idx=padding_idx)"},
    ),
    # embedding: what is refused
    Wrong("negative ids count from the end", {OUTSIDE: "    outside = ids >= num\n"}, says="let through"),
    Wrong("ids beyond the last are NumPy's affair", {OUTSIDE: "    outside = ids < 0\n"}, says="is not named"),
    Wrong("num is an id", {OUTSIDE: "    outside = (ids < 0) | (ids > num)\n"}),
    Wrong("the last id is refused", {OUTSIDE: "    outside = (ids < 0) | (ids >= num - 1)\n"}),
    Wrong(
        "ids are cut to the range",
        {OUTSIDE: "    ids = np.clip(ids, 0, num - 1)\n    outside = ids < 0\n"},
        says="let through",
    ),
    Wrong("the last wrong id is named", {"np.argwhere(outside)[0]": "np.argwhere(outside)[-1]"}, says="is not named"),
    Wrong(
        "the largest wrong id is named", {'f"id {ids[place]} at {place}': 'f"id {ids.max()} at {place}'}, says="is not named"
    ),
    Wrong(
        "the place of a wrong id is that in the flattened ids",
        {
            "place = tuple(map(int, np.argwhere(outside)[0]))": "place = int(np.flatnonzero(outside)[0])",
            "ids[place]": "ids.flat[place]",
        },
        says="is not named",
    ),
    Wrong("the place of a wrong id is not said", {" at {place} is out": " is out"}, says="is not named"),
    Wrong("the number of embeddings is not said", {': there are {num} embeddings")': '")'}, says="is not named"),
    Wrong("a wrong id is a ValueError", {'raise IndexError(f"id': 'raise ValueError(f"id'}, says="another error came first"),
    Wrong(
        "ids are cast before they are checked",
        {
            "    array = Tensor(values).data\n": "    array = Tensor(values).data\n    if array.dtype.kind in 'u':\n        array = array.astype(np.int64)\n"
        },
    ),
    Wrong(
        "floats are rounded",
        {
            KINDS: '    if array.dtype.kind == "f":\n        array = array.astype(np.int64)\n    if array.size and array.dtype.kind not in "iu":\n'
        },
        says="let through",
    ),
    Wrong(
        "whole floats are ids",
        {
            KINDS: '    if array.dtype.kind == "f" and (array == array.round()).all():\n        array = array.astype(np.int64)\n    if array.size and array.dtype.kind not in "iu":\n'
        },
        says="let through",
    ),
    Wrong("booleans are ids 0 and 1", {KINDS: '    if array.size and array.dtype.kind not in "iub":\n'}, says="let through"),
    Wrong("unsigned integers are refused", {KINDS: '    if array.size and array.dtype.kind not in "i":\n'}),
    Wrong("a list without ids is refused", {KINDS: '    if array.dtype.kind not in "iu":\n'}),
    Wrong(
        "the dtype of ids is not said",
        {"must be integers, not {array.dtype}: {array.flat[0]}": "must be integers"},
        says="is not named",
    ),
    Wrong("a weight may have any axes", {"    if weight.ndim != 2:\n": "    if weight.ndim < 1:\n"}, says="let through"),
    Wrong("the shape of the weight is not said", {", not the shape {weight.shape}": ""}, says="is not named"),
    # embedding: the gradient
    Wrong("the last token of each id counts", {ADDED: "    result[ids.ravel()[order]] = g\n"}, says="assigned, not added"),
    Wrong("+= adds once", {ADDED: "    result[ids.ravel()[order]] += g\n"}, says="assigned, not added"),
    Wrong(
        "the mean over the tokens of an id",
        {ADDED: ADDED + "    result[rows] /= np.diff(first, append=len(g))[:, None].astype(result.dtype)\n"},
        says="the mean over the tokens",
    ),
    Wrong("the mean over all tokens", {ADDED: ADDED + "    result /= result.dtype.type(max(ids.size, 1))\n"}),
    Wrong(
        "float32 is added one by one", {ADDED: "    np.add.at(result, ids.ravel()[order], g)\n"}, says="one by one in float32"
    ),
    Wrong(
        "float32 is added in blocks, whose sums are added one by one",
        {
            ADDED: "    for block in range(0, len(g), 10):\n        np.add.at(result, ids.ravel()[order][block : block + 10], g[block : block + 10])\n"
        },
    ),
    Wrong(
        "sums of float16 are float16",
        {
            ADDED: "    np.add.at(sums := result.astype(np.float16 if g.dtype == np.float16 else np.float64), ids.ravel()[order], g)\n    result[...] = sums\n"
        },
    ),
    Wrong(
        "the gradient is float64",
        {"np.zeros_like(weight), np.argsort": "np.zeros(weight.shape), np.argsort"},
        says="a silent promotion",
    ),
    Wrong("the gradients are not sorted with their ids", {"[order]  # (tokens, dim)": "  # (tokens, dim)"}),
    Wrong(
        "tokens of the last axis only are counted",
        {
            "np.zeros_like(weight), np.argsort(ids, None": "np.zeros_like(weight), np.argsort(ids := ids.reshape(-1, ids.shape[-1])[0] if ids.ndim > 1 and ids.size else ids, None",
            "g = g.reshape(ids.size, weight.shape[1])[order]": "g = g.reshape(-1, weight.shape[1])[: ids.size][order]",
        },
    ),
    Wrong("rows that are not used get what is there", {"np.zeros_like(weight), np.argsort": "np.array(weight), np.argsort"}),
    Wrong(
        "without ids there is no gradient",
        {
            "    rows, first = np.unique": '    if not ids.size:\n        raise ValueError("no ids")\n    rows, first = np.unique'
        },
    ),
    Wrong(
        "padding receives a gradient",
        {"    if padding_idx is not None:\n        result[padding_idx] = 0\n": ""},
        says="padding receives a gradient",
    ),
    Wrong(
        "padding 0 is no padding",
        {"    if padding_idx is not None:\n        result": "    if padding_idx:\n        result"},
        says="padding receives a gradient",
    ),
    Wrong("padding is multiplied by 0", {"        result[padding_idx] = 0\n": "        result[padding_idx] *= 0\n"}),
    Wrong(
        "all from the padding row on is padding", {"        result[padding_idx] = 0\n": "        result[padding_idx:] = 0\n"}
    ),
    Wrong(
        "a negative padding row is none",
        {
            "    return operator.index(padding_idx) % num\n": "    return operator.index(padding_idx) if padding_idx >= 0 else None\n"
        },
    ),
    Wrong(
        "a negative padding row is one further",
        {"    return operator.index(padding_idx) % num\n": "    return operator.index(padding_idx) % (num - 1)\n"},
    ),
    Wrong("a negative padding row is refused", {"    if not -num <= operator": "    if not 0 <= operator"}),
    Wrong(
        "a padding row beyond the last wraps around",
        {"    if not -num <= operator.index(padding_idx) < num:\n": "    if False:\n"},
        says="let through",
    ),
    Wrong(
        "num is a padding row",
        {"    if not -num <= operator.index(padding_idx) < num:\n": "    if not -num <= operator.index(padding_idx) <= num:\n"},
    ),
    Wrong("-num - 1 is a padding row", {"    if not -num <= operator": "    if not -num - 1 <= operator"}),
    Wrong("True is padding row 1", {"    if isinstance(padding_idx, bool | np.bool_):\n": "    if False:\n"}),
    Wrong(
        "a float is a padding row",
        {
            "    if not -num <= operator.index(padding_idx) < num:\n": "    padding_idx = int(padding_idx)\n    if not -num <= operator.index(padding_idx) < num:\n"
        },
        says="let through",
    ),
    Wrong(
        "NumPy's integers are no padding row",
        {
            "    if isinstance(padding_idx, bool | np.bool_):\n": "    if not isinstance(padding_idx, int) or isinstance(padding_idx, bool):\n"
        },
    ),
    # Embedding
    Wrong(
        "the weight is transposed",
        {"standard_normal((rows, columns), np.float32)": "standard_normal((columns, rows), np.float32)"},
    ),
    Wrong(
        "the weight is float64",
        {"standard_normal((rows, columns), np.float32)": "standard_normal((rows, columns))"},
        says="a silent promotion",
    ),
    Wrong(
        "the weight is uniform",
        {
            "np.random.default_rng(rng).standard_normal((rows, columns), np.float32)": "(np.random.default_rng(rng).random((rows, columns), np.float32) * 2 - 1) * np.float32(3**0.5)"
        },
    ),
    Wrong(
        "the weight is GPT-2's",
        {"standard_normal((rows, columns), np.float32))": "standard_normal((rows, columns), np.float32) * np.float32(0.02))"},
    ),
    Wrong(
        "the weight is divided by the root of dim",
        {
            "standard_normal((rows, columns), np.float32))": "standard_normal((rows, columns), np.float32) / np.float32(columns**0.5))"
        },
    ),
    Wrong(
        "the weight is cut at 2",
        {
            "np.random.default_rng(rng).standard_normal((rows, columns), np.float32)": "np.clip(np.random.default_rng(rng).standard_normal((rows, columns), np.float32), -2.5, 2.5)"
        },
    ),
    Wrong(
        "the weight is zeros",
        {"np.random.default_rng(rng).standard_normal((rows, columns), np.float32)": "np.zeros((rows, columns), np.float32)"},
    ),
    Wrong(
        "every layer is the same",
        {"np.random.default_rng(rng).standard": "np.random.default_rng(0 if rng is None else rng).standard"},
    ),
    Wrong("the generator is ignored", {"np.random.default_rng(rng).standard": "np.random.default_rng().standard"}),
    Wrong(
        "the global generator is used",
        {
            "np.random.default_rng(rng).standard_normal((rows, columns), np.float32)": "(rng or np.random).normal(size=(rows, columns)).astype(np.float32)"
        },
    ),
    Wrong(
        "the generator is copied",
        {"np.random.default_rng(rng).standard": "__import__('copy').deepcopy(np.random.default_rng(rng)).standard"},
    ),
    Wrong("the padding row is drawn", {"            self.weight.data[self.padding_idx] = 0\n": "            pass\n"}),
    Wrong(
        "the padding row is not drawn",
        {
            "        self.weight = _drawn(self, num_embeddings, embedding_dim, rng)\n        self.padding_idx = _row(padding_idx, num_embeddings)\n": "        self.padding_idx = _row(padding_idx, num_embeddings)\n        self.weight = _drawn(self, num_embeddings, embedding_dim, rng)\n        if self.padding_idx is not None:\n            few = _drawn(self, max(num_embeddings - 1, 1), embedding_dim, rng)\n            self.weight = Parameter(np.insert(few.data, self.padding_idx, 0, 0))\n"
        },
    ),
    Wrong("padding row 0 is drawn", {"        if self.padding_idx is not None:\n": "        if self.padding_idx:\n"}),
    Wrong(
        "the layer forgets its padding",
        {"return embedding(ids, self.weight, self.padding_idx)": "return embedding(ids, self.weight)"},
    ),
    Wrong(
        "the padding row is no row of the weight",
        {
            "return embedding(ids, self.weight, self.padding_idx)": "return embedding(ids, self.weight, self.padding_idx) * Tensor((np.asarray(Tensor(ids).data) != self.padding_idx)[..., None].astype(self.weight.dtype))"
        },
    ),
    Wrong(
        "the size of the construction counts",
        {
            "return embedding(ids, self.weight, self.padding_idx)": "return embedding(ids, Tensor(self.weight.data[: self.num]) if len(self.weight) > self.num else self.weight, self.padding_idx)",
            "        self.padding_idx = _row(padding_idx, num_embeddings)\n": "        self.padding_idx = _row(padding_idx, num_embeddings)\n        self.num = num_embeddings\n",
        },
    ),
    Wrong(
        "the layer has a bias",
        {
            "            self.weight.data[self.padding_idx] = 0\n": "            self.weight.data[self.padding_idx] = 0\n        self.bias = Parameter(np.zeros(embedding_dim, np.float32))\n"
        },
    ),
    Wrong(
        "the parameter has another name",
        {
            "        self.weight = _drawn(self, num_embeddings, embedding_dim, rng)\n": "        self.table = self.weight = _drawn(self, num_embeddings, embedding_dim, rng)\n"
        },
    ),
    Wrong("no rows are enough", {"    if rows < 1 or columns < 1:\n": "    if rows < 0 or columns < 0:\n"}, says="let through"),
    Wrong(
        "the sizes are not said",
        {'({rows}, {columns}): both sizes must be positive")': ': both sizes must be positive")'},
        says="is not named",
    ),
    Wrong(
        "a wrong padding row is found at the first forward",
        {
            "        self.padding_idx = _row(padding_idx, num_embeddings)\n        if self.padding_idx is not None:\n": "        self.padding_idx = padding_idx\n        if isinstance(padding_idx, int) and not isinstance(padding_idx, bool) and -num_embeddings <= padding_idx < num_embeddings:\n"
        },
        says="let through",
    ),
    # positions: start
    Wrong(
        "start is ignored",
        {PLACED: PLACED.replace("starts.astype(np.intp)[..., None]", "0 * starts.astype(np.intp)[..., None]")},
        says="start is ignored",
    ),
    Wrong(
        "positions are counted from 1",
        {PLACED: PLACED.replace("np.arange(x.shape[-2])", "np.minimum(np.arange(1, x.shape[-2] + 1), longest - 1)")},
        says="counted from 1",
    ),
    Wrong(
        "start is one too late",
        {
            PLACED: PLACED.replace("starts.astype(np.intp)[..., None]", "(starts.astype(np.intp) + (starts > 0))[..., None]"),
            "    if last >= longest:\n": "    last += starts.any()\n    if last >= longest:\n",
        },
        says="one position too late",
    ),
    Wrong(
        "all tokens of a row stand at its start",
        {PLACED: PLACED.replace("np.arange(x.shape[-2])", "0 * np.arange(x.shape[-2])")},
    ),
    Wrong(
        "all rows have the start of the first",
        {PLACED: "    starts = starts.ravel()[:1].reshape(()) if starts.size else np.array(0)\n" + PLACED},
    ),
    Wrong(
        "starts are by the axis before time",
        {SHAPED: "return positions.reshape(*(1,) * (x.ndim - 2 - starts.ndim), *starts.shape, x.shape[-2])"},
    ),
    Wrong(
        "starts are in the dtype they come in",
        {PLACED: "    positions = starts[..., None] + np.arange(x.shape[-2]).astype(starts.dtype)\n"},
    ),
    Wrong("starts of uint64 make floats", {PLACED: PLACED.replace("starts.astype(np.intp)", "starts")}),
    Wrong(
        "a start for each row is refused",
        {"    if starts.ndim and starts.shape != x.shape[:-2][:1]:\n": "    if starts.ndim:\n"},
    ),
    Wrong(
        "starts for each row are for three axes only",
        {
            "    if starts.ndim and starts.shape != x.shape[:-2][:1]:\n": "    if starts.ndim and (x.ndim != 3 or starts.shape != x.shape[:-2][:1]):\n"
        },
    ),
    Wrong(
        "a start is a Python integer",
        {
            'starts = table.shape, _integers("start", start)': 'starts = table.shape, _integers("start", start if isinstance(start, (int, list, np.ndarray)) else [start, start, 0.5])'
        },
    ),
    Wrong(
        "one start is stretched over the batch",
        {
            "    if starts.ndim and starts.shape != x.shape[:-2][:1]:\n": "    if starts.shape == (1,):\n        starts = starts[0]\n    if starts.ndim and starts.shape != x.shape[:-2][:1]:\n"
        },
        says="let through",
    ),
    Wrong("starts are for time where there is no batch", {"starts.shape != x.shape[:-2][:1]:": "starts.shape != x.shape[:1]:"}),
    Wrong(
        "starts of any shape are flattened",
        {
            'starts = table.shape, _integers("start", start)': 'starts = table.shape, _integers("start", start)\n    starts = starts.ravel() if starts.ndim else starts'
        },
        says="let through",
    ),
    Wrong("the shape of x is not said beside that of start", {", and x {x.shape}: give": ": give"}, says="is not named"),
    Wrong(
        "no starts are start 0",
        {
            '_integers("start", start)': '_integers("start", start)\n    starts = starts if starts.size or not starts.ndim or not len(x) else np.array(0)'
        },
        says="let through",
    ),
    Wrong(
        "a negative start counts from the end", {"    if starts.min(initial=0) < 0:\n": "    if False:\n"}, says="let through"
    ),
    Wrong("the negative start is not said", {"start {starts.min()} is negative": "start is negative"}, says="is not named"),
    Wrong(
        "only the first start may not be negative",
        {"    if starts.min(initial=0) < 0:\n": "    if starts.ravel()[:1].min(initial=0) < 0:\n"},
    ),
    Wrong("the last position is refused", {"    if last >= longest:\n": "    if last >= longest - 1:\n"}),
    Wrong("one position beyond the longest is allowed", {"    if last >= longest:\n": "    if last > longest:\n"}),
    Wrong(
        "only start must be below the longest",
        {"    last = int(starts.max(initial=0)) + x.shape[-2] - 1\n": "    last = int(starts.max(initial=0))\n"},
    ),
    Wrong(
        "only the first row's start is looked at",
        {"    last = int(starts.max(initial=0)) + x": "    last = int(starts.ravel()[:1].max(initial=0)) + x"},
    ),
    Wrong(
        "positions beyond the longest wrap around",
        {
            "    if last >= longest:\n": "    if False:\n",
            SHAPED: SHAPED.replace("positions.reshape", "(positions % longest).reshape"),
        },
        says="let through",
    ),
    Wrong(
        "positions beyond the longest stay at it",
        {
            "    if last >= longest:\n": "    if False:\n",
            SHAPED: SHAPED.replace("positions.reshape", "positions.clip(0, longest - 1).reshape"),
        },
        says="let through",
    ),
    Wrong(
        "the position beyond the longest is not said",
        {"there is no position {last}: ": "there is no such position: "},
        says="is not named",
    ),
    Wrong("the longest position is not said", {" has {longest}, counted from 0": " has no more"}, says="is not named"),
    Wrong(
        "a start at the end is refused even without tokens",
        {"    if last >= longest:\n": "    if starts.max(initial=0) >= longest or last >= longest:\n"},
    ),
    Wrong(
        "the last position overflows",
        {
            "    last = int(starts.max(initial=0)) + x.shape[-2] - 1\n": "    with np.errstate(all='ignore'):\n        last = starts.astype(np.int64).max(initial=0) + np.int64(x.shape[-2] - 1)\n"
        },
    ),
    Wrong(
        "start may be a float",
        {
            '_integers("start", start)': '_integers("start", Tensor(start).data.astype(np.int64) if Tensor(start).data.dtype.kind == "f" else start)'
        },
        says="let through",
    ),
    Wrong(
        "start may be True",
        {
            '_integers("start", start)': '_integers("start", Tensor(start).data.astype(np.int64) if Tensor(start).data.dtype.kind == "b" else start)'
        },
        says="let through",
    ),
    Wrong(
        "None is start 0",
        {'_integers("start", start)': '_integers("start", 0 if start is None else start)'},
        says="let through",
    ),
    Wrong(
        "other channels are broadcast",
        {"    if x.ndim < 2 or x.shape[-1] != dim:\n": "    if x.ndim < 2 or x.shape[-1] not in (1, dim):\n"},
        says="let through",
    ),
    Wrong(
        "a vector is a token",
        {
            "    if x.ndim < 2 or x.shape[-1] != dim:\n": "    if x.ndim == 1 and len(x) == dim:\n        x = x.reshape(1, dim)\n    if x.ndim < 2 or x.shape[-1] != dim:\n"
        },
        says="let through",
    ),
    Wrong("the sizes of the layer are not said", {"({longest}, {dim}) got input": " got input"}, says="is not named"),
    Wrong("integers have positions, too", {'    if x.dtype.kind != "f":\n': "    if False:\n"}, says="let through"),
    Wrong(
        "booleans have positions, too", {'    if x.dtype.kind != "f":\n': '    if x.dtype.kind in "iu":\n'}, says="let through"
    ),
    # SinusoidalPositions
    Wrong(
        "all sines first, then all cosines",
        {WAVES: "self._table = np.concatenate([np.sin(angles), np.cos(angles)], -1)"},
        says="all sines first",
    ),
    Wrong(
        "cosines first",
        {WAVES: WAVES.replace("[np.sin(angles), np.cos(angles)]", "[np.cos(angles), np.sin(angles)]")},
        says="cosines in even channels",
    ),
    Wrong("sines only", {WAVES: WAVES.replace("np.cos(angles)", "np.sin(angles)")}),
    Wrong(
        "each channel has a wavelength of its own",
        {
            WAVES: "self._table = np.stack([np.sin(angles), np.cos(angles / 10000 ** (1 / dim))], -1).reshape(max_positions, dim)"
        },
    ),
    Wrong(
        "wavelengths grow twice as fast",
        {ANGLES: ANGLES.replace("np.arange(0, dim, 2) / dim", "2 * np.arange(0, dim, 2) / dim")},
    ),
    Wrong(
        "wavelengths end at the base",
        {ANGLES: ANGLES.replace("np.arange(0, dim, 2) / dim", "np.arange(0, dim, 2) / max(dim - 2, 1)")},
    ),
    Wrong(
        "the base is 1000",
        {"angles = _angles(self, max_positions, dim, 10000)": "angles = _angles(self, max_positions, dim, 1000)"},
    ),
    Wrong(
        "angles are float32",
        {
            ANGLES: "return np.arange(max_positions, dtype=np.float32)[:, None] * np.float32(base) ** (-np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim))"
        },
    ),
    Wrong("angles are rounded to float32", {ANGLES: "return (" + ANGLES.removeprefix("return ") + ").astype(np.float32)"}),
    Wrong("the table of sines is float32", {WAVES: WAVES + "\n        self._table = self._table.astype(np.float32)"}),
    Wrong("sines of float64 are added", {ADDS: ADDS.replace(".astype(x.dtype)", "")}, says="a silent promotion"),
    Wrong("sines of float32 are added", {ADDS: ADDS.replace(".astype(x.dtype)", ".astype(np.float32)")}),
    Wrong("positions take the place of x", {ADDS: ADDS.replace("x + Tensor", "x * 0 + Tensor")}, says="only the positions"),
    Wrong(
        "x is scaled by the root of dim",
        {ADDS: ADDS.replace("x + Tensor", "x * float(x.shape[-1]) ** 0.5 + Tensor")},
        says="as the paper scales",
    ),
    Wrong("positions are subtracted", {ADDS: ADDS.replace("x + Tensor", "x - Tensor")}),
    Wrong("the gradient ends at the positions", {ADDS: ADDS.replace("x + Tensor", "Tensor(x.data) + Tensor")}),
    Wrong(
        "x is changed in place",
        {
            ADDS: "rows = self._table[_positions(self, self._table, x, start)].astype(x.dtype)\n        if x.data.flags.writeable:\n            x.data += rows\n            return x * 1\n        return x + Tensor(rows)"
        },
    ),
    Wrong("the table is a buffer", {WAVES: 'self.register_buffer("_table", ' + WAVES.removeprefix("self._table = ") + ")"}),
    Wrong(
        "the table is learned",
        {WAVES: WAVES.replace("self._table = ", "self.table = Parameter(") + ")\n        self._table = self.table.data"},
    ),
    Wrong(
        "an odd dim loses its last cosine",
        {
            "    if max_positions < 1 or dim < 2 or dim % 2:\n": "    if max_positions < 1 or dim < 1:\n",
            WAVES: WAVES.replace("reshape(max_positions, dim)", "reshape(max_positions, -1)[:, :dim]"),
        },
        says="let through",
    ),
    Wrong(
        "no positions are enough",
        {"    if max_positions < 1 or dim < 2 or dim % 2:\n": "    if max_positions < 0 or dim < 2 or dim % 2:\n"},
        says="let through",
    ),
    Wrong(
        "no channels are enough",
        {"    if max_positions < 1 or dim < 2 or dim % 2:\n": "    if max_positions < 1 or dim % 2:\n"},
    ),
    Wrong(
        "the sizes of waves are not said",
        {"({max_positions}, {dim}): max_positions must": ": max_positions must"},
        says="is not named",
    ),
    # LearnedPositions
    Wrong(
        "learned positions take the place of x",
        {LEARNED: LEARNED.replace("x + embedding", "x * 0 + embedding")},
        says="only the positions",
    ),
    Wrong(
        "learned positions are not learned",
        {
            LEARNED: LEARNED.replace(", self.weight)", ", Tensor(self.weight.data))").replace(
                "_positions(self, Tensor(self.weight.data))", "_positions(self, self.weight"
            )
        },
    ),
    Wrong("x of learned positions has no gradient", {LEARNED: LEARNED.replace("x + embedding", "Tensor(x.data) + embedding")}),
    Wrong(
        "learned positions are averaged over the batch",
        {
            LEARNED: "rows = embedding(_positions(self, self.weight, x, start), self.weight)\n        return x + rows * (1 / max(len(x), 1)) + Tensor(rows.data * (1 - 1 / max(len(x), 1)))"
        },
    ),
    Wrong("the first position is padding", {LEARNED: LEARNED.replace(", start), self.weight)", ", start), self.weight, 0)")}),
    Wrong(
        "learned positions start at zero",
        {
            "        self.weight = _drawn(self, max_positions, dim, rng)\n": "        self.weight = _drawn(self, max_positions, dim, rng)\n        self.weight.data[...] = 0\n"
        },
    ),
    Wrong(
        "learned positions ignore the generator",
        {
            "        self.weight = _drawn(self, max_positions, dim, rng)\n": "        self.weight = _drawn(self, max_positions, dim, None)\n"
        },
    ),
    Wrong(
        "learned positions need an even dim",
        {
            "        self.weight = _drawn(self, max_positions, dim, rng)\n": "        _angles(self, max_positions, dim, 1)\n        self.weight = _drawn(self, max_positions, dim, rng)\n"
        },
    ),
    Wrong(
        "learned positions remember their number",
        {
            "        self.weight = _drawn(self, max_positions, dim, rng)\n": "        self.weight = _drawn(self, max_positions, dim, rng)\n        self.longest = max_positions\n",
            LEARNED: LEARNED.replace(
                "_positions(self, self.weight, x", "_positions(self, np.empty((self.longest, self.weight.shape[1])), x"
            ),
        },
    ),
    Wrong("learned positions also have sines", {LEARNED: LEARNED + " + Tensor(np.sin(x.data) * 0 + x.dtype.type(0.01))"}),
    Wrong(
        "learned positions are float64", {LEARNED: LEARNED + " * Tensor(np.ones((), np.float64))"}, says="a silent promotion"
    ),
    # RotaryPositions
    Wrong(
        "halves and neighbors are exchanged",
        {'    if pairing == "halves":\n': '    if pairing == "neighbors":\n'},
        says="the pairing is that of",
    ),
    Wrong("halves only", {'    if pairing == "halves":\n': "    if True:\n"}, says='the pairing is that of "halves"'),
    Wrong("neighbors are the default", {'pairing: str = "halves"': 'pairing: str = "neighbors"'}),
    Wrong(
        "neighbors are looked up by halves' angles",
        {
            TURNED: TURNED
            + "        if pairing == 'neighbors':\n            half = np.concatenate([angles, angles], 1)\n            self._cos, self._sin = np.cos(half), np.sin(half) * np.tile([-1, 1], dim // 2)\n"
        },
    ),
    Wrong(
        "rotated the other way",
        {"zip(self._pair, (-1, 1), strict=True)": "zip(self._pair, (1, -1), strict=True)"},
        says="rotated the other way",
    ),
    Wrong("a reflection, not a rotation", {"zip(self._pair, (-1, 1), strict=True)": "zip(self._pair, (1, 1), strict=True)"}),
    Wrong(
        "the channels of a pair are not exchanged",
        {SWAPPED: "    y[..., first], y[..., second] = x[..., first], x[..., second]\n"},
    ),
    Wrong("nothing is rotated", {"    y *= sin\n    y += x * cos\n": "    y[...] = x\n"}),
    Wrong("lengths grow", {"    y += x * cos\n": "    y += x\n"}),
    Wrong(
        "the exponent forgets the 2",
        {
            "        angles = _angles(self, max_positions, dim, base)\n": "        angles = _angles(self, max_positions, dim, base**0.5)\n"
        },
    ),
    Wrong(
        "the base is ignored",
        {
            "        angles = _angles(self, max_positions, dim, base)\n": "        angles = _angles(self, max_positions, dim, 10000)\n"
        },
        says="base is ignored",
    ),
    Wrong(
        "every pair has the same angle",
        {
            "        angles = _angles(self, max_positions, dim, base)\n": "        angles = _angles(self, max_positions, dim, base)[:, :1] + np.zeros(dim // 2)\n"
        },
    ),
    Wrong("the gradient is rotated once more", {BACK: "_rotated(g, cos, sin, pair)"}, says="rotated once more"),
    Wrong("the gradient passes as it came", {BACK: "g"}, says="the gradient as it came"),
    Wrong(
        "the rotation's gradient is float64",
        {BACK: "_rotated(g.astype(np.float64), cos, -sin, pair)"},
        says="a silent promotion",
    ),
    Wrong(
        "rotations are float64",
        {TABLES: "cos, sin = self._cos[positions], self._sin[positions]\n", "np.empty_like(x)\n": "np.empty(x.shape)\n"},
        says="a silent promotion",
    ),
    Wrong(
        "sines and cosines are float32",
        {TABLES: TABLES.replace("x.dtype", "np.float32"), "    y += x * cos\n": "    y += (x * cos).astype(x.dtype)\n"},
    ),
    Wrong("a rotated x is no longer recorded", {RECORDED: "return Tensor(_rotated(x.data, cos, sin, self._pair))"}),
    Wrong(
        "x is rotated in place",
        {
            "    (first, second), y = pair, np.empty_like(x)\n"
            + SWAPPED: "    (first, second), y = pair, x if x.flags.writeable else np.empty_like(x)\n    x = x.copy()\n"
            + SWAPPED
        },
    ),
    Wrong(
        "at position 0 the result is x",
        {
            RECORDED: 'y = x.data if not positions.any() else _rotated(x.data, cos, sin, self._pair)\n        return Tensor._result("rotary", y, x, cos=cos, sin=sin, pair=self._pair)'
        },
    ),
    Wrong(
        "the result goes into an array that is kept",
        {
            "    (first, second), y = pair, np.empty_like(x)\n": "    (first, second), y = pair, _KEPT.setdefault((x.shape, x.dtype), np.empty_like(x))\n",
            "def _rotated(": "_KEPT = {}\n\n\ndef _rotated(",
        },
    ),
    Wrong(
        "only four axes are rotated",
        {
            "        positions = _positions(self, self._cos, x, start)\n": "        positions = _positions(self, self._cos, x, start)\n        batch, heads, time, dim = x.shape\n"
        },
    ),
    Wrong(
        "heads are positions",
        {
            "        positions = _positions(self, self._cos, x, start)\n": "        positions = _positions(self, self._cos, x, start)\n        positions = np.arange(x.shape[-3])[:, None] + 0 * positions if x.ndim > 3 and not np.any(start) and x.shape[-3] <= len(self._cos) else positions\n"
        },
    ),
    Wrong(
        "rotations are a buffer",
        {TURNED: TURNED + "        cos = self._cos\n        del self._cos\n        self.register_buffer('_cos', cos)\n"},
    ),
    Wrong("rotations are learned", {TURNED: TURNED + "        self.scale = Parameter(np.ones(1, np.float32))\n"}),
    Wrong("any base will do", {"        if not base > 0:\n": "        if False:\n"}),
    Wrong("NaN is a base", {"        if not base > 0:\n": "        if base <= 0:\n"}),
    Wrong("a base must be more than 1", {"        if not base > 0:\n": "        if not base > 1:\n"}),
    Wrong("the base is not said", {"base must be positive, not {base!r}": "base must be positive"}, says="is not named"),
    Wrong(
        "any other pairing is neighbors",
        {'        if pairing not in ("halves", "neighbors"):\n': "        if False:\n"},
        says="let through",
    ),
    Wrong(
        "a pairing may be cut short",
        {
            '        if pairing not in ("halves", "neighbors"):\n': '        if not str(pairing) or not ("halves".startswith(str(pairing)) or pairing == "neighbors"):\n'
        },
        says="let through",
    ),
    Wrong("the pairing is not said", {'"neighbors", not {pairing!r}\'': '"neighbors"\''}, says="is not named"),
    Wrong(
        "the table takes the dtype of the first x",
        {
            ADDS: "self._table = self._table.astype(x.dtype)\n        return x + Tensor(self._table[_positions(self, self._table, x, start)].astype(x.dtype))"
        },
    ),
    Wrong(
        "sines and cosines take the dtype of the first x",
        {TABLES: "self._cos, self._sin = self._cos.astype(x.dtype), self._sin.astype(x.dtype)\n        " + TABLES},
    ),
    Wrong(
        "rows that were added once are kept",
        {
            LEARNED: "key = x.shape[-2], str(start)\n        kept = self.__dict__.setdefault('rows', [])\n        kept += [] if key in [k for k, _ in kept] else [(key, self.weight.data.copy())]\n        weight = next(rows for k, rows in kept if k == key)\n        return x + embedding(_positions(self, weight, x, start), self.weight) * 0 + Tensor(weight[_positions(self, weight, x, start)])"
        },
    ),
    Wrong(
        "time is the second axis",
        {
            "    last = int(starts.max(initial=0)) + x.shape[-2] - 1\n": "    last = int(starts.max(initial=0)) + x.shape[min(1, x.ndim - 2)] - 1\n"
        },
    ),
    Wrong(
        "capitals are as good",
        {
            '        if pairing not in ("halves", "neighbors"):\n': '        pairing = pairing.lower() if isinstance(pairing, str) else pairing\n        if pairing not in ("halves", "neighbors"):\n'
        },
        says="let through",
    ),
    Wrong(
        "the layer keeps the weight it was made with",
        {
            "return embedding(ids, self.weight, self.padding_idx)": "return embedding(ids, self._kept[0], self.padding_idx)",
            "        self.padding_idx = _row(padding_idx, num_embeddings)\n": "        self._kept = (self.weight,)\n        self.padding_idx = _row(padding_idx, num_embeddings)\n",
        },
    ),
    Wrong(
        "a dim of 2 has no wavelength",
        {"    if max_positions < 1 or dim < 2 or dim % 2:\n": "    if max_positions < 1 or dim <= 2 or dim % 2:\n"},
    ),
    # naive
    Wrong(
        "one token after another is looked up",
        {
            GATHERED: "np.array([weight.data[i] for i in ids.ravel()], weight.dtype).reshape(*ids.shape, weight.shape[1]), weight, ids=ids, padding_idx=padding_idx)"
        },
        naive="test_an_embedding_is_done_in_numpy",
    ),
    Wrong(
        "one token after another adds its gradient",
        {
            ADDED: "    sums = np.zeros(weight.shape)\n    for i, part in zip(ids.ravel()[order], g):\n        sums[i] += part\n    result[...] = sums\n"
        },
        naive="test_an_embedding_is_done_in_numpy",
    ),
    Wrong(
        "one row after another is summed",
        {ADDED: "    for i in range(len(weight)):\n        result[i] = g[ids.ravel()[order] == i].sum(0, dtype=np.float64)\n"},
        naive="test_an_embedding_is_done_in_numpy",
    ),
    Wrong(
        "one channel after another is summed",
        {
            ADDED: "    for channel in range(weight.shape[1]):\n        result[:, channel] = np.bincount(ids.ravel()[order], g[:, channel], len(weight))\n"
        },
        naive="test_an_embedding_is_done_in_numpy",
    ),
    Wrong(
        "one different id after another is summed",
        {ADDED: "    for i, run in zip(rows, np.split(g, first[1:])):\n        result[i] = run.sum(0, dtype=np.float64)\n"},
        naive="test_an_embedding_is_done_in_numpy",
    ),
    Wrong(
        "one-hot rows on the way there",
        {
            GATHERED: "(ids[..., None] == np.arange(num)).astype(weight.dtype) @ weight.data, weight, ids=ids, padding_idx=padding_idx)"
        },
        naive="test_there_is_no_one_hot_matrix",
    ),
    Wrong(
        "one-hot rows on the way back",
        {ADDED: "    result[...] = (ids.ravel()[order][:, None] == np.arange(len(weight))).T.astype(g.dtype) @ g\n"},
        naive="test_there_is_no_one_hot_matrix",
    ),
    Wrong(
        "the whole weight is copied",
        {"weight.data[ids], weight, ids": "weight.data.copy()[ids], weight, ids"},
        naive="test_a_lookup_reads_its_rows_alone",
    ),
    Wrong(
        "a product on the way back",
        {ADDED: "    result[...] = (ids.ravel()[order][:, None] == np.arange(len(weight))).T.astype(g.dtype) @ g\n"},
        naive="test_a_gradient_costs_what_adding_costs",
    ),
    Wrong(
        "one wave after another is added",
        {
            ADDS: "rows = np.array([[self._table[p] for p in row] for row in np.atleast_2d(_positions(self, self._table, x, start))])\n        return x + Tensor(rows.astype(x.dtype).reshape(rows.shape if np.ndim(start) else rows.shape[1:]))"
        },
        naive="test_waves_are_looked_up_in_numpy",
    ),
    Wrong(
        "the whole table of waves is cast",
        {ADDS: "return x + Tensor(self._table.astype(x.dtype)[_positions(self, self._table, x, start)])"},
        naive="test_one_token_needs_one_row_of_waves",
    ),
    Wrong(
        "waves are computed anew, all of them",
        {ADDS: "SinusoidalPositions.__init__(self, *self._table.shape)\n        " + ADDS},
        naive="test_one_token_needs_one_row_of_waves",
    ),
    Wrong(
        "one row of the weight after another is added",
        {
            "from katas.tensor import Tensor\n": "from katas.tensor import Tensor, stack\n",
            LEARNED: "positions = _positions(self, self.weight, x, start)\n        rows = stack([self.weight[int(p)] for p in positions.ravel()])\n        return x + rows.reshape(*positions.shape, x.shape[-1])",
        },
        naive="test_rows_of_the_weight_are_looked_up_in_numpy",
    ),
    Wrong(
        "one token after another is rotated",
        {
            "    y *= sin\n    y += x * cos\n": "    cos, sin = np.broadcast_to(cos, x.shape), np.broadcast_to(sin, x.shape)\n    for index in np.ndindex(x.shape[:-1]):\n        y[index] = y[index] * sin[index] + x[index] * cos[index]\n"
        },
        naive="test_a_rotation_is_done_in_numpy",
    ),
    Wrong(
        "one pair after another is rotated",
        {
            "    y *= sin\n    y += x * cos\n": "    for channel in range(x.shape[-1]):\n        y[..., channel] = y[..., channel] * sin[..., channel] + x[..., channel] * cos[..., channel]\n"
        },
        naive="test_a_rotation_is_done_in_numpy",
    ),
    Wrong(
        "all rotations are cast",
        {TABLES: "cos, sin = self._cos.astype(x.dtype)[positions], self._sin.astype(x.dtype)[positions]\n"},
        naive="test_one_token_needs_one_rotation",
    ),
    Wrong(
        "each row and head has tables of its own",
        {
            TABLES: "tables = [np.array(np.broadcast_to(table[positions], x.shape)) for table in (self._cos, self._sin)]\n        cos, sin = tables[0].astype(x.dtype), tables[1].astype(x.dtype)\n"
        },
        naive="test_rows_and_heads_share_their_tables",
    ),
    Wrong(
        "each token is rotated by a matrix",
        {
            "    y *= sin\n    y += x * cos\n": "    matrices = np.zeros((*cos.shape, cos.shape[-1]), x.dtype)\n    channels = np.arange(cos.shape[-1])\n    partner = np.empty_like(channels)\n    partner[first], partner[second] = channels[second], channels[first]\n    matrices[..., channels, channels], matrices[..., partner, channels] = cos, sin\n    y[...] = np.einsum('...i,...ij->...j', x, matrices)\n"
        },
        naive="test_a_rotation_costs_a_few_passes",
    ),
]

FORWARDS = ["embedding", "Embedding.forward", *[f"{kind}Positions.forward" for kind in ("Sinusoidal", "Learned", "Rotary")]]

# Semantic mutants that keep all promises.
EQUIVALENT = {
    **{f"{name}: a result is a copy, not a view": "it is an array of its own anyway" for name in FORWARDS},
    **{f"{name}: {habit}": "results are floats" for name in FORWARDS for habit in ("int32 for int64", "int64 for int32")},
    "Embedding.forward: a result is a view of an equal argument": "ids are integers, and the result is of floats",
    "Embedding.forward: infinities and NaN in arguments are made finite": "ids are integers",
    **{
        f"{kind}Positions.forward: attributes are those of the construction": "it has no public attributes"
        for kind in ("Sinusoidal", "Rotary")
    },
    "SinusoidalPositions.forward: shapes that differ are broadcast": "start has fewer axes than x, and x fits the layer or not",
    "LearnedPositions.__init__: a falsy argument is taken as absent": "a generator is never falsy",
    **{
        f"_positions: a check comes after the effect, {number}": "what came before the check is dropped with the error"
        for number in (2, 3, 4, 5)
    },
    **{
        f"RotaryPositions.__init__: a check comes after the effect{number}": "the layer is dropped with the error"
        for number in ("", ", 2")
    },
}
