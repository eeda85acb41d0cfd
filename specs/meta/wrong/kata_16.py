"""Wrong solutions of kata 16, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

POSITIONS = "        positions = self.lengths[:, None] + new - 1"
ENDS = "        ends = self.lengths + time if real is None else self.lengths + real.sum(1)"
ROOM = "        longest = int(ends.max())\n        self._check_room(longest)\n        if layer == 0:"
IN_PLACE = "        if time == 1 or longest <= self._slots:"
VIEW = "            keys, values = self._kv[layer, ..., : min(longest, self._slots), :]"
SEEN = "            seen = np.arange(keys.shape[2]) <= positions[:, None, :, None]"
LAST = "        if layer == self.n_layer - 1:\n            self._count(ends)\n"
COUNT = "        self._rolled = []\n        self._begun[:] = False\n        self.lengths[:] = ends\n"
ROLLED = "            self._rolled.append((layer, k.data.copy(), v.data.copy(), positions, ends, None if real is None else real.copy()))\n"
SHAPES = (
    "        if k.shape != v.shape or k.ndim != 4 or (*k.shape[:2], k.shape[3]) != (self.batch, self.n_head, self.head_dim):"
)
DTYPES = "            if array.dtype != self.dtype:"
SLICE = "        if real is None and begin + time <= self._slots and (self.lengths == self.lengths[0]).all():"
STAY = "            rows, times = np.nonzero(stay if real is None else stay & real)"
SLOTS = "            slots = positions[rows, times] % self._slots\n"
FIRST = "        np.maximum(self._first, ends - self._slots, out=self._first)\n\n    def _beside"
BESIDE = "        seen = (everywhere >= 0) & (everywhere <= queries) & (everywhere > queries - self.window)"
GROW = "        self.lengths[:] = ends\n        np.copyto(self._hidden"
CUT = "            if not 0 <= length <= present:"
GONE = "            if 0 < length < present and self._first[row] > max(0, length - self._slots + 1):"
LAYERS = "        for layer in self._kv:  # layer by layer, which needs less memory beside\n            layer[...] = layer[:, rows]\n"
ZEROS = "        self._kv[:, :, row, :, empty] = 0\n"
HIDE = "        self._hidden[row, ..., empty] = -np.inf\n"
RANGE = "        if isinstance(row, bool) or not 0 <= row < self.batch:"
FULL = "    cache._check_room(int((cache.lengths + real.sum(1)).max()))\n"
CONTEXT = "    _check_context(model.config, int(cache.lengths.max()) + ids.shape[1])\n"
LAST_TOKEN = "    last = ids.shape[1] - 1 - real[:, ::-1].argmax(1)"
BLOCKS = "            for start in range(0, ids.shape[1], block):"
CALL = "                y = model(ids[part], None if real[part].all() else real[part], cache).data\n"
ENDS_HERE = "                ends = np.flatnonzero((last // block == start // block) & real.any(1))\n"
EVAL = "    for module in training:\n        module.training = False\n"
RESTORE = "        for module in training:\n            module.training = True\n"
STEP_ROOM = "        cache._check_room(longest)\n        _check_context(self.config, longest)\n"
EQUAL = "        if real is None and (cache.batch == 1 or (starts == longest - 1).all()):"
OPEN = "        cache._hidden[rows, ..., where] = 0\n"
CAREFUL = "            if not (sums.min() > 1e-20 and sums.max() < 1e20):"
KEPT = "        starts[:] = ends\n"
PUSHED = "        if longest > slots:  # the first layer pushes the oldest token out\n            np.maximum(cache._first, ends - slots, out=cache._first)\n"
MAXIMUM = "                np.subtract(scores, scores.max(-1, keepdims=True), scores)"
TURN = """        np.multiply(self.partner, sin, self.turned)
        np.multiply(self.qk, cos, self.qk)
        np.add(self.qk, self.turned, self.qk)
