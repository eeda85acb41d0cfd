"""Wrong solutions of kata 06, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    # the optimizer
    Wrong(
        "only the first group is updated",
        {
            'for group in self.param_groups:\n            for parameter in group["params"]:\n                if': 'for group in self.param_groups[:1]:\n            for parameter in group["params"]:\n                if'
        },
    ),
    Wrong(
        "the last parameter is forgotten",
        {
            'for parameter in group["params"]:\n                if parameter.grad is not None': 'for parameter in group["params"][:-1] or group["params"]:\n                if parameter.grad is not None'
        },
    ),
    Wrong(
        "a generator is kept as it is",
        {
            '{"params": list(group["params"])}': '{"params": group["params"]}',
            "groups = list(parameters)\n": 'groups = [{"params": parameters}] if hasattr(parameters, "send") else list(parameters)\n',
            '    if not group["params"]:': '    if group["params"] == []:',
        },
    ),
    Wrong(
        "the caller's list is kept",
        {
            '{"params": list(group["params"])}': '{"params": group["params"] if isinstance(group["params"], list) else list(group["params"])}'
        },
    ),
    Wrong(
        "the caller's dict is changed",
        {
            'group = _values(defaults | group) | {"params": list(group["params"])}': 'group.update({**defaults, **group, "params": list(group["params"])})'
        },
    ),
    Wrong(
        "the group's values are ignored",
        {"_values(defaults | group)": "_values(group | defaults)"},
        says="the group's lr is ignored",
    ),
    Wrong(
        "the first group's values are taken for all",
        {"setdefault(parameter, {}), group)": "setdefault(parameter, {}), self.param_groups[0])"},
        says="the first group's lr is taken",
    ),
    Wrong(
        "a list among the values is shared with the caller",
        {"_values(defaults | group) | {": "defaults | group | {"},
    ),
    Wrong(
        "the groups share one dict",
        {
            'group = _values(defaults | group) | {"params": list(group["params"])}': "defaults.update(group)\n            group = defaults"
        },
    ),
    Wrong(
        "values are frozen at the start",
        {
            "self.param_groups.append(group)\n": "self.param_groups.append(group)\n        self._frozen = [dict(group) for group in self.param_groups]\n",
            '        for group in self.param_groups:\n            for parameter in group["params"]:\n                if': '        for group in self._frozen:\n            for parameter in group["params"]:\n                if',
        },
    ),
    Wrong(
        "a gradient of None is one of zero",
        {
            "                if parameter.grad is not None:\n                    self.update(": "                if parameter.grad is None:\n                    parameter.grad = np.zeros_like(parameter.data)\n                if True:\n                    self.update("
        },
    ),
    Wrong("a gradient of None crashes", {"                if parameter.grad is not None:\n": "                if True:\n"}),
    Wrong(
        "None ends the step",
        {
            "                if parameter.grad is not None:\n                    self": "                if parameter.grad is None:\n                    return\n                if True:\n                    self"
        },
    ),
    Wrong(
        "all parameters share one state",
        {"self.state.setdefault(parameter, {})": 'self.state.setdefault(group["params"][0], {})'},
    ),
    Wrong(
        "state is made for parameters without a gradient",
        {
            "                if parameter.grad is not None:\n": "                self.state.setdefault(parameter, {})\n                if parameter.grad is not None:\n"
        },
    ),
    Wrong(
        "zero_grad knows only the first group",
        {
            "for parameter in self._parameters():\n            parameter.grad = None": 'for parameter in self.param_groups[0]["params"]:\n            parameter.grad = None'
        },
    ),
    Wrong(
        "zero_grad leaves zeros",
        {"            parameter.grad = None": "            parameter.grad = np.zeros_like(parameter.data)"},
    ),
    Wrong(
        "zero_grad zeroes the values",
        {"            parameter.grad = None": "            parameter.grad = None\n            parameter.data[...] = 0"},
    ),
    Wrong(
        "step forgets the gradients",
        {"setdefault(parameter, {}), group)": "setdefault(parameter, {}), group)\n                    parameter.grad = None"},
    ),
    Wrong("no parameters are let through", {'if not group["params"]:': "if False:"}, says="bad input is let through"),
    Wrong(
        "an empty group is let through",
        {'if not group["params"]:': 'if not group["params"] and len(group) < 2:'},
        says="bad input is let through",
    ),
    Wrong(
        "any Tensor is let through",
        {"if not isinstance(parameter, Parameter)": 'if not hasattr(parameter, "grad")'},
        says="bad input is let through",
    ),
    Wrong("float16 is let through", {"if parameter.dtype == np.float16:": "if False:"}, says="bad input is let through"),
    Wrong("a parameter may stand twice", {"if parameter in seen": "if False"}, says="bad input is let through"),
    Wrong(
        "a parameter may stand in two groups",
        {"        seen = set()\n        for group in groups:\n": "        for group in groups:\n            seen = set()\n"},
        says="bad input is let through",
    ),
    Wrong(
        "parameters of one shape are the same",
        {"if parameter in seen": "if parameter.shape in {other.shape for other in seen}"},
    ),
    Wrong(
        "misspelt names are let through",
        {'!= {"params"}:': '- {"learning_rate"} != {"params"}:'},
        says="bad input is let through",
    ),
    Wrong("negative rates are let through", {"if not group.get(name, 0) >= 0:": "if False:"}, says="bad input is let through"),
    Wrong(
        "a rate of NaN is let through",
        {"if not group.get(name, 0) >= 0:": "if group.get(name, 0) < 0:"},
        says="bad input is let through",
    ),
    Wrong(
        "only the defaults are checked",
        {"            _check(group)\n": '            _check({**defaults, "params": group["params"]})\n'},
        says="bad input is let through",
    ),
    Wrong(
        "a momentum of 1 is let through",
        {'if not 0 <= group.get("momentum", 0) < 1:': 'if not 0 <= group.get("momentum", 0) <= 1:'},
        says="bad input is let through",
    ),
    Wrong(
        "only the first beta is checked",
        {'for beta in group.get("betas", ())': 'for beta in group.get("betas", ())[:1]'},
        says="bad input is let through",
    ),
    Wrong(
        "nesterov without momentum is let through",
        {'if group.get("nesterov") and': "if False and"},
        says="bad input is let through",
    ),
    # SGD
    Wrong(
        "the step goes up",
        {
            "        data -= np.multiply(grad, lr, out=scratch)\n\n\n": "        data += np.multiply(grad, lr, out=scratch)\n\n\n"
        },
    ),
    Wrong("lr is forgotten", {"        data -= np.multiply(grad, lr, out=scratch)\n\n\n": "        data -= grad\n\n\n"}),
    Wrong(
        "momentum is not kept",
        {
            '            if not state:\n                state["momentum_buffer"]': '            if True:\n                state["momentum_buffer"]'
        },
        says="the buffer is not kept",
    ),
    Wrong(
        "momentum is an average",
        {'state["momentum_buffer"] += grad': 'state["momentum_buffer"] += (1 - momentum) * grad'},
        says="but for the first",
    ),
    Wrong(
        "momentum is an average from the start",
        {
            'state["momentum_buffer"] += grad': 'state["momentum_buffer"] += (1 - momentum) * grad',
            "grad.astype(data.dtype)": "((1 - momentum) * grad).astype(data.dtype)",
        },
        says="the new gradient is scaled by 1 − μ.",
    ),
    Wrong(
        "the first step has momentum already",
        {"grad.astype(data.dtype)": "((1 + momentum) * grad).astype(data.dtype)"},
        says="the first step has momentum already",
    ),
    Wrong("the buffer is the gradient", {"grad.astype(data.dtype)": "grad"}),
    Wrong("the buffer is float64", {"grad.astype(data.dtype)": "grad.astype(np.float64)"}, says="a silent promotion"),
    Wrong("nesterov is plain momentum", {'if group["nesterov"]:  #': "if False:  #"}, says="plain momentum"),
    Wrong("plain momentum is nesterov's", {'if group["nesterov"]:  #': "if True:  #"}, says="nesterov's"),
    Wrong(
        "nesterov's first step is plain",
        {
            'if group["nesterov"]:  #': 'if group["nesterov"] and state.setdefault("seen", 0) + 1 > 1:  #',
            '            grad = state["momentum_buffer"]\n': '            grad = state["momentum_buffer"]\n            state["seen"] = 2\n',
            '            if not state:\n                state["momentum_buffer"]': '            if "momentum_buffer" not in state:\n                state["momentum_buffer"]',
        },
        says="the first step is plain",
    ),
    Wrong(
        "weight decay has no lr",
        {
            'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        if momentum': 'grad\n            data *= 1 - group["weight_decay"]\n        if momentum'
        },
    ),
    Wrong(
        "weight decay passes the momentum by",
        {
            'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        if momentum': 'grad\n            data *= 1 - lr * group["weight_decay"]\n        if momentum'
        },
        says="does not go through the momentum",
    ),
    Wrong(
        "weight decay grows weights",
        {
            'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        if momentum': 'np.subtract(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        if momentum'
        },
        says="the sign of weight decay",
    ),
    Wrong(
        "weight decay is written into the gradient",
        {
            'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        if momentum': 'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=grad)\n        if momentum'
        },
    ),
    Wrong(
        "SGD makes a new array",
        {
            "        data -= np.multiply(grad, lr, out=scratch)\n\n\n": "        parameter.data = data - np.multiply(grad, lr, out=scratch)\n\n\n"
        },
    ),
    Wrong(
        "SGD promotes",
        {
            "        data -= np.multiply(grad, lr, out=scratch)\n\n\n": "        parameter.data = data - np.float64(lr) * grad\n\n\n"
        },
    ),
    # Adam
    Wrong(
        "no bias correction",
        {"root = math.sqrt(1 - beta2**t)": "root = 1.0", "root / (1 - beta1**t)": "root"},
        says="not corrected",
    ),
    Wrong("only v is corrected", {"root / (1 - beta1**t)": "root"}, says="only v is corrected"),
    Wrong("only m is corrected", {"root = math.sqrt(1 - beta2**t)": "root = 1.0"}, says="only m is corrected"),
    Wrong("t begins at 2", {"update(step=0, exp": "update(step=1, exp"}, says="t is off by one"),
    Wrong(
        "t begins at 0",
        {
            'state["step"] += 1\n        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]': 'm, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]\n        state["step"] += 1'
        },
    ),
    Wrong("t stays at 1", {'state["step"] += 1\n': 'state["step"] = 1\n'}, says="the step count stays at 1"),
    Wrong(
        "t is that of the whole optimizer",
        {'state["step"] += 1\n': 'state["step"] = self.count = getattr(self, "count", 0) + 1\n'},
    ),
    Wrong(
        "t is that of all steps",
        {
            'state["step"] += 1\n': 'state["step"] = self.count\n',
            "    def _parameters(self)": "    count = 0\n\n    def _parameters(self)",
            '        for group in self.param_groups:\n            for parameter in group["params"]:\n                if': '        self.count += 1\n        for group in self.param_groups:\n            for parameter in group["params"]:\n                if',
        },
    ),
    Wrong(
        "the moments start anew",
        {"        if not state:\n            state.update": "        if True:\n            state.update"},
    ),
    Wrong("the betas are swapped", {"(beta1, beta2), data": "(beta2, beta1), data"}),
    Wrong(
        "v is that of m",
        {
            "        scratch *= scratch\n        scratch *= (1 - beta2) / (1 - beta1) ** 2\n": "        np.multiply(m, m, out=scratch)\n        scratch *= 1 - beta2\n"
        },
        says="v is the mean of m²",
    ),
    Wrong(
        "the root is missing",
        {
            "np.sqrt(v, out=scratch)": "np.copyto(scratch, v)",
            'scratch *= group["lr"] * root /': 'scratch *= group["lr"] * root * root /',
        },
        says="the square root is missing",
    ),
    Wrong(
        "eps under the root",
        {
            '        np.sqrt(v, out=scratch)\n        scratch += group["eps"] * root\n': '        np.sqrt(v + group["eps"] * root**2, out=scratch)\n'
        },
        says="eps is under the root",
    ),
    Wrong("eps is not scaled with v", {'group["eps"] * root\n': 'group["eps"]\n'}, says="the uncorrected v"),
    Wrong("eps is forgotten", {'        scratch += group["eps"] * root\n': ""}, says="eps is missing"),
    Wrong("Adam goes up", {"        data -= scratch\n": "        data += scratch\n"}, says="the sign"),
    Wrong(
        "Adam decays as AdamW does",
        {
            'np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        np.multiply': 'grad\n            data *= 1 - group["lr"] * group["weight_decay"]\n        np.multiply'
        },
        says="decoupled",
    ),
    Wrong(
        "AdamW decays as Adam does",
        {
            '        parameter.data *= 1 - group["lr"] * group["weight_decay"]\n        super().update(parameter, state, group | {"weight_decay": 0})': "        super().update(parameter, state, group)"
        },
        says="coupled: part of the gradient",
    ),
    Wrong("AdamW decays twice", {'group | {"weight_decay": 0}': "group"}, says="both ways"),
    Wrong(
        "AdamW decays without lr",
        {'1 - group["lr"] * group["weight_decay"]': '1 - group["weight_decay"]'},
        says="the decay lacks lr",
    ),
    Wrong(
        "AdamW decays afterwards",
        {
            '        parameter.data *= 1 - group["lr"] * group["weight_decay"]\n        super().update(parameter, state, group | {"weight_decay": 0})': '        super().update(parameter, state, group | {"weight_decay": 0})\n        parameter.data *= 1 - group["lr"] * group["weight_decay"]'
        },
        says="the decay comes after the step",
    ),
    Wrong("AdamW decays nothing unless told", {"weight_decay: float = 0.01": "weight_decay: float = 0.0"}),
    Wrong(
        "Adam has AdamW's default",
        {"weight_decay: float = 0.0\n    ):": "weight_decay: float = 0.01\n    ):"},
    ),
    Wrong(
        "another default for β₂",
        {
            "betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0\n": "betas=(0.9, 0.99), eps: float = 1e-8, weight_decay: float = 0.0\n"
        },
    ),
    Wrong("Adam makes a new array", {"        data -= scratch\n": "        parameter.data = data - scratch\n"}),
    Wrong(
        "Adam works in the gradient",
        {
            '        scratch = np.empty_like(data)\n        if group["weight_decay"]:\n            grad = np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)\n        np.multiply': '        scratch = grad\n        if group["weight_decay"]:\n            scratch += group["weight_decay"] * data\n        np.multiply'
        },
    ),
    Wrong(
        "the moments are float64", {"exp_avg=np.zeros_like(data)": "exp_avg=np.zeros(data.shape)"}, says="a silent promotion"
    ),
    # clipping
    Wrong(
        "each gradient is clipped by itself",
        {"            grad *= max_norm / total\n": "            grad *= min(1, max_norm / _norm(grad))\n"},
        says="each gradient has a norm of its own",
    ),
    Wrong(
        "values are cut off",
        {"            grad *= max_norm / total\n": "            np.clip(grad, -max_norm, max_norm, out=grad)\n"},
        says="each value is cut off",
    ),
    Wrong("gradients become as long as 1", {"grad *= max_norm / total": "grad /= total"}, says="not multiplied by max_norm"),
    Wrong("the norms are added up", {"math.hypot(*norms.values())": "sum(norms.values())"}, says="the sum of the norms"),
    Wrong(
        "the norm is squared",
        {"math.hypot(*norms.values())": "math.hypot(*norms.values()) ** 2"},
        says="the square of the norm",
    ),
    Wrong("small gradients are scaled up", {"if total > max_norm:": "if total and max_norm < math.inf:"}, says="scaled up"),
    Wrong(
        "the norm after clipping is returned",
        {"    return total\n": "    return min(total, max_norm)\n"},
        says="the norm after clipping",
    ),
    Wrong("a NumPy number is returned", {"    return total\n": "    return np.float32(total)\n"}),
    Wrong(
        "clipping makes new gradients",
        {
            "{i: parameter.grad for i, parameter in enumerate(parameters) if": "{i: parameter for i, parameter in enumerate(parameters) if",
            "{i: _norm(grad) for i, grad in grads.items()}": "{i: _norm(p.grad) for i, p in grads.items()}",
            "grad *= max_norm / total": "grad.grad = grad.grad * (max_norm / total)",
        },
    ),
    Wrong("clipping needs every gradient", {" if parameter.grad is not None}": "}"}),
    Wrong(
        "a generator is read twice", {"    grads = {i: parameter.grad": "    list(parameters)\n    grads = {i: parameter.grad"}
    ),
    Wrong(
        "clipping divides by zero",
        {
            "    if total > max_norm:\n        for grad in grads.values():\n            grad *= max_norm / total\n": "    for grad in grads.values():\n        grad *= np.minimum(1, max_norm / np.float64(total))\n"
        },
    ),
    Wrong("NaN is let through", {"if not math.isfinite(norm):": "if False:"}, says="bad input is let through"),
    Wrong("only NaN is refused", {"if not math.isfinite(norm):": "if math.isnan(norm):"}, says="bad input is let through"),
    Wrong("squares overflow", {"< squares < math.inf:": "< squares:"}),
    Wrong("squares vanish", {"limits.tiny / limits.eps < squares": "0 < squares"}),
    Wrong(
        "squares that overflow are taken in float64",
        {
            "        return math.sqrt(squares)\n    largest": "        return math.sqrt(squares)\n    return math.sqrt(float(np.square(grad, dtype=np.float64).sum()))\n    largest"
        },
    ),
    Wrong("float16 is squared in float16", {"    grad = grad.astype(np.result_type(grad, np.float32), copy=False)\n": ""}),
    Wrong("any max_norm is let through", {"if not max_norm > 0:": "if max_norm < 0:"}, says="bad input is let through"),
    Wrong(
        "clipping stops half-way at NaN",
        {
            "    norms = {i: _norm(grad) for i, grad in grads.items()}\n": "    norms = {i: _norm(grad) for i, grad in grads.items()}\n    for grad in grads.values():\n        grad *= 0.5\n"
        },
    ),
    # saving and loading
    Wrong(
        "a state dict holds the arrays themselves",
        {"number[parameter]: copy.deepcopy(state) for": "number[parameter]: dict(state) for"},
    ),
    Wrong(
        "loading keeps the arrays of the state dict",
        {"numbered[number]: copy.deepcopy(values) for": "numbered[number]: values for"},
    ),
    Wrong(
        "loading forgets t",
        {
            "        self.state = state\n": '        self.state = {p: values | ({"step": 0} if "step" in values else {}) for p, values in state.items()}\n'
        },
    ),
    Wrong("loading forgets what was remembered", {"        self.state = state\n": ""}),
    Wrong("loading adds to what is remembered", {"        self.state = state\n": "        self.state.update(state)\n"}),
    Wrong(
        "loading forgets the groups' values",
        {"            group.update(_values(loaded))": "            pass"},
    ),
    Wrong("loading takes numbers for parameters", {"group.update(_values(loaded))": "group.update(copy.deepcopy(loaded))"}),
    Wrong(
        "loading keeps the groups of the state dict",
        {
            "            group.update(_values(loaded))": '            pass\n        for i, loaded in enumerate(groups):\n            loaded["params"] = self.param_groups[i]["params"]\n            self.param_groups[i] = loaded'
        },
    ),
    Wrong(
        "a state dict holds the parameters",
        {'_values(group) | {"params": [number[p] for p in group["params"]]} for': "dict(group) for"},
    ),
    Wrong(
        "parameters are numbered in each group", {'[number[p] for p in group["params"]]': 'list(range(len(group["params"])))'}
    ),
    Wrong(
        "a state dict has the lists among the values",
        {'_values(group) | {"params": [number': 'group | {"params": [number'},
    ),
    Wrong(
        "loading takes the lists among the values",
        {"group.update(_values(loaded))": 'group.update(loaded | {"params": group["params"]})'},
    ),
    Wrong(
        "state is looked up by any index",
        {"if number not in numbered]": "if False]", "{numbered[number]:": "{parameters[number]:"},
        says="another error came first",
    ),
    Wrong("only the number of all parameters is compared", {"if saved != own:": "if sum(saved) != sum(own):"}),
    Wrong(
        "shapes are not compared",
        {"if isinstance(value, np.ndarray) and value.shape not in ((), parameter.shape):": "if False:"},
        says="bad input is let through",
    ),
    Wrong(
        "any optimizer's state is loaded",
        {"if missing := group.keys() - loaded.keys():": "if missing := set():"},
        says="bad input is let through",
    ),
    Wrong(
        "state is loaded before the shapes are compared",
        {
            "        for parameter, values in state.items():\n            for name": "        self.state = state\n        for parameter, values in state.items():\n            for name"
        },
    ),
    Wrong(
        "values are loaded before the groups are compared",
        {
            "        if saved != own:": '        for group, loaded in zip(self.param_groups, groups):\n            group.update(loaded | {"params": group["params"]})\n        if saved != own:'
        },
    ),
    # what the budgets are there to exclude
    Wrong(
        "SGD row by row",
        {
            "        data -= np.multiply(grad, lr, out=scratch)\n\n\n": "        for row, slope in zip(data, grad, strict=True):\n            row -= lr * slope\n\n\n"
        },
        naive="test_a_step_of_sgd_is_done_in_numpy",
    ),
    Wrong(
        "SGD row by row, in time",
        {
            'state["momentum_buffer"] += grad': 'for row, slope in zip(state["momentum_buffer"], grad, strict=True):\n                    for i in range(0, len(row), 10):\n                        row[i : i + 10] += slope[i : i + 10]',
        },
        naive="test_a_step_of_sgd_is_as_fast_as_numpy",
    ),
    Wrong(
        "Adam row by row",
        {"        data -= scratch\n": "        for row, slope in zip(data, scratch, strict=True):\n            row -= slope\n"},
        naive="test_a_step_of_adam_is_done_in_numpy",
    ),
    Wrong(
        "Adam in pieces",
        {
            "        data -= scratch\n": "        for row, slope in zip(data, scratch, strict=True):\n            for i in range(0, len(row), 5):\n                row[i : i + 5] -= slope[i : i + 5]\n"
        },
        naive="test_a_step_of_adam_is_as_fast_as_numpy",
    ),
    Wrong(
        "all updates of SGD are computed before the first is applied",
        {
            '        for group in self.param_groups:\n            for parameter in group["params"]:\n                if': '        kept = [0.1 * parameter.grad for parameter in self._parameters() if parameter.grad is not None]\n        for group in self.param_groups:\n            for parameter in group["params"]:\n                if'
        },
        naive="test_a_step_of_sgd_needs_the_room_of_one_parameter",
    ),
    Wrong(
        "all updates of Adam are computed before the first is applied",
        {
            '        for group in self.param_groups:\n            for parameter in group["params"]:\n                if': '        kept = [0.1 * parameter.grad for parameter in self._parameters() if parameter.grad is not None]\n        for group in self.param_groups:\n            for parameter in group["params"]:\n                if'
        },
        naive="test_a_step_of_adam_needs_the_room_of_one_parameter",
    ),
    Wrong(
        "the norm value by value",
        {"float(np.vdot(grad, grad)), np": "sum([value * value for value in grad.ravel().tolist()]), np"},
        naive="test_clipping_is_done_in_numpy",
    ),
    Wrong(
        "the norm of one joined vector",
        {
            "    total = math.hypot(*norms.values())\n": "    total = float(np.linalg.norm(np.concatenate([grad.ravel() for grad in grads.values()])))\n"
        },
        naive="test_clipping_needs_the_room_of_one_gradient",
    ),
    Wrong(
        "momentum at the first step counts",
        {
            'lr, momentum = group["lr"], group["momentum"]': 'lr, momentum = group["lr"], state.get("m", group["momentum"])\n        if momentum and not state:\n            pass\n        momentum = group.setdefault("_m", group["momentum"])'
        },
    ),
    Wrong(
        "betas of the construction",
        {
            '(beta1, beta2), data, grad = group["betas"], parameter.data, parameter.grad': 'if not hasattr(self, "_betas"):\n            self._betas = {}\n        (beta1, beta2), data, grad = self._betas.setdefault(id(group) if not isinstance(self, AdamW) else 0, group["betas"]), parameter.data, parameter.grad'
        },
    ),
    Wrong(
        "defaults go into the caller's group",
        {
            'group = _values(defaults | group) | {"params": list(group["params"])}': 'for name in defaults:\n                group.setdefault(name, defaults[name])\n            group = _values(defaults | group) | {"params": list(group["params"])}'
        },
    ),
    Wrong(
        "falsy state is not restored",
        {
            'copy.deepcopy(values) for number, values in state_dict["state"].items()}': '{k: copy.deepcopy(v) for k, v in values.items() if np.any(v)} for number, values in state_dict["state"].items()}'
        },
    ),
    Wrong(
        "state is loaded by order",
        {
            'state = {numbered[number]: copy.deepcopy(values) for number, values in state_dict["state"].items()}': 'state = {parameter: copy.deepcopy(values) for parameter, values in zip(parameters, state_dict["state"].values())}'
        },
    ),
    Wrong(
        "loading compares sizes, not shapes",
        {
            "isinstance(value, np.ndarray) and value.shape not in ((), parameter.shape)": "np.size(value) not in (1, math.prod(parameter.shape))"
        },
    ),
    Wrong(
        "momentum NaN is accepted",
        {'if not 0 <= group.get("momentum", 0) < 1:': 'if group.get("momentum", 0) < 0 or group.get("momentum", 0) >= 1:'},
    ),
    Wrong(
        "lr of zero refused",
        {
            'for name in ("lr", "eps", "weight_decay"):\n': 'if group.get("lr", 1) == 0:\n        raise ValueError("lr must be positive, not 0")\n    for name in ("lr", "eps", "weight_decay"):\n'
        },
    ),
    Wrong("beta of zero refused", {"0 <= beta < 1 for beta": "0 < beta < 1 for beta"}),
    Wrong(
        "bias correction ends at 1000",
        {"root = math.sqrt(1 - beta2**t)": "root = math.sqrt(1 - beta2**t) if t < 1000 else 1.0"},
    ),
    Wrong(
        "Adam updates a flattened copy",
        {"        data -= scratch\n": "        flat = data.reshape(-1)\n        flat -= scratch.reshape(-1)\n"},
    ),
    Wrong(
        "clipping scales a flattened copy",
        {
            "            grad *= max_norm / total\n": "            flat = grad.reshape(-1)\n            flat *= max_norm / total\n"
        },
    ),
    Wrong("empty gradient breaks clipping", {"np.abs(grad).max(initial=0)": "np.abs(grad).max()"}),
    Wrong(
        "falsy values are not loaded",
        {"group.update(_values(loaded))": "group.update({name: value for name, value in _values(loaded).items() if value})"},
    ),
    Wrong(
        "Adam keeps scratch per parameter",
        {
            'state["step"]\n        scratch = np.empty_like(data)': 'state["step"]\n        scratch = self.__dict__.setdefault("_scratch", {}).setdefault(parameter, np.empty_like(data))'
        },
    ),
    Wrong(
        "state_dict copies arrays only",
        {
            "copy.deepcopy(state) for parameter, state": "{n: v.copy() if isinstance(v, np.ndarray) else v for n, v in state.items()} for parameter, state"
        },
    ),
    Wrong(
        "zero_grad only for the updated",
        {
            "        for parameter in self._parameters():\n            parameter.grad = None": "        for parameter in self.state or self._parameters():\n            parameter.grad = None"
        },
    ),
    Wrong("SGD's buffer without momentum", {"        if momentum:\n": "        if True:\n"}),
]
