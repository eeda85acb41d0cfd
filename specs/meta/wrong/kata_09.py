"""Wrong solutions of kata 09, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    # windows
    Wrong(
        "the last place is forgotten",
        {"return (size + 2 * padding - kernel_size) // stride + 1": "return (size + 2 * padding - kernel_size) // stride"},
    ),
    Wrong(
        "padding counts once",
        {"return (size + 2 * padding - kernel_size) // stride + 1": "return (size + padding - kernel_size) // stride + 1"},
    ),
    Wrong(
        "what is left over has a place",
        {
            "return (size + 2 * padding - kernel_size) // stride + 1": "return -((kernel_size - size - 2 * padding) // stride) + 1"
        },
    ),
    Wrong(
        "any kernel fits",
        {"if not 1 <= kernel_size <= size + 2 * padding or stride < 1 or padding < 0:": "if stride < 1 or padding < 0:"},
        says="let through",
    ),
    Wrong("a negative padding crops", {" or stride < 1 or padding < 0:": " or stride < 1:"}, says="let through"),
    Wrong(
        "windows do not look at what fits",
        {"    output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)  # which say what does not fit\n": ""},
    ),
    Wrong(
        "other shapes are images too",
        {'    if x.ndim != 4:\n        raise ValueError(f"images': '    if False:\n        raise ValueError(f"images'},
    ),
    Wrong("stride down and across are exchanged", {"[:, :, ::sh, ::sw]": "[:, :, ::sw, ::sh]"}),
    Wrong(
        "height and width of the kernel are exchanged",
        {"sliding_window_view(x, (kh, kw), (2, 3))": "sliding_window_view(x, (kw, kh), (2, 3))"},
    ),
    Wrong(
        "padding is only before",
        {
            "padded[:, ph : ph + h, pw : pw + w] = x.transpose(0, 2, 3, 1)": "padded[:, 2 * ph :, 2 * pw :] = x.transpose(0, 2, 3, 1)"
        },
    ),
    Wrong(
        "padding is of ones",
        {
            "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)\n": "padded = np.ones((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)\n"
        },
    ),
    Wrong(
        "padding promotes",
        {
            "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)\n": "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels))\n"
        },
    ),
    Wrong(
        "the number of places is cut off towards zero",
        {
            "if not 1 <= kernel_size <= size + 2 * padding or": "if kernel_size < 1 or size + 2 * padding - kernel_size <= -stride or",
            "return (size + 2 * padding - kernel_size) // stride + 1": "return int((size + 2 * padding - kernel_size) / stride) + 1",
        },
        says="let through",
    ),
    # convolution
    Wrong(
        "images of integers promote the weight",
        {"x, weight = _floating(x, weight), _floating(weight, x)": "weight = _floating(weight, x)"},
        says="a silent promotion",
    ),
    Wrong(
        "a weight of integers promotes the images",
        {"x, weight = _floating(x, weight), _floating(weight, x)": "x = _floating(x, weight)"},
        says="a silent promotion",
    ),
    Wrong(
        "the kernel is turned round",
        {
            "rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)": "rows = weight[:, :, ::-1, ::-1].transpose(0, 2, 3, 1).reshape(len(weight), -1)"
        },
        says="the kernel is turned round",
    ),
    Wrong(
        "the kernel's axes are exchanged",
        {
            "rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)": "rows = weight.transpose(0, 3, 2, 1).reshape(len(weight), -1)"
        },
    ),
    Wrong(
        "channels and offsets are mixed up",
        {"rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)": "rows = weight.reshape(len(weight), -1)"},
    ),
    Wrong(
        "the bias is forgotten",
        {"return y if bias is None else y + bias.reshape(-1, 1, 1)": "return y"},
        says="the bias is missing",
    ),
    Wrong(
        "the bias is added by pixel",
        {"return y if bias is None else y + bias.reshape(-1, 1, 1)": "return y if bias is None else y + bias.sum()"},
    ),
    Wrong(
        "the result is in another order",
        {
            "reshape(batch, out_h, out_w, len(weight)).transpose(0, 3, 1, 2), columns": "reshape(batch, len(weight), out_h, out_w), columns"
        },
    ),
    Wrong(
        "stride is ignored",
        {
            "_convolved(windows(x.data, weight.shape[2:], stride, padding)": "_convolved(windows(x.data, weight.shape[2:], 1, padding)"
        },
    ),
    Wrong(
        "padding is ignored",
        {
            "_convolved(windows(x.data, weight.shape[2:], stride, padding)": "_convolved(windows(x.data, weight.shape[2:], stride, 0)"
        },
    ),
    Wrong(
        "the record is cut",
        {
            'y = Tensor._result("conv2d", y, x, weight, stride=_pair(stride), padding=_pair(padding), columns=columns)': "y = Tensor(y)"
        },
    ),
    Wrong(
        "the images are left out of the record",
        {'Tensor._result("conv2d", y, x, weight,': 'Tensor._result("conv2d", y, Tensor(x.data), weight,'},
    ),
    Wrong(
        "channels that do not fit are cut",
        {"if weight.ndim != 4 or x.ndim != 4 or x.shape[1] != weight.shape[1]:": "if weight.ndim != 4 or x.ndim != 4:"},
    ),
    Wrong(
        "a pixel is paid by one place only",
        {
            "return _convolved(view, weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]": "return _convolved(view[..., -1:, -1:], weight[:, :, :1, :1].swapaxes(0, 1))[0]"
        },
    ),
    Wrong(
        "places overwrite what others paid",
        {
            "    return _convolved(view, weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]": "    paid = np.zeros((batch, weight.shape[1], h + 2 * ph, w + 2 * pw), g.dtype)\n    for k, m in np.ndindex(kh, kw):\n        paid[:, :, k : h + 2 * ph - kh + k + 1 : sh, m : w + 2 * pw - kw + m + 1 : sw] = np.einsum('nohw,oc->nchw', g, weight[:, :, k, m])\n    return paid[:, :, ph : ph + h, pw : pw + w]"
        },
        says="overwritten by the last place",
    ),
    Wrong(
        "images are paid for the padding",
        {"view = windows(spread, (kh, kw))[:, :, ph : ph + h, pw : pw + w]": "view = windows(spread, (kh, kw))[:, :, :h, :w]"},
    ),
    Wrong(
        "the gradient of the images is turned round",
        {"weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]": "weight.swapaxes(0, 1))[0]"},
        says="the kernel is turned round",
    ),
    Wrong(
        "the gradient of the images has its axes exchanged",
        {
            "weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]": "weight[:, :, ::-1, ::-1].transpose(1, 0, 3, 2))[0] if kh == kw else _convolved(view, weight[:, :, ::-1, ::-1].swapaxes(0, 1))[0]"
        },
    ),
    Wrong(
        "stride is forgotten on the way back",
        {
            "spread[:, :, kh - 1 : h + 2 * ph : sh, kw - 1 : w + 2 * pw : sw] = g": "spread[:, :, kh - 1 : kh - 1 + g.shape[2], kw - 1 : kw - 1 + g.shape[3]] = g"
        },
    ),
    Wrong(
        "the gradient of the weight is a mean",
        {"return (pixels.T @ columns).reshape": "return (pixels.T @ columns / g.dtype.type(len(g))).reshape"},
        says="the mean over the images",
    ),
    Wrong(
        "the gradient of the weight is of the first image",
        {
            "return (pixels.T @ columns).reshape": "return (pixels[: len(pixels) // len(x)].T @ columns[: len(columns) // len(x)]).reshape"
        },
    ),
    Wrong(
        "the gradient of the weight is turned round",
        {
            "reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)\n\n\ndefvjp": "reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)[:, :, ::-1, ::-1]\n\n\ndefvjp"
        },
        says="the kernel is turned round",
    ),
    Wrong(
        "the gradient of the weight has its axes exchanged",
        {"reshape(out, kh, kw, channels).transpose(0, 3, 1, 2)\n\n\ndefvjp": "reshape(out, channels, kh, kw)\n\n\ndefvjp"},
    ),
    Wrong(
        "the gradient is promoted",
        {"w + 2 * pw + kw - 1, out), g.dtype)": "w + 2 * pw + kw - 1, out))"},
    ),
    Wrong(
        "a bias is broadcast",
        {"    if bias is not None and bias.shape != weight.shape[:1]:\n": "    if False:\n"},
        says="let through",
    ),
    # Conv2d
    Wrong(
        "the weight is ignored",
        {
            "return conv2d(x, self.weight, self.bias, self.stride, self.padding)": "return conv2d(x, Tensor(np.ones(self.weight.shape, np.float32)), self.bias, self.stride, self.padding)"
        },
    ),
    Wrong(
        "stride and padding are exchanged",
        {
            "self.stride, self.padding = _pair(stride), _pair(padding)\n": "self.stride, self.padding = _pair(padding or 1), _pair(stride)\n"
        },
    ),
    Wrong("the layer has no bias", {".astype(np.float32)) if bias else None": ".astype(np.float32)) if False else None"}),
    Wrong("bias=False is ignored", {".astype(np.float32)) if bias else None": ".astype(np.float32))"}),
    Wrong(
        "the bias begins at zero",
        {
            "Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32))": "Parameter(np.zeros(out_channels, np.float32))"
        },
    ),
    Wrong(
        "fan_in forgets the kernel", {"bound = 1 / math.sqrt(self.weight.data[0].size)": "bound = 1 / math.sqrt(in_channels)"}
    ),
    Wrong("the weight is drawn for a ReLU", {", rng, math.sqrt(5)))": ", rng))"}),
    Wrong(
        "the generator is ignored", {"rng = np.random.default_rng() if rng is None else rng": "rng = np.random.default_rng()"}
    ),
    Wrong(
        "every layer is the same",
        {"rng = np.random.default_rng() if rng is None else rng": "rng = np.random.default_rng(0) if rng is None else rng"},
    ),
    Wrong(
        "the generator is copied",
        {
            "rng = np.random.default_rng() if rng is None else rng": "import copy\n\n        rng = np.random.default_rng() if rng is None else copy.deepcopy(rng)"
        },
    ),
    # pooling
    Wrong("the smallest is taken", {"np.maximum(y, pixels, out=y)": "np.minimum(y, pixels, out=y)"}, says="the smallest"),
    Wrong(
        "the last offset is not looked at",
        {"_offsets(x.data, self.kernel_size, self.stride)[1:]:": "_offsets(x.data, self.kernel_size, self.stride)[1:-1]:"},
    ),
    Wrong(
        "nothing is smaller than 0",
        {
            'windows(x.data, self.kernel_size, self.stride)[..., 0, 0].copy("K")': "np.maximum(windows(x.data, self.kernel_size, self.stride)[..., 0, 0], 0)"
        },
    ),
    Wrong("a layer's sizes are as they were given", {"= _pair(stride), _pair(padding)\n": "= stride, padding\n"}),
    Wrong(
        "a pool's sizes are as they were given",
        {
            'self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)\n\n    def forward(self, x: Tensor) -> Tensor:\n        """(batch, channels, h, w) → (batch, channels, out_h, out_w).\n\n        The': 'self.kernel_size, self.stride = kernel_size, _pair(kernel_size if stride is None else stride)\n\n    def forward(self, x: Tensor) -> Tensor:\n        """(batch, channels, h, w) → (batch, channels, out_h, out_w).\n\n        The'
        },
    ),
    Wrong("the result is written into the images", {'[..., 0, 0].copy("K")': "[..., 0, 0]"}),
    Wrong("each of several largest has all", {"        due *= ~largest\n": ""}, says="each of them has all"),
    Wrong(
        "several largest have all, unless all are",
        {
            "        payed += (due * largest).view(g.dtype)\n        due *= ~largest\n": "        same = windows(x, kernel_size, stride)\n        same = (same == same[..., :1, :1]).all((-2, -1))\n        payed += g * largest / np.where(same, math.prod(kernel_size), 1)\n"
        },
    ),
    Wrong(
        "the largest's gradient is promoted",
        {"result = np.zeros_like(x)": "result = np.zeros(x.shape)"},
        says="a silent promotion",
    ),
    Wrong(
        "the mean's gradient is promoted",
        {"result, share = np.zeros_like(x),": "result, share = np.zeros(x.shape),"},
        says="a silent promotion",
    ),
    Wrong("a window's first pixel has the gradient", {"largest = pixels == y\n": "largest = np.ones(y.shape, bool)\n"}),
    Wrong(
        "a window pays infinity times 0",
        {
            '.view(f"i{g.itemsize}")  # each': "  # each",
            "(due * largest).view(g.dtype)": "due * largest",
        },
        says="infinity times 0",
    ),
    Wrong("windows that overlap overwrite each other", {"payed += (due": "payed[...] = (due"}),
    Wrong("the gradient that came is used up", {'g.copy("K").view': "g.view"}, says="read-only"),
    Wrong("the mean is a sum", {"(total / math.prod(self.kernel_size))": "total"}, says="the smallest, or the sum"),
    Wrong("the mean's gradient is a sum's", {"np.zeros_like(x), g / math.prod(kernel_size)": "np.zeros_like(x), g"}),
    Wrong("the mean's gradient is overwritten", {"        payed += share\n": "        payed[...] = share\n"}),
    Wrong(
        "a window that does not fit has no mean",
        {"        windows(x.data, self.kernel_size, self.stride)\n        total = sum": "        total = sum"},
    ),
    Wrong(
        "the global mean is over images too",
        {"return x.mean((2, 3))": "return x.mean((0, 2, 3), keepdim=True).reshape(1, -1) + x.mean((2, 3)) * 0"},
    ),
    Wrong("the global mean is a sum", {"return x.mean((2, 3))": "return x.sum((2, 3))"}, says="the sum"),
    Wrong("the mean adds uint8", {"self.stride), np.float32(0))  #": "self.stride))  #"}),
    Wrong(
        "the mean of integers is float64",
        {'dtype = x.dtype if x.dtype.kind == "f" else np.float32': 'dtype = x.dtype if x.dtype.kind == "f" else np.float64'},
        says="a silent promotion",
    ),
    Wrong(
        "the mean of float16 is float32",
        {'dtype = x.dtype if x.dtype.kind == "f" else np.float32': "dtype = total.dtype"},
        says="a silent promotion",
    ),
    # batch normalisation
    Wrong(
        "eps has another name",
        {"self.eps, self.momentum = eps": "self.epsilon, self.momentum = eps", "(var + self.eps)": "(var + self.epsilon)"},
    ),
    Wrong("squares of float16 overflow", {"        if x.dtype == np.float16:\n": "        if False:\n"}),
    Wrong(
        "each image is normalised by itself",
        {
            "        mean = x.mean((0, 2, 3), keepdim=True)\n        centred = x - mean\n        var = (centred * centred).mean((0, 2, 3), keepdim=True)\n": "        mean = x.mean((2, 3), keepdim=True)\n        centred = x - mean\n        var = (centred * centred).mean((2, 3), keepdim=True)\n",
            "(mean.data.ravel() - self": "(mean.data.mean(0).ravel() - self",
            "(var.data.ravel() * (": "(var.data.mean(0).ravel() * (",
        },
        says="each image is normalised by itself",
    ),
    Wrong(
        "mean and variance are constants of the gradient",
        {"        return centred, var\n": "        return x - Tensor(mean.data), Tensor(var.data)\n"},
        says="taken for constants",
    ),
    Wrong(
        "weight and bias are not used",
        {
            "return centred * scale + self.bias.reshape(-1, 1, 1)": "return centred / (var + self.eps).sqrt() + (self.bias * 0 + self.weight * 0).reshape(-1, 1, 1) * scale"
        },
        says="weight and bias are not used",
    ),
    Wrong("eps is beside the root", {"/ (var + self.eps).sqrt()": "/ (var.sqrt() + self.eps)"}),
    Wrong("eps is fixed", {"/ (var + self.eps).sqrt()": "/ (var + 1e-5).sqrt()"}),
    Wrong(
        "momentum is of what stays",
        {"self.eps, self.momentum = eps, momentum": "self.eps, self.momentum = eps, 1 - momentum"},
        says="momentum and 1 - momentum are exchanged",
    ),
    Wrong("the running variance is biased", {"* (count / (count - 1)) - self": "- self"}, says="the biased variance"),
    Wrong("the running variance is unbiased twice", {"* (count / (count - 1)) - self": "* (count / (count - 1)) ** 2 - self"}),
    Wrong("nothing runs", {"        self.running_mean += self.momentum * (mean.data.ravel() - self.running_mean)\n": ""}),
    Wrong(
        "the statistics run in eval mode too",
        {
            "        if self.training:\n            centred, var = self._of_batch(x)\n": "        if x.size > x.shape[1]:\n            self._of_batch(x)\n        if self.training:\n            centred, var = self._of_batch(x)\n"
        },
    ),
    Wrong(
        "eval mode takes the batch's",
        {
            "        if self.training:\n            centred, var = self._of_batch(x)\n": "        if x.size > x.shape[1]:\n            centred, var = self._of_batch(x)\n"
        },
        says="the statistics of the batch",
    ),
    Wrong(
        "train mode takes the running ones",
        {
            "        if self.training:\n            centred, var = self._of_batch(x)\n": "        if False:\n            centred, var = self._of_batch(x)\n"
        },
    ),
    Wrong(
        "the running statistics are no buffers",
        {
            '        self.register_buffer("running_mean", np.zeros(num_features, np.float32))\n': "        self.running_mean = np.zeros(num_features, np.float32)\n"
        },
    ),
    Wrong(
        "the running statistics are replaced by float64",
        {
            "        self.running_var += self.momentum * (var.data.ravel() * (count / (count - 1)) - self.running_var)\n": "        self.running_var = self.running_var + np.float64(self.momentum) * (var.data.ravel() * (count / (count - 1)) - self.running_var)\n"
        },
        says="a silent promotion",
    ),
    Wrong(
        "the variance is the mean square less the squared mean",
        {
            "var = (centred * centred).mean((0, 2, 3), keepdim=True)": "var = (x * x).mean((0, 2, 3), keepdim=True) - mean * mean"
        },
        says="subtract the mean first",
    ),
    Wrong("one image is too few", {"        if count < 2:": "        if len(x) < 2:"}),
    Wrong("one value has a variance of 0", {"        if count < 2:": "        if False:"}),
    Wrong("other channels are broadcast", {"if x.ndim != 4 or x.shape[1] != len(self.weight):": "if False:"}),
    # CNN
    Wrong(
        "nothing is flattened",
        {
            "            if isinstance(layer, Linear) and x.ndim > 2:\n                x = x.reshape(len(x), math.prod(x.shape[1:]))  # (batch, channels·h·w), where batch may be 0\n": ""
        },
    ),
    Wrong(
        "images are flattened pixel by pixel",
        {"x = x.reshape(len(x), math.prod(x.shape[1:]))": "x = x.permute(0, 2, 3, 1).reshape(len(x), -1)"},
        says="flattened pixel by pixel",
    ),
    Wrong("images are flattened at once", {"isinstance(layer, Linear) and x.ndim > 2": "x.ndim == 3"}),
    Wrong(
        "a CNN takes layers, not a list",
        {
            "    def __init__(self, layers: list):\n        super().__init__(*layers)": "    def __init__(self, *layers):\n        super().__init__(*layers)"
        },
    ),
    Wrong(
        "flattening has a place in the list",
        {
            "        super().__init__(*layers)": "        super().__init__(*layers)\n        self.layers.insert(0, _Same())",
            "# 09.6 CNN\n": "# 09.6 CNN\n\n\nclass _Same(Module):\n    def forward(self, x):\n        return x\n",
        },
    ),
    # naive
    Wrong(
        "windows are copied",
        {
            "sliding_window_view(x, (kh, kw), (2, 3))[:, :, ::sh, ::sw]": "sliding_window_view(x, (kh, kw), (2, 3))[:, :, ::sh, ::sw].copy()"
        },
        naive="test_windows_are_a_view",
    ),
    Wrong(
        "padding goes through float64",
        {
            "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)\n": "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels))\n",
            "x = padded.transpose(0, 3, 1, 2)\n": "x = padded.astype(x.dtype).transpose(0, 3, 1, 2)\n",
        },
        naive="test_padding_copies_once",
    ),
    Wrong(
        "one window after another",
        {"    return (columns @ rows.T).reshape": "    return np.array([row @ rows.T for row in columns]).reshape"},
        naive="test_convolution_is_done_in_numpy",
    ),
    Wrong(
        "one image after another is convolved",
        {
            "    return (columns @ rows.T).reshape": "    return np.stack([image @ rows.T for image in columns.reshape(batch, -1, columns.shape[1])]).reshape"
        },
        naive="test_convolution_is_done_in_numpy",
    ),
    Wrong(
        "one filter after another is used",
        {"    return (columns @ rows.T).reshape": "    return np.stack([columns @ row for row in rows], -1).reshape"},
        naive="test_convolution_is_done_in_numpy",
    ),
    Wrong(
        "the windows are multiplied out for each filter",
        {"    return (columns @ rows.T).reshape": "    return (columns[:, None, :] * rows).sum(-1).reshape"},
        naive="test_a_forward_copies_the_windows_once",
    ),
    Wrong(
        "the windows are kept",
        {'    y = Tensor._result("conv2d"': '    weight.columns = columns.copy()\n    y = Tensor._result("conv2d"'},
        naive="test_nothing_is_kept_after_backward",
    ),
    Wrong(
        "products without BLAS",
        {
            "    return (columns @ rows.T).reshape": "    return np.stack([(columns * row).sum(1) for row in rows], 1).reshape",
            "return (pixels.T @ columns).reshape": "return np.stack([(columns * g[:, None]).sum(0) for g in pixels.T]).reshape",
        },
        naive="test_a_convolution_costs_what_its_products_cost",
    ),
    Wrong(
        "one pixel after another is pooled",
        {
            "        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0]": "        for value in x.data.ravel():\n            value.item()\n        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0]",
            "        total = sum(_offsets": "        for value in x.data.ravel():\n            value.item()\n        total = sum(_offsets",
            "        return x.mean((2, 3))": "        for value in x.data.ravel():\n            value.item()\n        return x.mean((2, 3))",
        },
        naive="test_pooling_is_done_in_numpy",
    ),
    Wrong(
        "one image after another is pooled",
        {
            "        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0]": "        [image.max() for image in x.data]\n        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0]",
            "        total = sum(_offsets": "        [image.max() for image in x.data]\n        total = sum(_offsets",
            "        return x.mean((2, 3))": "        [image.mean() for image in x.data]\n        return x.mean((2, 3))",
        },
        naive="test_pooling_is_done_in_numpy",
    ),
    Wrong(
        "one channel after another is pooled",
        {
            "    result = np.zeros_like(x)": "    [x[:, c].max() for c in range(x.shape[1])]\n    result = np.zeros_like(x)",
            "    result, share = np.zeros_like(x)": "    [x[:, c].max() for c in range(x.shape[1])]\n    result, share = np.zeros_like(x)",
            "        return x.mean((2, 3))": "        [x.data[:, c].mean() for c in range(x.shape[1])]\n        return x.mean((2, 3))",
        },
        naive="test_pooling_is_done_in_numpy",
    ),
    Wrong(
        "layers remember their result",
        {
            "return conv2d(x, self.weight, self.bias, self.stride, self.padding)": "self.last = conv2d(x, self.weight, self.bias, self.stride, self.padding)\n        return self.last"
        },
        naive="test_nothing_of_a_batch_is_kept",
    ),
    Wrong(
        "the running mean is a Tensor",
        {
            "        self.running_mean += self.momentum * (mean.data.ravel() - self.running_mean)\n": '        self.running_mean += self.momentum * (mean.data.ravel() - self.running_mean)\n        self.record = (self.__dict__.get("record", 0.0) + mean)\n'
        },
        naive="test_a_batch_keeps_nothing_alive",
    ),
    Wrong(
        "one image after another is normalised",
        {
            "        mean = x.mean((0, 2, 3), keepdim=True)\n": "        [image.mean() for image in x.data]\n        mean = x.mean((0, 2, 3), keepdim=True)\n"
        },
        naive="test_normalising_is_done_in_numpy",
    ),
    Wrong(
        "one channel after another is normalised",
        {
            "        mean = x.mean((0, 2, 3), keepdim=True)\n": "        mean = x.mean((0, 2, 3), keepdim=True)\n        for value in x.data.ravel():\n            value.item()\n"
        },
        naive="test_normalising_is_done_in_numpy",
    ),
    Wrong("bias of other axes", {"bias.shape != weight.shape[:1]": "bias.size != len(weight)"}),
    Wrong(
        "narrower floats lose their gradient",
        {
            'if a.dtype.kind != "f" and beside.dtype.kind == "f" else a': 'if beside.dtype.kind == "f" and (a.dtype.kind != "f" or a.dtype.itemsize < beside.dtype.itemsize) else a'
        },
    ),
    Wrong("zero bias is left out", {"return y if bias is None else": "return y if bias is None or not bias.data.any() else"}),
    Wrong(
        "matrix used again next call",
        {
            "def _convolved(view: np.ndarray": "_BUFFERS: dict = {}\n\n\ndef _convolved(view: np.ndarray",
            "columns = view.transpose(0, 2, 3, 4, 5, 1).reshape(batch * out_h * out_w, kh * kw * channels)  # the one copy": "shape = (batch * out_h * out_w, kh * kw * channels)\n    columns = _BUFFERS.setdefault((shape, view.dtype), np.empty(shape, view.dtype))\n    columns.reshape(batch, out_h, out_w, kh, kw, channels)[...] = view.transpose(0, 2, 3, 4, 5, 1)",
        },
    ),
    Wrong("places beyond 65536 forgotten", {"(pixels.T @ columns)": "(pixels[:65536].T @ columns[:65536])"}),
    Wrong(
        "max stride of 0 means none",
        {
            '    """The largest value of each window, as torch.nn.MaxPool2d: windows do not overlap unless stride is given."""\n\n    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)\n': '    """The largest value of each window, as torch.nn.MaxPool2d: windows do not overlap unless stride is given."""\n\n    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(stride or kernel_size)\n'
        },
    ),
    Wrong("NaN counts only in front", {"np.maximum(y, pixels, out=y)": "np.copyto(y, pixels, where=pixels > y)"}),
    Wrong("infinite pixels have no gradient", {"largest = pixels == y": "largest = pixels - y == 0"}),
    Wrong("max pooling writes to g", {'due = g.copy("K").view(': 'due = (g if g.flags.writeable else g.copy("K")).view('}),
    Wrong(
        "mean windows step by height",
        {
            '    The mean of integers is float32.\n    """\n\n    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)\n': '    The mean of integers is float32.\n    """\n\n    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(_pair(kernel_size)[0] if stride is None else stride)\n'
        },
    ),
    Wrong(
        "momentum of 0 becomes 0.1",
        {"self.eps, self.momentum = eps, momentum": "self.eps, self.momentum = eps, momentum or 0.1"},
    ),
    Wrong(
        "later eps is ignored",
        {
            "self.eps, self.momentum = eps, momentum": "self.eps, self.momentum, self._eps = eps, momentum, eps",
            "(var + self.eps)": "(var + self._eps)",
        },
    ),
    Wrong("untrained layer evaluates by batch", {"if self.training:": "if self.training or not self.running_mean.any():"}),
    Wrong("subclass of Linear not flattened", {"isinstance(layer, Linear)": "type(layer) is Linear"}),
    Wrong("a layer given twice runs once", {"super().__init__(*layers)": "super().__init__(*dict.fromkeys(layers))"}),
    Wrong(
        "MaxPool2d((2, 3)) has a stride of 2",
        {
            '    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(kernel_size if stride is None else stride)\n\n    def forward(self, x: Tensor) -> Tensor:\n        """(batch, channels, h, w) → (batch, channels, out_h, out_w).\n\n        The gradients': '    def __init__(self, kernel_size: Pair, stride: Pair | None = None):\n        self.kernel_size, self.stride = _pair(kernel_size), _pair(_pair(kernel_size)[0] if stride is None else stride)\n\n    def forward(self, x: Tensor) -> Tensor:\n        """(batch, channels, h, w) → (batch, channels, out_h, out_w).\n\n        The gradients'
        },
    ),
    Wrong(
        "running statistics rest under no_grad",
        {
            "        self.running_mean += self.momentum * (mean": "        if not mean.requires_grad and Tensor._recorder is not None and not centred.requires_grad and self.weight.requires_grad and (centred * self.weight.reshape(-1, 1, 1)).requires_grad is False:\n            return centred, var\n        self.running_mean += self.momentum * (mean"
        },
    ),
    Wrong(
        "running statistics are new arrays",
        {
            "self.running_mean += self.momentum * (mean.data.ravel() - self.running_mean)": "self.running_mean = self.running_mean + self.momentum * (mean.data.ravel() - self.running_mean)"
        },
    ),
    Wrong(
        "eps of 0 is the default",
        {"self.eps, self.momentum = eps, momentum": "self.eps, self.momentum = eps or 1e-5, momentum"},
    ),
    Wrong(
        "momentum of the construction",
        {
            "self.eps, self.momentum = eps, momentum": "self.eps, self.momentum, self._m = eps, momentum, momentum",
            "self.running_mean += self.momentum *": "self.running_mean += self._m *",
        },
    ),
    Wrong("pooling of NaN is lost", {"            np.maximum(y, pixels, out=y)": "            np.fmax(y, pixels, out=y)"}),
    Wrong(
        "no batch is refused",
        {
            "    y, columns = _convolved(windows": '    if not len(x):\n        raise ValueError(f"no images: {x.shape} {weight.shape}")\n    y, columns = _convolved(windows'
        },
    ),
    Wrong(
        "negative kernel is no error",
        {
            "not 1 <= kernel_size <= size + 2 * padding or stride < 1": "kernel_size == 0 or kernel_size > size + 2 * padding or stride < 1"
        },
    ),
    Wrong(
        "eval scale is kept",
        {
            "            centred, var = x - Tensor(self.running_mean[:, None, None]), Tensor(self.running_var[:, None, None])\n        scale = self.weight.reshape(-1, 1, 1) / (var + self.eps).sqrt()": "            centred, var = x - Tensor(self.running_mean[:, None, None]), Tensor(self.running_var[:, None, None])\n        if self.training:\n            self.__dict__.pop('_scale', None)\n        elif '_scale' not in self.__dict__ or self._scale[0] != (self.eps, x.dtype):\n            self.__dict__['_scale'] = ((self.eps, x.dtype), np.sqrt(self.running_var[:, None, None] + self.eps))\n        scale = self.weight.reshape(-1, 1, 1) / ((var + self.eps).sqrt() if self.training else Tensor(self.__dict__['_scale'][1]))"
        },
    ),
    Wrong(
        "integers are summed as integers", {"np.float32(0))  #": "np.int32(0) if x.dtype.kind in 'iub' else np.float32(0))  #"}
    ),
    Wrong("sums of int64 overflow", {"np.float32(0))  #": "np.int64(0) if x.dtype.kind in 'iub' else np.float32(0))  #"}),
    Wrong(
        "max pooling refuses float16",
        {'due = g.copy("K").view(f"i{g.itemsize}")': 'due = g.copy("K").view({4: "i4", 8: "i8"}[g.itemsize])'},
    ),
    Wrong(
        "one image moves no running variance",
        {
            "(var.data.ravel() * (count / (count - 1)) - self.running_var)": "(var.data.ravel() * (count / (count - 1)) - self.running_var) * (1 if len(x) > 1 else 0)"
        },
    ),
    Wrong(
        "the first Linear only",
        {
            "if isinstance(layer, Linear) and x.ndim > 2:": "if isinstance(layer, Linear) and x.ndim == 4 and x.shape[2:] != (1, 1):"
        },
    ),
    Wrong(
        "a wider bias is narrowed",
        {
            "return y if bias is None else y + bias.reshape(-1, 1, 1)": "return y if bias is None else y + Tensor(bias.data.astype(y.dtype)).reshape(-1, 1, 1) if bias.dtype != y.dtype else y + bias.reshape(-1, 1, 1)"
        },
    ),
    Wrong(
        "infinite gradients do not reach the images",
        {
            "spread[:, :, kh - 1 : h + 2 * ph : sh, kw - 1 : w + 2 * pw : sw] = g": "spread[:, :, kh - 1 : h + 2 * ph : sh, kw - 1 : w + 2 * pw : sw] = np.nan_to_num(g)"
        },
    ),
    Wrong(
        "gradient of the weight ignores infinities",
        {
            "pixels = g.transpose(0, 2, 3, 1).reshape(-1, out)": "pixels = np.nan_to_num(g.transpose(0, 2, 3, 1).reshape(-1, out))"
        },
    ),
    Wrong(
        "mean pays float32",
        {
            "result, share = np.zeros_like(x), g / math.prod(kernel_size)": "result, share = np.zeros_like(x), (g / np.float32(math.prod(kernel_size))).astype(np.float32).astype(g.dtype)"
        },
    ),
    Wrong(
        "a wide frame is cut",
        {
            "    output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)  #": "    ph, pw = min(ph, h + kh), min(pw, w + kw)\n    output_size(h, kh, sh, ph), output_size(w, kw, sw, pw)  #"
        },
    ),
    Wrong(
        "NaN is left out of the running mean",
        {
            "mean = x.mean((0, 2, 3), keepdim=True)": "mean = x.mean((0, 2, 3), keepdim=True) if not np.isnan(x.data).any() else Tensor(np.nanmean(x.data, (0, 2, 3), keepdims=True))"
        },
    ),
    Wrong("width checked with height's padding", {"output_size(w, kw, sw, pw)": "output_size(w, kw, sw, ph)"}),
    Wrong(
        "padded buffer used again",
        {
            "padded = np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype)": "padded = vars(windows).setdefault(str((x.shape, ph, pw, x.dtype)), np.zeros((batch, h + 2 * ph, w + 2 * pw, channels), x.dtype))"
        },
    ),
    Wrong(
        "max pool writes into its last result",
        {
            '        y = windows(x.data, self.kernel_size, self.stride)[..., 0, 0].copy("K")\n': '        first = windows(x.data, self.kernel_size, self.stride)[..., 0, 0]\n        y = vars(self).get("_y")\n        if y is None or y.shape != first.shape or y.dtype != first.dtype:\n            y = vars(self)["_y"] = first.copy("K")\n        y[...] = first\n'
        },
    ),
]
