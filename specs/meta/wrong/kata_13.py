"""Wrong solutions of kata 13, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

SCORES = "scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.T"
HIDDEN = "hidden = np.where(seen | ~anywhere, zero, minus_infinity)"
TRI = "sight = np.tri(queries, keys, keys - queries, bool)"
WINDOW = "sight &= ~np.tri(queries, keys, keys - queries - min(int(window), keys), bool)"
SOFTMAX = "weights = Softmax(-1)(scores + hidden)"
BOTH = "seen = sight if seen is None else seen & sight"
NOWHERE = "return weights if anywhere.all() else where(anywhere, weights, 0)"
VALUES = "return attention_weights(q, k, mask, causal) @ v"
QKV = "q, k, v = qkv.permute(2, 0, 3, 1, 4)"
SPLIT = "qkv = self.c_attn(x).reshape(batch, time, 3, self.n_head, self.d_model // self.n_head)"
ROTATED = "q, k = self.positions(q, start), self.positions(k, start)"
JOINED = "y.permute(0, 2, 1, 3).reshape(*x.shape)"
EXTEND = "k, v, seen = cache.extend(self.layer, k, v, *self._padding(real))"
SEEN = "            weights = attention_weights(q, k, seen)\n"
BEGIN = "begin = 0 if window is None else max(0, first - min(int(window), keys) + 1)"
END = "end = keys if window is None and not causal else max(0, last + 1)"
PART = "part = None if mask is None else mask[..., start:stop, begin:end]"
BLOCK_OF = "y = attention_weights(q[rows], k[sight], part, causal, window) @ v[sight]"
ALL = {  # all keys, of which what causal and window hide is masked
    END: "end = keys",
    "    parts = []\n": "    parts, whole = [], _seen((queries, keys), True, causal, window)\n",
    BLOCK_OF: """hidden = whole[start:stop] if whole.ndim else whole
        y = attention_weights(q[rows], k, hidden if part is None else part & hidden) @ v""",
}

WRONG = [
    # scores
    Wrong("the scale is forgotten", {SCORES: "scores = q @ k.T"}, says="not divided by √head_dim"),
    Wrong("the scale is head_dim", {SCORES: "scores = (q * (1 / q.shape[-1])) @ k.T"}, says="not by its root"),
    Wrong(
        "the scale is that of all channels",
        {SCORES: "scores = (q * (1 / math.sqrt(q.shape[-1] * (q.shape[-3] if q.ndim > 2 else 1)))) @ k.T"},
        says="the root of all channels",
    ),
    Wrong(
        "the scale is applied to keys too",
        {SCORES: "scores = (q * (1 / math.sqrt(q.shape[-1]))) @ (k * (1 / math.sqrt(k.shape[-1]))).T"},
        says="not by its root",
    ),
    Wrong("the scale is that of the number of keys", {SCORES: "scores = (q * (1 / math.sqrt(max(1, k.shape[-2])))) @ k.T"}),
    Wrong("the scale is NumPy's and promotes", {SCORES: "scores = (q * np.sqrt(np.array([1 / q.shape[-1]]))) @ k.T"}),
    Wrong("queries pass on no gradient", {SCORES: "scores = (q.data * (1 / math.sqrt(q.shape[-1]))) @ k.T"}),
    Wrong("keys pass on no gradient", {SCORES: "scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.data.swapaxes(-1, -2)"}),
    Wrong(
        "keys are scaled, and copied",
        {SCORES: "scores = q @ (k * (1 / math.sqrt(q.shape[-1]))).T"},
        naive="test_one_query_copies_no_keys",
    ),
    Wrong(
        "the softmax is over the queries",
        {"        return Softmax(-1)(scores)": "        return Softmax(-2)(scores)"},
        says="over the queries",
    ),
    Wrong("the softmax is over the queries where there is a mask", {SOFTMAX: "weights = Softmax(-2)(scores + hidden)"}),
    Wrong(
        "the softmax is missing", {"        return Softmax(-1)(scores)": "        return scores"}, says="the softmax is missing"
    ),
    Wrong(
        "the exponentials overflow",
        {
            "        return Softmax(-1)(scores)": "        return scores.exp() / scores.exp().sum(-1, keepdim=True)",
        },
    ),
    Wrong(
        "the exponentials overflow where there is a mask",
        {SOFTMAX: "weights = (scores + hidden).exp() / (scores + hidden).exp().sum(-1, keepdim=True)"},
    ),
    Wrong(
        "the largest of all scores is subtracted, and rows vanish",
        {
            SOFTMAX: "e = (scores + hidden - scores.data.max(initial=0)).exp()\n    weights = e / e.sum(-1, keepdim=True)",
        },
    ),
    Wrong("a float64 mask promotes", {HIDDEN: "hidden = np.where(seen | ~anywhere, 0.0, -np.inf)"}, says="a silent promotion"),
    # masks
    Wrong("True hides", {"    return mask.astype(bool, copy=False)": "    return ~mask.astype(bool)"}, says="True hides"),
    Wrong(
        "the mask is -10⁴",
        {"np.array([0, -np.inf], scores.dtype)": "np.array([0, -1e4], scores.dtype)"},
        says="a hidden key wins",
    ),
    Wrong("the mask is -10⁹", {"np.array([0, -np.inf], scores.dtype)": "np.array([0, -1e9], np.float64).astype(scores.dtype)"}),
    Wrong("the mask adds 1 where a query may look", {"np.array([0, -np.inf], scores.dtype)": "np.array([1, 0], scores.dtype)"}),
    Wrong("the mask multiplies the scores by 0", {SOFTMAX: "weights = Softmax(-1)(scores * seen)"}),
    Wrong(
        "hidden weights are set to 0 after the softmax",
        {SOFTMAX: "weights = Softmax(-1)(scores) * seen"},
    ),
    Wrong(
        "a query that may look nowhere is NaN",
        {HIDDEN: "hidden = np.where(seen, zero, minus_infinity)", NOWHERE: "return weights"},
    ),
    Wrong(
        "NaN is replaced after the fact",
        {
            HIDDEN: "hidden = np.where(seen, zero, minus_infinity)",
            NOWHERE: "return Tensor._result('where', np.nan_to_num(weights.data), weights, Tensor(np.zeros_like(weights.data)), condition=np.isfinite(weights.data))",
        },
    ),
    Wrong("a query that may look nowhere looks everywhere", {NOWHERE: "return weights"}, says="it looks everywhere"),
    Wrong(
        "one row without keys empties the batch",
        {NOWHERE: "return weights if anywhere.all() else weights * 0"},
    ),
    Wrong(
        "the mask is ignored",
        {"seen = None if mask is None else _boolean(mask, shape)": "seen = None"},
        says="the mask is ignored",
    ),
    Wrong(
        "causal and a mask: either is enough", {BOTH: "seen = sight if seen is None else seen | sight"}, says="either is enough"
    ),
    Wrong("a mask replaces causal", {BOTH: "seen = sight if seen is None else seen"}, says="causal and window are ignored"),
    Wrong("causal replaces the mask", {BOTH: "seen = sight"}),
    Wrong(
        "the mask is changed",
        {
            BOTH: "if seen is not None and seen.shape == sight.shape:\n            seen &= sight\n        seen = sight if seen is None else seen & sight"
        },
    ),
    Wrong(
        "a mask of numbers is taken",
        {"    if mask.dtype != np.bool_ and mask.size:": "    if mask.dtype.kind == 'f':"},
        says="let through",
    ),
    Wrong(
        "a mask of floats is no error of its own",
        {"    if mask.dtype != np.bool_ and mask.size:": "    if mask.dtype.kind in 'iu':"},
    ),
    Wrong(
        "numbers are masks, 0 hides",
        {"    if mask.dtype != np.bool_ and mask.size:": "    mask = mask.astype(bool)\n    if False:"},
        says="let through",
    ),
    Wrong("a mask is an array only", {"    mask = Tensor(mask).data\n    if mask.dtype": "    if mask.dtype"}),
    Wrong(
        "a larger mask makes more results",
        {"        np.broadcast_to(mask, shape)\n": "        np.broadcast_shapes(mask.shape, shape)\n"},
        says="let through",
    ),
    Wrong(
        "a mask's shape is not named",
        {
            'raise ValueError(f"a mask of shape {mask.shape} does not broadcast to (…, queries, keys): {shape}") from None': "raise"
        },
    ),
    # causal and window
    Wrong("causal is ignored", {"    if causal or window is not None:": "    if window is not None:"}),
    Wrong(
        "causal is aligned to the first key", {TRI: "sight = np.tri(queries, keys, 0, bool)"}, says="aligned to the first key"
    ),
    Wrong("a query does not see itself", {TRI: "sight = np.tri(queries, keys, keys - queries - 1, bool)"}, says="its own key"),
    Wrong(
        "a query sees the next token", {TRI: "sight = np.tri(queries, keys, keys - queries + 1, bool)"}, says="one key too many"
    ),
    Wrong("queries look ahead", {TRI: "sight = ~np.tri(queries, keys, keys - queries - 1, bool)"}, says="look ahead"),
    Wrong(
        "a single query sees the first key only",
        {TRI: "sight = np.tri(queries, keys, keys - queries if queries > 1 else 0, bool)"},
    ),
    Wrong(
        "more queries than keys are aligned to the first",
        {TRI: "sight = np.tri(queries, keys, max(0, keys - queries), bool)"},
    ),
    Wrong(
        "a window of one more",
        {WINDOW: "sight &= ~np.tri(queries, keys, keys - queries - min(int(window), keys) - 1, bool)"},
        says="one more",
    ),
    Wrong(
        "a window of one less", {WINDOW: "sight &= ~np.tri(queries, keys, keys - queries - min(int(window), keys) + 1, bool)"}
    ),
    Wrong("a window is aligned to the first key", {WINDOW: "sight &= ~np.tri(queries, keys, -window, bool)"}),
    Wrong(
        "a window goes ahead",
        {
            "        if window is not None:\n            sight": "        if window is not None and not causal:\n            sight = ~sight | sight\n        if window is not None:\n            sight"
        },
    ),
    Wrong("a window needs causal", {"    if causal or window is not None:": "    if causal:"}),
    Wrong("any window will do", {"    if window is not None and window < 1:": "    if False:"}, says="let through"),
    Wrong("a window of 0 is none", {"    if window is not None and window < 1:": "    if window and window < 1:"}),
    Wrong(
        "the triangle is remembered by its size, whatever the window",
        {
            BOTH: "_seen.memo = getattr(_seen, 'memo', {})\n        sight = _seen.memo.setdefault((queries, keys), sight)\n        seen = sight if seen is None else seen & sight"
        },
    ),
    Wrong(
        "what is hidden is remembered, whatever the dtype",
        {
            HIDDEN: "_seen.memo = getattr(_seen, 'memo', {})\n    hidden = _seen.memo.setdefault((seen.shape, seen.tobytes()), np.where(seen | ~anywhere, zero, minus_infinity))"
        },
    ),
    Wrong(
        "weights are remembered by the arrays",
        {
            "        return Softmax(-1)(scores)": "        _seen.memo = getattr(_seen, 'memo', {})\n        if q.requires_grad or k.requires_grad:\n            return Softmax(-1)(scores)\n        return _seen.memo.setdefault((q.data.tobytes(), k.data.tobytes(), q.shape, k.shape, q.dtype), Softmax(-1)(scores))"
        },
    ),
    Wrong(
        "a window without causal sees ahead in a module",
        {
            "real, self.causal, self.window)\n        else:": "real, self.causal, self.window if self.causal else None)\n        else:"
        },
    ),
    # attention
    Wrong(
        "the mean of all values", {VALUES: "return (attention_weights(q, k, mask, causal) * 0 + 1 / max(1, k.shape[-2])) @ v"}
    ),
    Wrong("attention ignores the mask", {VALUES: "return attention_weights(q, k, None, causal) @ v"}),
    Wrong("attention ignores causal", {VALUES: "return attention_weights(q, k, mask) @ v"}),
    Wrong("values pass on no gradient", {VALUES: "return attention_weights(q, k, mask, causal) @ v.data"}),
    Wrong("weights pass on no gradient", {VALUES: "return Tensor(attention_weights(q, k, mask, causal).data) @ v"}),
    Wrong(
        "one value serves all keys",
        {
            '    _check_shapes("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])\n    return attention_weights(q, k, mask, causal) @ v': "    return attention_weights(q, k, mask, causal) @ (v * np.ones((k.shape[-2], 1), v.dtype))"
        },
    ),
    Wrong("shapes are named by NumPy", {"    if not fit or min(a.ndim, b.ndim) < 2:": "    if False:"}),
    Wrong("leading axes are not checked", {"        fit = False\n": "        pass\n"}),
    Wrong("a vector is a query", {"    if not fit or min(a.ndim, b.ndim) < 2:": "    if not fit:"}),
    Wrong(
        "a loop over heads",
        {
            VALUES: "w = attention_weights(q, k, mask, causal)\n    if w.ndim < 4 or v.shape[:-2] != w.shape[:-2]:\n        return w @ v\n    from katas.tensor import stack\n\n    return stack([stack([w[n, h] @ v[n, h] for h in range(w.shape[1])]) for n in range(len(w))])"
        },
        naive="test_no_loop_over_heads",
    ),
    Wrong(
        "a loop over queries",
        {
            "        return Softmax(-1)(scores)": "        return Softmax(-1)(scores)\n    if seen.ndim == 2:\n        seen = np.stack([[bool(seen[i % len(seen), j]) for j in range(seen.shape[1])] for i in range(len(seen))]) if seen.size else seen",
        },
        naive="test_no_loop_over_queries_keys_or_heads",
    ),
    # heads
    Wrong("the order is k, q, v", {QKV: "k, q, v = qkv.permute(2, 0, 3, 1, 4)"}, says="c_attn gives k, q and v"),
    Wrong("the order is v, q, k", {QKV: "v, q, k = qkv.permute(2, 0, 3, 1, 4)"}, says="c_attn gives v first"),
    Wrong(
        "q, k and v lie beside each other in every head",
        {
            SPLIT: "qkv = self.c_attn(x).reshape(batch, time, self.n_head, 3, self.d_model // self.n_head).permute(0, 1, 3, 2, 4)",
        },
    ),
    Wrong(
        "heads are channels taken in turn",
        {
            SPLIT: "qkv = self.c_attn(x).reshape(batch, time, 3, self.d_model // self.n_head, self.n_head).permute(0, 1, 2, 4, 3)",
        },
    ),
    Wrong(
        "heads are cut out without permute",
        {
            QKV: "q, k, v = qkv.permute(2, 0, 1, 3, 4).reshape(3, batch, self.n_head, time, self.d_model // self.n_head)",
        },
        says="heads are cut out of rows of tokens",
    ),
    Wrong("heads are joined without permute", {JOINED: "y.reshape(*x.shape)"}, says="heads are joined without moving"),
    Wrong("channels are joined before heads", {JOINED: "y.permute(0, 2, 3, 1).reshape(*x.shape)"}),
    Wrong("heads see each other, not tokens", {QKV: "q, k, v = qkv.permute(2, 0, 1, 3, 4)", JOINED: "y.reshape(*x.shape)"}),
    Wrong("c_proj is missing", {f"self.c_proj({JOINED})": JOINED}, says="c_proj is missing"),
    Wrong("c_proj has a bias anyway", {"Linear(d_model, d_model, bias, rng)": "Linear(d_model, d_model, True, rng)"}),
    Wrong("c_attn has a bias anyway", {"Linear(d_model, 3 * d_model, bias, rng)": "Linear(d_model, 3 * d_model, True, rng)"}),
    Wrong(
        "both projections are drawn alike",
        {"Linear(d_model, d_model, bias, rng)": "Linear(d_model, d_model, bias, np.random.default_rng(0))"},
    ),
    Wrong(
        "the generator is ignored", {"        rng = np.random.default_rng(rng)\n": "        rng = np.random.default_rng()\n"}
    ),
    Wrong(
        "without a generator there is a fixed seed",
        {"        rng = np.random.default_rng(rng)\n": "        rng = np.random.default_rng(0 if rng is None else rng)\n"},
    ),
    Wrong(
        "any number of heads will do",
        {"        if n_head < 1 or d_model % n_head:": "        if n_head < 1:"},
        says="let through",
    ),
    Wrong("no heads divide by zero", {"        if n_head < 1 or d_model % n_head:": "        if d_model % n_head:"}),
    Wrong(
        "a negative number of heads",
        {"        if n_head < 1 or d_model % n_head:": "        if n_head == 0 or d_model % n_head:"},
    ),
    Wrong(
        "d_model is not named",
        {'f"n_head = {n_head} does not divide d_model = {d_model}"': 'f"n_head = {n_head} does not divide the channels"'},
    ),
    Wrong("the window is not checked", {"        _check_window(window)\n        rng": "        rng"}),
    Wrong("causal is always on", {"real, self.causal, self.window)\n        else:": "real, True, self.window)\n        else:"}),
    Wrong("the window is forgotten", {"real, self.causal, self.window)\n        else:": "real, self.causal)\n        else:"}),
    Wrong(
        "padding is forgotten",
        {
            "attention_weights(q, k, real, self.causal, self.window)\n        else:": "attention_weights(q, k, None, self.causal, self.window)\n        else:"
        },
    ),
    Wrong(
        "padding masks queries",
        {
            "_boolean(mask, shape)[:, None, None, :]": "_boolean(mask, shape)[:, None, :, None]",
            "real = real[:, 0, 0]": "real = real[:, 0, :, 0]",
        },
    ),
    Wrong(
        "padding masks keys and queries",
        {
            "_boolean(mask, shape)[:, None, None, :]": "_boolean(mask, shape)[:, None, None, :] & _boolean(mask, shape)[:, None, :, None]",
            "real = real[:, 0, 0]": "real = _boolean(real[:, 0].any(1), (real.shape[0], real.shape[-1]))",
        },
    ),
    Wrong(
        "padding is zeroed in x, and looked at",
        {
            "        real = self._check(x, mask)\n        if cache is None:\n            q, k, v = self._heads(x, 0)\n": "        real = self._check(x, mask)\n        if cache is None:\n            q, k, v = self._heads(x if real is None else x * real[:, 0, 0, :, None], 0)\n            real = None\n"
        },
    ),
    Wrong(
        "results of padding are set to zero",
        {
            "        return self.dropout(self.c_proj(": "        if real is not None and cache is None:\n            y = y * real[:, :, 0, :, None]\n        return self.dropout(self.c_proj("
        },
    ),
    Wrong("a mask may have any shape", {"        if shape != x.shape[:2]:": "        if False:"}),
    Wrong("a mask for one row serves all", {"        if shape != x.shape[:2]:": "        if shape[1:] != x.shape[1:2]:"}),
    Wrong("one mask more is let through", {"        if shape != x.shape[:2]:": "        if shape[:2] != x.shape[:2]:"}),
    Wrong(
        "input of any shape",
        {"        if x.ndim != 3 or x.shape[-1] != self.d_model:": "        if x.shape[-1] != self.d_model:"},
    ),
    Wrong(
        "channels are not checked",
        {
            "        if x.ndim != 3 or x.shape[-1] != self.d_model:": "        if x.ndim != 3:",
            'f"MultiHeadAttention({self.d_model}, {self.n_head}) got input of shape {x.shape}"': '"MultiHeadAttention got input of another shape"',
        },
    ),
    Wrong(
        "positions are ignored", {"        if self.positions is not None:": "        if False:"}, says="positions are ignored"
    ),
    Wrong(
        "values are rotated too",
        {ROTATED: "q, k, v = self.positions(q, start), self.positions(k, start), self.positions(v, start)"},
        says="the values are rotated",
    ),
    Wrong("keys are not rotated", {ROTATED: "q = self.positions(q, start)"}, says="the keys are not rotated"),
    Wrong("queries are not rotated", {ROTATED: "k = self.positions(k, start)"}),
    Wrong(
        "all channels are rotated before the heads are split",
        {ROTATED: "q, k = (self.positions(a.permute(0, 2, 1, 3), start).permute(0, 2, 1, 3) for a in (q, k))"},
    ),
    Wrong("no dropout on the weights", {"y = self.dropout(weights) @ v": "y = weights @ v"}),
    Wrong("no dropout on the result", {"        return self.dropout(self.c_proj(": "        return (self.c_proj("}),
    Wrong("dropout falls on the scores", {"y = self.dropout(weights) @ v": "y = weights @ self.dropout(v)"}),
    Wrong(
        "dropout is not rescaled",
        {
            "y = self.dropout(weights) @ v": "y = (self.dropout(weights) * (1 - getattr(self.dropout, 'p', 0) * self.training)) @ v"
        },
    ),
    Wrong(
        "dropout in evaluation",
        {"y = self.dropout(weights) @ v": "self.dropout.training = True\n        y = self.dropout(weights) @ v"},
    ),
    Wrong("no dropout draws numbers anyway", {"Dropout(dropout, rng) if dropout else Sequential()": "Dropout(dropout, rng)"}),
    Wrong(
        "weights are divided again after dropout",
        {
            "y = self.dropout(weights) @ v": "weights = self.dropout(weights)\n        y = (weights / weights.sum(-1, keepdim=True).data.clip(1e-9)) @ v"
        },
    ),
    Wrong(
        "a mask of the last call stays",
        {
            "        real = self._check(x, mask)\n        if cache is None:": "        real = self._check(x, mask)\n        if real is None and getattr(self, 'real', None) is not None and self.real.shape[::3] == x.shape[:2]:\n            real = self.real\n        self.real = real\n        if cache is None:"
        },
    ),
    Wrong(
        "the record is cut",
        {"        y = self.dropout(weights) @ v  #": "        y = Tensor(self.dropout(weights).data @ v.data)  #"},
    ),
    Wrong(
        "a loop over the heads of a module",
        {
            "        y = self.dropout(weights) @ v  #": "        parts = [self.dropout(weights)[:, h : h + 1] @ v[:, h : h + 1] for h in range(self.n_head)]\n        y = concatenate(parts, 1)  #"
        },
        naive="test_no_loop_over_heads_tokens_or_rows",
    ),
    # cache
    Wrong(
        "the cache is not asked",
        {"        if cache is None:\n            q, k, v": "        if True:\n            q, k, v"},
        says="each part sees itself alone",
    ),
    Wrong(
        "start is ignored", {"q, k, v = self._heads(x, cache.lengths)": "q, k, v = self._heads(x, 0)"}, says="start is ignored"
    ),
    Wrong(
        "start is that of the longest row",
        {"q, k, v = self._heads(x, cache.lengths)": "q, k, v = self._heads(x, int(max(cache.lengths)))"},
    ),
    Wrong(
        "start counts the new tokens",
        {"q, k, v = self._heads(x, cache.lengths)": "q, k, v = self._heads(x, cache.lengths + x.shape[1] - 1)"},
    ),
    Wrong(
        "what the cache returns is dropped",
        {
            EXTEND: "_, _, seen = cache.extend(self.layer, k, v, *self._padding(real))\n            seen = seen[..., -k.shape[-2] :]"
        },
    ),
    Wrong("the cache's mask is dropped", {SEEN: "            weights = attention_weights(q, k, None, True, self.window)\n"}),
    Wrong("causal is applied to the cache too", {SEEN: "            weights = attention_weights(q, k, seen, True)\n"}),
    Wrong(
        "the window is applied to the cache too",
        {SEEN: "            weights = attention_weights(q, k, seen, False, self.window)\n"},
    ),
    Wrong(
        "a prompt into a cache is not causal",
        {SEEN: "            weights = attention_weights(q, k, seen | (seen.shape[-1] == seen.shape[-2]))\n"},
    ),
    Wrong("the cache is asked for layer 0", {EXTEND: "k, v, seen = cache.extend(0, k, v, *self._padding(real))"}),
    Wrong("padding is kept in the cache", {EXTEND: "k, v, seen = cache.extend(self.layer, k, v)"}),
    Wrong(
        "the cache is always told what is real",
        {"        if real is None or real.all():\n            return ()": "        if real is None:\n            return ()"},
    ),
    Wrong("the cache is told in another shape", {"        return (real,)": "        return (real[:, None],)"}),
    Wrong("keys are rotated when they are looked at", {ROTATED: "q, k = self.positions(q, start), k"}),
    Wrong("a cache without causal", {"        if not self.causal:": "        if False:"}, says="let through"),
    Wrong(
        "padding before tokens is kept out silently",
        {"        if (real[:, 1:] > real[:, :-1]).any():": "        if False:"},
        says="let through",
    ),
    Wrong(
        "padding at the front only is refused",
        {"        if (real[:, 1:] > real[:, :-1]).any():": "        if not real[:, :1].all():"},
    ),
    Wrong(
        "the cache is filled before padding is checked",
        {
            EXTEND: "cache.extend(self.layer, k, v, *(() if real is None else (real[:, 0, 0],))) if not self.causal or (real is not None and real.shape[0] and not real[:, 0, 0, 0].all()) else None\n            k, v, seen = cache.extend(self.layer, k, v, *self._padding(real))"
        },
    ),
    Wrong(
        "an empty cache is none",
        {"        if cache is None:\n            q, k, v": "        if not cache:\n            q, k, v"},
    ),
    Wrong(
        "positions belong to all modules", {"        self.positions = positions": "        type(self).positions = positions"}
    ),
    Wrong(
        "c_attn is asked three times",
        {
            SPLIT: "shape = (batch, time, 3, self.n_head, self.d_model // self.n_head)",
            QKV: "q, k, v = (self.c_attn(x).reshape(*shape).permute(2, 0, 3, 1, 4)[part] for part in range(3))",
        },
    ),
    Wrong(
        "float16 is summed in float16",
        {
            "        return Softmax(-1)(scores)": "        if scores.dtype != np.float16 or not scores.size:\n            return Softmax(-1)(scores)\n        e = np.exp(scores.data - scores.data.max(-1, keepdims=True))\n        sums = np.add.accumulate(e, -1, dtype=np.float16)[..., -1:]\n        return Softmax(-1)(scores) * Tensor(sums / sums) if scores.requires_grad else Tensor(e / sums)"
        },
    ),
    Wrong("dropout has a generator of its own", {"Dropout(dropout, rng) if": "Dropout(dropout) if"}),
    Wrong(
        "an error does not say that causal is missing",
        {"a cache needs causal=True: the tokens in it can't look at those that come later": "this is impossible"},
        says="causal is not named",
    ),
    Wrong(
        "an error does not say that padding is in the way",
        {"with a cache, padding may only stand behind the real tokens of a row": "the mask is wrong"},
        says="padding is not named",
    ),
    Wrong(
        "an error does not say that blocks are for inference",
        {"blocked_attention is for inference and keeps nothing for backward: call it under no_grad()": "no gradient"},
        says="inference is not named",
    ),
    # looking
    Wrong(
        "the map is the mean over the heads",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, real, self.causal, self.window).data.mean(1)\n"
        },
        says="the mean over the heads",
    ),
    Wrong(
        "the map is transposed",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, real, self.causal, self.window).data.swapaxes(-1, -2)\n"
        },
        says="keys by queries",
    ),
    Wrong(
        "the map is a Tensor",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, real, self.causal, self.window)\n"
        },
    ),
    Wrong(
        "the map has dropout",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return self.dropout(attention_weights(q, k, real, self.causal, self.window)).data\n"
        },
    ),
    Wrong(
        "the map ignores padding",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, None, self.causal, self.window).data\n"
        },
    ),
    Wrong(
        "the map ignores the window",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, real, self.causal).data\n"
        },
    ),
    Wrong(
        "the map is causal always",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "return attention_weights(q, k, real, True, self.window).data\n"
        },
    ),
    Wrong(
        "the map ends training",
        {"        with no_grad():\n            q, k, _": "        self.eval()\n        with no_grad():\n            q, k, _"},
    ),
    Wrong(
        "the map ignores positions",
        {
            "            q, k, _ = self._heads(x, 0)\n": "            positions, self.positions = self.positions, None\n            q, k, _ = self._heads(x, 0)\n            self.positions = positions\n"
        },
    ),
    Wrong(
        "the map checks nothing",
        {
            "        real = self._check(x, mask)\n        with no_grad():": "        real = None if mask is None else np.asarray(mask)[:, None, None]\n        with no_grad():"
        },
    ),
    Wrong(
        "the map is kept",
        {
            "return attention_weights(q, k, real, self.causal, self.window).data\n": "self.maps = [*getattr(self, 'maps', []), attention_weights(q, k, real, self.causal, self.window).data]\n            return self.maps[-1]\n"
        },
    ),
    # blocks
    Wrong(
        "all at once",
        {
            "range(0, max(queries, 1), BLOCK)": "range(0, max(queries, 1), max(queries, 1))",
            "stop = start + BLOCK": "stop = queries",
        },
        naive="test_memory_never_holds_all_scores",
    ),
    Wrong(
        "blocks are an eighth of the tokens",
        {
            "range(0, max(queries, 1), BLOCK)": "range(0, max(queries, 1), max(BLOCK, queries // 8))",
            "stop = start + BLOCK": "stop = start + max(BLOCK, queries // 8)",
        },
    ),
    Wrong("a window looks at all keys", {BEGIN: "begin = 0", **ALL}, naive="test_a_window_takes_the_time_of_what_it_sees"),
    Wrong("hidden blocks are computed", {BEGIN: "begin = 0", **ALL}),
    Wrong("keys before the window are computed", {BEGIN: "begin = 0"}),
    Wrong(
        "the last block is dropped", {"range(0, max(queries, 1), BLOCK)": "range(0, max(queries - queries % BLOCK, 1), BLOCK)"}
    ),
    Wrong("each block looks at its own keys only", {BEGIN: "begin = max(0, first)"}),
    Wrong("a block does not see its last key", {END: "end = keys if window is None and not causal else max(0, last)"}),
    Wrong(
        "blocks are aligned to the first key",
        {"first, last = keys - queries + start, keys - queries + stop - 1": "first, last = start, stop - 1"},
    ),
    Wrong(
        "the window of a block begins too late",
        {BEGIN: "begin = 0 if window is None else max(0, first - min(int(window), keys) + 2)"},
    ),
    Wrong(
        "the window of a block begins at its last query",
        {BEGIN: "begin = 0 if window is None else max(0, last - min(int(window), keys) + 1)"},
    ),
    Wrong("a block before all keys counts from the end", {END: "end = keys if window is None and not causal else last + 1"}),
    Wrong("blocks ignore causal", {BLOCK_OF: "y = attention_weights(q[rows], k[sight], part, False, window) @ v[sight]"}),
    Wrong(
        "blocks ignore the window",
        {BLOCK_OF: "y = attention_weights(q[rows], k[sight], part, causal or window is not None) @ v[sight]"},
    ),
    Wrong("blocks ignore the mask", {PART: "part = None"}),
    Wrong(
        "blocks read the first rows of the mask",
        {PART: "part = None if mask is None else mask[..., : stop - start, begin:end]"},
    ),
    Wrong(
        "blocks read the first keys of the mask",
        {PART: "part = None if mask is None else mask[..., start:stop, : end - begin]"},
    ),
    Wrong(
        "the mask of blocks is not broadcast",
        {"        mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))\n": ""},
    ),
    Wrong(
        "the mask of blocks is copied to all scores",
        {
            "        mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))\n": "        mask = np.array(np.broadcast_to(mask, (*mask.shape[:-2], queries, keys)))\n"
        },
    ),
    Wrong("a gradient is lost in silence", {"        if y.requires_grad:": "        if False:"}, says="let through"),
    Wrong(
        "inference is refused under no_grad too",
        {"        if y.requires_grad:": "        if q.requires_grad or k.requires_grad or v.requires_grad:"},
    ),
    Wrong(
        "only queries are asked for a gradient",
        {"        if y.requires_grad:": "        if q.requires_grad and y.requires_grad:"},
    ),
    Wrong(
        "the mask of blocks is not checked",
        {
            "        mask = _boolean(mask, (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), queries, keys))\n": "        mask = Tensor(mask).data.astype(bool)\n"
        },
    ),
    Wrong("no queries have no blocks", {"range(0, max(queries, 1), BLOCK)": "range(0, queries, BLOCK)"}),
    Wrong(
        "the result of blocks is float64",
        {"        parts.append(y)": "        parts.append(Tensor(y.data.astype(np.float64)))"},
        says="a silent promotion",
    ),
    Wrong("blocks are joined along the channels", {"    return concatenate(parts, -2)": "    return concatenate(parts, -1)"}),
    Wrong("a NaN is multiplied by 0", {"where(anywhere, weights, 0)": "weights * anywhere"}),
    Wrong("a huge window overflows", {WINDOW: "sight &= ~np.tri(queries, keys, keys - queries - window, bool)"}),
    Wrong("a huge window overflows in blocks", {BEGIN: "begin = 0 if window is None else max(0, first - window + 1)"}),
    Wrong("lists without elements are floats", {"mask.dtype != np.bool_ and mask.size:": "mask.dtype != np.bool_:"}),
    Wrong(
        "the window of the construction is used for ever",
        {
            "weights = attention_weights(q, k, real, self.causal, self.window)": "weights = attention_weights(q, k, real, self.causal, self._window)",
            "        self.positions = positions\n": "        self.positions, self._window = positions, window\n",
        },
    ),
    # what a fresh reader would try
    Wrong(
        "hidden by the smallest number",
        {"np.array([0, -np.inf], scores.dtype)": "np.array([0, np.finfo(scores.dtype).min], scores.dtype)"},
    ),
    Wrong(
        "causal written into the mask",
        {
            "seen = sight if seen is None else seen & sight": "seen = sight if seen is None else np.logical_and(seen, sight, out=seen if seen.shape == np.broadcast_shapes(seen.shape, sight.shape) else None)"
        },
    ),
    Wrong(
        "mask widens the result",
        {
            "        np.broadcast_to(mask, shape)\n": "        np.broadcast_shapes(mask.shape, shape)\n        if mask.ndim > len(shape):\n            raise ValueError\n"
        },
    ),
    Wrong(
        "mask of bytes",
        {"if mask.dtype != np.bool_ and mask.size:": "if mask.dtype not in (np.bool_, np.uint8) and mask.size:"},
    ),
    Wrong(
        "empty without the leading axes of k",
        {
            "    seen = _seen(scores.shape, mask, causal, window)\n": "    if not scores.size:\n        return q @ Tensor(np.zeros((q.shape[-1], k.shape[-2]), q.dtype))\n    seen = _seen(scores.shape, mask, causal, window)\n"
        },
    ),
    Wrong(
        "empty without a graph",
        {
            "    seen = _seen(scores.shape, mask, causal, window)\n": "    if not scores.size:\n        return Tensor(np.zeros(scores.shape, scores.dtype))\n    seen = _seen(scores.shape, mask, causal, window)\n"
        },
    ),
    Wrong("blind rows widen float16", {"else where(anywhere, weights, 0)  #": "else weights * anywhere.astype(np.float32)  #"}),
    Wrong("only q needs two axes", {"if not fit or min(a.ndim, b.ndim) < 2:": "if not fit or a.ndim < 2:"}),
    Wrong(
        "window of more queries than keys",
        {"keys - queries - min(int(window), keys), bool)": "max(keys - queries, 0) - min(int(window), keys), bool)"},
    ),
    Wrong(
        "triangle kept and changed",
        {
            "# 13.1 Weights\n": "# 13.1 Weights\n\n_SIGHT = {}\n",
            "sight = np.tri(queries, keys, keys - queries, bool)": "sight = _SIGHT.setdefault((queries, keys), np.tri(queries, keys, keys - queries, bool))",
        },
    ),
    Wrong(
        "gradient of k only with q",
        {
            "    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.T  # (…, queries, keys); q is scaled, which is smaller\n": "    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.T  # (…, queries, keys); q is scaled, which is smaller\n    if not q.requires_grad:\n        scores = Tensor(scores.data)\n"
        },
    ),
    Wrong(
        "window by a loop",
        {
            "            sight &= ~np.tri(queries, keys, keys - queries - min(int(window), keys), bool)\n": "            for i in range(queries):\n                sight[i, : max(0, keys - queries + i - window + 1)] = False\n"
        },
    ),
    Wrong(
        "scaled after the product",
        {
            "    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.T  # (…, queries, keys); q is scaled, which is smaller\n": "    scores = (q @ k.T) * (1 / math.sqrt(q.shape[-1]))\n"
        },
    ),
    Wrong(
        "values with the axes of keys only",
        {
            '    _check_shapes("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])\n    return': '    _check_shapes("k", k, "v", v, k.shape[:-1] == v.shape[:-1])\n    return'
        },
    ),
    Wrong("window checked late", {"        _check_window(window)\n        rng": "        rng"}),
    Wrong(
        "dropout before c proj",
        {
            "self.dropout(self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape)))": "self.c_proj(self.dropout(y.permute(0, 2, 1, 3).reshape(*x.shape)))"
        },
    ),
    Wrong("dropout of its own seed", {"Dropout(dropout, rng)": "Dropout(dropout, np.random.default_rng(0))"}),
    Wrong("falsy cache is none", {"        if cache is None:\n": "        if not cache:\n"}),
    Wrong("real without padding", {"if real is None or real.all():": "if real is None:"}),
    Wrong("padding looked for at the first token", {"(real[:, 1:] > real[:, :-1]).any()": "(real.any(1) & ~real[:, 0]).any()"}),
    Wrong(
        "row of padding refused",
        {"(real[:, 1:] > real[:, :-1]).any()": "(real[:, 1:] > real[:, :-1]).any() or not real.any(1).all()"},
    ),
    Wrong(
        "window upon the mask of the cache",
        {"attention_weights(q, k, seen)": "attention_weights(q, k, seen, False, self.window)"},
    ),
    Wrong("mask has a shape", {"        shape = Tensor(mask).shape\n": "        shape = mask.shape\n"}),
    Wrong("mask of one row", {"if shape != x.shape[:2]:": "if shape not in (x.shape[:2], (1, x.shape[1])):"}),
    Wrong(
        "mask of numbers in many heads",
        {"return _boolean(mask, shape)[:, None, None, :]": "return Tensor(mask).data.astype(bool)[:, None, None, :]"},
    ),
    Wrong(
        "padding by a loop",
        {"(real[:, 1:] > real[:, :-1]).any()": "any(b > a for row in real.tolist() for a, b in zip(row, row[1:]))"},
        naive="test_no_loop_over_the_padding_of_a_cache",
    ),
    Wrong("channels counted from nothing", {"reshape(*x.shape)": "reshape(*x.shape[:2], -1)"}),
    Wrong(
        "window only if causal",
        {
            "weights = attention_weights(q, k, real, self.causal, self.window)": "weights = attention_weights(q, k, real, self.causal, self.window if self.causal else None)"
        },
    ),
    Wrong(
        "no dropout of weights with a cache",
        {"y = self.dropout(weights) @ v": "y = (self.dropout(weights) if cache is None else weights) @ v"},
    ),
    Wrong("map without the window", {"self.causal, self.window).data": "self.causal).data"}),
    Wrong(
        "eval stays after an error",
        {
            "            q, k, _ = self._heads(x, 0)\n            return attention_weights(q, k, real, self.causal, self.window).data\n": "            mode = self.training\n            self.eval()\n            q, k, _ = self._heads(x, 0)\n            found = self.dropout(attention_weights(q, k, real, self.causal, self.window)).data\n            self.train(mode)\n            return found\n"
        },
    ),
    Wrong(
        "blocked cuts values",
        {'    _check_shapes("k", k, "v", v, k.shape[-2:-1] == v.shape[-2:-1])\n    queries, keys': "    queries, keys"},
    ),
    Wrong(
        "blocked forgets the gradient of v",
        {
            "        y = attention_weights(q[rows], k[sight], part, causal, window) @ v[sight]\n        if y.requires_grad:": "        weights = attention_weights(q[rows], k[sight], part, causal, window)\n        y = (weights @ v[sight])\n        if weights.requires_grad:"
        },
    ),
    Wrong(
        "blocked mask of a block in the message",
        {
            "mask = _boolean(mask, (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), queries, keys))": "mask = Tensor(mask).data"
        },
    ),
    Wrong(
        "blocked window begins at 0 unless causal",
        {"begin = 0 if window is None else": "begin = 0 if window is None or not causal else"},
    ),
    Wrong("blocked 64", {"max(queries, 1), BLOCK)": "max(queries, 1), 64)", "stop = start + BLOCK": "stop = start + 64"}),
    Wrong(
        "blocked mask written out",
        {
            "mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))": "mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys)).copy()"
        },
    ),
    Wrong(
        "blocked mask of one column",
        {
            "mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, keys))": "mask = np.broadcast_to(mask, (*mask.shape[:-2], queries, (mask.shape or (1,))[-1]))"
        },
    ),
    Wrong(
        "blocked axes of q",
        {
            "    return concatenate(parts, -2)": "    found = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)\n    for i, y in enumerate(parts):\n        found[..., i * BLOCK : (i + 1) * BLOCK, :] = y.data\n    return Tensor(found)"
        },
    ),
    Wrong("blocked counts from the end", {"else max(0, last + 1)": "else last + 1"}),
]

FUNCTIONS = [
    *("attention_weights", "scaled_dot_product_attention", "blocked_attention"),
    *("MultiHeadAttention.forward", "MultiHeadAttention.weights"),
]
EQUIVALENT = {
    **{f"{name}: a result is a copy, not a view": "it is an array of its own anyway" for name in FUNCTIONS},
    **{f"{name}: {habit}": "results are floats" for name in FUNCTIONS for habit in ("int32 for int64", "int64 for int32")},
    **{f"{name}: NumPy's numbers are refused": "it takes no numbers" for name in FUNCTIONS if "." in name},
    "MultiHeadAttention.weights: a result is a view of an equal argument": "a map has an axis more than x",
    "MultiHeadAttention._heads: None is whatever is falsy": "a module is never falsy",
    **{f"_seen: None is whatever is falsy, {number}": "a window that is not positive was refused before" for number in (2, 3)},
    **{f"blocked_attention: None is whatever is falsy, {number}": "a window of 0 is refused" for number in (2, 4)},
    **{
        f"{name}: a check comes after the effect": "what came before the check is dropped with the error"
        for name in ("_boolean", "MultiHeadAttention.__init__")
    },
}
