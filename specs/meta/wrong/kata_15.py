"""Wrong solutions of kata 15, as a learner would err and as a cheat would try."""

import signal

from specs.meta.catalogue import Wrong


def instead(name: str, code: str) -> dict[str, str]:
    """Another function in the place of one of the reference's, which is then called _right_{name}."""
    return {f"def {name}(": f"{code.strip()}\n\n\ndef _right_{name}("}


CONV = "def fast_conv2d(x, weight, bias=None, stride=1, padding=0):\n"
ATTENTION = "def fused_attention(q, k, v, mask=None, causal=False, window=None):\n"
COLUMNS = """
def _all_columns(x, weight, stride, padding):
    from katas.spatial import windows

    view = windows(x, weight.shape[2:], stride, padding)
    return view.transpose(0, 2, 3, 4, 5, 1).reshape(-1, weight[0].size)  # a copy: nine times the images


def _columns_to_x(g, y, x, weight, stride, padding):
    from katas.autograd import vjp

    return vjp("conv2d", 0)(g, y, x, weight, stride=stride, padding=padding, columns=None)


def _columns_to_weight(g, y, x, weight, stride, padding):
    out, channels, kh, kw = weight.shape
    columns = _all_columns(x, weight, stride, padding)
    return (g.transpose(0, 2, 3, 1).reshape(-1, out).T @ columns).reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)


def fast_conv2d(x, weight, bias=None, stride=1, padding=0):
    from katas.autograd import defvjp
    from katas.spatial import conv2d

    pairs = {"stride": (stride, stride), "padding": (padding, padding)}
    defvjp("columns", _columns_to_x, _columns_to_weight)
    return Tensor._result("columns", conv2d(Tensor(x.data), Tensor(weight.data), None, stride, padding).data, x, weight, **pairs)
"""
GELU_X = "def gelu(x):\n"
LAYER_NORM = "def layer_norm(x, weight, bias=None, eps=1e-5):\n"
RMS_NORM = "def rms_norm(x, weight, eps=1e-5):\n"
BATCH_NORM = (
    "def batch_norm_relu(x, weight, bias, running_mean, running_var, training, momentum=0.1, eps=1e-5):\n"
    "    state = running_mean, running_var\n"
)
CROSS_ENTROPY = "def softmax_cross_entropy(logits, target, label_smoothing=0.0, ignore_index=-100):\n"


def fused(name: str, signature: str, code: str) -> dict[str, str]:
    """An operation in the place of one of the reference's, which is called `right` in the code."""
    body = "".join([f"    {line}\n" if line else "\n" for line in code.split("\n")])
    return instead(name, f"{signature}    right = _right_{name}\n{body}")


def conv(code: str, setup: str = "") -> dict[str, str]:
    """The same for fast_conv2d."""
    return fused("fast_conv2d", setup + CONV, code)


def attention(code: str) -> dict[str, str]:
    """The same for fused_attention."""
    return fused("fused_attention", ATTENTION, code)


SCRATCH = """
_local = threading.local()


def _scratch(*like):
    return vars(_local).setdefault(f"{like}", np.empty(*like[:2]))


"""
COMPOSED = (
    ATTENTION
    + "    from katas.attention import attention_weights\n\n    return attention_weights(q, k, mask, causal, window) @ v"
)

