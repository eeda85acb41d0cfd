"""Wrong solutions of kata 04, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    # 04.1 Parameter
    Wrong("a parameter shares its array", {"np.array(Tensor(data).data)": "Tensor(data).data"}),
    Wrong(
        "a parameter requires no gradient", {"np.array(Tensor(data).data), requires_grad=True": "np.array(Tensor(data).data)"}
    ),
    Wrong("parameters are always float32", {"np.array(Tensor(data).data), r": "np.array(Tensor(data).data, np.float32), r"}),
    Wrong(
        "lists become float64 parameters",
        {"np.array(Tensor(data).data), r": "np.array(data.data if isinstance(data, Tensor) else data), r"},
        says="a silent promotion",
    ),
    Wrong(
        "a gradient is overwritten",
        {"parameter.grad += grad": "parameter.grad = np.array(grad, dtype=parameter.dtype)"},
        says="overwritten instead of accumulated",
    ),
    Wrong(
        "the first gradient is the caller's array",
        {"parameter.grad = np.array(grad, dtype=parameter.dtype)": "parameter.grad = np.asarray(grad, dtype=parameter.dtype)"},
        says="the second gradient was added to the caller's array",
    ),
    Wrong(
        "a gradient keeps its own dtype", {"np.array(grad, dtype=parameter.dtype)": "np.array(grad)"}, says="a silent promotion"
    ),
    Wrong(
        "a gradient is broadcast",
        {
            "if grad.shape != parameter.shape": "if np.broadcast_shapes(grad.shape, parameter.shape) != parameter.shape",
            "np.array(grad, dtype=parameter.dtype)": "np.broadcast_to(grad, parameter.shape).astype(parameter.dtype)",
        },
        says="bad input is let through",
    ),
    # 04.2 Module
    Wrong("lists are not searched", {"Parameter | Module | list | tuple)": "Parameter | Module)"}),
    Wrong("tuples are not searched", {"Parameter | Module | list | tuple)": "Parameter | Module | list)"}),
    Wrong(
        "lists in lists are not searched",
        {"else enumerate(value):": "else ((i, v) for i, v in enumerate(value) if not isinstance(v, list)):"},
    ),
    Wrong(
        "modules below are not searched",
        {
            "for key, member in value._members() if isinstance(value, Module)": "for key, member in (value._members() if not name or not seen else []) if isinstance(value, Module)"
        },
    ),
    Wrong(
        "a tied parameter is found twice",
        {
            "    seen.add(id(value))\n    yield": "    if not isinstance(value, Parameter):\n        seen.add(id(value))\n    yield"
        },
    ),
    Wrong(
        "parameters are compared by value",
        {
            "        return [parameter for _, parameter in self.named_parameters()]": "        found = []\n        for _, parameter in self.named_parameters():\n            if not any(p.shape == parameter.shape and np.array_equal(p.data, parameter.data) for p in found):\n                found.append(parameter)\n        return found"
        },
    ),
    Wrong(
        "names with equal values are one",
        {
            "        return _found(self, Parameter)": "        return list({p.data.tobytes(): (name, p) for name, p in reversed(_found(self, Parameter))}.values())[::-1]"
        },
    ),
    Wrong("circles are followed", {" or id(value) in seen:": " or (id(value) in seen and isinstance(value, Parameter)):"}),
    Wrong(
        "the search is remembered",
        {
            "        return _found(self, Parameter)": "        self._cache = vars(self).get('_cache') or _found(self, Parameter)\n        return self._cache"
        },
    ),
    Wrong("what is kept is searched", {' if name != "_kept")': ")"}),
    Wrong("private attributes are not searched", {'if name != "_kept")': 'if not name.startswith("_"))'}),
    Wrong(
        "every tensor that requires a gradient is a parameter",
        {
            "_found(self, Parameter)": "[*_found(self, Parameter), *((n, v) for n, v in vars(self).items() if type(v) is Tensor and v.requires_grad)]"
        },
    ),
    Wrong("names lack the way", {'return f"{name}.{key}" if name else str(key)': "return str(key)"}),
    Wrong(
        "the order is alphabetical",
        {"        return _found(self, Parameter)": "        return sorted(_found(self, Parameter), key=lambda pair: pair[0])"},
    ),
    Wrong(
        "parameters is a generator",
        {
            "return [parameter for _, parameter in self.named_parameters()]": "return (parameter for _, parameter in self.named_parameters())"
        },
    ),
    Wrong(
        "modules leaves itself out",
        {"return [module for _, module in _found(self, Module)]": "return [module for _, module in _found(self, Module)][1:]"},
    ),
    Wrong(
        "train and eval reach attributes only",
        {"for module in self.modules():": "for module in [self, *(v for v in vars(self).values() if isinstance(v, Module))]:"},
    ),
    Wrong("eval changes the class", {"module.training = mode": "type(module).training = mode"}),
    Wrong("eval returns nothing", {"return self.train(False)": "self.train(False)"}),
    Wrong("training starts off", {"training = True  # given": "training = False  # given"}),
    Wrong(
        "zero_grad fills with zeros",
        {"parameter.grad = None\n\n    def _members": "parameter.grad[...] = 0\n\n    def _members"},
    ),
    Wrong(
        "a buffer is the caller's array",
        {"setattr(self, name, np.array(Tensor(array).data))": "setattr(self, name, Tensor(array).data)"},
    ),
    Wrong("a buffer replaces an attribute", {"if hasattr(self, name):": "if False:"}, says="bad input is let through"),
    Wrong(
        "buffers belong to the class",
        {"self._buffers = (*self._buffers, name)": "type(self)._buffers = (*self._buffers, name)"},
    ),
    Wrong(
        "buffers below are lost",
        {
            "for name, module in _found(self, Module):\n            for key": 'for name, module in [("", self)]:\n            for key'
        },
    ),
    Wrong(
        "a buffer is a parameter",
        {"setattr(self, name, np.array(Tensor(array).data))": "setattr(self, name, Parameter(array))"},
    ),
    Wrong(
        "a deleted buffer is asked for",
        {"value := vars(module).get(key)": "value := getattr(module, key)"},
        says="AttributeError",
    ),
    Wrong(
        "a buffer is whatever the attribute is",
        {"                if isinstance(value, np.ndarray):\n": "                if key in vars(module):\n"},
    ),
    Wrong(
        "a buffer that is a scalar is left out",
        {"value = vars(module)[key] = np.asarray(value)": "pass"},
    ),
    Wrong(
        "a buffer that is a scalar stays one",
        {
            "value = vars(module)[key] = np.asarray(value)": "pass",
            "if isinstance(value, np.ndarray):": "if isinstance(value, np.ndarray | np.generic):",
        },
        says="expected an array, got a",
    ),
    Wrong(
        "a buffer that is registered again is listed twice",
        {"        if name not in self._buffers:  # it is, if it was deleted and is registered again\n    ": ""},
    ),
    Wrong(
        "dicts are passed over in silence",
        {
            "        if isinstance(value, _CONTAINERS) and name": "        if False and name",
            "    if isinstance(value, _HIDING):\n": "    if False:\n",
        },
        says="bad input is let through",
    ),
    Wrong(
        "only assigning a dict is checked",
        {"    if isinstance(value, _HIDING):\n": "    if False:\n"},
        says="bad input is let through",
    ),
    Wrong(
        "only searching a dict is checked",
        {"        if isinstance(value, _CONTAINERS) and name": "        if False and name"},
        says="bad input is let through",
    ),
    Wrong(
        "only a dict itself is checked",
        {"if isinstance(value, _CONTAINERS) and name": "if isinstance(value, _HIDING) and name"},
        says="bad input is let through",
    ),
    Wrong("every dict is refused", {"if hidden and isinstance(value, Parameter | Module):": "if hidden:"}),
    Wrong("what is kept in a dict is refused", {' and name != "_kept":  # which': ":  # which"}),
    Wrong(
        "sets are passed over in silence",
        {"_HIDING = (dict, set, frozenset)": "_HIDING = (dict,)"},
        says="bad input is let through",
    ),
    Wrong(
        "lists in dicts are not checked",
        {"hidden or isinstance(value, _HIDING), seen)": "isinstance(value, _HIDING), seen)"},
        says="bad input is let through",
    ),
    # 04.3 Initialisation
    Wrong(
        "fan_out for fan_in",
        {"fan_in, _ = _fans(shape)\n    return _uniform(": "_, fan_in = _fans(shape)\n    return _uniform("},
        says="fan_out for fan_in",
    ),
    Wrong(
        "the kernel is forgotten",
        {"receptive_field = math.prod(shape[2:])": "receptive_field = 1"},
        says="the receptive field is forgotten",
    ),
    Wrong(
        "√3 is forgotten",
        {"math.sqrt(6 / ((1 + a * a) * fan_in))": "math.sqrt(2 / ((1 + a * a) * fan_in))"},
        says="√3 is forgotten",
    ),
    Wrong(
        "a is ignored", {"return math.sqrt(2 / ((1 + a * a) * fan_in))": "return math.sqrt(2 / fan_in)"}, says="a is ignored"
    ),
    Wrong(
        "the variance for the deviation",
        {"return math.sqrt(2 / ((1 + a * a) * fan_in))": "return (2 / ((1 + a * a) * fan_in))"},
        says="the variance for the standard deviation",
    ),
    Wrong(
        "the gain is forgotten",
        {"return math.sqrt(2 / ((1 + a * a) * fan_in))": "return math.sqrt(1 / fan_in)"},
        says="the gain is forgotten",
    ),
    Wrong(
        "normal for uniform",
        {
            "return bound * (2 * rng.random(shape, np.float32) - 1)": "return bound / math.sqrt(3) * rng.standard_normal(shape, np.float32)"
        },
        says="is it a normal one?",
    ),
    Wrong(
        "uniform for normal",
        {
            "return math.sqrt(2 / sum(_fans(shape))) * rng.standard_normal(shape, np.float32)": "return _uniform(math.sqrt(6 / sum(_fans(shape))), shape, rng)"
        },
        says="is it a uniform one?",
    ),
    Wrong(
        "only positive weights",
        {"(2 * rng.random(shape, np.float32) - 1)": "rng.random(shape, np.float32)"},
        says="the mean is",
    ),
    Wrong(
        "Xavier sees the inputs only",
        {"math.sqrt(6 / sum(_fans(shape)))": "math.sqrt(3 / _fans(shape)[0])"},
        says="fan_in alone",
    ),
    Wrong(
        "weights are float64",
        {"(2 * rng.random(shape, np.float32) - 1)": "(2 * rng.random(shape) - 1)"},
        says="a silent promotion",
    ),
    Wrong(
        "a NumPy scalar promotes the weights",
        {"return math.sqrt(2 / sum(_fans(shape)))": "return np.sqrt(2 / sum(_fans(shape)))"},
        says="a silent promotion",
    ),
    Wrong("the generator is ignored", {"rng.random(shape, np.float32)": "np.random.random(shape).astype(np.float32)"}),
    Wrong(
        "every layer starts the same", {"rng.random(shape, np.float32)": "np.random.default_rng(0).random(shape, np.float32)"}
    ),
    Wrong("all weights are equal", {"rng.random(shape, np.float32)": "np.full(shape, rng.random(), np.float32)"}),
    Wrong(
        "all outputs start with the same weights",
        {
            "return bound * (2 * rng.random(shape, np.float32) - 1)": "return np.broadcast_to(bound * (2 * rng.random(shape[1:], np.float32) - 1), shape).copy()"
        },
        says="different values among",
    ),
    Wrong("a shape without fans passes", {"if len(shape) < 2 or min(shape) < 1:": "if len(shape) < 2:"}),
    # 04.4 Linear
    Wrong(
        "the weight is not transposed",
        {"y = rows @ self.weight.T": "y = rows @ (self.weight if self.in_features == self.out_features else self.weight.T)"},
        says="x W, not x Wᵀ",
    ),
    Wrong("the bias is missing", {"            y = y + self.bias": "            pass"}, says="the bias is missing"),
    Wrong("the bias is added twice", {"y = y + self.bias": "y = y + self.bias + self.bias"}, says="the bias is added twice"),
    Wrong("the bias is always there", {"(out_features,), rng)) if bias else None": "(out_features,), rng))"}),
    Wrong(
        "the bias starts at zero",
        {
            "Parameter(_uniform(1 / math.sqrt(in_features), (out_features,), rng))": "Parameter(np.zeros(out_features, np.float32))"
        },
    ),
    Wrong(
        "the weight starts by He's rule",
        {"(out_features, in_features), rng, math.sqrt(5)": "(out_features, in_features), rng"},
        says="a = 0, not √5",
    ),
    Wrong(
        "without a generator all layers are equal",
        {
            "        rng = np.random.default_rng(rng)\n        self.in": "        rng = np.random.default_rng(0 if rng is None else rng)\n        self.in"
        },
    ),
    Wrong(
        "two axes only",
        {
            "rows = x.reshape(-1, self.in_features)": "rows = x",
            "return y.reshape(*x.shape[:-1], self.out_features)": "return y",
        },
    ),
    Wrong("a wrong input is left to @", {"if x.shape[-1:] != (self.in_features,):": "if False:"}),
    Wrong(
        "the forward leaves the record",
        {
            "self.keep(rows.data, x.shape, x.requires_grad)": "self.keep(rows.data, x.shape, x.requires_grad)\n        rows = Tensor(rows.data)"
        },
        says="the chain from the output does not reach x",
    ),
    Wrong(
        "the weight leaves the record",
        {"y = rows @ self.weight.T": "y = rows @ self.weight.data.T"},
        says="does not reach weight",
    ),
    Wrong(
        "the bias gradient is a mean",
        {"accumulate(self.bias, _sum_of_rows(grads))": "accumulate(self.bias, grads.mean(0))"},
        says="the mean over all rows",
    ),
    Wrong(
        "the bias gradient sums one axis",
        {
            "accumulate(self.bias, _sum_of_rows(grads))": "accumulate(self.bias, grad.sum(0) if grad.ndim < 3 else grad.sum(0)[0] if grad.ndim == 3 else grad.sum((0, 1))[0])"
        },
    ),
    Wrong(
        "the bias gets no gradient",
        {"            accumulate(self.bias, _sum_of_rows(grads))": "            pass"},
        says="expected an array, got None",
    ),
    Wrong(
        "the bias gradient adds row by row in float32",
        {"accumulate(self.bias, _sum_of_rows(grads))": "accumulate(self.bias, grads.sum(0))"},
        says="row by row in float32",
    ),
    Wrong(
        "the bias gradient leaves the last rows out",
        {" + ones[: len(rows) - cut] @ rows[cut:]": ""},
    ),
    Wrong("the weight gradient is a mean", {"grads.T @ rows)": "grads.T @ rows / len(rows))"}, says="the mean over all rows"),
    Wrong(
        "the weight gradient is transposed",
        {
            "accumulate(self.weight, grads.T @ rows)": "accumulate(self.weight, grads.T @ rows if self.in_features != self.out_features else rows.T @ grads)"
        },
        says="xᵀ grad, not gradᵀ x",
    ),
    Wrong(
        "the input gradient goes through Wᵀ",
        {
            "(grads @ self.weight.data).reshape(shape)": "(grads @ (self.weight.data if self.in_features != self.out_features else self.weight.data.T)).reshape(shape)"
        },
        says="grad Wᵀ, not grad W",
    ),
    Wrong(
        "gradients are set, not added",
        {"accumulate(self.weight, grads.T @ rows)": "self.weight.grad = grads.T @ rows"},
        says="overwritten instead of accumulated",
    ),
    Wrong("an input gradient is always returned", {".reshape(shape) if wanted else None": ".reshape(shape)"}),
    Wrong(
        "no input gradient is ever returned",
        {"return (grads @ self.weight.data).reshape(shape) if wanted else None": "return None"},
        says="expected an array, got None",
    ),
    Wrong(
        "gradients in float64",
        {"grads = grad.reshape(-1, self.out_features)": "grads = grad.reshape(-1, self.out_features).astype(np.float64)"},
        says="a silent promotion",
    ),
    Wrong(
        "a gradient of another shape is accepted",
        {
            '    if grad.shape != shape:\n        raise ValueError(f"grad has': '    if grad.size != math.prod(shape):\n        raise ValueError(f"grad has'
        },
        says="bad input is let through",
    ),
    # 04.5 Sequential, Flatten and Dropout
    Wrong(
        "the stack runs backwards",
        {"for layer in self.layers:\n            x = ": "for layer in reversed(self.layers):\n            x = "},
        says="the layers run in reverse",
    ),
    Wrong("backward in forward order", {"for layer in reversed(self.layers):": "for layer in self.layers:"}),
    Wrong(
        "every layer gets the last gradient",
        {
            "grad = layer.backward(grad)\n            if grad is None:\n                break\n        return grad": "result = layer.backward(grad)\n            if result is None:\n                return None\n        return result if self.layers else grad"
        },
    ),
    Wrong("backward does not stop at None", {"            if grad is None:\n                break\n": ""}),
    Wrong("layers are called, not asked for forward", {"x = layer.forward(x)": "x = layer(x)"}),
    Wrong("only modules are layers", {'or not hasattr(layer, "forward")': "or not isinstance(layer, Module)"}),
    Wrong(
        "anything is a layer",
        {'if isinstance(layer, type) or not hasattr(layer, "forward"):': "if False:"},
        says="bad input is let through",
    ),
    Wrong("a class is a layer", {"if isinstance(layer, type) or not": "if not"}, says="bad input is let through"),
    Wrong(
        "names begin with layers",
        {'if name == "layers":\n                yield': 'if name == "":\n                yield'},
    ),
    Wrong(
        "a subclass's parameters are lost", {"            else:  # a subclass's own\n                yield name, value\n": ""}
    ),
    Wrong(
        "the layers are fixed",
        {
            "self.layers = list(layers)": "self.layers, self._all = list(layers), layers",
            "for layer in self.layers:\n            x = ": "for layer in self._all:\n            x = ",
        },
    ),
    Wrong(
        "the batch is flattened too",
        {"y = x.reshape(*x.shape[: self.start_dim], math.prod(x.shape[self.start_dim :]))": "y = x.reshape(-1)"},
        says="the batch is flattened too",
    ),
    Wrong(
        "start_dim is ignored",
        {
            "y = x.reshape(*x.shape[: self.start_dim], math.prod(x.shape[self.start_dim :]))": "y = x.reshape(len(x), math.prod(x.shape[1:]))"
        },
    ),
    Wrong("an empty batch can't be flattened", {"math.prod(x.shape[self.start_dim :]))": "-1)"}),
    Wrong("flatten copies", {"y = x.reshape(*x.shape[: ": "y = (x * 1).reshape(*x.shape[: "}),
    Wrong("flatten gives its gradient flat", {"return grad.reshape(before)": "return grad"}),
    Wrong("dropout does not scale", {"* x.dtype.type(1 / (1 - self.p))": "* x.dtype.type(1)"}, says="not scaled"),
    Wrong("dropout divides by p", {"x.dtype.type(1 / (1 - self.p))": "x.dtype.type(1 / self.p)"}, says="divided by p"),
    Wrong(
        "dropout multiplies by 1 - p",
        {"x.dtype.type(1 / (1 - self.p))": "x.dtype.type(1 - self.p)"},
        says="multiplied by 1 − p",
    ),
    Wrong("p is the probability to stay", {">= self.p)": "< self.p)"}, says="p is the probability to stay"),
    Wrong("dropout never stops", {"if not self.training:": "if False:"}),
    Wrong("dropout never starts", {"if not self.training:": "if True:"}),
    Wrong(
        "evaluation scales",
        {"            return x\n        mask": "            return x * (1 - self.p)\n        mask"},
        says="training has already made up for that",
    ),
    Wrong(
        "one mask forever",
        {
            "        mask = (self.rng.random(": "        mask = self._mask = vars(self)['_mask'] if '_mask' in vars(self) and self._mask.shape == x.shape else (self.rng.random("
        },
    ),
    Wrong(
        "one mask for a whole row",
        {
            "self.rng.random(x.shape, np.float32)": "np.broadcast_to(self.rng.random((*x.shape[:-1], 1)[-max(x.ndim, 1):] if x.ndim else (), np.float32), x.shape)"
        },
    ),
    Wrong(
        "one mask for the whole batch",
        {"self.rng.random(x.shape, np.float32)": "np.broadcast_to(self.rng.random(x.shape[1:], np.float32), x.shape)"},
    ),
    Wrong("backward ignores the mask", {"return grad * mask": "return grad"}, says="the mask is not applied"),
    Wrong(
        "backward draws a mask of its own",
        {
            "return grad * mask": "return grad * ((self.rng.random(grad.shape, np.float32) >= self.p) * grad.dtype.type(1 / (1 - self.p))) if self.training else grad"
        },
    ),
    Wrong("backward does not scale", {"return grad * mask": "return grad * (np.asarray(mask) > 0)"}, says="not scaled"),
    Wrong("the global generator drops", {"self.rng.random(x.shape, np.float32)": "np.random.random(x.shape)"}),
    Wrong(
        "all dropouts drop the same",
        {
            "self.p, self.rng = p, np.random.default_rng(rng)": "self.p, self.rng = p, np.random.default_rng(0 if rng is None else rng)"
        },
    ),
    Wrong("p may be one", {"if not 0 <= p < 1:": "if not 0 <= p <= 1:"}, says="bad input is let through"),
    Wrong("the mask promotes", {"x.dtype.type(1 / (1 - self.p))": "np.float64(1 / (1 - self.p))"}, says="a silent promotion"),
    Wrong("dropout leaves the record", {"return x * mask\n": "return Tensor(x.data * mask)\n"}),
    Wrong(
        "evaluation leaves the record",
        {"            return x\n        mask": "            return Tensor(x.data)\n        mask"},
    ),
    # 04.6 Saving and loading
    Wrong(
        "a saved state learns on",
        {"{name: array.copy() for name, array in self._state().items()}": "self._state()"},
        says="the saved state went on learning",
    ),
    Wrong("buffers are not saved", {" | dict(self.named_buffers())": ""}),
    Wrong(
        "the state holds parameters",
        {
            "{name: array.copy() for name, array in self._state().items()}": "dict(self.named_parameters()) | dict(self.named_buffers())"
        },
    ),
    Wrong(
        "loading binds data anew",
        {
            "            array[...] = given[name]": "            pass\n        for name, parameter in self.named_parameters():\n            parameter.data = given[name].astype(parameter.dtype)\n        for name, array in self.named_buffers():\n            array[...] = given[name]"
        },
        says="data is another array now",
    ),
    Wrong(
        "loading makes new parameters",
        {
            "            array[...] = given[name]": "            head, _, last = name.rpartition('.')\n            owner = dict((n, m) for n, m in _found(self, Module))[head]\n            old = getattr(owner, last)\n            setattr(owner, last, Parameter(given[name].astype(old.dtype)) if isinstance(old, Parameter) else given[name].copy())"
        },
    ),
    Wrong(
        "missing names are ignored",
        {
            'problems = [f"{name} is missing" for name in own if name not in given]': "problems = []",
            "            array[...] = given[name]": "            array[...] = given.get(name, array)",
        },
        says="bad input is let through",
    ),
    Wrong(
        "unexpected names are ignored",
        {'problems += [f"{name} is unexpected" for name in given if name not in own]': "problems += []"},
        says="bad input is let through",
    ),
    Wrong(
        "shapes are broadcast",
        {"and given[name].shape != array.shape": "and np.broadcast_shapes(given[name].shape, array.shape) != array.shape"},
        says="bad input is let through",
    ),
    Wrong(
        "the first problem only",
        {
            "raise ValueError(f\"the state does not fit {type(self).__name__}: {'; '.join(problems)}\")": "raise ValueError(problems[0])"
        },
        says="is not named",
    ),
    Wrong(
        "half of a state is loaded before the error",
        {
            "        own, given = self._state(), {name: Tensor(value).data for name, value in state.items()}": "        own, given = self._state(), {name: Tensor(value).data for name, value in state.items()}\n        for name in own:\n            if name in given and given[name].shape == own[name].shape:\n                own[name][...] = given[name]"
        },
    ),
    Wrong(
        "what is loaded first changes what is loaded next",
        {"if any(np.may_share_memory(values, array) for array in own.values()):": "if False:"},
        says="read after it was changed",
    ),
    Wrong(
        "an array is copied only if it is one of the module's own",
        {"np.may_share_memory(values, array)": "values is array"},
    ),
    Wrong(
        "floats are cut to integers",
        {"if name in given and not _holds(array.dtype, given[name])": "if False"},
        says="bad input is let through",
    ),
    Wrong(
        "integers wrap around",
        {'if dtype.kind in "iu" and values.dtype.kind in "iu":': "if False:"},
        says="bad input is let through",
    ),
    Wrong(
        "only the same dtype is loaded",
        {"if name in given and not _holds(array.dtype, given[name])": "if name in given and given[name].dtype != array.dtype"},
    ),
    Wrong(
        "a wrong dtype is an error of its own",
        {
            "        if problems:\n": "        for name, array in own.items():\n            if name in given and not _holds(array.dtype, given[name]):\n                raise ValueError(f'{name}: {given[name].dtype}, not {array.dtype}')\n        if problems:\n"
        },
        says="is not named",
    ),
    # what the budgets are there to exclude
    Wrong(
        "gradients are added into a new array",
        {"parameter.grad += grad": "parameter.grad = parameter.grad + grad"},
        naive="test_adding_to_a_gradient_takes_no_room",
    ),
    Wrong(
        "weights drawn one by one",
        {
            "return bound * (2 * rng.random(shape, np.float32) - 1)": "return np.array([bound * (2 * rng.random() - 1) for _ in range(math.prod(shape))], np.float32).reshape(shape)",
            "return math.sqrt(2 / ((1 + a * a) * fan_in)) * rng.standard_normal(shape, np.float32)": "return np.array([math.sqrt(2 / ((1 + a * a) * fan_in)) * rng.standard_normal() for _ in range(math.prod(shape))], np.float32).reshape(shape)",
            "return math.sqrt(2 / sum(_fans(shape))) * rng.standard_normal(shape, np.float32)": "return np.array([math.sqrt(2 / sum(_fans(shape))) * rng.standard_normal() for _ in range(math.prod(shape))], np.float32).reshape(shape)",
        },
        naive="test_drawing_is_done_in_numpy",
    ),
    Wrong(
        "all outer products, forward and backward",
        {
            "y = rows @ self.weight.T": "y = (rows.reshape(-1, 1, self.in_features) * self.weight).sum(-1)",
            "accumulate(self.weight, grads.T @ rows)": "accumulate(self.weight, (grads[:, :, None] * rows[:, None, :]).sum(0))",
        },
        naive="test_a_layer_costs_what_its_products_cost",
    ),
    Wrong(
        "backward output by output",
        {
            "accumulate(self.weight, grads.T @ rows)": "accumulate(self.weight, np.stack([sum(g * row for g, row in zip(column, rows, strict=True)) for column in grads.T]))"
        },
        naive="test_rows_are_multiplied_in_numpy",
    ),
    Wrong(
        "backward by all outer products and one sum",
        {"accumulate(self.weight, grads.T @ rows)": "accumulate(self.weight, (grads[:, :, None] * rows[:, None, :]).sum(0))"},
        naive="test_backward_makes_no_product_for_each_row",
    ),
    Wrong(
        "the input gradient is computed and thrown away",
        {
            "return (grads @ self.weight.data).reshape(shape) if wanted else None": "dx = (grads @ self.weight.data).reshape(shape)\n        return dx if wanted else None"
        },
        naive="test_an_input_gradient_that_nobody_wants_is_not_computed",
    ),
    Wrong(
        "the layers keep their inputs whatever happens",
        {
            "self.keep(rows.data, x.shape, x.requires_grad)": "self._kept = rows.data, x.shape, x.requires_grad",
            "self.keep(mask, x.shape)": "self._kept = mask, x.shape",
        },
        naive="test_no_activations_are_held_while_operations_are_recorded",
    ),
    Wrong(
        "a mask value by value",
        {
            "(self.rng.random(x.shape, np.float32) >= self.p)": "np.array([self.rng.random() >= self.p for _ in range(x.size)]).reshape(x.shape)"
        },
        naive="test_masks_are_drawn_in_numpy",
    ),
    Wrong(
        "evaluation multiplies by ones",
        {"            return x\n        mask": "            return x * np.ones(x.shape, x.dtype)\n        mask"},
        naive="test_evaluation_costs_nothing",
    ),
    Wrong(
        "a state is copied before it is loaded",
        {"{name: Tensor(value).data for name": "{name: np.array(Tensor(value).data) for name"},
        naive="test_loading_takes_no_room",
    ),
    # what a first reader found
    Wrong(
        "names lose every 'layers.'",
        {
            'if name == "layers":\n                yield': 'if name == "":\n                yield',
            "return _found(self, Parameter)": 'return [(name.replace("layers.", ""), value) for name, value in _found(self, Parameter)]',
        },
    ),
    Wrong(
        "without a generator NumPy's global state is used",
        {
            "rng = np.random.default_rng(rng)\n        self.in_features": "rng = rng or np.random.default_rng(np.random.randint(2**31))\n        self.in_features"
        },
    ),
    Wrong(
        "backward asks whether it is training now",
        {"mask, shape = self.kept()": "mask, shape = self.kept()\n        mask = mask if self.training else 1.0"},
        says="the mask is not applied",
    ),
    Wrong(
        "Flatten refuses the first axis counted from the end",
        {"if not -x.ndim <= self.start_dim < x.ndim": "if not -x.ndim < self.start_dim < x.ndim"},
    ),
    Wrong("Flatten takes an axis beyond the last but one", {"<= self.start_dim < x.ndim": "<= self.start_dim != x.ndim"}),
    Wrong(
        "train returns early",
        {
            "        for module in self.modules():\n": "        if self.training == mode:\n            return self\n        for module in self.modules():\n"
        },
    ),
    Wrong(
        "list subclasses not searched",
        {
            "if not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:": "if not (isinstance(value, Parameter | Module) or type(value) in (list, tuple)) or id(value) in seen:"
        },
    ),
    Wrong("set filled later is not refused", {"if isinstance(value, _HIDING):": "if isinstance(value, dict):"}),
    Wrong(
        "a zero gradient stops backward",
        {
            "            if grad is None:\n                break": "            if grad is None or not grad.any():\n                break"
        },
    ),
    Wrong(
        "Flatten fixes its axis at once",
        {
            "y = x.reshape(*x.shape[: self.start_dim]": "self.start_dim %= x.ndim\n        y = x.reshape(*x.shape[: self.start_dim]"
        },
    ),
    Wrong(
        "Dropout ignores a new rng",
        {
            "self.p, self.rng = p, np.random.default_rng(rng)": "self.p, self.rng = p, np.random.default_rng(rng)\n        self._rng = self.rng",
            "self.rng.random(x.shape": "self._rng.random(x.shape",
        },
    ),
    Wrong("no input gradient in evaluation", {"if wanted else None": "if wanted and self.training else None"}),
    Wrong("kernel product stops at two axes", {"math.prod(shape[2:])": "math.prod(shape[2:4])"}),
    Wrong("kernel of length zero accepted", {"min(shape) < 1": "min(shape[:2]) < 1"}),
    Wrong(
        "loading replaces buffers",
        {
            "            array[...] = given[name]": "            array[...] = given[name]\n        for name, module in _found(self, Module):\n            for key in module._buffers:\n                if isinstance(vars(module).get(key), np.ndarray):\n                    vars(module)[key] = vars(module)[key].copy()"
        },
    ),
    Wrong(
        "loading fails half-way",
        {
            "        if problems:\n            raise": '        if problems and not any("dtype" in p or "values of" in p for p in problems):\n            raise',
            "            array[...] = given[name]": '            if problems and any(name in p for p in problems):\n                raise ValueError("; ".join(problems))\n            array[...] = given[name]',
        },
    ),
    Wrong(
        "p of the construction",
        {
            "self.p, self.rng = p, np.random.default_rng(rng)": "self.p, self.rng, self._p = p, np.random.default_rng(rng), p",
            "self.rng.random(x.shape, np.float32) >= self.p)": "self.rng.random(x.shape, np.float32) >= self._p)",
        },
    ),
    Wrong(
        "state_dict shares arrays",
        {
            "{name: array.copy() for name, array in self._state().items()}": "{name: array.copy() if array.ndim else array for name, array in self._state().items()}"
        },
    ),
    Wrong(
        "forward copies the weight",
        {
            "y = rows @ self.weight.T": "y = rows @ Tensor(np.ascontiguousarray(self.weight.data.T)) if Tensor._recorder is None else rows @ self.weight.T"
        },
        naive="test_forward_does_not_copy_the_weight",
    ),
    Wrong(
        "a subclass's layers come first",
        {
            '        for name, value in super()._members():\n            if name == "layers":\n                yield from ((str(index), layer) for index, layer in enumerate(value))\n            else:  # a subclass\'s own\n                yield name, value\n': "        yield from ((str(index), layer) for index, layer in enumerate(self.layers))\n        yield from super()._members()\n"
        },
    ),
    Wrong(
        "a subclass's own come first",
        {
            '        for name, value in super()._members():\n            if name == "layers":\n                yield from ((str(index), layer) for index, layer in enumerate(value))\n            else:  # a subclass\'s own\n                yield name, value\n': '        yield from ((name, value) for name, value in super()._members() if name != "layers")\n        yield from ((str(index), layer) for index, layer in enumerate(self.layers))\n'
        },
    ),
    Wrong("integers without values don't fit", {"return not values.size or (": "return values.size > 0 and ("}),
    Wrong("finite values become infinite", {'if dtype.kind == "f" and not np.can_cast(values.dtype, dtype):': "if False:"}),
    Wrong(
        "infinite values are refused",
        {
            "return np.array_equal(np.isinf(values.astype(dtype)), np.isinf(values))": "return not np.isinf(values.astype(dtype)).any()"
        },
    ),
    Wrong(
        "the largest finite value is compared, NaN or not",
        {
            "return np.array_equal(np.isinf(values.astype(dtype)), np.isinf(values))": "return not np.isinf(np.asarray(values.max()).astype(dtype)) or np.isinf(values.max())"
        },
    ),
    Wrong(
        "integers always fit floats",
        {
            'if dtype.kind == "f" and not np.can_cast(values.dtype, dtype):': 'if dtype.kind == "f" and values.dtype.kind == "f":'
        },
    ),
    Wrong(
        "a loaded infinity becomes the largest number",
        {
            "            array[...] = given[name]": '            array[...] = np.nan_to_num(given[name], nan=np.nan) if array.dtype.kind == "f" else given[name]'
        },
    ),
    Wrong(
        "accumulate into zero-size raises",
        {
            "    if grad.shape != parameter.shape:": "    if not grad.size:\n        return\n    if grad.shape != parameter.shape:"
        },
    ),
    Wrong(
        "accumulate checks by size for 0-d",
        {
            "    if grad.shape != parameter.shape:": "    if grad.shape != parameter.shape and not (grad.size == 1 and parameter.shape == ()):"
        },
    ),
    Wrong(
        "parameter of integers becomes float",
        {
            "super().__init__(np.array(Tensor(data).data), requires_grad=True)": "data = Tensor(data).data\n        super().__init__(np.array(data, data.dtype if data.dtype.kind == 'f' else np.float32), requires_grad=True)"
        },
    ),
    Wrong(
        "zero_grad leaves zeros",
        {
            "        for parameter in self.parameters():\n            parameter.grad = None": "        for parameter in self.parameters():\n            if parameter.grad is not None and parameter.grad.any():\n                parameter.grad = None"
        },
    ),
    Wrong(
        "a falsy module is not found",
        {
            "    if not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:": "    if (isinstance(value, Module) and hasattr(value, '__len__') and not len(value)) or not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:"
        },
    ),
    Wrong(
        "an empty parameter is not found",
        {
            "    if not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:": "    if (isinstance(value, Parameter) and not value.data.size) or not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:"
        },
    ),
    Wrong(
        "a 0-d parameter is not found",
        {
            "    if not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:": "    if (isinstance(value, Parameter) and not value.ndim) or not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:"
        },
    ),
    Wrong(
        "frozen parameters are not found",
        {"return _found(self, Parameter)": "return [(name, p) for name, p in _found(self, Parameter) if p.requires_grad]"},
    ),
    Wrong(
        "buffers of 0 are left out",
        {
            "                if isinstance(value, np.ndarray):\n                    found": "                if isinstance(value, np.ndarray) and (value.ndim or value):\n                    found"
        },
    ),
    Wrong("buffers in order of name", {"for key in module._buffers:": "for key in sorted(module._buffers):"}),
    Wrong(
        "register_buffer of a None attribute replaces",
        {"        if hasattr(self, name):": "        if getattr(self, name, None) is not None:"},
    ),
    Wrong(
        "register_buffer of a falsy attribute replaces",
        {
            "        if hasattr(self, name):": "        if name in vars(self) and isinstance(vars(self)[name], int | float) and not vars(self)[name]:\n            pass\n        elif hasattr(self, name):"
        },
    ),
    Wrong(
        "register_buffer marks before the check",
        {
            "        if hasattr(self, name):\n            raise": "        if hasattr(self, name):\n            self._buffers = (*self._buffers, name)\n            raise"
        },
    ),
    Wrong(
        "register_buffer with bad data leaves a name",
        {
            "        setattr(self, name, np.array(Tensor(array).data))\n        if name not in self._buffers:  # it is, if it was deleted and is registered again\n            self._buffers = (*self._buffers, name)": "        if name not in self._buffers:\n            self._buffers = (*self._buffers, name)\n        setattr(self, name, None)\n        setattr(self, name, np.array(Tensor(array).data))"
        },
    ),
    Wrong(
        "scalar buffers of bool lost",
        {"isinstance(value := vars(module).get(key), np.generic)": "isinstance(value := vars(module).get(key), np.number)"},
    ),
    Wrong(
        "eval returns None for stacks",
        {
            "        return self.train(False)": "        self.train(False)\n        return self if not isinstance(self, Sequential) else self.layers and self"
        },
    ),
    Wrong(
        "the search keeps its list",
        {
            "        return [parameter for _, parameter in self.named_parameters()]": "        found = [parameter for _, parameter in self.named_parameters()]\n        if len(found) == 0:\n            return _NONE\n        return found",
            "_HIDING = (": "_NONE = []\n_HIDING = (",
        },
    ),
    Wrong(
        "slope sign",
        {
            "return _uniform(math.sqrt(6 / ((1 + a * a) * fan_in)), shape, rng)": "return _uniform(math.sqrt(6 / ((1 + a * abs(a)) * fan_in)), shape, rng)"
        },
    ),
    Wrong(
        "normal weights are cut at three deviations",
        {
            "return math.sqrt(2 / ((1 + a * a) * fan_in)) * rng.standard_normal(shape, np.float32)": "return math.sqrt(2 / ((1 + a * a) * fan_in)) * np.clip(rng.standard_normal(shape, np.float32), -3, 3)"
        },
    ),
    Wrong(
        "uniform rows are sorted",
        {
            "return bound * (2 * rng.random(shape, np.float32) - 1)": "return bound * np.sort(2 * rng.random(shape, np.float32) - 1, axis=-1)"
        },
    ),
    Wrong(
        "normal rows are sorted",
        {
            "return math.sqrt(2 / sum(_fans(shape))) * rng.standard_normal(shape, np.float32)": "return math.sqrt(2 / sum(_fans(shape))) * np.sort(rng.standard_normal(shape, np.float32), 0)"
        },
    ),
    Wrong(
        "rows mirror each other",
        {
            "return bound * (2 * rng.random(shape, np.float32) - 1)": "x = bound * (2 * rng.random(shape, np.float32) - 1)\n    half = len(x) // 2\n    if half > 1:\n        x[-half:] = -x[:half]\n    return x"
        },
    ),
    Wrong(
        "a bias of zeros is dropped",
        {
            "        if self.bias is not None:\n            y = y + self.bias": "        if self.bias is not None and self.bias.data.any():\n            y = y + self.bias"
        },
    ),
    Wrong(
        "bias of 0 has no gradient",
        {
            "        if self.bias is not None:\n            accumulate(self.bias": "        if self.bias is not None and self.bias.data.any():\n            accumulate(self.bias"
        },
    ),
    Wrong(
        "an input with a grad wants none",
        {"self.keep(rows.data, x.shape, x.requires_grad)": "self.keep(rows.data, x.shape, x.requires_grad and x.grad is None)"},
    ),
    Wrong(
        "NaN is left out of the bias gradient",
        {
            "    return blocks.sum(0, dtype=np.float64) + ones": "    return np.nan_to_num(blocks.sum(0, dtype=np.float64)) + ones"
        },
    ),
    Wrong(
        "a repeated layer runs once",
        {"        for layer in self.layers:\n            x": "        for layer in dict.fromkeys(self.layers):\n            x"},
    ),
    Wrong(
        "a repeated layer goes back once",
        {"        for layer in reversed(self.layers):": "        for layer in dict.fromkeys(reversed(self.layers)):"},
    ),
    Wrong(
        "Flatten of strided input keeps order K",
        {
            "y = x.reshape(*x.shape[: self.start_dim]": "y = (x if x.data.flags.c_contiguous or x.data.ndim < 4 else Tensor(x.data.ravel('K').reshape(x.shape))).reshape(*x.shape[: self.start_dim]"
        },
    ),
    Wrong(
        "Dropout turns NaN to 0",
        {
            "        self.keep(mask, x.shape)\n        return x * mask": "        self.keep(mask, x.shape)\n        return Tensor(np.nan_to_num(x.data)) * mask if np.isnan(x.data).any() else x * mask"
        },
    ),
    Wrong(
        "Dropout backward in place",
        {
            "        return grad * mask": "        if isinstance(mask, float) or not grad.flags.writeable or grad.dtype != mask.dtype:\n            return grad * mask\n        grad *= mask\n        return grad"
        },
    ),
    Wrong(
        "loading rewrites the state",
        {"                given[name] = values.copy()": "                given[name] = state[name] = values.copy()"},
    ),
    Wrong(
        "empty state loads into anything",
        {
            '        problems = [f"{name} is missing" for name in own if name not in given]': '        problems = [f"{name} is missing" for name in own if given and name not in given]',
            "        for name, array in own.items():\n            array[...] = given[name]": "        for name, array in own.items() if given else ():\n            array[...] = given[name]",
        },
    ),
    Wrong(
        "bool to float refused",
        {
            '    if dtype.kind == "f" and not np.can_cast': '    if values.dtype.kind == "b" and dtype.kind == "f":\n        return False\n    if dtype.kind == "f" and not np.can_cast'
        },
    ),
    Wrong(
        "loading clears grads",
        {"            array[...] = given[name]": "            array[...] = given[name]\n        self.zero_grad()"},
    ),
    Wrong(
        "loading sets training",
        {"            array[...] = given[name]": "            array[...] = given[name]\n        self.training = True"},
    ),
    Wrong(
        "private names are never unexpected",
        {
            '        problems += [f"{name} is unexpected" for name in given if name not in own]': "        problems += [f\"{name} is unexpected\" for name in given if name not in own and not str(name).startswith('_')]"
        },
    ),
]
