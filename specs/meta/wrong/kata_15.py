"""Wrong solutions of kata 15, as a learner would err and as a cheat would try."""

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
COMPOSED = ATTENTION + "    from katas.attention import attention_weights\n\n    return attention_weights(q, k, mask, causal, window) @ v"

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
]