WRONG = [
    # budgets
    Wrong(
        "one image after the other",
        instead(
            "fast_conv2d",
            CONV + "    from katas.tensor import concatenate\n\n"
            "    return concatenate([_right_fast_conv2d(x[n : n + 1], weight, bias, stride, padding) for n in range(len(x))])",
        ),
        naive="test_steps_grow_with_blocks_not_with_pixels",
    ),
    Wrong("all windows at once", instead("fast_conv2d", COLUMNS), naive="test_a_forward_never_holds_all_windows"),
    Wrong("all windows at once, backward", instead("fast_conv2d", COLUMNS), naive="test_a_gradient_never_holds_all_windows"),
    Wrong(
        "each result is remembered",
        instead(
            "fast_conv2d",
            "_remembered = []\n\n\n" + CONV + "    _remembered[:] = [_right_fast_conv2d(x, weight, bias, stride, padding)]\n"
            "    return _remembered[0]",
        ),
        naive="test_nothing_is_kept_after_backward",
    ),
    Wrong("all scores at once", instead("fused_attention", COMPOSED), naive="test_memory_never_holds_all_scores"),
    Wrong("all scores at once, forward", instead("fused_attention", COMPOSED), naive="test_a_forward_never_holds_all_scores"),
    Wrong(
        "one head after the other",
        instead(
            "fused_attention",
            ATTENTION + "    from katas.tensor import stack\n\n"
            "    return stack([_right_fused_attention(*head, mask, causal, window) for head in zip(q, k, v)])",
        ),
        naive="test_steps_do_not_grow_with_heads",
    ),
    Wrong(
        "the optimizer as it is",
        instead("flat", "def flat(optimizer):\n    return optimizer"),
        naive="test_a_step_holds_a_piece_not_the_whole",
    ),
    # convolution, seen from outside
    Wrong("kata 09's convolution", conv("from katas.spatial import conv2d\n\nreturn conv2d(x, weight, bias, stride, padding)")),
    Wrong(
        "the kernel is flipped",
        conv("return right(x, weight[:, :, ::-1, ::-1], bias, stride, padding)"),
        says="the kernel is flipped",
    ),
    Wrong(
        "the kernel's axes are exchanged",
        conv("return right(x, weight.permute(0, 1, 3, 2), bias, stride, padding)"),
        says="height and width are exchanged",
    ),
    Wrong("the bias is missing", conv("return right(x, weight, None, stride, padding)"), says="the bias is missing"),
    Wrong("the bias is added twice", conv("return right(x, weight, None if bias is None else bias + bias, stride, padding)")),
    Wrong("the stride is 1", conv("return right(x, weight, bias, 1, padding)")),
    Wrong(
        "one stride for both axes",
        conv("return right(x, weight, bias, stride if isinstance(stride, int) else stride[0], padding)"),
    ),
    Wrong(
        "the stride's axes are exchanged",
        conv("return right(x, weight, bias, stride if isinstance(stride, int) else stride[::-1], padding)"),
    ),
    Wrong(
        "one padding for both axes",
        conv("return right(x, weight, bias, stride, padding if isinstance(padding, int) else padding[1])"),
    ),
    Wrong(
        "the padding's axes are exchanged",
        conv("return right(x, weight, bias, stride, padding if isinstance(padding, int) else padding[::-1])"),
    ),
    Wrong("a stride must be a pair", conv("return right(x, weight, bias, (stride[0], stride[1]), padding)")),
    Wrong("3×3 is always padded", conv("return right(x, weight, bias, stride, 1 if weight.shape[2:] == (3, 3) else padding)")),
    Wrong(
        "the padding is 1 unless told otherwise",
        instead(
            "fast_conv2d",
            CONV.replace("padding=0", "padding=1") + "    return _right_fast_conv2d(x, weight, bias, stride, padding)",
        ),
    ),
    Wrong(
        "even and odd rows are exchanged",
        conv(
            "y = right(x, weight, bias, stride, padding)\nreturn y[:, :, np.arange(y.shape[2]) ^ 1] if y.shape[2] % 2 == 0 else y"
        ),
        says="even and odd rows are exchanged",
    ),
    Wrong(
        "even and odd columns are exchanged",
        conv(
            "y = right(x, weight, bias, stride, padding)\nreturn y[:, :, :, np.arange(y.shape[3]) ^ 1] if y.shape[3] % 2 == 0 else y"
        ),
    ),
    Wrong(
        "the last images of a block are forgotten",
        conv("y = right(x, weight, bias, stride, padding)\nif len(x) > 32:\n    y.data[len(x) // 4 * 4 :] = 0\nreturn y"),
    ),
    Wrong(
        "the lowest row is forgotten",
        conv("y = right(x, weight, bias, stride, padding)\ny.data[:, :, -1] *= y.shape[2] < 4\nreturn y"),
    ),
    Wrong(
        "odd sizes lose a row",
        conv(
            "return right(x[:, :, : x.shape[2] // 2 * 2] if x.ndim == 4 and x.shape[2] > 1 else x, weight, bias, stride, padding)"
        ),
    ),
    Wrong(
        "results lie in scratch memory",
        conv(
            "y = right(x, weight, bias, stride, padding)\nscratch = _scratch.setdefault((y.shape, y.dtype), np.empty_like(y.data))\nscratch[...] = y.data\ny.data = scratch\nreturn y",
            "_scratch = {}\n\n\n",
        ),
        says="a view of scratch memory",
    ),
    Wrong("the images are written to", conv("x.data[...] = x.data\nreturn right(x, weight, bias, stride, padding)")),
    Wrong("the weight is written to", conv("weight.data[...] = weight.data\nreturn right(x, weight, bias, stride, padding)")),
    Wrong(
        "always float32",
        conv(
            'return right(Tensor._result("reshape", x.data.astype(np.float32), x, shape=x.shape), weight, bias, stride, padding)'
        ),
    ),
    Wrong("always float64", conv("y = right(x, weight, bias, stride, padding)\ny.data = y.data.astype(np.float64)\nreturn y")),
    Wrong(
        "integers stay integers",
        conv(
            'y = right(x, weight, bias, stride, padding)\nreturn Tensor(y.data.astype(x.dtype)) if x.dtype.kind != "f" else y'
        ),
    ),
    Wrong("five digits", conv("y = right(x, weight, bias, stride, padding)\ny.data[..., 0] *= 1 + 1e-5\nreturn y")),
    Wrong(
        "float16 inside",
        conv(
            'return right(Tensor._result("reshape", x.data.astype(np.float16).astype(x.dtype), x, shape=x.shape), weight, bias, stride, padding)'
        ),
    ),
    Wrong("an empty batch fails", conv("assert x.size\nreturn right(x, weight, bias, stride, padding)")),
    Wrong(
        "a bias of one number is broadcast",
        conv(
            "y = right(x, weight, None, stride, padding)\nreturn y if bias is None else y + (bias.reshape(-1, 1, 1) if bias.ndim else bias)"
        ),
        says="let through",
    ),
    Wrong(
        "images of one channel are broadcast",
        conv(
            "if x.shape[1:2] == (1,) and x.ndim == weight.ndim == 4:\n    x = x * np.ones((1, weight.shape[1], 1, 1), x.dtype)\nreturn right(x, weight, bias, stride, padding)"
        ),
        says="let through",
    ),
    Wrong(
        "a negative padding is cut off",
        conv("return right(x, weight, bias, stride, max(padding, 0) if isinstance(padding, int) else padding)"),
        says="let through",
    ),
    Wrong(
        "nothing is recorded",
        conv(
            "return Tensor(right(Tensor(x.data), Tensor(weight.data), None if bias is None else Tensor(bias.data), stride, padding).data)"
        ),
    ),
    Wrong("no gradient of the images", conv("return right(Tensor(x.data), weight, bias, stride, padding)")),
    Wrong("no gradient of the weight", conv("return right(x, Tensor(weight.data), bias, stride, padding)")),
    Wrong(
        "no gradient of the bias", conv("return right(x, weight, None if bias is None else Tensor(bias.data), stride, padding)")
    ),
    Wrong(
        "an image sees its neighbor",
        conv("y = right(x, weight, bias, stride, padding)\nif len(x) > 1:\n    y.data[1:] += 1e-6 * y.data[:-1]\nreturn y"),
    ),
    Wrong("zeros", conv("y = right(x, weight, bias, stride, padding)\ny.data[...] = 0\nreturn y")),
    # fused operations, seen from outside
    Wrong("kata 03's GELU", fused("gelu", GELU_X, "from katas.activations import GELU\n\nreturn GELU()(x)")),
    Wrong(
        "gelu with the logistic function",
        fused(
            "gelu",
            GELU_X,
            "y = right(x)\ny.data = np.asarray(x.data / (1 + np.exp(-1.702 * x.data.astype(np.float64))), y.dtype)\nreturn y",
        ),
    ),
    Wrong(
        "gelu with a constant of 0.0447",
        fused(
            "gelu",
            GELU_X,
            "y = right(x)\nu = np.sqrt(2 / np.pi) * (x.data + 0.0447 * x.data.astype(np.float64) ** 3)\ny.data = np.asarray(x.data / (1 + np.exp(-2 * u)), y.dtype)\nreturn y",
        ),
    ),
    Wrong("gelu overflows", fused("gelu", GELU_X, "np.exp(-x.data)\nreturn right(x)")),
    Wrong("gelu of infinity is NaN", fused("gelu", GELU_X, "y = right(x)\ny.data = y.data + 0 * x.data\nreturn y")),
    Wrong(
        "gelu of integers is an integer",
        fused("gelu", GELU_X, 'y = right(x)\nreturn y if x.dtype.kind == "f" else Tensor(y.data.astype(x.dtype))'),
    ),
    Wrong("gelu of a scalar has an axis", fused("gelu", GELU_X, "y = right(x)\nreturn y.reshape(1) if y.ndim == 0 else y")),
    Wrong(
        "gelu in place",
        fused(
            "gelu",
            GELU_X,
            "y = right(x)\nif x.data.flags.writeable and x.dtype == y.dtype:\n    x.data[...] = y.data\nreturn y",
        ),
    ),
    Wrong(
        "kata 14's LayerNorm",
        fused(
            "layer_norm",
            LAYER_NORM,
            "layer = LayerNorm(1, eps=eps)\nlayer.__dict__.update(weight=weight, bias=bias)\nreturn LayerNorm.forward(layer, x)",
        ),
    ),
    Wrong(
        "layer_norm without eps", fused("layer_norm", LAYER_NORM, "return right(x, weight, bias, 1e-30)"), says="without eps"
    ),
    Wrong("layer_norm's eps is 1e-5", fused("layer_norm", LAYER_NORM, "return right(x, weight, bias)")),
    Wrong(
        "layer_norm's eps is 1e-6",
        fused("layer_norm", LAYER_NORM.replace("1e-5", "1e-6"), "return right(x, weight, bias, eps)"),
    ),
    Wrong("layer_norm without its weight", fused("layer_norm", LAYER_NORM, "return right(x, weight * 0 + 1, bias, eps)")),
    Wrong("layer_norm without its bias", fused("layer_norm", LAYER_NORM, "return right(x, weight, None, eps)")),
    Wrong(
        "layer_norm's variance divides by n - 1",
        fused(
            "layer_norm",
            LAYER_NORM,
            "n = x.shape[-1]\ny = right(x, weight, bias, eps)\ny.data = y.data * np.sqrt(max(n - 1, 1) / n, dtype=y.dtype)\nreturn y",
        ),
    ),
    Wrong(
        "layer_norm broadcasts",
        fused(
            "layer_norm",
            LAYER_NORM,
            "if x.shape[-1:] == (1,):\n    x = x * np.ones(len(weight), x.dtype)\nreturn right(x, weight, bias, eps)",
        ),
        says="let through",
    ),
    Wrong(
        "layer_norm's result is float32",
        fused("layer_norm", LAYER_NORM, "y = right(x, weight, bias, eps)\ny.data = y.data.astype(np.float32)\nreturn y"),
    ),
    Wrong(
        "layer_norm of float16 is float16",
        fused("layer_norm", LAYER_NORM, "y = right(x, weight, bias, eps)\ny.data = y.data.astype(x.dtype)\nreturn y"),
    ),
    Wrong(
        "layer_norm's result lies in scratch memory",
        fused(
            "layer_norm",
            LAYER_NORM,
            "y = right(x, weight, bias, eps)\nscratch = layer_norm.__dict__.setdefault((y.shape, y.dtype), np.empty_like(y.data))\nscratch[...] = y.data\ny.data = scratch\nreturn y",
        ),
    ),
    Wrong(
        "layer_norm normalizes the whole batch",
        fused(
            "layer_norm",
            LAYER_NORM,
            "ones = Tensor(np.ones(x.size, x.dtype))\ny = right(x.reshape(1, x.size), ones, None, eps).reshape(*x.shape) * weight\nreturn y if bias is None else y + bias",
        ),
    ),
    Wrong("rms_norm subtracts the mean", fused("rms_norm", RMS_NORM, "return layer_norm(x, weight, None, eps)")),
    Wrong("rms_norm's eps is 1e-5", fused("rms_norm", RMS_NORM, "return right(x, weight)")),
    Wrong("rms_norm without eps", fused("rms_norm", RMS_NORM, "return right(x, weight, 1e-30)"), says="without eps"),
    Wrong(
        "rms_norm is a norm of length 1",
        fused(
            "rms_norm", RMS_NORM, "y = right(x, weight, eps)\ny.data = y.data / np.sqrt(x.shape[-1], dtype=y.dtype)\nreturn y"
        ),
    ),
    Wrong("rms_norm without its weight", fused("rms_norm", RMS_NORM, "return right(x, weight * 0 + 1, eps)")),
    Wrong(
        "rms_norm broadcasts",
        fused(
            "rms_norm",
            RMS_NORM,
            "if x.shape[-1:] == (1,):\n    x = x * np.ones(len(weight), x.dtype)\nreturn right(x, weight, eps)",
        ),
        says="let through",
    ),
    Wrong(
        "batch_norm_relu without ReLU",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "layer = BatchNorm2d(len(weight), eps, momentum)\nlayer.training = training\nlayer.__dict__.update(weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)\nreturn layer(x)",
        ),
        says="ReLU is missing",
    ),
    Wrong(
        "always training", fused("batch_norm_relu", BATCH_NORM, "return right(x, weight, bias, *state, True, momentum, eps)")
    ),
    Wrong(
        "never training", fused("batch_norm_relu", BATCH_NORM, "return right(x, weight, bias, *state, False, momentum, eps)")
    ),
    Wrong(
        "running statistics stay",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "return right(x, weight, bias, *[array.copy() for array in state], training, momentum, eps)",
        ),
    ),
    Wrong(
        "running statistics move twice",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "with no_grad():\n    right(x, weight, bias, *state, training, momentum, eps)\nreturn right(x, weight, bias, *state, training, momentum, eps)",
        ),
    ),
    Wrong(
        "running statistics move in evaluation",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "y = right(x, weight, bias, *state, training, momentum, eps)\nif not training:\n    running_mean += momentum * (x.data.mean((0, 2, 3)) - running_mean)\nreturn y",
        ),
    ),
    Wrong(
        "momentum and 1 - momentum are exchanged",
        fused("batch_norm_relu", BATCH_NORM, "return right(x, weight, bias, *state, training, 1 - momentum, eps)"),
    ),
    Wrong(
        "the momentum is 0.1", fused("batch_norm_relu", BATCH_NORM, "return right(x, weight, bias, *state, training, 0.1, eps)")
    ),
    Wrong(
        "the momentum is 0.9 unless given",
        fused(
            "batch_norm_relu",
            BATCH_NORM.replace("momentum=0.1", "momentum=0.9"),
            "return right(x, weight, bias, *state, training, momentum, eps)",
        ),
    ),
    Wrong(
        "batch_norm_relu's eps is 1e-5",
        fused("batch_norm_relu", BATCH_NORM, "return right(x, weight, bias, *state, training, momentum)"),
    ),
    Wrong(
        "the running variance is biased",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "before = running_var.copy()\ny = right(x, weight, bias, *state, training, momentum, eps)\nif training:\n    n = x.size // x.shape[1]\n    kept = before * (1 - momentum)\n    running_var[...] = kept + (running_var - kept) * ((n - 1) / n)\nreturn y",
        ),
        says="the biased variance",
    ),
    Wrong(
        "batch_norm_relu divides by the unbiased variance",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "n = x.size // x.shape[1]\nreturn right(x, weight * float(np.sqrt((n - 1) / n)) if training else weight, bias, *state, training, momentum, eps)",
        ),
    ),
    Wrong(
        "one value a channel is let through",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "if x.ndim == 4 and x.size == x.shape[1]:\n    training = False\nreturn right(x, weight, bias, *state, training, momentum, eps)",
        ),
        says="let through",
    ),
    Wrong(
        "one channel is let through",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "if x.ndim == 4 and x.shape[1] == 1:\n    x = x * np.ones((1, len(weight), 1, 1), x.dtype)\nreturn right(x, weight, bias, *state, training, momentum, eps)",
        ),
        says="let through",
    ),
    Wrong(
        "running statistics move before the error",
        fused(
            "batch_norm_relu",
            BATCH_NORM,
            "if x.size == x.shape[1]:\n    running_mean += momentum\nreturn right(x, weight, bias, *state, training, momentum, eps)",
        ),
    ),
    Wrong(
        "kata 05's cross-entropy",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "from katas.losses import CrossEntropyLoss\n\nreturn CrossEntropyLoss(label_smoothing, ignore_index)(logits, target)",
        ),
    ),
    Wrong(
        "the sum of the losses of all targets",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "y = right(logits, target, label_smoothing, ignore_index)\ny.data = y.data * np.asarray(np.count_nonzero(Tensor(target).data != ignore_index), y.dtype)\nreturn y",
        ),
        says="the sum, not the mean",
    ),
    Wrong(
        "the mean over ignored targets, too",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "y = right(logits, target, label_smoothing, ignore_index)\ny.data = y.data * np.asarray(np.mean(Tensor(target).data != ignore_index), y.dtype)\nreturn y",
        ),
        says="ignored targets are in the mean",
    ),
    Wrong(
        "no label smoothing", fused("softmax_cross_entropy", CROSS_ENTROPY, "return right(logits, target, 0.0, ignore_index)")
    ),
    Wrong(
        "label smoothing is not checked",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "return right(logits, target, min(max(label_smoothing, 0.0), 0.99), ignore_index)",
        ),
        says="let through",
    ),
    Wrong(
        "only -100 is ignored", fused("softmax_cross_entropy", CROSS_ENTROPY, "return right(logits, target, label_smoothing)")
    ),
    Wrong(
        "-1 is the last class",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            'target = np.array(Tensor(target).data)\nif target.dtype.kind == "i" and logits.ndim:\n    target = np.where(target == -1, logits.shape[-1] - 1, target)\nreturn right(logits, target, label_smoothing, ignore_index)',
        ),
        says="let through",
    ),
    Wrong(
        "a target of floats",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "return right(logits, np.array(Tensor(target).data).astype(np.int64), label_smoothing, ignore_index)",
        ),
        says="let through",
    ),
    Wrong(
        "the loss is float32",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "y = right(logits, target, label_smoothing, ignore_index)\ny.data = y.data.astype(np.float32)\nreturn y",
        ),
    ),
    Wrong(
        "no target that counts is NaN",
        fused(
            "softmax_cross_entropy",
            CROSS_ENTROPY,
            "labels = Tensor(target).data\nif labels.size and (labels == ignore_index).all():\n    return Tensor(np.asarray(np.nan))\nreturn right(logits, target, label_smoothing, ignore_index)",
        ),
        says="let through",
    ),
    # attention, seen from outside
    Wrong(
        "kata 13's attention",
        attention("from katas.attention import attention_weights\n\nreturn attention_weights(q, k, mask, causal, window) @ v"),
    ),
    Wrong(
        "scores are not divided",
        attention("return right(q * q.shape[-1] ** 0.5, k, v, mask, causal, window)"),
        says="not divided by √head_dim",
    ),
    Wrong("scores are divided by head_dim", attention("return right(q * q.shape[-1] ** -0.5, k, v, mask, causal, window)")),
    Wrong("the mask is ignored", attention("return right(q, k, v, None, causal, window)")),
    Wrong(
        "True hides", attention("return right(q, k, v, None if mask is None else ~np.array(Tensor(mask).data), causal, window)")
    ),
    Wrong("causal is ignored", attention("return right(q, k, v, mask, False, window)")),
    Wrong("always causal", attention("return right(q, k, v, mask, True, window)")),
    Wrong("the window is ignored", attention("return right(q, k, v, mask, causal, None)")),
    Wrong(
        "the window is one larger",
        attention("return right(q, k, v, mask, causal, None if window is None else int(window) + 1)"),
    ),
    Wrong(
        "the window is one smaller",
        attention("return right(q, k, v, mask, causal, window if window is None or window < 2 else int(window) - 1)"),
    ),
    Wrong("a window needs causal", attention("return right(q, k, v, mask, causal, window if causal else None)")),
    Wrong("a window of 0 is none", attention("return right(q, k, v, mask, causal, window or None)"), says="let through"),
    Wrong(
        "the first query stands beside the first key",
        attention(
            "if causal and k.shape[-2] > q.shape[-2]:\n    mask, causal = np.tri(q.shape[-2], k.shape[-2], dtype=bool) & (True if mask is None else np.array(Tensor(mask).data)), False\nreturn right(q, k, v, mask, causal, window)"
        ),
    ),
    Wrong(
        "rows that may look nowhere look everywhere",
        attention(
            "if mask is not None:\n    mask = np.array(Tensor(mask).data)\n    if mask.dtype == bool and mask.ndim:\n        mask = mask | ~mask.any(-1, keepdims=True)\nreturn right(q, k, v, mask, causal, window)"
        ),
    ),
    Wrong(
        "rows that may look nowhere are NaN",
        attention(
            "y = right(q, k, v, mask, causal, window)\nif np.ndim(mask) == 2 and len(mask) == q.shape[-2]:\n    y.data[..., ~np.asarray(mask).any(-1), :] = np.nan\nreturn y"
        ),
    ),
    Wrong(
        "values have the width of keys",
        attention("assert v.shape[-1] in (k.shape[-1], 3)\nreturn right(q, k, v, mask, causal, window)"),
    ),
    Wrong(
        "attention is float32",
        attention("y = right(q, k, v, mask, causal, window)\ny.data = y.data.astype(np.float32)\nreturn y"),
    ),
    Wrong(
        "the result is v itself",
        attention(
            "y = right(q, k, v, mask, causal, window)\nif window == 1 and q.shape[:-1] == v.shape[:-1] and mask is None:\n    y.data = v.data\nreturn y"
        ),
    ),
    Wrong("no gradient of the queries", attention("return right(Tensor(q.data), k, v, mask, causal, window)")),
    Wrong("no gradient of the keys", attention("return right(q, Tensor(k.data), v, mask, causal, window)")),
    Wrong("no gradient of the values", attention("return right(q, k, Tensor(v.data), mask, causal, window)")),
    Wrong(
        "a mask of numbers",
        attention("return right(q, k, v, None if mask is None else Tensor(mask).data.astype(bool), causal, window)"),
        says="let through",
    ),
    Wrong(
        "keys of one channel are broadcast",
        attention(
            "if k.ndim > 1 and k.shape[-1] == 1:\n    k = k * np.ones(q.shape[-1], k.dtype)\nreturn right(q, k, v, mask, causal, window)"
        ),
        says="let through",
    ),
    Wrong(
        "one value for all keys",
        attention(
            "if v.ndim > 1 and v.shape[-2] == 1:\n    v = v * np.ones((k.shape[-2], 1), v.dtype)\nreturn right(q, k, v, mask, causal, window)"
        ),
        says="let through",
    ),
    Wrong(
        "NaN in hidden keys shows",
        attention("y = right(q, k, v, mask, causal, window)\ny.data += 0 * (k.data.sum() + v.data.sum())\nreturn y"),
    ),
    # flat, seen from outside
    Wrong("the optimizer as it was given", instead("flat", "def flat(optimizer):\n    return optimizer")),
    Wrong(
        "param_groups of its own",
        instead(
            "flat",
            "def flat(optimizer):\n    other = _right_flat(optimizer)\n    other.param_groups = [dict(group) for group in other.param_groups]\n    return other",
        ),
    ),
    # profile
    Wrong(
        "the rules have no rows",
        {"            _RULES.update({op: functools.partial(self.rule, op, find) for op, find in rules.items()})\n": ""},
    ),
    Wrong(
        "rules are counted as their operation",
        {'self.clock.add(f"{self.op} backward", seconds': "self.clock.add(self.op, seconds"},
    ),
    Wrong(
        "the call runs twice",
        {
            "        call()\n        seconds = time.perf_counter() - start": "        call()\n        call()\n        seconds = time.perf_counter() - start"
        },
    ),
    Wrong("a warm-up", {"    clock = _Clock()\n    with _PROFILING": "    clock = _Clock()\n    call()\n    with _PROFILING"}),
    Wrong(
        "no row for other time",
        {'    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))\n': ""},
    ),
    Wrong("other is all of the time", {"seconds - clock.seconds, 0, 0": "seconds, 0, 0"}),
    Wrong("other is bound by overhead", {'0, 0, "python"': '0, 0, "overhead"'}),
    Wrong(
        "the rows in the order of the calls",
        {"Profile(sorted(rows, key=lambda row: -row.seconds), seconds)": "Profile(rows, seconds)"},
    ),
    Wrong("the smallest comes first", {"key=lambda row: -row.seconds": "key=lambda row: row.seconds"}),
    Wrong("sorted by calls", {"key=lambda row: -row.seconds": "key=lambda row: -row.calls"}),
    Wrong(
        "after an exception the recorder stays",
        {
            "            yield\n        finally:\n            Tensor._recorder": "            yield\n        except ValueError:\n            raise\n        else:\n            Tensor._recorder"
        },
    ),
    Wrong(
        "the recorder is not put back",
        {
            "        finally:\n            Tensor._recorder, Differentiable.__call__ = record, call": "        finally:\n            Differentiable.__call__ = call"
        },
    ),
    Wrong(
        "the table of rules is not put back",
        {"Differentiable.__call__ = record, call\n            _RULES.update(rules)": "Differentiable.__call__ = record, call"},
    ),
    Wrong(
        "kata 07's record is put back, whatever was there",
        {
            "            Tensor._recorder, Differentiable.__call__ = record, call\n            _RULES": "            from katas import autograd\n\n            Tensor._recorder, Differentiable.__call__ = autograd.record, call\n            _RULES"
        },
    ),
    Wrong(
        "nothing is recorded while it watches",
        {"            if record is not None:\n                record(op, result, parents, attrs)\n": ""},
    ),
    Wrong(
        "a recorder of None is called",
        {"            if record is not None:\n                record(": "            if True:\n                record("},
    ),
    Wrong(
        "the gradients are zeros while it watches",
        {"        return grad\n\n    def __eq__": "        return 0 * grad\n\n    def __eq__"},
    ),
    Wrong("calls are not counted", {"(1, seconds, nbytes, flops))]": "(not self.sums.get(op), seconds, nbytes, flops))]"}),
    Wrong(
        "the last call's figures",
        {
            "[*map(operator.add, self.sums.get(op, (0, 0.0, 0, 0)), (1, seconds, nbytes, flops))]": "[self.sums.get(op, [0])[0] + 1, self.sums.get(op, [0, 0.0])[1] + seconds, nbytes, flops]"
        },
    ),
    Wrong(
        "the flops of a product without the factor 2",
        {"        return 2 * y.size * operands[0].shape[-1]": "        return y.size * operands[0].shape[-1]"},
    ),
    Wrong("the flops of a product by its first axis", {"operands[0].shape[-1]": "operands[0].shape[0]"}),
    Wrong(
        "the flops of one matrix, not of the batch",
        {
            "        return 2 * y.size * operands[0].shape[-1]": "        return 2 * y[(0,) * (y.ndim - 2)].size * operands[0].shape[-1]"
        },
    ),
    Wrong("a product is one flop an element", {'    if op == "matmul":': '    if op == "no matmul":'}),
    Wrong(
        "the flops of a rule by its result", {"_flops(self.op, y, parents, grad), g": "_flops(self.op, grad, parents, grad), g"}
    ),
    Wrong("fast_conv2d counts as any operation", {'    if op in ("conv2d", "fast_conv2d"):': '    if op == "conv2d":'}),
    Wrong("conv2d counts as any operation", {'    if op in ("conv2d", "fast_conv2d"):': '    if op == "fast_conv2d":'}),
    Wrong("the flops of a convolution without its channels", {"operands[1][0].size": "operands[1][0, 0].size"}),
    Wrong("the flops of all filters", {"operands[1][0].size": "operands[1].size"}),
    Wrong(
        "Winograd's multiplications",
        {"        return 2 * y.size * operands[1][0].size": "        return 2 * y.size * operands[1][0].size * 4 // 9"},
    ),
    Wrong(
        "the flops of all else are the operands'",
        {"    return result.size\n": "    return max([result.size, *[operand.size for operand in operands]])\n"},
    ),
    Wrong("the flops of a rule are those of y", {"    return result.size\n": "    return y.size\n"}),
    Wrong(
        "bytes without the operands",
        {
            "self.add(op, seconds, _flops(op, y, operands, y), y, *operands)": "self.add(op, seconds, _flops(op, y, operands, y), y)"
        },
    ),
    Wrong(
        "bytes without the result",
        {
            "self.add(op, seconds, _flops(op, y, operands, y), y, *operands)": "self.add(op, seconds, _flops(op, y, operands, y), *operands)"
        },
    ),
    Wrong("bytes of a rule without g", {"grad), g, *parents, grad)": "grad), *parents, grad)"}),
    Wrong("bytes of a rule without the gradient", {"grad), g, *parents, grad)": "grad), g, *parents)"}),
    Wrong("bytes of a rule with y", {"grad), g, *parents, grad)": "grad), g, y, *parents, grad)"}),
    Wrong("elements, not bytes", {"{id(array): array.nbytes for": "{id(array): array.size for"}),
    Wrong("four bytes an element", {"{id(array): array.nbytes for": "{id(array): 4 * array.size for"}),
    Wrong(
        "the time of a rule begins where the last operation ended",
        {"        self.clock.restart()\n        start, before": "        start, before"},
    ),
    Wrong("rules take no time", {"        seconds = time.perf_counter() - start - inside": "        seconds = 0.0"}),
    Wrong(
        "operations take no time",
        {"seconds, y, operands = time.perf_counter() - self.last, result.data": "seconds, y, operands = 0.0, result.data"},
    ),
    Wrong(
        "the time of an operation begins with the call",
        {
            "            if record is not None:\n                record(op, result, parents, attrs)\n            self.restart()": "            if record is not None:\n                record(op, result, parents, attrs)"
        },
    ),
    Wrong(
        "the rest of the time goes to the last operation",
        {
            '    rows.append(Row("other", 1, seconds - clock.seconds, 0, 0, "python"))\n': '    rows.append(Row("other", 1, 0.0, 0, 0, "python"))\n    if len(rows) > 1:\n        rows[-2] = rows[-2]._replace(seconds=rows[-2].seconds + seconds - clock.seconds)\n'
        },
    ),
    Wrong(
        "CPU seconds",
        {
            "        start = clock.last = time.perf_counter()\n        call()\n        seconds = time.perf_counter() - start": "        start, clock.last = time.process_time(), time.perf_counter()\n        call()\n        seconds = time.process_time() - start"
        },
    ),
    Wrong("peak in FLOP, not GFLOP", {"flops / (1e9 * machine.peak_gflops)": "flops / machine.peak_gflops"}),
    Wrong("bandwidth in bytes, not 10⁹", {"nbytes / (1e9 * machine.bandwidth_gbs)": "nbytes / machine.bandwidth_gbs"}),
    Wrong("overhead in milliseconds", {"calls * machine.overhead_us / 1e6": "calls * machine.overhead_us / 1e3"}),
    Wrong("the overhead of one call", {"calls * machine.overhead_us / 1e6": "machine.overhead_us / 1e6"}),
    Wrong("bound by the smallest", {"    return max(times, key=times.get)": "    return min(times, key=times.get)"}),
    Wrong(
        "memory and arithmetic are exchanged",
        {'"arithmetic": flops': '"memory": flops', '"memory": nbytes': '"arithmetic": nbytes'},
    ),
    Wrong(
        "as text only the longest",
        {
            "        for op, calls, seconds, nbytes, flops, bound in self.rows:": "        for op, calls, seconds, nbytes, flops, bound in self.rows[:2]:"
        },
    ),
    Wrong(
        "as text without the bounds",
        {'            lines.append(f"{op:<32}{figures}  {bound}")': '            lines.append(f"{op:<32}{figures}")'},
    ),
    Wrong(
        "rules of one parent only",
        {
            "        return _TimedRule(op, rule, self) if self.observes()": "        return _TimedRule(op, rule, self) if argnum == 0 and self.observes()"
        },
    ),
    # two shards
    Wrong(
        "the shards run one after the other",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]\n            _wait(futures)\n": "            futures = []\n            for call in calls:\n                futures.append(self._executor.submit(copy_context().run, call))\n                wait(futures)\n"
        },
    ),
    Wrong(
        "backward in the caller's thread",
        {
            "            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])": "            for shard in shards:\n                shard.backward(g)"
        },
    ),
    Wrong(
        "no threads at all",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]\n            _wait(futures)\n        for future in futures:\n            future.result()": "            for call in calls:\n                copy_context().run(call)"
        },
    ),
    Wrong(
        "the context is not copied",
        {"self._executor.submit(copy_context().run, call)": "self._executor.submit(call)"},
        says="copy of the caller's context",
    ),
    Wrong(
        "an empty context",
        {"self._executor.submit(copy_context().run, call)": "self._executor.submit(contextvars.Context().run, call)"},
    ),
    Wrong(
        "one context for both",
        {
            "            futures = [self._executor.submit(copy_context().run, call) for call in calls]": "            context = copy_context()\n            futures = [self._executor.submit(context.run, call) for call in calls]"
        },
    ),
    Wrong("BLAS keeps its threads", {'        with _blas().limit(limits=1, user_api="blas"):': "        if True:"}),
    Wrong(
        "the limit is not restored",
        {
            '        with _blas().limit(limits=1, user_api="blas"):': '        _blas().limit(limits=1, user_api="blas")\n        if True:'
        },
        says="the limit is not restored",
    ),
    Wrong(
        "the limit is restored to 2",
        {
            '        with _blas().limit(limits=1, user_api="blas"):\n': '        _blas().limit(limits=1, user_api="blas")\n        try:\n',
            "            _wait(futures)\n        for future": '            wait(futures)\n        finally:\n            _blas().limit(limits=2, user_api="blas")\n        for future',
        },
    ),
    Wrong(
        "the limit is restored before the shards have ended",
        {"            _wait(futures)\n        for future": "        wait(futures)\n        for future"},
    ),
    Wrong(
        "an exception does not wait for the other shard",
        {"            _wait(futures)\n": '            wait(futures, return_when="FIRST_EXCEPTION")\n'},
    ),
    Wrong("an exception is swallowed", {"            future.result()\n": "            future.exception()\n"}),
    Wrong(
        "another exception, without the traceback",
        {
            "            future.result()\n": "            if future.exception():\n                raise RuntimeError(str(future.exception()))\n"
        },
    ),
    Wrong(
        "the exception without its traceback",
        {
            "            future.result()\n": "            if future.exception():\n                raise future.exception().with_traceback(None) from None\n"
        },
    ),
    Wrong(
        "each shard weighs the same",
        {
            "        return [(batch, count / total) for batch, count in counted]": "        return [(batch, 1 / len(counted)) for batch, count in counted]"
        },
        says="each shard weighs the same",
    ),
    Wrong(
        "the sum of the losses",
        {
            "        return [(batch, count / total) for batch, count in counted]": "        return [(batch, 1.0) for batch, count in counted]"
        },
        says="the sum of the shards' means",
    ),
    Wrong(
        "shards weigh their samples, not what counts",
        {
            "        total = sum([count for _, count in counted])": "        counted = [(batch, len(batch[0])) for batch, _ in counted]\n        total = sum([count for _, count in counted])"
        },
    ),
    Wrong(
        "gradients are those of each shard's mean",
        {"            self.loss.backward(np.asarray(g * self.share))": "            self.loss.backward(np.asarray(g))"},
    ),
    Wrong(
        "the gradient of the loss is taken for 1",
        {
            "            self.loss.backward(np.asarray(g * self.share))": "            self.loss.backward(np.asarray(self.share))"
        },
        says="taken for 1",
    ),
    Wrong(
        "only the first shard's gradients",
        {
            "            return [leaf.grad for shard in shards for leaf in shard.leaves]": "            return [leaf.grad * (shard is shards[0]) for shard in shards for leaf in shard.leaves]"
        },
    ),
    Wrong(
        "a shard in which nothing counts is not left out",
        {
            "for batch in batches if (count := self.counted(*batch))]": "for batch in batches if (count := self.counted(*batch)) or True]"
        },
    ),
    Wrong(
        "the last sample is left out",
        {
            "cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]": "cuts = [len(x) // self.threads * i for i in range(self.threads + 1)]"
        },
    ),
    Wrong(
        "the rest goes to the last shard",
        {
            "cuts = [len(x) * i // self.threads for i in range(self.threads + 1)]": "cuts = [*[len(x) // self.threads * i for i in range(self.threads)], len(x)]"
        },
    ),
    Wrong(
        "every second sample",
        {
            "batches = [(x[start:stop], y[start:stop]) for start, stop in pairwise(cuts) if start < stop]": "batches = [(x[i :: self.threads], y[i :: self.threads]) for i in range(self.threads) if len(x) > i]"
        },
    ),
    Wrong("y is not cut", {"(x[start:stop], y[start:stop])": "(x[start:stop], y)"}),
    Wrong(
        "always two threads", {"    return _DataParallel(model, operator.index(threads))": "    return _DataParallel(model, 2)"}
    ),
    Wrong(
        "always one thread", {"    return _DataParallel(model, operator.index(threads))": "    return _DataParallel(model, 1)"}
    ),
    Wrong(
        "four threads unless told otherwise",
        {"def data_parallel(model: Module, threads: int = 2)": "def data_parallel(model: Module, threads: int = 4)"},
    ),
    Wrong("the model itself, on no threads", {"    return _DataParallel(model, operator.index(threads))": "    return model"}),
    Wrong(
        "a replica of the first call",
        {
            "        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]": "        shards = [_Shard(self, i, buffers, *shard) for i, shard in enumerate(self.cut(x, y))]\n        self.first = getattr(self, 'first', None) or {'models': [shard.model for shard in shards], 'owners': [shard.owners for shard in shards]}\n        for shard, model, owners in zip(shards, self.first['models'], self.first['owners']):\n            shard.model, shard.owners = model, owners"
        },
    ),
    Wrong(
        "both shards share the model",
        {
            "        self.model = self.copy(parallel.model)": "        self.model = parallel.model\n        self.owners = {parameter: parameter for parameter in self.model.parameters()}"
        },
    ),
    Wrong(
        "data is copied",
        {
            "            vars(new).update(vars(value), grad=None)": "            vars(new).update(vars(value), data=value.data.copy(), grad=None)"
        },
    ),
    Wrong(
        "replicas start from the model's grad",
        {
            "            vars(new).update(vars(value), grad=None)": "            vars(new).update(vars(value), grad=None if value.grad is None else value.grad.copy())"
        },
    ),
    Wrong(
        "a generator is shared", {"            return self.parallel.spawned(value)[self.number]": "            return value"}
    ),
    Wrong(
        "the shards' generators are equal",
        {"            return self.parallel.spawned(value)[self.number]": "            return self.parallel.spawned(value)[0]"},
    ),
    Wrong(
        "generators with the same numbers",
        {"generator.spawn(self.threads)])": "[copy.deepcopy(generator) for _ in range(self.threads)]])"},
    ),
    Wrong(
        "generators are spawned at each step",
        {
            "            if own is generator:\n                return spawned": "            if own is None:\n                return spawned"
        },
    ),
    Wrong(
        "a new generator at each step",
        {"            return self.parallel.spawned(value)[self.number]": "            return np.random.default_rng()"},
    ),
    Wrong(
        "the same generator at each step",
        {
            "            return self.parallel.spawned(value)[self.number]": "            return np.random.default_rng(self.number)"
        },
    ),
    Wrong(
        "generators that checkpoints don't find",
        {
            "        self.generators = []  #": "        self.generators = _Unseen()  #",
            "class _DataParallel(Module):": "class _Unseen:\n    __slots__ = ('pairs',)\n\n    def __init__(self):\n        self.pairs = []\n\n    def __iter__(self):\n        return iter(self.pairs)\n\n    def append(self, pair):\n        self.pairs.append(pair)\n\n    def __getitem__(self, i):\n        return self.pairs[i]\n\n\nclass _DataParallel(Module):",
        },
    ),
    Wrong(
        "generators are spawned at the first step",
        {"        _Shard(self, 0, [], (), 1.0)  # which spawns the generators\n": ""},
    ),
    Wrong(
        "layers with one generator get two",
        {
            "            if own is generator:\n                return spawned": "            if own is generator and len(self.generators) > 99:\n                return spawned"
        },
    ),
    Wrong(
        "names are those of a module around it",
        {"    def named_parameters(self) -> list:\n        return self.model.named_parameters()\n\n": ""},
    ),
    Wrong(
        "buffers have other names", {"    def named_buffers(self) -> list:\n        return self.model.named_buffers()\n\n": ""}
    ),
    Wrong(
        "state_dict has other keys",
        {
            "    def state_dict(self) -> dict:\n        return self.model.state_dict()\n\n": "    def state_dict(self) -> dict:\n        return {f'model.{name}': array for name, array in self.model.state_dict().items()}\n\n"
        },
    ),
    Wrong(
        "what counts is not passed on",
        {'return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)': "return len(x)"},
    ),
    Wrong(
        "a model must say what counts",
        {'return self.model.counted(x, y) if hasattr(self.model, "counted") else len(x)': "return self.model.counted(x, y)"},
    ),
    Wrong(
        "buffers are shared by the shards",
        {"        self.copies = {id(array): array.copy() for _, array in buffers}": "        self.copies = {}"},
    ),
    Wrong("buffers of the first shard", {"            own[...] = np.mean(arrays, 0)": "            own[...] = arrays[0]"}),
    Wrong("the sum of the buffers", {"            own[...] = np.mean(arrays, 0)": "            own[...] = np.sum(arrays, 0)"}),
    Wrong("buffers stay", {"            own[...] = np.mean(arrays, 0)": "            pass"}),
    Wrong(
        "buffers are averaged even if nothing changed",
        {"        if any([(array != own).any() for array in arrays]):": "        if True:"},
    ),
    Wrong(
        "buffers are averaged before an exception",
        {
            "        self.side_by_side([shard.forward for shard in shards])\n        if buffers:\n            _average(buffers, [shard.model.named_buffers() for shard in shards])": "        try:\n            self.side_by_side([shard.forward for shard in shards])\n        finally:\n            if buffers:\n                _average(buffers, [shard.model.named_buffers() for shard in shards])"
        },
    ),
    Wrong(
        "a parameter that is not used gets zeros",
        {
            "        self.leaves, seen, waiting = [], {self.loss}, [self.loss]": "        self.leaves, seen, waiting = [*self.owners], {self.loss}, []",
            "            return [leaf.grad for shard": "            return [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad for shard",
        },
    ),
    Wrong(
        "gradients are added as the shards end",
        {
            "            self.side_by_side([functools.partial(shard.backward, g) for shard in shards])\n            return [leaf.grad for shard in shards for leaf in shard.leaves]": "            ended = []\n            self.side_by_side([lambda shard=shard: (shard.backward(g), ended.append(shard)) for shard in shards])\n            total = {}\n            for shard in ended:\n                for leaf in shard.leaves:\n                    owner = shard.owners[leaf]\n                    total[owner] = leaf.grad if owner not in total else total[owner] + leaf.grad\n            done = set()\n            return [np.zeros_like(leaf.data) if shard.owners[leaf] in done or done.add(shard.owners[leaf]) else total[shard.owners[leaf]] for shard in shards for leaf in shard.leaves]"
        },
    ),
    Wrong(
        "threads for each step, which stay",
        {
            "        with _blas().limit(": "        self._executor = ThreadPoolExecutor(self.threads)\n        self.old = {**getattr(self, 'old', {}), self._executor: 0}\n        with _blas().limit("
        },
    ),
    Wrong(
        "a graph of the shards is kept",
        {
            '        return Tensor._result("data_parallel"': '        self.last = {"shards": gradients}\n        return Tensor._result("data_parallel"'
        },
    ),
    Wrong(
        "modes of the first call",
        {
            "            vars(new).update({name: self.copy(member) for name, member in vars(value).items()})": "            vars(new).update({name: self.copy(member) for name, member in vars(value).items() if name != 'training'})"
        },
    ),
    Wrong(
        "float64 losses",
        {
            "        loss = sum([shard.loss.data * shard.share for shard in shards])": "        loss = sum([shard.loss.data.astype(np.float64) * shard.share for shard in shards])"
        },
    ),
    # accelerate
    Wrong("nothing is accelerated", {"            if type(value) in _FAST:": "            if False:"}),
    Wrong(
        "a copy is accelerated",
        {
            "    seen, waiting = set(), [model]\n    while": "    model = copy.deepcopy(model)\n    seen, waiting = set(), [model]\n    while"
        },
    ),
    Wrong(
        "nothing is returned",
        {
            "            waiting += value.values() if isinstance(value, dict) else value\n    return model": "            waiting += value.values() if isinstance(value, dict) else value"
        },
    ),
    Wrong(
        "subclasses too",
        {
            "            if type(value) in _FAST:\n                value.__class__ = _FAST[type(value)]": "            for kind in _FAST:\n                if isinstance(value, kind) and type(value) not in _FAST.values():\n                    value.__class__ = _FAST[kind]"
        },
    ),
    Wrong(
        "the classes themselves are changed",
        {
            '_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}': '_FAST = {kind: type(kind.__name__, (kind,), {"forward": forward}) for kind, forward in _FORWARD.items()}\nConv2d.forward = _FORWARD[Conv2d]'
        },
    ),
    Wrong(
        "not in lists",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Differentiable | dict) and id"
        },
    ),
    Wrong(
        "not in tuples",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Differentiable | list | dict) and id"
        },
    ),
    Wrong(
        "endless where a child refers to its parent",
        {
            " and id(value) not in seen:\n            seen.add(id(value))\n            if type(value) in _FAST": ":\n            if type(value) in _FAST"
        },
    ),
    Wrong(
        "only Modules are looked at",
        {
            "        if isinstance(value, Differentiable | list | tuple | dict) and id": "        if isinstance(value, Module | list | tuple | dict) and id"
        },
    ),
    Wrong(
        "without convolutions",
        {"    Conv2d: lambda self, x: fast_conv2d(x, self.weight, self.bias, self.stride, self.padding),\n": ""},
    ),
    Wrong("without normalizations", {"    LayerNorm: lambda self, x: layer_norm(x, self.weight, self.bias, self.eps),\n": ""}),
    Wrong("without RMSNorm", {"    RMSNorm: lambda self, x: rms_norm(x, self.weight, self.eps),\n": ""}),
    Wrong("without GELU", {"    GELU: lambda self, x: gelu(x),\n": ""}),
    Wrong("without attention", {"    MultiHeadAttention: _attention,\n": ""}),
    Wrong("without CNN", {"    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),\n": ""}),
    Wrong("without Sequential", {"    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": ""}),
    Wrong(
        "a CNN that does not flatten",
        {
            "    CNN: lambda self, x: CNN(_paired(self.layers)).forward(x),\n": "    CNN: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n"
        },
    ),
    Wrong(
        "a convolution's stride is 1",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, self.bias, 1, self.padding)"
        },
    ),
    Wrong(
        "a convolution's padding is 1",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, self.bias, self.stride, 1)"
        },
    ),
    Wrong(
        "a convolution's bias is forgotten",
        {
            "fast_conv2d(x, self.weight, self.bias, self.stride, self.padding)": "fast_conv2d(x, self.weight, None, self.stride, self.padding)"
        },
    ),
    Wrong(
        "eps of LayerNorm is 1e-5", {"layer_norm(x, self.weight, self.bias, self.eps)": "layer_norm(x, self.weight, self.bias)"}
    ),
    Wrong(
        "the bias of LayerNorm is forgotten",
        {"layer_norm(x, self.weight, self.bias, self.eps)": "layer_norm(x, self.weight, None, self.eps)"},
    ),
    Wrong("eps of RMSNorm is 1e-5", {"rms_norm(x, self.weight, self.eps)": "rms_norm(x, self.weight)"}),
    Wrong(
        "label smoothing is forgotten",
        {
            "        logits, target, self.label_smoothing, self.ignore_index\n": "        logits, target, 0.0, self.ignore_index\n"
        },
    ),
    Wrong(
        "ignore_index is forgotten",
        {"        logits, target, self.label_smoothing, self.ignore_index\n": "        logits, target, self.label_smoothing\n"},
    ),
    Wrong(
        "eps of BatchNorm2d is 1e-5",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, norm.training, norm.momentum)"},
    ),
    Wrong(
        "momentum of BatchNorm2d is 0.1",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, norm.training, 0.1, norm.eps)"},
    ),
    Wrong(
        "BatchNorm2d is always training",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, True, norm.momentum, norm.eps)"},
    ),
    Wrong(
        "BatchNorm2d never trains",
        {"*running, norm.training, norm.momentum, norm.eps)": "*running, False, norm.momentum, norm.eps)"},
    ),
    Wrong(
        "running statistics are copies",
        {
            "        running = norm.running_mean, norm.running_var\n": "        running = norm.running_mean.copy(), norm.running_var.copy()\n"
        },
    ),
    Wrong(
        "any ReLU behind",
        {"        if result and type(layer) is ReLU and": "        if result and isinstance(layer, ReLU) and"},
    ),
    Wrong(
        "any activation behind",
        {"        if result and type(layer) is ReLU and": "        if result and not isinstance(layer, Module) and"},
    ),
    Wrong("a subclass of BatchNorm2d, too", {"type(result[-1]) is BatchNorm2d:": "isinstance(result[-1], BatchNorm2d):"}),
    Wrong(
        "a ReLU anywhere behind",
        {
            "    result = []\n    for layer in layers:\n        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:\n            result[-1] = _BatchNormReLU(result[-1])": "    result = []\n    for layer in layers:\n        if type(layer) is ReLU and any([type(other) is BatchNorm2d for other in result]):\n            result = [_BatchNormReLU(other) if type(other) is BatchNorm2d else other for other in result]"
        },
    ),
    Wrong(
        "ReLU is added to every BatchNorm2d",
        {
            "        if result and type(layer) is ReLU and type(result[-1]) is BatchNorm2d:\n            result[-1] = _BatchNormReLU(result[-1])\n        else:\n            result.append(layer)": "        result.append(_BatchNormReLU(layer) if type(layer) is BatchNorm2d else layer)"
        },
    ),
    Wrong(
        "the pairs of the first call",
        {
            "    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": "    Sequential: lambda self, x: Sequential(*vars(self).setdefault('_pairs', tuple(_paired(self.layers)))).forward(x),\n"
        },
    ),
    Wrong(
        "the layers are replaced by pairs",
        {
            "    Sequential: lambda self, x: Sequential(*_paired(self.layers)).forward(x),\n": "    Sequential: lambda self, x: (setattr(self, 'layers', _paired(self.layers)), Sequential.forward(self, x))[1],\n"
        },
    ),
    Wrong(
        "dropout of attention is forgotten",
        {"    if drops or cache is not None or not (fits and seeing):": "    if cache is not None or not fits:"},
    ),
    Wrong(
        "the cache is forgotten", {"    if drops or cache is not None or not (fits and seeing):": "    if drops or not fits:"}
    ),
    Wrong(
        "a cache must be truthy",
        {"    if drops or cache is not None or not (fits and seeing):": "    if drops or cache or not fits:"},
    ),
    Wrong("the mask is forgotten", {"None if real is None else real[:, None, None], self.causal": "None, self.causal"}),
    Wrong("the mask hides queries", {"real[:, None, None], self.causal": "real[:, None, :, None], self.causal"}),
    Wrong(
        "attention is always causal",
        {"real[:, None, None], self.causal, self.window)": "real[:, None, None], True, self.window)"},
    ),
    Wrong("the window is forgotten", {"real[:, None, None], self.causal, self.window)": "real[:, None, None], self.causal)"}),
    Wrong(
        "positions are forgotten",
        {"turn = _Turn(self.positions, x.shape[1], head_dim, x.dtype) if rotates else None": "turn = None"},
    ),
    Wrong(
        "positions are forgotten where there is padding",
        {"    if rotates:\n        q, k = self.positions(q), self.positions(k)\n": ""},
    ),
    Wrong(
        "positions rotate the values",
        {
            "        q, k = self.positions(q), self.positions(k)\n": "        q, k, v = self.positions(q), self.positions(k), self.positions(v)\n"
        },
    ),
    Wrong(
        "heads are cut out of rows",
        {
            "q, k, v = qkv.reshape(*x.shape[:2], 3, self.n_head, head_dim).permute(2, 0, 3, 1, 4)": "q, k, v = qkv.reshape(x.shape[0], 3, self.n_head, x.shape[1], head_dim).permute(1, 0, 2, 3, 4)"
        },
    ),
    Wrong(
        "heads are joined without being brought back",
        {"    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))": "    return self.c_proj(y.reshape(*x.shape))"},
    ),
    Wrong(
        "c_proj is forgotten",
        {
            "    return self.c_proj(y.permute(0, 2, 1, 3).reshape(*x.shape))": "    return y.permute(0, 2, 1, 3).reshape(*x.shape)"
        },
    ),
    Wrong(
        "the group of the first step",
        {"optimizer.param_groups[self.group])": "vars(self).setdefault('first', optimizer.param_groups[self.group]))"},
    ),
    # a list by someone who had seen neither these nor the specs
    Wrong(
        "profile bytes twice",
        {
            "nbytes = sum({id(array): array.nbytes for array in arrays}.values())": "nbytes = sum([array.nbytes for array in arrays])"
        },
    ),
    Wrong(
        "conv result in scratch",
        {
            "class _Winograd:\n": "_scratch = functools.cache(np.empty)\n\n\nclass _Winograd:\n",
            "y = np.empty((batch, h, w, u.shape[2]), u.dtype)": "y = _scratch((batch, h, w, u.shape[2]), u.dtype)",
        },
    ),
    Wrong(
        "conv scratch of two threads",
        {
            "def _spread(x: np.ndarray": "_scratch = functools.cache(np.empty)\n\n\ndef _spread(x: np.ndarray",
            "v = np.empty((size, size, h // step, w // step, n * channels), b.dtype)": "v = _scratch((size, size, h // step, w // step, n * channels), b.dtype)",
        },
    ),
    Wrong(
        "conv dirty padding",
        {
            "                padded[...] = 0\n        return dx.transpose(0, 3, 1, 2), dw.T.reshape": "        return dx.transpose(0, 3, 1, 2), dw.T.reshape"
        },
    ),
    Wrong("cross entropy ignore index 0", {"counts = labels != ignore_index": "counts = labels != (ignore_index or -100)"}),
    Wrong(
        "norm float16 squares",
        {"rows = _rows(_wide(x.data))  # (tokens, channels)": "rows = _rows(x.data)  # (tokens, channels)"},
    ),
    Wrong(
        "shared for another g",
        {"if g is not self.g or argnum not in self.parts:": 'if argnum not in vars(self).get("parts", ()):'},
    ),
    Wrong("attention nowhere large scores", {"                largest[largest == -np.inf] = 0\n": ""}),
    Wrong(
        "conv integers by Winograd",
        {
            "precise = np.result_type(x.data, weight.data) in (np.float32, np.float64)": "precise = np.result_type(x.data, weight.data) != np.float16"
        },
    ),
    Wrong(
        "conv dtype of the images",
        {
            "self.stride, self.padding = np.result_type(x, weight), x, weight, stride, padding": "self.stride, self.padding = x.dtype, x, weight, stride, padding"
        },
    ),
    Wrong(
        "conv gradient in scratch",
        {
            "class _Winograd:\n": SCRATCH + "class _Winograd:\n",
            'g, dx = _channels_last(g, u.dtype), np.empty_like(self.x, order="C")': "g, dx = _channels_last(g, u.dtype), _scratch(self.x.shape, self.x.dtype)",
        },
    ),
    Wrong(
        "conv last part as long as the others",
        {"return [slice(start, min(start + n, batch)) for start in": "return [slice(start, start + n) for start in"},
    ),
    Wrong(
        "norm gradient in scratch",
        {
            "def _norm_gradients(": SCRATCH + "def _norm_gradients(",
            "        to_x = g * weight\n": "        to_x = np.multiply(g, weight, out=_scratch(g.shape, g.dtype))\n",
        },
    ),
    Wrong(
        "layer_norm bias of one number",
        {
            "(bias is not None and bias.shape != weight.shape)": "(bias is not None and bias.shape not in ((), (1,), weight.shape))"
        },
    ),
    Wrong(
        "batch norm shares the running mean", {"else (running_mean.copy(), running_var)": "else (running_mean, running_var)"}
    ),
    Wrong(
        "batch norm variance within blocks",
        {
            "return mean, squares.sum(0) / counts.sum() + share @ (means - mean) ** 2": "return mean, squares.sum(0) / counts.sum()"
        },
    ),
    Wrong(
        "batch norm momentum 0 is the default",
        {
            "    if training:\n        running_mean += momentum": "    momentum = momentum or 0.1\n    if training:\n        running_mean += momentum"
        },
    ),
    Wrong(
        "batch norm eps 0 is the default",
        {
            "    norm = _Norm(images, mean, 1 / np.sqrt(var + eps)": "    norm = _Norm(images, mean, 1 / np.sqrt(var + (eps or 1e-5))"
        },
    ),
    Wrong(
        "layer_norm eps 0 is the default",
        {
            "    scale = 1 / np.sqrt(squares / rows.shape[1] + eps)": "    scale = 1 / np.sqrt(squares / rows.shape[1] + (eps or 1e-5))"
        },
    ),
    Wrong(
        "batch norm bias is refused too late",
        {
            "any([a.shape != x.shape[1:2] for a in (weight, bias, running_mean, running_var)])": "any([a.shape != x.shape[1:2] for a in (weight, running_mean, running_var)])"
        },
    ),
    Wrong(
        "attention heads of q and k only",
        {'heads = np.broadcast_shapes(heads, _fitting("q", q, "v", v, True))': '_fitting("q", q, "v", v, True)'},
    ),
    Wrong(
        "attention gradients in scratch",
        {
            "def _attention_gradients(": SCRATCH + "def _attention_gradients(",
            "    grads = [np.empty(array.shape, array.dtype) for array in arrays]\n": "    grads = [_scratch(array.shape, array.dtype, i) for i, array in enumerate(arrays)]\n",
        },
    ),
    Wrong("attention window as NumPy's integer", {"min(int(window), keys)": "min(window, keys)"}),
    Wrong(
        "attention window checked by fused_attention alone",
        {
            "        window = None if window is None else min(int(window), keys)  # a uint8 would count modulo 256\n": "",
            "    plan = _Plan(heads, q.shape[-2], k.shape[-2], mask, causal, window)\n": "    window = None if window is None else min(int(window), k.shape[-2])\n    plan = _Plan(heads, q.shape[-2], k.shape[-2], mask, causal, window)\n",
        },
    ),
    Wrong(
        "gelu of whole chunks",
        {
            "for start in range(0, x.size, _CHUNK)": "for start in range(0, x.size if x.size < _CHUNK else x.size // _CHUNK * _CHUNK, _CHUNK)"
        },
    ),
    Wrong("threads as NumPy's integer", {"operator.index(threads)": "threads"}),
    Wrong(
        "flat rebound to equal values",
        {
            "any(self.views.get(parameter) is not parameter.data for parameter in live)": "any(not np.array_equal(self.views.get(parameter), parameter.data) for parameter in live)"
        },
    ),
    Wrong(
        "flat forgets before it loads",
        {
            "        self.optimizer.load_state_dict(state_dict)\n        self.runs, self.views = [], {}\n": "        self.runs, self.views = [], {}\n        self.optimizer.load_state_dict(state_dict)\n"
        },
    ),
]

if hasattr(signal, "pthread_kill"):  # else no spec can interrupt a caller that waits
    WRONG.append(
        Wrong(
            "shards outlive an interrupt",
            {"    try:\n        wait(futures)\n    finally:\n        wait(futures)\n": "    wait(futures)\n"},
        )
    )