"""
ROOT = "            self.root[()] = (float(x.dot(x)) / x.size + eps) ** -0.5"
SCALE = "    scale[:inner] = 1 / math.sqrt(size)\n"
MOST = "    return max(block.attn.n_head for block in model.transformer.h)\n"
CENTERED = "    return rows - rows.mean(-1, keepdims=True)"
RESULT = "        return logits.reshape(cache.batch, -1)\n"
SUMS = "            np.dot(scores, ones, sums)\n"
LOGITS = "        return desk.logits(), desk.sums"
WATCHED = "        ids, real = self._check(ids, cache, real)\n"
FORWARD = "        if not isinstance(cache, KVCache) or mask is not None or array.ndim != 2 or not array.size:\n"
SEVERAL = "        return Tensor(self.step(array[:, 0], cache)[:, None] if array.shape[1] == 1 else self._read(array, cache))\n"
PLACES = "        positions = (cache.lengths[:, None] + np.arange(time)).ravel()"
TURNS = '        turns = self._turns(positions) if self.config.positions == "rotary" else None\n'
CAUSAL = "            np.copyto(scores, -np.inf, where=~seen)\n"
LARGEST = "            scores -= scores.max(-1, keepdims=True)\n"
HELD = "            keys, values, seen, ends = cache._keep(layer, Tensor(k), Tensor(v), None)\n            scores"
COUNTED = "        cache._count(ends)  # at last: if there was no memory for the logits, nothing has been read\n"
PIECES = "    while rows * weights.size > parts * 1_000_000 and columns % (2 * parts) == 0:\n"
CUT_UP = "    return tuple(array.reshape(-1, parts, columns // parts).swapaxes(0, 1) for array in (weights, out))\n"

WRONG = [
    # extend
    Wrong("the new token does not see itself", {SEEN: SEEN.replace("<=", "<")}),
    Wrong(
        "a later token is seen",
        {SEEN: SEEN + "\n            seen = seen | (np.arange(keys.shape[2]) == positions[:, None, :, None] + 1)"},
    ),
    Wrong(
        "all that is there is seen: a second part has no causal mask",
        {SEEN: "            seen = np.ones((self.batch, 1, time, keys.shape[2]), bool)"},
    ),
    Wrong(
        "the mask is square, aligned to the upper left",
        {SEEN: "            seen = np.arange(keys.shape[2]) <= (positions - self.lengths[:, None])[:, None, :, None]"},
    ),
    Wrong(
        "the mask is that of the longest row",
        {
            SEEN: "            seen = np.arange(keys.shape[2]) <= (positions.max(0, keepdims=True) + 0 * positions)[:, None, :, None]"
        },
    ),
    Wrong("lengths grow with every layer", {LAST: LAST.replace("if layer == self.n_layer - 1:", "if True:")}),
    Wrong("lengths grow at the first layer", {LAST: LAST.replace("layer == self.n_layer - 1", "layer == 0")}),
    Wrong("lengths grow twice", {GROW: GROW.replace("= ends", "= 2 * ends - self.lengths")}),
    Wrong("lengths are a new array each time", {GROW: GROW.replace("self.lengths[:] = ends", "self.lengths = ends")}),
    Wrong("padding is counted", {ENDS: "        ends = self.lengths + time"}),
    Wrong("padding is kept", {STAY: "            rows, times = np.nonzero(stay)"}),
    Wrong(
        "padding takes a position",
        {
            "        new = np.arange(1, time + 1) if real is None else np.cumsum(real, 1)": "        new = np.arange(1, time + 1)"
        },
    ),
    Wrong(
        "all rows follow the first",
        {POSITIONS: "        positions = self.lengths[:1, None] + new - 1 + 0 * self.lengths[:, None]"},
    ),
    Wrong(
        "all rows follow the longest",
        {POSITIONS: "        positions = self.lengths.max() + new - 1 + 0 * self.lengths[:, None]"},
    ),
    Wrong("rows that differ are written as the first", {SLICE: "        if real is None and begin + time <= self._slots:"}),
    Wrong(
        "keys and values are exchanged",
        {VIEW: VIEW.replace("keys, values =", "values, keys =")},
        says="keys and values are exchanged",
    ),
    Wrong(
        "values are keys",
        {
            "            self._kv[layer, 1, ..., begin : begin + time, :] = v\n": "            self._kv[layer, 1, ..., begin : begin + time, :] = k\n"
        },
    ),
    Wrong(
        "all layers write into the first",
        {
            "            self._kv[layer, 0, ..., begin : begin + time, :] = k\n": "            self._kv[0, 0, ..., begin : begin + time, :] = k\n"
        },
    ),
    Wrong("a copy of all keys", {VIEW: VIEW + ".copy()"}, naive="test_a_new_token_copies_no_old_ones"),
    Wrong(
        "rows are written one by one",
        {
            STAY: STAY
            + "\n            for row in range(self.batch):\n                here = rows == row\n                self._kv[layer, 0, row][:, positions[row, times[here]] % self._slots] = k[row][:, times[here]]",
        },
        naive="test_no_loop_over_rows",
    ),
    Wrong(
        "tokens are written one by one",
        {
            "        begin, time = int(self.lengths[0]) % self._slots, positions.shape[1]\n": "        begin, time = int(self.lengths[0]) % self._slots, positions.shape[1]\n        for place in range(time):\n            self._kv[layer, 0, 0, :, positions[0, place] % self._slots] = 0\n"
        },
    ),
    Wrong("full is not noticed", {ROOM: ROOM.replace("self._check_room(longest)", "pass")}),
    Wrong(
        "full one token too early",
        {
            "        if self.max_length is not None and longest > self.max_length:": "        if self.max_length is not None and longest >= self.max_length:"
        },
    ),
    Wrong(
        "full one token too late",
        {
            "        if self.max_length is not None and longest > self.max_length:": "        if self.max_length is not None and longest > self.max_length + 1:"
        },
    ),
    Wrong("full does not name the limit", {" tokens, and max_length is {self.max_length}": " tokens"}, says="is not named"),
    Wrong(
        "full is noticed after the last layer",
        {ROOM: ROOM.replace("self._check_room(longest)", "layer == self.n_layer - 1 and self._check_room(longest)")},
    ),
    Wrong(
        "full counts padding",
        {ROOM: ROOM.replace("self._check_room(longest)", "self._check_room(int(self.lengths.max()) + time)")},
    ),
    Wrong(
        "a text that is too long is cut",
        {ROOM: ROOM.replace("self._check_room(longest)", "ends = np.minimum(ends, self.max_length or longest)")},
    ),
    Wrong(
        "it doubles when it is full",
        {
            "        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim), dtype)": "        self._kv = np.zeros((n_layer, 2, batch, n_head, 2 * slots, head_dim), dtype)"
        },
    ),
    Wrong(
        "nbytes is that of the keys",
        {"        return sum(array.nbytes for array in arrays)": "        return self._kv[:, 0].nbytes"},
    ),
    Wrong(
        "nbytes counts tokens",
        {
            "        return sum(array.nbytes for array in arrays)": "        return int(self.lengths.sum()) * 8 * self.n_head * self.head_dim * self.n_layer"
        },
    ),
    Wrong(
        "a window keeps max_length tokens",
        {"self._slots = slots = min(map(int, limits.values()))": "self._slots = slots = max(map(int, limits.values()))"},
    ),
    Wrong(
        "a window keeps one token less",
        {
            "self._slots = slots = min(map(int, limits.values()))": "self._slots = slots = max(1, min(map(int, limits.values())) - (window is not None))"
        },
    ),
    Wrong("shapes are broadcast", {SHAPES: "        if k.ndim != 4:"}),
    Wrong(
        "head_dim is not checked",
        {
            SHAPES: SHAPES.replace(
                "(*k.shape[:2], k.shape[3]) != (self.batch, self.n_head, self.head_dim)",
                "k.shape[:2] != (self.batch, self.n_head)",
            )
        },
    ),
    Wrong("the shape of v is not checked", {SHAPES: SHAPES.replace("k.shape != v.shape or ", "")}),
    Wrong(
        "a negative layer counts from the end",
        {"        if not 0 <= layer < self.n_layer:": "        if not -self.n_layer <= layer < self.n_layer:"},
    ),
    Wrong("another dtype is rounded", {DTYPES: "            if array.dtype.kind != self.dtype.kind:"}, says="no error at all"),
    Wrong(
        "values may have another dtype",
        {"        for array in (k, v):\n": "        for array in (k,):\n"},
        says="no error at all",
    ),
    Wrong(
        "real may be numbers",
        {
            '            if real.dtype != np.bool_:\n                raise TypeError(f"real must be boolean, True for tokens': "            if real.dtype.kind == 'f':\n                raise TypeError(f\"real must be boolean, True for tokens"
        },
    ),
    Wrong(
        "the cache is float64 whatever is asked",
        {
            "        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim), dtype)": "        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim))"
        },
    ),
    Wrong(
        "True is a size",
        {"            if isinstance(value, bool) or not isinstance": "            if not isinstance"},
    ),
    Wrong("0 is a size", {" or value < 1:": " or value < 0:"}),
    Wrong(
        "no limit at all",
        {
            "        if not limits:\n            raise ValueError(": "        if not limits:\n            limits = {'max_length': 10**3}\n        if False:\n            raise ValueError("
        },
    ),
    Wrong(
        "of ignores the window",
        {
            "        return cls(*sizes, max_length, config.window,": "        return cls(*sizes, max_length or config.context, None,"
        },
    ),
    Wrong("of ignores the dtype", {", config.window, model.transformer.wte.weight.dtype)": ", config.window)"}),
    Wrong(
        "of ignores max_length",
        {"        if config.window is None and max_length is None:": "        if config.window is None:"},
    ),
    Wrong(
        "of limits a window to the context",
        {"        if config.window is None and max_length is None:": "        if max_length is None:"},
    ),
    Wrong(
        "of takes more than the context",
        {"        if config.window is None and max_length is not None and max_length > config.context:": "        if False:"},
    ),
    Wrong(
        "of takes a max_length of 0 for none",
        {"        if config.window is None and max_length is None:": "        if config.window is None and not max_length:"},
    ),
    Wrong(
        "keys that are returned are the caller's where nothing was before",
        {
            "        keys, values, seen, ends = self._keep(layer, k, v, real)\n": "        keys, values, seen, ends = self._keep(layer, k, v, real)\n        keys, values = (k, v) if keys.shape == k.shape else (keys, values)\n"
        },
    ),
    # rolling
    Wrong(
        "several tokens push out what the first must see",
        {IN_PLACE: "        if True:"},
    ),
    Wrong("the window is one too wide", {BESIDE: BESIDE.replace("queries - self.window)", "queries - self.window - 1)")}),
    Wrong(
        "the window is one too narrow",
        {
            BESIDE: BESIDE.replace(
                "(everywhere > queries - self.window)", "((everywhere > queries - self.window + 1) | (everywhere == queries))"
            )
        },
    ),
    Wrong("no window for several tokens", {BESIDE: "        seen = (everywhere >= 0) & (everywhere <= queries)"}),
    Wrong("several tokens see later ones", {BESIDE: BESIDE.replace(" & (everywhere <= queries)", "")}),
    Wrong("empty slots are seen", {BESIDE: BESIDE.replace("(everywhere >= 0) & ", "")}),
    Wrong("padding is seen beside the ring", {"positions if real is None else np.where(real, positions, -1)": "positions"}),
    Wrong(
        "the ring is read as if it began with the oldest",
        {
            "        held = newest - (newest - slots) % self._slots": "        held = newest - len(slots) + 1 + slots + 0 * newest"
        },
    ),
    Wrong(
        "tokens go on behind the ring's end",
        {SLOTS: "            slots = np.minimum(positions[rows, times], self._slots - 1)\n"},
    ),
    Wrong(
        "the first tokens stay, not the last",
        {
            "            stay = positions >= ends[:, None] - self._slots\n": "            stay = positions < self.lengths[:, None] + self._slots\n"
        },
    ),
    Wrong(
        "what rolls is written before the last layer",
        {ROLLED: "            self._write(layer, k.data, v.data, positions, ends, real)\n"},
    ),
    Wrong(
        "a failed pass is written later",
        {
            "self._begun[:], self._rolled = True, []": "self._begun[:] = True",
            COUNT: COUNT.replace("        self._rolled = []\n", ""),
        },
    ),
    Wrong(
        "blocks that roll are kept",
        {COUNT: "        self._kept = [*getattr(self, '_kept', []), *self._rolled]\n" + COUNT},
    ),
    # what a pass that failed has left
    Wrong(
        "a failed pass leaves its keys",
        {"        for row in np.flatnonzero(self._begun):\n            self._clear(row, int(self.lengths[row]))\n": ""},
    ),
    Wrong("a failed step leaves its keys", {"        cache._begin()\n": ""}),
    Wrong(
        "only what lies below the lengths is cleared",
        {
            "        empty = np.ones(self._slots, bool)\n": "        empty = np.arange(self._slots) < max(self.lengths[row], length)\n"
        },
    ),
    Wrong(
        "keys that wait for the last layer are the caller's",
        {"layer, k.data.copy(), v.data.copy(), pos": "layer, k.data, v.data, pos"},
    ),
    Wrong(
        "the oldest token is forgotten after the step",
        {
            "        if longest > slots:  # the first layer pushes the oldest token out\n            np.maximum(cache._first, ends - slots, out=cache._first)\n": "",
            "        starts[:] = ends\n        cache._begun": "        starts[:] = ends\n        np.maximum(cache._first, ends - slots, out=cache._first)\n        cache._begun",
        },
    ),
    Wrong("padding that waits for the last layer is the caller's", {"None if real is None else real.copy()": "real"}),
    Wrong(
        "a cache of other layers is found by the model", {"    if cache.n_layer != len(model.transformer.h):": "    if False:"}
    ),
    Wrong(
        "floats are ids that don't exist",
        {
            '    if ids.dtype.kind not in "iu":\n        raise TypeError(f"ids must be integers, not {ids.dtype}")\n    if block < 1:': "    if block < 1:"
        },
    ),
    Wrong("an id is checked when its block comes", {"    _check_ids(ids[real], model.config.vocab_size)\n": ""}),
    Wrong("ids that wait must exist", {"            ids = np.where(real, ids, 0)  # any id may wait\n": ""}),
    # rows
    Wrong("truncate takes a length from the end", {CUT: "            if not -present <= length <= present:"}),
    Wrong("truncate may lengthen", {CUT: "            if not 0 <= length:"}),
    Wrong("truncate changes rows before an error", {CUT: "            self._clear(row, max(0, min(length, present)))\n" + CUT}),
    Wrong("truncate forgets what is gone", {GONE: "            if False:"}, says="no error at all"),
    Wrong("a rolled row can't be emptied", {GONE: GONE.replace("0 < length < present", "length < present")}),
    Wrong("a rolled row can't be cut at all", {GONE: "            if 0 < length < present and self._first[row] > 0:"}),
    Wrong(
        "a rolled row can be cut by one and one again",
        {
            "        np.maximum(self._first, ends - self._slots, out=self._first)\n\n    def _beside": "        self._first[:] = ends - self._slots\n\n    def _beside",
            GONE: GONE.replace("self._first[row]", "present - self._slots"),
        },
    ),
    Wrong(
        "what was pushed out is forgotten",
        {FIRST: FIRST.replace("        np.maximum(self._first, ends - self._slots, out=self._first)\n", "")},
    ),
    Wrong("a released row remembers what was pushed out", {"        if length == 0:\n            self._first[row] = 0\n": ""}),
    Wrong(
        "truncate takes floats",
        {'        if lengths.dtype.kind not in "iu":': '        if lengths.dtype.kind not in "iuf":'},
        says="no error at all",
    ),
    Wrong(
        "truncate takes booleans",
        {'        if lengths.dtype.kind not in "iu":': '        if lengths.dtype.kind not in "iub":'},
        says="no error at all",
    ),
    Wrong(
        "truncate takes one length in a list",
        {"        if lengths.shape not in ((), (self.batch,)):": "        if lengths.shape not in ((), (1,), (self.batch,)):"},
    ),
    Wrong(
        "truncate cuts all rows to the shortest",
        {"            self._clear(row, int(lengths[row]))": "            self._clear(row, int(lengths.min()))"},
    ),
    Wrong("the former text stays in memory", {ZEROS: ""}),
    Wrong(
        "zeros one token too few",
        {ZEROS: "        self._kv[:, :, row, :, np.arange(self._slots)[empty][1:]] = 0\n"},
    ),
    Wrong("all rows are cleared", {ZEROS: "        self._kv[..., empty, :] = 0\n"}),
    Wrong("the first layer alone is cleared", {ZEROS: "        self._kv[:1, :, row, :, empty] = 0\n"}),
    Wrong("the keys alone are cleared", {ZEROS: "        self._kv[:, :1, row, :, empty] = 0\n"}),
    Wrong("cleared slots are not hidden", {HIDE: ""}),
    Wrong(
        "release shifts the other rows",
        {
            "        self._check_row(row)\n        self._clear(row, 0)\n": "        self._check_row(row)\n        self._clear(row, 0)\n        self.reorder([*range(row), *range(row + 1, self.batch), row])\n"
        },
    ),
    Wrong(
        "release twice is an error",
        {
            "        self._check_row(row)\n        self._clear(row, 0)\n": "        self._check_row(row)\n        if not self.lengths[row]:\n            raise ValueError('released twice')\n        self._clear(row, 0)\n"
        },
    ),
    Wrong("a negative row counts from the end", {RANGE: "        if not -self.batch <= row < self.batch:"}),
    Wrong(
        "reorder the other way round", {LAYERS: LAYERS.replace("layer[...] = layer[:, rows]", "layer[:, rows] = layer.copy()")}
    ),
    Wrong(
        "reorder row by row, in place",
        {LAYERS: "        for i, row in enumerate(rows):\n            self._kv[:, :, i] = self._kv[:, :, row]\n"},
    ),
    Wrong(
        "reorder forgets the lengths",
        {
            "        for array in (self.lengths, self._first, self._begun, self._hidden):": "        for array in (self._first, self._begun, self._hidden):"
        },
    ),
    Wrong(
        "reorder forgets what is hidden",
        {
            "        for array in (self.lengths, self._first, self._begun, self._hidden):": "        for array in (self.lengths, self._first, self._begun):"
        },
    ),
    Wrong(
        "reorder forgets what was pushed out",
        {
            "        for array in (self.lengths, self._first, self._begun, self._hidden):": "        for array in (self.lengths, self._begun, self._hidden):"
        },
    ),
    Wrong("reorder only the keys", {LAYERS: LAYERS.replace("layer[...] = layer[:, rows]", "layer[0] = layer[0, rows]")}),
    Wrong("reorder copies everything at once", {LAYERS: "        self._kv[...] = self._kv[:, :, rows]\n"}),
    Wrong("reorder takes any number of rows", {"        if rows.shape != (self.batch,):": "        if rows.ndim != 1:"}),
    Wrong(
        "reorder takes booleans",
        {'        if rows.dtype.kind not in "iu":': '        if rows.dtype.kind not in "iub":'},
        says="another error came first",
    ),
    Wrong("row is a copy", {"        one._kv = self._kv[:, :, rows]\n": "        one._kv = self._kv[:, :, rows].copy()\n"}),
    Wrong(
        "row has lengths of its own",
        {"= self.lengths[rows], self._first[rows]": "= self.lengths[rows].copy(), self._first[rows]"},
    ),
    Wrong(
        "row is always the first",
        {
            "        one, rows = copy.copy(self), slice(row, row + count)": "        one, rows = copy.copy(self), slice(0, count)"
        },
    ),
    Wrong("row keeps the batch", {"        one.batch, one._rolled = count, []": "        one._rolled = []"}),
    Wrong(
        "several rows are one",
        {
            "        one, rows = copy.copy(self), slice(row, row + count)": "        one, rows = copy.copy(self), slice(row, row + 1)"
        },
    ),
    Wrong("no rows at all are a cache", {"        if count < 1:\n": "        if count < 0:\n"}),
    Wrong(
        "only the first of several rows must exist",
        {"        for number in (row, row + count - 1):\n": "        for number in (row,):\n"},
    ),
    Wrong("several rows have the scores of one", {"[: count * self.n_head * self._slots]": "[: self.n_head * self._slots]"}),
    # prefill
    Wrong(
        "all at once",
        {BLOCKS: "            block = ids.shape[1]\n" + BLOCKS},
        naive="test_memory_grows_with_the_block_and_not_with_the_square_of_the_prompt",
    ),
    Wrong(
        "the last, shorter block is left out",
        {BLOCKS: "            for start in range(0, max(ids.shape[1] - ids.shape[1] % block, 1), block):"},
    ),
    Wrong(
        "the logits after the first token",
        {"                logits[ends] = y[ends, last[ends] - start]": "                logits[ends] = y[ends, 0]"},
    ),
    Wrong("the logits of the last column", {LAST_TOKEN: "    last = np.full(len(ids), ids.shape[1] - 1)"}),
    Wrong("the last token is that many from the left", {LAST_TOKEN: "    last = np.maximum(real.sum(1) - 1, 0)"}),
    Wrong("the logits of the last block", {ENDS_HERE: "                ends = np.flatnonzero(real[part].any(1))\n"}),
    Wrong(
        "a row without tokens gets another's logits",
        {ENDS_HERE: "                ends = np.flatnonzero(last // block == start // block)\n"},
    ),
    Wrong(
        "every block sees itself alone",
        {CALL: CALL.replace(", cache)", ")") + "                model(ids[part], real[part], cache)\n"},
    ),
    Wrong("the mask is ignored", {CALL: "                y = model(ids[part], None, cache).data\n"}),
    Wrong("dropout while it reads", {EVAL: ""}),
    Wrong("the model stays in eval mode", {RESTORE: "        pass\n"}),
    Wrong("all modules train afterwards", {RESTORE: "        model.train()\n"}),
    Wrong(
        "after an error the model stays in eval mode",
        {
            "    finally:\n"
            + RESTORE: "    except KeyError:\n        pass\n    for module in training:\n        module.training = True\n"
        },
    ),
    Wrong(
        "operations are recorded",
        {"        with no_grad():\n            for start in range": "        if True:\n            for start in range"},
    ),
    Wrong("a prompt that doesn't fit is read in part", {FULL: "", CONTEXT: ""}),
    Wrong("a prompt beyond the context is read in part", {CONTEXT: ""}),
    Wrong("a prompt beyond max_length is read in part", {FULL: ""}),
    Wrong("padding counts for max_length", {FULL: "    cache._check_room(int(cache.lengths.max()) + ids.shape[1])\n"}),
    Wrong(
        "logits in float64",
        {
            "    logits = np.zeros((cache.batch, model.config.vocab_size), cache.dtype)": "    logits = np.zeros((cache.batch, model.config.vocab_size))"
        },
    ),
    Wrong("a block of 0", {"    if block < 1:": "    if block < 0:"}),
    Wrong("the cache is emptied first", {BLOCKS: "            cache.truncate(0)\n" + BLOCKS}),
    # decoder
    Wrong(
        "the model itself, unfolded",
        {
            WATCHED: WATCHED
            + "        with no_grad():\n            return self.model(ids[:, None], None if real is None else real[:, None], cache).data[:, 0]\n"
        },
        naive="test_a_step_takes_far_less_time_than_the_model",
    ),
    Wrong(
        "rows one by one",
        {
            WATCHED: WATCHED
            + "        if cache.batch > 1:\n            steps = [self.step(ids[row : row + 1], cache.row(row), None if real is None else real[row : row + 1]) for row in range(cache.batch)]\n            return np.concatenate(steps)\n"
        },
        naive="test_no_loop_over_the_rows_of_a_step",
    ),
    Wrong(
        "scores are allocated",
        {
            "        scores = cache._scores[: cache.batch * cache.n_head * keys].reshape(cache.batch, cache.n_head, 1, keys)": "        scores = np.empty((cache.batch, cache.n_head, 1, keys), cache.dtype)",
            SUMS: SUMS + "            scores = scores.copy() + 0\n",
        },
        naive="test_a_step_allocates_nothing_that_grows_with_the_text",
    ),
    Wrong("the scale is missing", {SCALE: ""}),
    Wrong("the scale is not the head's", {SCALE: "    scale[:inner] = 1 / math.sqrt(width)\n"}),
    Wrong("the scale is there twice", {SCALE: SCALE.replace("scale[:inner]", "scale[: 2 * inner]")}),
    Wrong(
        "the scale is not on the bias",
        {
            "    attend = _reading(block.ln_1, weight * scale, bias * scale)": "    attend = _reading(block.ln_1, weight * scale, bias)"
        },
    ),
    Wrong(
        "the norm's weight is missing",
        {"    return np.vstack([norm.weight.data[:, None] * weight, bias])": "    return np.vstack([weight, bias])"},
    ),
    Wrong(
        "the norm's weight is on the columns",
        {
            "    return np.vstack([norm.weight.data[:, None] * weight, bias])": "    return np.vstack([norm.weight.data.mean() * weight, bias])"
        },
    ),
    Wrong("the norm's bias is missing", {"        bias = bias + shift.data @ weight": "        pass"}),
    Wrong(
        "the norm's bias is multiplied by its weight",
        {"        bias = bias + shift.data @ weight": "        bias = bias + (shift.data * norm.weight.data) @ weight"},
    ),
    Wrong(
        "the last norm is not folded",
        {
            "            head = _reading(body.ln_f, *_affine(self.model.lm_head, config.d_model))": "            head = np.vstack(_affine(self.model.lm_head, config.d_model))"
        },
    ),
    Wrong("the mean is not subtracted", {CENTERED: "    return rows"}),
    Wrong(
        "tokens keep their means",
        {"_centered(table) if centered else table for table in (tokens, places[0])": "table for table in (tokens, places[0])"},
    ),
    Wrong("attention's results keep their means", {"_centered(join) if centered else join": "join"}),
    Wrong("the mean is subtracted with RMSNorm, too", {'config.norm == "layer"': "True"}),
    Wrong(
        "the mean of squares less the square of the mean",
        {
            CENTERED: "    return rows",
            ROOT: "            mean = x.dot(np.ones_like(x)) / x.size\n            self.root[()] = (float(x.dot(x)) / x.size - float(mean) ** 2 + eps) ** -0.5\n            x = x - mean",
        },
    ),
    Wrong(
        "eps is missing",
        {
            "    def normalize(self, x: np.ndarray, eps: float) -> None:\n": "    def normalize(self, x: np.ndarray, eps: float) -> None:\n        eps = 0\n"
        },
    ),
    Wrong(
        "eps is that of the first norm",
        {
            "        self._eps = [(block.ln_1.eps, block.ln_2.eps) for block in body.h]": "        self._eps = [(body.h[0].ln_1.eps, body.h[0].ln_1.eps) for block in body.h]"
        },
    ),
    Wrong("eps is always 1e-5", {"        self._eps_f = body.ln_f.eps": "        self._eps_f = 1e-5"}),
    Wrong(
        "tokens are not multiplied before sines are added",
        {"                tokens *= math.sqrt(config.d_model)": "                pass"},
    ),
    Wrong(
        "all rows stand at the position of the longest",
        {
            "self._places[np.minimum(starts, self.config.context - 1)]": "self._places[[min(longest - 1, self.config.context - 1)] * cache.batch]"
        },
    ),
    Wrong("positions start at 0", {"self._places[np.minimum(starts, self.config.context - 1)]": "self._places[0 * starts]"}),
    Wrong(
        "a position too far",
        {
            "self._places[np.minimum(starts, self.config.context - 1)]": "self._places[np.minimum(ends, self.config.context - 1)]"
        },
    ),
    Wrong(
        "a row that waits and is full has no position",
        {"self._places[np.minimum(starts, self.config.context - 1)]": "self._places[starts]"},
    ),
    Wrong(
        "queries alone turn",
        {
            TURN: "        half = self.qk.shape[-3] // 2\n        keys = self.qk[..., half:, :, :].copy()\n"
            + TURN
            + "        self.qk[..., half:, :, :] = keys\n"
        },
    ),
    Wrong("the rotation is the other way round", {"np.concatenate([-sines, sines], 2)": "np.concatenate([sines, -sines], 2)"}),
    Wrong("neighbors turn", {"10000.0 ** (-np.arange(half) / half)": "10000.0 ** (-np.arange(half) / half / 2)"}),
    Wrong(
        "angles in float32",
        {
            "        angles = starts[:, None, None, None] * 10000.0": "        angles = starts[:, None, None, None].astype(np.float32) * np.float32(10000.0)",
            "** (-np.arange(half) / half)": "** (-np.arange(half) / half).astype(np.float32)",
        },
    ),
    Wrong(
        "keys are kept before they turn",
        {
            "                desk.turn(*turns)\n            if hidden is None:\n                np.copyto(layer, desk.new)\n            else:\n                layer[rows, :, :, where] = desk.new[rows]\n": "                unturned = desk.new.copy()\n                desk.turn(*turns)\n            else:\n                unturned = desk.new\n            if hidden is None:\n                np.copyto(layer, unturned)\n            else:\n                layer[rows, :, :, where] = unturned[rows]\n"
        },
    ),
    Wrong("rows of different lengths hide nothing", {"                add(scores, hidden, scores)": "                pass"}),
    Wrong("the maximum is never subtracted", {CAREFUL: "            if False:"}),
    Wrong("overflow is noticed, underflow is not", {CAREFUL: "            if not sums.max() < 1e20:"}),
    Wrong("underflow is noticed, overflow is not", {CAREFUL: "            if not sums.min() > 1e-20:"}),
    Wrong("the maximum of all heads", {MAXIMUM: MAXIMUM.replace("scores.max(-1, keepdims=True)", "scores.max()")}),
    Wrong("warnings at large scores", {'        with np.errstate(over="ignore", invalid="ignore"):': "        if True:"}),
    Wrong(
        "NumPy's error handling is changed for all",
        {
            '        with np.errstate(over="ignore", invalid="ignore"):': '        np.seterr(over="ignore", invalid="ignore")\n        if True:'
        },
    ),
    Wrong(
        "the sums are those of exp squared",
        {
            "            np.divide(desk.attended, sums[..., None], desk.attended)": "            np.divide(desk.attended, sums[..., None] ** 2, desk.attended)"
        },
    ),
    Wrong("the new token is not kept", {KEPT: ""}),
    Wrong(
        "rows that wait keep theirs",
        {"        ends = starts + 1 if real is None else starts + real\n": "        ends = starts + 1\n"},
    ),
    Wrong(
        "rows that wait write theirs",
        {
            "            rows = np.arange(cache.batch) if real is None else np.flatnonzero(real)\n": "            rows = np.arange(cache.batch)\n"
        },
    ),
    Wrong(
        "a row that waits must have room",
        {
            STEP_ROOM: "        cache._check_room(int(starts.max()) + 1)\n        _check_context(self.config, int(starts.max()) + 1)\n"
        },
    ),
    Wrong("max_length is not looked at", {STEP_ROOM: "        _check_context(self.config, longest)\n"}),
    Wrong("the context is not looked at", {STEP_ROOM: "        cache._check_room(longest)\n"}),
    Wrong("equal is what the first two rows are", {EQUAL: "        if real is None and (starts[:2] == longest - 1).all():"}),
    Wrong("what a step pushes out is forgotten", {PUSHED: ""}),
    Wrong("the step opens no slot", {OPEN: ""}),
    Wrong(
        "logits are the same array each time",
        {
            RESULT: "        self._logits = getattr(self, '_logits', {})\n        kept = self._logits.setdefault(cache.batch, np.empty((cache.batch, self.config.vocab_size), cache.dtype))\n        kept[...] = logits.reshape(kept.shape)\n        return kept\n"
        },
    ),
    Wrong(
        "all logits are kept",
        {
            RESULT: "        self.__dict__.setdefault('_all', []).append(np.array(logits))\n" + RESULT,
        },
    ),
    Wrong("a step's logits in float64", {LOGITS: LOGITS.replace("logits()", "logits().astype(np.float64)")}),
    Wrong("logits have an axis of time", {RESULT: "        return logits.reshape(cache.batch, 1, -1)\n"}),
    Wrong(
        "arrays are those of the first batch",
        {
            "        if self._desk is None or len(self._desk.x) != cache.batch:": "        if self._desk is None or len(self._desk.x) < cache.batch:"
        },
    ),
    Wrong(
        "refold keeps the old arrays",
        {
            "        self._desk = None\n\n    def forward": "        self._desk = getattr(self, '_desk', None)\n\n    def forward"
        },
    ),
    Wrong(
        "refold only once",
        {
            "        body, config = self.model.transformer, self.config\n": "        if hasattr(self, '_head'):\n            return\n        body, config = self.model.transformer, self.config\n"
        },
    ),
    Wrong("weights are folded in every step", {WATCHED: WATCHED + "        self.refold()\n"}),
    Wrong(
        "weights are folded in place",
        {
            "            layers = [_folded(block, config, centered) for block in body.h]": "            layers = [_folded(block, config, centered) for block in body.h]\n            body.ln_f.weight.data *= 1.0001"
        },
    ),
    Wrong(
        "the model is left in eval mode",
        {
            "        self.model, self.config = model, model.config\n": "        self.model, self.config = model.eval(), model.config\n"
        },
    ),
    Wrong(
        "weights are read by their names",
        {
            "    further = np.linspace(-3, 2, size)\n": "    return layer.weight.data.T, np.zeros(len(layer.weight)) if layer.bias is None else layer.bias.data\n    further = np.linspace(-3, 2, size)\n"
        },
    ),
    Wrong("there is always a bias of 0", {"    return weight, bias\n": "    return weight, 0 * bias\n"}),
    Wrong("GELU is ReLU", {"        np.tanh(work, work)": "        np.sign(work, work)"}),
    Wrong(
        "GELU with the sigmoid of 1.702 u",
        {
            "_SCALE = (math.sqrt(2 / math.pi) * 0.044715) ** (1 / 3)\n_MIDDLE = math.sqrt(2 / math.pi) / _SCALE": "_SCALE = 1e-3\n_MIDDLE = 0.851 / _SCALE"
        },
    ),
    Wrong(
        "forward always asks the model",
        {FORWARD: "        if True:\n"},
    ),
    Wrong(
        "forward ignores a mask",
        {FORWARD: FORWARD.replace("mask is not None or ", "")},
    ),
    Wrong(
        "forward takes every cache for a KVCache",
        {FORWARD: FORWARD.replace("not isinstance(cache, KVCache)", "cache is None")},
    ),
    Wrong(
        "forward takes a true cache only",
        {"        return self.model(ids, mask, cache)": "        return self.model(ids, mask, cache or None)"},
    ),
    Wrong(
        "forward gives an array",
        {SEVERAL: SEVERAL.replace("return Tensor(", "return (")},
    ),
    Wrong(
        "forward reads ids as they lie in memory",
        {FORWARD: '        array = array.ravel("K").reshape(array.shape)\n' + FORWARD},
    ),
    Wrong(
        "NaN in logits is 0",
        {
            "        logits = np.empty((*self.rows, self.head.shape[1]), self.head.dtype)\n": "        self.head = np.nan_to_num(self.head)\n        logits = np.empty((*self.rows, self.head.shape[1]), self.head.dtype)\n"
        },
    ),
    # several tokens at once
    Wrong(
        "one token alone is given to the folded weights",
        {SEVERAL: SEVERAL.replace("self._read(array, cache)", "self.model(ids, None, cache).data")},
    ),
    Wrong(
        "several tokens go through step, one by one",
        {SEVERAL: "        return Tensor(np.stack([self.step(column, cache) for column in array.T], 1))\n"},
        naive="test_no_loop_over_the_tokens_of_a_part",
    ),
    Wrong(
        "a part begins at position 0", {PLACES: "        positions = (0 * cache.lengths[:, None] + np.arange(time)).ravel()"}
    ),
    Wrong("a part begins one position too far", {PLACES: PLACES.replace("np.arange(time)", "1 + np.arange(time)")}),
    Wrong("a part has the position of its first token", {PLACES: PLACES.replace("np.arange(time)", "0 * np.arange(time)")}),
    Wrong(
        "the parts of all rows begin where the first does",
        {PLACES: PLACES.replace("cache.lengths[:, None]", "cache.lengths[:1, None] + 0 * cache.lengths[:, None]")},
    ),
    Wrong("the positions of rows and tokens are exchanged", {PLACES: PLACES.replace(".ravel()", ".T.ravel()")}),
    Wrong("a part does not turn", {TURNS: "        turns = None\n"}),
    Wrong("a part turns from 0 on", {TURNS: TURNS.replace("_turns(positions)", "_turns(np.tile(np.arange(time), batch))")}),
    Wrong("a part has no positions", {"            x += self._places[positions]\n": "            pass\n"}),
    Wrong("the tokens of a part see each other", {CAUSAL: CAUSAL.replace("~seen", "~seen.any(2, keepdims=True)")}),
    Wrong("a part sees what its first token sees", {CAUSAL: CAUSAL.replace("~seen", "~seen[:, :, :1]")}),
    Wrong("a part sees everything", {CAUSAL: ""}),
    Wrong("the mask of the first row for a part of each", {CAUSAL: CAUSAL.replace("~seen", "~seen[:1]")}),
    Wrong("no maximum is subtracted in a part", {LARGEST: ""}),
    Wrong("one maximum for a part", {LARGEST: "            scores -= scores.max()\n"}),
    Wrong(
        "warnings at a part's large products",
        {
            '            with np.errstate(over="ignore"):\n                desk.gelu()': "            if True:\n                desk.gelu()"
        },
    ),
    Wrong("a part is read, and not kept", {COUNTED: ""}),
    Wrong(
        "a part that fails in the last layer is kept",
        {HELD: HELD.replace("seen, ends = cache._keep", "seen = cache.extend").replace(", None)", ")"), COUNTED: ""},
    ),
    Wrong(
        "a part counts from its first layer on",
        {
            HELD: HELD.replace(
                "\n            scores",
                "\n            cache.lengths[:] = ends if layer == 0 else cache.lengths\n            scores",
            )
        },
    ),
    Wrong(
        "heads and tokens of a part are mixed",
        {"attended.swapaxes(1, 2).reshape(batch * time, -1)": "attended.reshape(batch * time, -1)"},
    ),
    Wrong(
        "a part has the heads of the config",
        {"desk.qkv.reshape(batch, time, 3, self._n_head, -1)": "desk.qkv.reshape(batch, time, 3, self.config.n_head, -1)"},
    ),
    Wrong(
        "a part's logits in float64",
        {
            "        return logits.reshape(batch, time, -1)\n": "        return logits.reshape(batch, time, -1).astype(np.float64)\n"
        },
    ),
    Wrong("what a part is given is not checked", {"        self._check(ids, cache)\n        batch": "        batch"}),
    Wrong(
        "the context is not looked at for a part",
        {"        _check_context(self.config, int(cache.lengths.max()) + time)\n        positions": "        positions"},
    ),
    Wrong(
        "the context is that of the shortest row",
        {
            "        _check_context(self.config, int(cache.lengths.max()) + time)\n        positions": "        _check_context(self.config, int(cache.lengths.min()) + time)\n        positions"
        },
    ),
    Wrong("products whose columns can't be halved are cut", {PIECES: PIECES.replace(" and columns % (2 * parts) == 0", "")}),
    Wrong(
        "what was cut comes in another order",
        {CUT_UP: CUT_UP.replace(" for array in (weights, out))", " for array in (weights, out[:, ::-1]))")},
    ),
    Wrong(
        "negative ids count from the end",
        {"    bad = ids[(ids < 0) | (ids >= vocab_size)]": "    bad = ids[ids >= vocab_size]"},
    ),
    Wrong(
        "ids may be booleans",
        {'        if ids.dtype.kind not in "iu":': '        if ids.dtype.kind not in "iub":'},
    ),
    Wrong("any cache is taken", {"        if sizes != others:": "        if False:"}),
    Wrong("a cache of another dtype is taken", {"        if sizes != others:": "        if sizes[:-1] != others[:-1]:"}),
    Wrong("a cache of another window is taken", {"        if sizes != others:": "        if sizes[:3] != others[:3]:"}),
    Wrong("real of another shape", {"            if real.shape != (cache.batch,):": "            if real.ndim != 1:"}),
    Wrong(
        "real may be numbers in a step",
        {
            '            if real.dtype != np.bool_:\n                raise TypeError(f"real must be boolean, False for': "            if real.dtype.kind == 'f':\n                raise TypeError(f\"real must be boolean, False for"
        },
    ),
    # a list by someone who had seen neither these nor the specs
    Wrong(
        "float16 widened",
        {
            "        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim), dtype)": "        self._kv = np.zeros((n_layer, 2, batch, n_head, slots, head_dim), np.promote_types(dtype, np.float32))"
        },
    ),
    Wrong(
        "prefill interrupt leaves eval",
        {
            "    finally:\n        for module in training:\n            module.training = True\n    return logits\n": "    except Exception:\n        for module in training:\n            module.training = True\n        raise\n    for module in training:\n        module.training = True\n    return logits\n"
        },
    ),
    Wrong(
        "prefill context without cached",
        {"_check_context(model.config, int(cache.lengths.max()) + ids.shape[1])": "_check_context(model.config, ids.shape[1])"},
    ),
    Wrong(
        "head assumed tied",
        {
            "head = _reading(body.ln_f, *_affine(self.model.lm_head, config.d_model))": "head = _reading(body.ln_f, body.wte.weight.data.T.astype(np.float64), np.zeros(config.vocab_size))"
        },
    ),
    Wrong("equal if first and last are", {"(starts == longest - 1).all()": "starts[0] == starts[-1]"}),
    Wrong(
        "what unit vectors show is taken for a matrix",
        {"    if (np.abs(further @ weight + bias - rows[-1]) > 1e-3 * np.abs(rows).max()).any():": "    if False:"},
    ),
    Wrong(
        "the layer without a matrix is not named",
        {"f\"{type(layer).__name__} can't be folded": "f\"a layer can't be folded"},
    ),
    Wrong(
        "a copy's arrays are no views of each other",
        {"    def __deepcopy__(self, memo: dict) -> None:": "    def _copied(self) -> None:"},
    ),
    Wrong(
        "reorder leaves tails",
        {
            "            layer[...] = layer[:, rows]": "            keep = min(int(self.lengths[rows].max()), self._slots)\n            layer[..., :keep, :] = layer[:, rows, :, :keep]"
        },
    ),
    Wrong(
        "sizes as NumPy's integers",
        {"np.empty(self.batch * self.n_head * slots, dtype)": "np.empty(batch * n_head * slots, dtype)"},
    ),
    Wrong("a row fails alone", {"self._first[rows], self._begun[rows]": "self._first[rows], self._begun[rows].copy()"}),
    Wrong(
        "prefill context of real tokens",
        {
            "_check_context(model.config, int(cache.lengths.max()) + ids.shape[1])": "_check_context(model.config, int((cache.lengths + real.sum(1)).max()))"
        },
    ),
    Wrong("a cache has the heads of the config", {MOST: "    return model.config.n_head\n"}),
    Wrong("a cache has the heads of the first block", {MOST: "    return model.transformer.h[0].attn.n_head\n"}),
    Wrong("all blocks have the heads of the config", {"    inner = block.attn.n_head * size\n": "    inner = width\n"}),
    Wrong(
        "zeros for heads come behind q, k and v, not in each",
        {
            "    qkv = np.pad(attend.reshape(len(attend), 3, -1), [(0, 0), (0, 0), (0, heads)])\n": "    qkv = np.pad(attend, [(0, 0), (0, 3 * heads)])\n"
        },
    ),
    Wrong(
        "zeros for heads take the place of the bias",
        {"np.insert(join, len(join) - 1, np.zeros((heads, 1)), 0)": "np.pad(join, [(0, heads), (0, 0)])"},
    ),
    Wrong(
        "all blocks have the neurons of the first",
        {"max(widen.shape[1] for _, _, widen, _ in layers)": "layers[0][2].shape[1]"},
    ),
    Wrong(
        "a head is as wide as d_model / its block's heads",
        {
            "    width, size = config.d_model, config.d_model // config.n_head\n    inner": "    width, size = config.d_model, config.d_model // block.attn.n_head\n    inner"
        },
    ),
]

EQUIVALENT = {
    **{
        f"Decoder._check: a check comes after the effect{more}": "only the order of errors is another"
        for more in ("", ", 2", ", 3")
    },
    "Decoder.forward: a result is a view of an equal argument": "logits are never ids",
    **{
        f"{name}: {habit}": reason
        for name in ("prefill", "Decoder.forward", "Decoder.step")
        for habit, reason in (
            ("a result is a copy, not a view", "logits are new"),
            ("int32 for int64", "logits are floats"),
            ("int64 for int32", "logits are floats"),
            ("infinities and NaN in arguments are made finite", "ids are integers"),
        )
    },
    **{
        f"{name}: {habit}": reason
        for name in ("prefill", "Decoder.step")
        for habit, reason in (
            ("a result is a view of an equal argument", "logits are never ids"),
            ("shapes that differ are broadcast", "ids and mask have the same shape, or are refused"),
        )
    },
    **{f"{name}: NumPy's numbers are refused": "it takes arrays" for name in ("prefill", "Decoder.forward")},
    **{
        f"{name}: a falsy argument is taken as absent": "neither a cache nor an array of several is falsy"
        for name in ("Decoder.forward", "Decoder.step")
    },
    "Decoder.step: axes of length 0 are refused": "a cache has rows",
    "prefill: a result is read-only": "nobody is told to write into the logits",
    "prefill: infinities and NaN in results are made finite": "of finite weights logits are finite",
    "Decoder._read: None is whatever is falsy": "two arrays in a tuple are not falsy",
    "Decoder.step: None is whatever is falsy, 4": "a desk is never falsy",
    "Decoder._through: None is whatever is falsy, 2": "two arrays in a tuple are not falsy",
    "KVCache.extend: int32 for int64": "it returns no integers",
    "KVCache.extend: int64 for int32": "it returns no integers",
    "KVCache.extend: a result is read-only": "nobody is told to write into the cache's keys",
}
