"""Wrong solutions of kata 05, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

BCE = "loss = _narrow((positive - x * y + (1 + decay).log()).mean(), logits)"
MSE = "loss = _narrow((difference * difference).mean(), prediction)"
NARROW = "        loss = _narrow(loss, logits)\n"

WRONG = [
    # attributes
    Wrong(
        "the smoothing has another name",
        {
            "label_smoothing = float(label_smoothing)": "smoothing = float(label_smoothing)",
            "* (1 - self.label_smoothing)\n        if self.label_smoothing:  #": "* (1 - self.smoothing)\n        if self.smoothing:  #",
            "[rows].mean() * self.label_smoothing": "[rows].mean() * self.smoothing",
            "share[rows] * (1 - self.label_smoothing)\n        if self.label_smoothing:": "share[rows] * (1 - self.smoothing)\n        if self.smoothing:",
            "(self.label_smoothing / shape": "(self.smoothing / shape",
        },
    ),
    # mean squared error
    Wrong(
        "squared errors are summed",
        {MSE: "loss = (difference * difference).sum()"},
        says="the sum, not the mean",
    ),
    Wrong(
        "squared errors are halved",
        {MSE: "loss = (difference * difference).mean() / 2"},
        says="halved",
    ),
    Wrong(
        "squared errors are divided by the batch",
        {MSE: "loss = (difference * difference).sum() / len(prediction)"},
        says="divided by the batch",
    ),
    Wrong(
        "the root of the mean squared error",
        {MSE: "loss = (difference * difference).mean().sqrt()"},
        says="the root",
    ),
    Wrong(
        "its gradient lacks 1/n",
        {"difference * (2 * float(grad) / difference.size)": "difference * (2 * float(grad))"},
        says="not of the mean",
    ),
    Wrong(
        "its gradient is divided by the batch",
        {"(2 * float(grad) / difference.size)": "(2 * float(grad) / len(difference))"},
        says="divided by the batch",
    ),
    Wrong(
        "its gradient lacks the 2",
        {"(2 * float(grad) / difference.size)": "(float(grad) / difference.size)"},
        says="the factor 2 is missing",
    ),
    Wrong("its gradient has the other sign", {"return (difference * (2": "return (-difference * (2"}, says="the sign is wrong"),
    Wrong(
        "its gradient ignores what comes in",
        {"(2 * float(grad) / difference.size)": "(2 / difference.size)"},
        says="the incoming gradient is ignored",
    ),
    Wrong(
        "its gradient is promoted by the incoming one",
        {"(2 * float(grad) / difference.size)).astype(dtype, copy=False)": "(2 * grad / difference.size))"},
        says="a silent promotion",
    ),
    Wrong(
        "its backward consumes what was kept",
        {
            "return (difference * (2 * float(grad) / difference.size))": "difference *= 2 * float(grad) / difference.size\n        return difference"
        },
    ),
    Wrong(
        "its backward belongs to the first forward",
        {"self.keep(difference.data, loss.dtype)\n": "self._kept or self.keep(difference.data, loss.dtype)\n"},
    ),
    Wrong(
        "squared errors are computed in NumPy",
        {MSE: "loss = Tensor((difference.data**2).mean(), prediction.requires_grad)"},
        says="the chain from the loss does not reach",
    ),
    Wrong(
        "half of the square is cut from the chain",
        {MSE: "loss = (difference * difference.data).mean()"},
    ),
    Wrong(
        "shapes are broadcast silently", {"if values.shape != prediction.shape:": "if False:"}, says="bad input is let through"
    ),
    Wrong(
        "shapes that broadcast are let through",
        {"if values.shape != prediction.shape:": "if np.broadcast(values, prediction.data).size != prediction.size:"},
    ),
    Wrong(
        "only the number of values is compared",
        {"if values.shape != prediction.shape:": "if values.size != prediction.size:"},
        says="bad input is let through",
    ),
    Wrong(
        "the target's float64 is taken on", {"values.astype(prediction.dtype, copy=False)": "values"}, says="a silent promotion"
    ),
    Wrong(
        "an empty batch is let through",
        {
            "if not values.size:": "if False:",
            MSE: "loss = (difference * difference).sum() / max(difference.size, 1)",
            "log()).mean()": "log()).sum() / max(logits.size, 1)",
        },
    ),
    Wrong(
        "squared errors are float32",
        {"x = _wide(prediction)": "x = Tensor(prediction.data.astype(np.float32))"},
    ),
    Wrong(
        "its gradient is float32",
        {
            "(2 * float(grad) / difference.size)).astype(dtype, copy=False)": "(2 * float(grad) / difference.size)).astype(np.float32)"
        },
        says="expected dtype float64",
    ),
    Wrong(
        "a target is cut to the integers of the prediction",
        {"x = _wide(prediction)": "x = prediction", "x = _wide(logits)": "x = logits"},
        says="the target is cut to integers",
    ),
    Wrong(
        "integers are subtracted as integers",
        {"flat = _wide(logits)": "flat = logits"},
    ),
    Wrong(
        "float16 is added in float16",
        {"dtype in (np.float32, np.float64)": 'dtype.kind == "f"'},
    ),
    Wrong(
        "the loss of float16 is float32",
        {"    if prediction.dtype != np.float16:\n": "    if True:\n"},
        says="expected dtype float16",
    ),
    Wrong(
        "the loss of float16 is cut from the chain",
        {
            'Tensor._result("reshape", loss.data.astype(np.float16), loss, shape=())': "Tensor(loss.data.astype(np.float16), loss.requires_grad)"
        },
        says="the chain from the loss does not reach the logits",
    ),
    # cross-entropy
    Wrong(
        "the gradient of cross-entropy is float32",
        {"return result.reshape(shape).astype(dtype, copy=False)": "return result.reshape(shape).astype(np.float32)"},
        says="expected dtype float64",
    ),
    Wrong(
        "cross-entropy is summed",
        {"totals.log()[rows].mean() - shifted[rows, labels].mean()": "totals.log()[rows].sum() - shifted[rows, labels].sum()"},
        says="the sum, not the mean",
    ),
    Wrong(
        "divided by samples × classes",
        {NARROW: "        loss = loss / classes\n" + NARROW},
        says="divided by samples × classes",
    ),
    Wrong("cross-entropy has the other sign", {NARROW: "        loss = -loss\n" + NARROW}, says="the sign"),
    Wrong(
        "the probability without the logarithm",
        {
            "loss = totals.log()[rows].mean() - shifted[rows, labels].mean()": "loss = -(odds / totals.reshape(-1, 1))[rows, labels].mean()"
        },
        says="the logarithm is missing",
    ),
    Wrong("softmax over the batch", {"odds.sum(-1)": "odds.sum(0)", "totals.log()[rows]": "totals.log()[labels]"}),
    Wrong(
        "classes on axis 1",
        {
            "flat = _wide(logits).reshape(-1, classes)": "flat = (logits if logits.ndim < 3 else logits.transpose(1, -1)).reshape(-1, classes)"
        },
    ),
    Wrong(
        "log of softmax",
        {
            "loss = totals.log()[rows].mean() - shifted[rows, labels].mean()": "loss = -(odds / totals.reshape(-1, 1))[rows, labels].log().mean()"
        },
    ),
    Wrong("nothing is taken off before exp", {"flat - flat.data.max(-1, keepdims=True)": "flat - 0"}),
    Wrong("the largest logit of the batch is taken off", {"flat.data.max(-1, keepdims=True)": "flat.data.max()"}),
    Wrong(
        "the softmax is that of the absolute logits",
        {"flat.data.max(-1, keepdims=True)": "np.abs(flat.data).max(-1, keepdims=True)"},
    ),
    Wrong("log with a small number added", {"totals.log()[rows]": "(totals + 1e-7).log()[rows]"}),
    Wrong(
        "ε is spread over the other classes",
        {
            "* (1 - self.label_smoothing)\n        if self.label_smoothing:  #": "* (1 - self.label_smoothing * classes / (classes - 1))\n        if self.label_smoothing:  #",
            "shifted.mean(-1)[rows].mean() * self.label_smoothing": "shifted.mean(-1)[rows].mean() * (self.label_smoothing * classes / (classes - 1))",
        },
        says="ε is spread over the C − 1 other classes",
    ),
    Wrong(
        "1 - ε is forgotten",
        {
            "shifted[rows, labels].mean() * (1 - self.label_smoothing)": "shifted[rows, labels].mean()",
            "loss - shifted.mean(-1)[rows].mean()": "loss - (shifted.mean(-1) - totals.log())[rows].mean()",
        },
        says="1 − ε forgotten",
    ),
    Wrong(
        "smoothing sums over the classes",
        {"loss - shifted.mean(-1)[rows].mean()": "loss - (shifted.sum(-1) - totals.log() * (classes - 1))[rows].mean()"},
        says="the sum over classes",
    ),
    Wrong(
        "smoothing is missing in backward",
        {
            "            result -= share[:, None] * (self.label_smoothing / shape[-1])\n": "            pass\n",
            "share[rows] * (1 - self.label_smoothing)": "share[rows]",
        },
        says="no smoothing at all",
    ),
    Wrong("smoothing is always computed", {"if self.label_smoothing:  # an": "if True:  # an"}),
    Wrong("smoothing reaches ignored positions", {"shifted.mean(-1)[rows].mean()": "shifted.mean()"}),
    Wrong("any smoothing is let through", {"if not 0 <= label_smoothing < 1:": "if False:"}, says="bad input is let through"),
    Wrong(
        "a smoothing of NaN is let through",
        {"if not 0 <= label_smoothing < 1:": "if label_smoothing < 0 or label_smoothing >= 1:"},
        says="bad input is let through",
    ),
    Wrong(
        "ignored targets count in the mean",
        {
            NARROW: "        loss = loss * (len(rows) / len(flat))\n" + NARROW,
            "float(grad) / len(rows)": "float(grad) / len(odds)",
        },
        says="divided by all, ignored ones too",
    ),
    Wrong(
        "ignored targets count in the gradient's mean",
        {"float(grad) / len(rows)": "float(grad) / len(odds)"},
        says="divided by all, ignored ones too",
    ),
    Wrong(
        "ignored positions get a gradient",
        {"share = np.zeros_like(totals)": "share = np.full_like(totals, float(grad) / len(rows))"},
    ),
    Wrong("ignore_index is always -100", {"labels != self.ignore_index": "labels != -100"}),
    Wrong(
        "ignored targets are overwritten",
        {
            "labels = labels[rows]\n": "Tensor(target).data.reshape(-1)[labels == self.ignore_index] = 0\n        labels = labels[rows]\n"
        },
    ),
    Wrong(
        "negative targets are ignored",
        {
            "np.flatnonzero(labels != self.ignore_index)": "np.flatnonzero((labels != self.ignore_index) & (labels.astype(int) >= 0))"
        },
        says="bad input is let through",
    ),
    Wrong(
        "-1 is the last class",
        {
            "labels.min() < 0 or labels.max() >= classes": "labels.max() >= classes",
            "(labels < 0) | (labels >= classes)": "labels >= classes",
        },
        says="bad input is let through",
    ),
    Wrong(
        "a class beyond the last is left to NumPy",
        {"if labels.min() < 0 or labels.max() >= classes:": "if labels.min() < 0:"},
        says="another error came first",
    ),
    Wrong("labels must be int64", {'labels.dtype.kind not in "iu"': "labels.dtype != np.int64"}),
    Wrong(
        "float targets are truncated",
        {"labels = Tensor(target).data\n": "labels = Tensor(target).data.astype(np.int64)\n"},
        says="bad input is let through",
    ),
    Wrong(
        "shapes of equal size are flattened",
        {
            "if logits.ndim == 0 or labels.shape != logits.shape[:-1]:": "if logits.ndim == 0 or labels.size != logits.size // logits.shape[-1]:"
        },
        says="bad input is let through",
    ),
    Wrong(
        "all ignored gives zero",
        {
            '            raise ValueError(f"no target counts: shape {logits.shape[:-1]}, ignore_index {self.ignore_index}")': "            return (logits * 0).sum()"
        },
        says="bad input is let through",
    ),
    Wrong("its gradient is summed, not averaged", {"float(grad) / len(rows)": "float(grad)"}, says="not of the mean"),
    Wrong(
        "one-hot is not subtracted",
        {"        result[rows, labels] -= share[rows] * (1 - self.label_smoothing)\n": ""},
        says="one-hot is not subtracted",
    ),
    Wrong(
        "the incoming gradient of cross-entropy is ignored",
        {"float(grad) / len(rows)": "1 / len(rows)"},
        says="the incoming gradient is ignored",
    ),
    Wrong(
        "the gradient of cross-entropy is float64",
        {"return result.reshape(shape).astype(dtype, copy=False)": "return result.reshape(shape).astype(np.float64)"},
        says="a silent promotion",
    ),
    Wrong("the gradient of cross-entropy is flat", {"return result.reshape(shape)": "return result"}),
    Wrong(
        "backward overwrites what was kept",
        {"result = odds * (share / totals)[:, None]": "result = odds\n        result *= (share / totals)[:, None]"},
    ),
    Wrong(
        "the target's logit is read from the array",
        {"shifted[rows, labels].mean()": "Tensor(shifted.data[rows, labels]).mean()"},
    ),
    Wrong(
        "cross-entropy is computed in NumPy",
        {NARROW: "        loss = Tensor(loss.data, logits.requires_grad)\n" + NARROW},
    ),
    Wrong(
        "every target is said to count", {"np.count_nonzero(Tensor(target).data != self.ignore_index)": "Tensor(target).size"}
    ),
    Wrong(
        "what counts is what is not -100",
        {"Tensor(target).data != self.ignore_index": "Tensor(target).data != -100"},
    ),
    Wrong("samples are said to count", {"np.count_nonzero(Tensor(target).data != self.ignore_index)": "len(target)"}),
    # binary cross-entropy
    Wrong("binary losses are summed", {"(1 + decay).log()).mean()": "(1 + decay).log()).sum()"}, says="the sum, not the mean"),
    Wrong(
        "binary cross-entropy has the other sign",
        {BCE: "loss = -(positive - x * y + (1 + decay).log()).mean()"},
        says="the sign",
    ),
    Wrong(
        "only targets of 1 count",
        {BCE: "loss = (y * (positive - x + (1 + decay).log())).mean()"},
        says="only the targets of 1 count",
    ),
    Wrong("y and 1 - y are swapped", {"positive - x * y": "positive - x * (1 - y)"}, says="y and 1 − y are swapped"),
    Wrong(
        "log σ as it is defined",
        {BCE: "p = 1 / (1 + (-x).exp())\n        loss = -(y * p.log() + (1 - y) * (1 - p).log()).mean()"},
    ),
    Wrong(
        "log σ with a small number added",
        {
            BCE: "p = 1 / (1 + (-maximum(x, -80)).exp())\n        loss = -(y * (p + 1e-12).log() + (1 - y) * (1 - p + 1e-12).log()).mean()"
        },
    ),
    Wrong(
        "probabilities are clipped",
        {
            BCE: "z = -maximum(-maximum(x, -15), -15)\n        loss = (maximum(z, 0) - z * y + (1 + (z - 2 * maximum(z, 0)).exp()).log()).mean()"
        },
    ),
    Wrong("its sigmoid overflows in backward", {"np.where(x > 0, 1, decay) / (1 + decay)": "1 / (1 + np.exp(-x))"}),
    Wrong("binary gradients lack 1/n", {"(float(grad) / x.size)": "float(grad)"}, says="not of the mean"),
    Wrong(
        "binary gradients are divided by the batch",
        {"(float(grad) / x.size)": "(float(grad) / len(x))"},
        says="divided by the batch",
    ),
    Wrong("binary gradients forget the target", {"(sigmoid - y) * ": "sigmoid * "}, says="the target is not subtracted"),
    Wrong("binary gradients forget the sigmoid", {"(sigmoid - y) * ": "(x - y) * "}, says="the sigmoid is missing"),
    Wrong(
        "binary gradients ignore what comes in",
        {"(float(grad) / x.size)": "(1 / x.size)"},
        says="the incoming gradient is ignored",
    ),
    Wrong(
        "binary gradients are promoted",
        {"(float(grad) / x.size)).astype(dtype, copy=False)": "(grad / x.size))"},
        says="a silent promotion",
    ),
    Wrong("sigmoid without the sign of x", {"np.where(x > 0, 1, decay) / (1 + decay)": "1 / (1 + decay)"}),
    Wrong("labels of -1 are let through", {"~((y >= 0) & (y <= 1))": "y > 1"}, says="bad input is let through"),
    Wrong("a target of NaN is let through", {"~((y >= 0) & (y <= 1))": "(y < 0) | (y > 1)"}, says="bad input is let through"),
    Wrong("only 0 and 1 are targets", {"~((y >= 0) & (y <= 1))": "(y != 0) & (y != 1)"}),
    Wrong("the logarithm is cut from the chain", {"(1 + decay).log()).mean()": "np.log(1 + decay.data)).mean()"}),
    # what the budgets are there to exclude
    Wrong(
        "squares one by one",
        {MSE: "loss = sum([d * d for d in difference.reshape(-1)], Tensor(0.0)) / difference.size"},
        naive="test_squared_errors_are_taken_in_numpy",
    ),
    Wrong(
        "cross-entropy row by row",
        {
            "import Tensor, maximum": "import Tensor, maximum, stack",
            "odds = shifted.exp()": "odds = stack([row.exp() for row in shifted])",
            "totals = odds.sum(-1)": "totals = stack([row.sum() for row in odds])",
        },
        naive="test_cross_entropy_is_computed_in_numpy",
    ),
    Wrong(
        "cross-entropy sample by sample",
        {
            "import Tensor, maximum": "import Tensor, maximum, stack",
            "odds = shifted.exp()": "odds = stack([row.exp() for row in shifted])",
            "totals = odds.sum(-1)": "totals = stack([row.sum() for row in odds])",
        },
        naive="test_it_is_as_fast_as_numpy",
    ),
    Wrong(
        "cross-entropy with a one-hot matrix",
        {"shifted[rows, labels].mean()": "(shifted[rows] * np.eye(classes)[labels]).sum(-1).mean()"},
        naive="test_the_target_is_looked_up_not_multiplied_by_a_matrix_of_zeros",
    ),
    Wrong(
        "sigmoid one by one",
        {
            "np.where(x > 0, 1, decay) / (1 + decay)": "np.array([1 / (1 + np.exp(-v)) for v in x.ravel()], x.dtype).reshape(x.shape)"
        },
        naive="test_binary_cross_entropy_is_computed_in_numpy",
    ),
    Wrong(
        "squared errors are kept although they are recorded",
        {"self.keep(difference.data, loss.dtype)": "self._kept = (difference.data, loss.dtype)"},
        naive="test_nothing_of_squared_errors_is_kept_while_operations_are_recorded",
    ),
    Wrong(
        "cross-entropy is kept although it is recorded",
        {
            "self.keep(odds.data, totals.data, rows, labels, logits.shape, loss.dtype)": "self._kept = (odds.data, totals.data, rows, labels, logits.shape, loss.dtype)"
        },
        naive="test_nothing_of_cross_entropy_is_kept_while_operations_are_recorded",
    ),
    Wrong(
        "binary cross-entropy is kept although it is recorded",
        {"self.keep(x.data, y, decay.data, loss.dtype)": "self._kept = (x.data, y, decay.data, loss.dtype)"},
        naive="test_nothing_of_binary_cross_entropy_is_kept_while_operations_are_recorded",
    ),
    Wrong(
        "ignore_index must be a class or negative",
        {
            "        self.ignore_index = ignore_index\n": "        self.ignore_index = ignore_index\n        if ignore_index > 100:\n            raise ValueError(ignore_index)\n"
        },
    ),
    Wrong(
        "-100 is always ignored",
        {
            "rows = np.flatnonzero(labels != self.ignore_index)": "rows = np.flatnonzero((labels != self.ignore_index) & (labels != -100))"
        },
    ),
    Wrong(
        "ignore_index 0 is none",
        {"rows = np.flatnonzero(labels != self.ignore_index)": "rows = np.flatnonzero(labels != (self.ignore_index or -100))"},
    ),
    Wrong(
        "ignore_index of the construction",
        {
            "        self.ignore_index = ignore_index\n": "        self.ignore_index = self._i = ignore_index\n",
            "rows = np.flatnonzero(labels != self.ignore_index)": "rows = np.flatnonzero(labels != self._i)",
        },
    ),
    Wrong(
        "backward(0.0) is 1",
        {"        share[rows] = float(grad) / len(rows)": "        share[rows] = float(grad or 1.0) / len(rows)"},
    ),
    Wrong(
        "mse backward(0.0) is 1",
        {
            "return (difference * (2 * float(grad) / difference.size))": "return (difference * (2 * float(grad or 1.0) / difference.size))"
        },
    ),
    Wrong(
        "bce backward(0.0) is 1",
        {"((sigmoid - y) * (float(grad) / x.size))": "((sigmoid - y) * (float(grad or 1.0) / x.size))"},
    ),
    Wrong(
        "-inf logits are clipped",
        {
            "        shifted = flat - flat.data.max(-1, keepdims=True)": "        shifted = maximum(flat, -1e30) - flat.data.max(-1, keepdims=True)"
        },
    ),
    Wrong(
        "BCE of float16 stays float16", {"x = _wide(logits)\n": "x = logits if logits.dtype == np.float16 else _wide(logits)\n"}
    ),
    Wrong("prediction of shape () refused", {"if not values.size:": "if not values.size or not values.shape:"}),
    Wrong("labels cut to int32", {"labels.reshape(-1)  # labels (n,)": "labels.reshape(-1).astype(np.int32)  # labels (n,)"}),
    Wrong(
        "kept labels are the caller's",
        {"        labels = labels[rows]\n": "        labels = labels if rows.size == labels.size else labels[rows]\n"},
    ),
    Wrong(
        "sigmoid by subtraction",
        {"np.where(x > 0, 1, decay) / (1 + decay)": "np.where(x > 0, 1 / (1 + decay), 1 - 1 / (1 + decay))"},
    ),
    Wrong("BCE: negative grad loses its sign", {"(float(grad) / x.size)": "(abs(float(grad)) / x.size)"}),
    Wrong("MSE: grad counts as float only", {"2 * float(grad)": "2 * (grad if isinstance(grad, float) else 1.0)"}),
    Wrong("an ignored NaN has a gradient", {"            flat = where(counts, flat, 0.0)\n": ""}),
    Wrong(
        "ignored logits are multiplied by zero", {"flat = where(counts, flat, 0.0)": "flat = flat * counts.astype(flat.dtype)"}
    ),
    Wrong(
        "ignored gradients are cut out at the end",
        {
            "            flat = where(counts, flat, 0.0)\n": "",
            "        if self.label_smoothing:\n            result -= share[:, None] * (self.label_smoothing / shape[-1])\n": "        if self.label_smoothing:\n            result -= share[:, None] * (self.label_smoothing / shape[-1])\n        keep = np.zeros(len(result), bool)\n        keep[rows] = True\n        result[~keep] = 0\n",
        },
    ),
    Wrong("an empty list is a TypeError", {"if labels.size and labels.dtype.kind": "if labels.dtype.kind"}),
    Wrong("binary targets are the caller's", {"y = _values(x, target).copy()": "y = _values(x, target)"}),
    Wrong(
        "MSE keeps the target itself",
        {
            "        self.keep(difference.data, loss.dtype)": "        self.keep(x.data, _values(x, target), loss.dtype)",
            "        difference, dtype = self.kept()\n": "        x, y, dtype = self.kept()\n        difference = x - y\n",
        },
    ),
    Wrong(
        "cross-entropy of float16 stays float16",
        {
            "        flat = _wide(logits).reshape(-1, classes)": "        flat = (logits if logits.dtype == np.float16 else _wide(logits)).reshape(-1, classes)"
        },
    ),
    Wrong(
        "cross-entropy: grad as float only",
        {"share[rows] = float(grad) / len(rows)": "share[rows] = (grad if isinstance(grad, float) else 1.0) / len(rows)"},
    ),
    Wrong("BCE: grad as float only", {"(float(grad) / x.size)": "((grad if isinstance(grad, float) else 1.0) / x.size)"}),
    Wrong("MSE: negative grad loses its sign", {"2 * float(grad)": "2 * abs(float(grad))"}),
    Wrong("cross-entropy: negative grad loses its sign", {"share[rows] = float(grad)": "share[rows] = abs(float(grad))"}),
    Wrong(
        "counted in int32",
        {
            "np.count_nonzero(Tensor(target).data != self.ignore_index)": "np.count_nonzero(Tensor(target).data.astype(np.int32) != self.ignore_index)"
        },
    ),
    Wrong("labels in column order", {"labels.reshape(-1)  # labels (n,)": 'labels.ravel("K")  # labels (n,)'}),
    Wrong(
        "a target Tensor is no constant",
        {
            "difference = x - _values(x, target)": "values = _values(x, target)\n        difference = x - (target if isinstance(target, Tensor) else values)"
        },
    ),
]
