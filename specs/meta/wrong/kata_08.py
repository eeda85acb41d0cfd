"""Wrong solutions of kata 08, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    # batches
    Wrong(
        "the last, smaller batch is dropped",
        {
            "for start in range(0, len(self.x), self.batch_size):": "for start in range(0, len(self.x) - self.batch_size + 1, self.batch_size):"
        },
    ),
    Wrong("len() leaves the last batch out", {"math.ceil(len(self.x) / self.batch_size)": "len(self.x) // self.batch_size"}),
    Wrong(
        "the order is drawn once",
        {
            "self.x, self.y, self.batch_size, self.rng = Tensor(x).data, Tensor(y).data, batch_size, rng": "self.x, self.y, self.batch_size, self.rng = Tensor(x).data, Tensor(y).data, batch_size, rng\n        self.order = rng.permutation(len(self.x)) if isinstance(rng, np.random.Generator) else None",
            "order = None if self.rng is None else self.rng.permutation(len(self.x))": "order = self.order",
        },
        says="two epochs have the same order",
    ),
    Wrong(
        "a new generator for each epoch",
        {"self.rng.permutation(len(self.x))": "np.random.default_rng(0).permutation(len(self.x))"},
        says="two epochs have the same order",
    ),
    Wrong(
        "it is shuffled in any case",
        {"order = None if self.rng is None else self.rng": "order = (self.rng or np.random.default_rng(0))"},
    ),
    Wrong("it is never shuffled", {"self.rng.permutation(len(self.x))": "np.arange(len(self.x))"}),
    Wrong("NumPy's global generator shuffles", {"self.rng.permutation(len(self.x))": "np.random.permutation(len(self.x))"}),
    Wrong(
        "samples are drawn with replacement",
        {"self.rng.permutation(len(self.x))": "self.rng.integers(0, len(self.x), len(self.x))"},
    ),
    Wrong(
        "only the batches are shuffled",
        {
            "self.rng.permutation(len(self.x))": "np.arange(len(self.x))",
            "for start in range(0, len(self.x), self.batch_size):": "starts = np.arange(0, len(self.x), self.batch_size)\n        for start in starts if self.rng is None else self.rng.permutation(starts):",
        },
    ),
    Wrong("targets stay in order", {"Tensor(self.y[chosen])": "Tensor(self.y[start : start + self.batch_size])"}),
    Wrong(
        "the data are shuffled in place",
        {
            "            yield Tensor(self.x[chosen])": "            if order is not None and not start:\n                self.x, self.y, order = self.x[order], self.y[order], np.arange(len(order))\n                chosen = order[: self.batch_size]\n            yield Tensor(self.x[chosen])"
        },
    ),
    Wrong("batches are float32", {"Tensor(self.y[chosen])": "Tensor(self.y[chosen].astype(np.float32))"}),
    Wrong(
        "the generator is copied",
        {
            "Tensor(x).data, Tensor(y).data, batch_size, rng\n": "Tensor(x).data, Tensor(y).data, batch_size, __import__('copy').deepcopy(rng)\n"
        },
    ),
    Wrong(
        "lengths are not compared",
        {"if len(self.x) != len(self.y) or not len(self.x):": "if not len(self.x):"},
        says="bad input is let through",
    ),
    Wrong("no samples are let through", {" or not len(self.x):": ":"}, says="bad input is let through"),
    Wrong("a batch size of 0 is let through", {"if batch_size < 1:": "if batch_size < 0:"}, says="bad input is let through"),
    Wrong(
        "a seed is taken for a generator",
        {
            "if not isinstance(rng, np.random.Generator | None):": "if isinstance(rng, int):\n            self.rng = np.random.default_rng(rng)\n        elif False:"
        },
        says="bad input is let through",
    ),
    # the objective
    Wrong(
        "the loss is one of a constant",
        {"self.criterion(self.network(x), y)": "self.criterion(Tensor(self.network(x).data), y)"},
    ),
    Wrong(
        "the objective hides the network",
        {
            "self.network, self.criterion = network, criterion\n": "self.hidden = lambda: network\n        self.criterion = criterion\n",
            "self.criterion(self.network(x), y)": "self.criterion(self.hidden()(x), y)",
        },
    ),
    # an epoch
    Wrong("an epoch that does nothing", {"        optimizer.step()\n": ""}, says="no step was taken"),
    Wrong("zero_grad is forgotten", {"        optimizer.zero_grad()\n": ""}),
    Wrong(
        "zero_grad is called only at the start",
        {"        optimizer.zero_grad()\n": "        if not counted:\n            optimizer.zero_grad()\n"},
    ),
    Wrong(
        "zero_grad comes after the step only",
        {
            "        optimizer.zero_grad()\n": "",
            "        optimizer.step()\n": "        optimizer.step()\n        optimizer.zero_grad()\n",
        },
    ),
    Wrong(
        "zero_grad between the batches of a group",
        {"            loss = model(x, y)\n": "            optimizer.zero_grad()\n            loss = model(x, y)\n"},
    ),
    Wrong(
        "the mean over batches",
        {
            "            total += value * n\n        if clip": "            total += value\n        if clip",
            "progress.step(done / length, total / counted)\n    if not counted": "progress.step(done / length, total / done)\n    if not counted",
            "    return total / counted\n\n\ndef accuracy": "    return total / done\n\n\ndef accuracy",
        },
        says="the mean over batches",
    ),
    Wrong(
        "the last batch's loss",
        {"    return total / counted\n\n\ndef accuracy": "    return value\n\n\ndef accuracy"},
        says="the last batch's",
    ),
    Wrong(
        "the loss of before the epoch",
        {
            "            total += value * n\n        if clip": "            total += (value if not counted else total / counted) * n\n        if clip"
        },
    ),
    Wrong("train mode is forgotten", {"    model.train()\n": ""}, says="it is in eval mode"),
    Wrong(
        "accumulation without scaling",
        {"loss.backward(np.asarray(n / size))": "loss.backward()"},
        says="the gradients are added, not averaged",
    ),
    Wrong(
        "gradients are divided by the number of batches",
        {"loss.backward(np.asarray(n / size))": "loss.backward(np.asarray(1 / len(together)))"},
        says="a batch counts as much as another, whatever its samples",
    ),
    Wrong(
        "gradients are divided by accumulate",
        {"loss.backward(np.asarray(n / size))": "loss.backward(np.asarray(1 / accumulate))"},
        says="divided by accumulate where the group is smaller",
    ),
    Wrong("accumulate is ignored", {"[*islice(batches, accumulate)]": "[*islice(batches, 1)]"}, says="a step for each batch"),
    Wrong(
        "the last, smaller group is left out",
        {"        counts = [": "        if len(together) < accumulate:\n            break\n        counts = ["},
        says="the last, smaller group is left out",
    ),
    Wrong(
        "the loss is that of accumulated batches' means",
        {
            "            total += value * n\n        if clip": "            total += value * size / len(together)\n        if clip"
        },
    ),
    Wrong("clip_norm is ignored", {"if clip_norm is not None:": "if False:"}, says="not clipped"),
    Wrong(
        "each gradient is clipped for itself",
        {
            '        clip_grad_norm([parameter for group in optimizer.param_groups for parameter in group["params"]], clip_norm)': '        [clip_grad_norm([parameter], clip_norm) for group in optimizer.param_groups for parameter in group["params"]]'
        },
    ),
    Wrong(
        "each batch of a group is clipped",
        {
            "            total += value * n\n        if clip_norm is not None:\n": "            total += value * len(x)\n            if clip_norm is not None:\n    ",
        },
    ),
    Wrong(
        "gradients are clipped after the step",
        {
            "        if clip_norm is not None:\n": "        optimizer.step()\n        if clip_norm is not None:\n",
            "        optimizer.step()\n        counted +=": "        counted +=",
        },
        says="not clipped",
    ),
    Wrong(
        "only the first group is clipped",
        {"for group in optimizer.param_groups for parameter": "for group in optimizer.param_groups[:1] for parameter"},
    ),
    Wrong("the schedule is ignored", {"if schedule is not None:": "if False:"}, says="no schedule"),
    Wrong(
        "the schedule lags a step",
        {"* schedule(step)\n": "* schedule(max(step - 1, 0))\n"},
        says="it lags a step behind",
    ),
    Wrong("the schedule is a step ahead", {"* schedule(step)\n": "* schedule(step + 1)\n"}, says="it is a step ahead"),
    Wrong(
        "the factor is the rate",
        {'group.setdefault("initial_lr", group["lr"]) * schedule(step)': "schedule(step)"},
        says="the factor is the rate",
    ),
    Wrong(
        "the schedule compounds",
        {'group.setdefault("initial_lr", group["lr"]) * schedule': 'group["lr"] * schedule'},
        says="each factor is one of the rate before",
    ),
    Wrong(
        "the schedule compounds over epochs",
        {
            "    model.train()\n": '    rates = [group["lr"] for group in optimizer.param_groups]\n    model.train()\n',
            "for group in optimizer.param_groups:  #": "for group, rate in zip(optimizer.param_groups, rates):  #",
            'group.setdefault("initial_lr", group["lr"]) * schedule': "rate * schedule",
        },
        says="a factor of the last epoch's rate",
    ),
    Wrong("every epoch starts the schedule anew", {"steps or count()": "count()"}, says="from 0"),
    Wrong("the schedule is asked once an epoch", {"if schedule is not None:": "if schedule is not None and not done:"}),
    Wrong(
        "a schedule counts batches",
        {"* schedule(step)\n": "* schedule(step + done - done // accumulate)\n"},
    ),
    Wrong(
        "all groups get the first one's rate",
        {
            'group.setdefault("initial_lr", group["lr"]) * schedule': 'optimizer.param_groups[0].setdefault("initial_lr", optimizer.param_groups[0]["lr"]) * schedule'
        },
    ),
    Wrong(
        "only the first group is scheduled",
        {"for group in optimizer.param_groups:  #": "for group in optimizer.param_groups[:1]:  #"},
    ),
    Wrong(
        "one number too many is taken at the end",
        {"zip(groups, steps or count(), strict=False)": "((group, step) for step, group in zip(steps or count(), groups))"},
    ),
    Wrong(
        "NaN goes on",
        {"            if not math.isfinite(value):\n": "            if False:\n"},
        says="bad input is let through",
    ),
    Wrong(
        "infinity goes on",
        {"            if not math.isfinite(value):\n": "            if math.isnan(value):\n"},
        says="step 11 is not named",
    ),
    Wrong(
        "NaN is noticed after the step",
        {
            '            if not math.isfinite(value):\n                raise FloatingPointError(f"step {step}: the loss is {value}")\n': "",
            "        optimizer.step()\n        counted +=": '        optimizer.step()\n        if not math.isfinite(value):\n            raise FloatingPointError(f"step {step}: the loss is {value}")\n        counted +=',
        },
    ),
    Wrong(
        "NaN of an accumulated batch goes on",
        {"            if not math.isfinite(value):\n": "            if not math.isfinite(value) and len(together) == 1:\n"},
    ),
    Wrong(
        "the step of NaN counts from 1", {'f"step {step}: the loss': 'f"step {step + 1}: the loss'}, says="step 11 is not named"
    ),
    Wrong(
        "the step of NaN counts in the epoch",
        {'f"step {step}: the loss': 'f"step {done}: the loss'},
        says="step 11 is not named",
    ),
    Wrong(
        "no batch is a loss of 0",
        {
            '    if not counted:\n        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")\n    return total / counted\n\n\ndef accuracy': "    return total / max(counted, 1)\n\n\ndef accuracy"
        },
        says="bad input is let through",
    ),
    Wrong("data must have a length", {'len(data) if hasattr(data, "__len__") else math.inf': "len(data)"}),
    Wrong(
        "data are made a list",
        {"batches, done, counted, total = iter(data)": "data = [*data]\n    batches, done, counted, total = iter(data)"},
    ),
    Wrong("accumulate=0 is let through", {"if accumulate < 1:": "if accumulate < 0:"}),
    Wrong(
        "batches are weighted by samples",
        {'count_of = getattr(model, "counted", lambda x, y: len(x))': "count_of = lambda x, y: len(x)"},
        says="the mean over samples",
    ),
    Wrong(
        "the mean loss is over samples, the gradient over targets",
        {
            "            total += value * n\n": "            total += value * len(x)\n",
            "        counted += size\n": "        counted += sum([len(x) for x, _ in together])\n",
        },
    ),
    Wrong(
        "a batch in which nothing counts meets the model",
        {"            if not n:\n                continue\n": ""},
    ),
    Wrong(
        "a step in which nothing counts is taken",
        {"            continue  # there is no mean": "            size = 1  # there is no mean"},
    ),
    Wrong(
        "a step in which nothing counts has no number",
        {
            "iter(lambda: [*islice(batches, accumulate)], [])  # up": "(group for group in iter(lambda: [*islice(batches, accumulate)], []) if any([count_of(x, y) for x, y in group]))  # up"
        },
    ),
    Wrong(
        "a step in which nothing counts ends the epoch",
        {"            continue  # there is no mean": "            break  # there is no mean"},
    ),
    Wrong("what an objective counts are its samples", {"return _counted(self.criterion, x, y)": "return len(x)"}),
    Wrong(
        "a criterion must say what it counts",
        {'function.counted(y, **options) if hasattr(function, "counted") else len(x)': "function.counted(y, **options)"},
    ),
    Wrong("what counts are all positions", {'**options) if hasattr(function, "counted") else len(x)': "**options) and y.size"}),
    # accuracy and validation
    Wrong(
        "ignored targets are wrong answers",
        {"counts = labels != ignore_index": "counts = labels == labels"},
        says="ignored targets count",
    ),
    Wrong(
        "accuracy always ignores -100",
        {"counts = labels != ignore_index": "counts = labels != -100"},
        says="ignored targets count",
    ),
    Wrong("validation counts samples", {"if n := _counted(metric, x, y):": "if n := len(x):"}),
    Wrong(
        "validation of a partial metric counts samples",
        {"(mean.func, mean.keywords) if isinstance(mean, partial) else (mean, {})": "(mean, {})"},
    ),
    Wrong(
        "validation of a partial metric counts by the defaults",
        {"(mean.func, mean.keywords) if": "(mean.func, {}) if"},
    ),
    Wrong(
        "a metric that is a Module stays in train mode",
        {"([metric] if isinstance(metric, Module) else [])": "[]"},
    ),
    Wrong(
        "accuracy of one output is always 100%",
        {"scores.shape[-1] < 2": "scores.shape[-1] < 1"},
        says="bad input is let through",
    ),
    Wrong(
        "accuracy of targets (N, 1) compares all with all",
        {"if scores.shape[:-1] != labels.shape or ": "if "},
        says="bad input is let through",
    ),
    Wrong("accuracy counts", {"(scores.argmax(-1) == labels)[counts].mean()": "(scores.argmax(-1) == labels)[counts].sum()"}),
    Wrong(
        "accuracy along the first axis",
        {"scores.argmax(-1)": "scores.argmax(1)"},
    ),
    Wrong("everything is right", {"return float((scores.argmax(-1) == labels)[counts].mean())": "return 1.0"}),
    Wrong(
        "accuracy in percent",
        {"(scores.argmax(-1) == labels)[counts].mean()": "100 * (scores.argmax(-1) == labels)[counts].mean()"},
        says="percent",
    ),
    Wrong("accuracy of nothing is NaN", {"    if not counts.any():\n": "    if False:\n"}, says="bad input is let through"),
    Wrong("targets may be floats", {'if labels.dtype.kind not in "iu":': "if False:"}, says="bad input is let through"),
    Wrong("dropout is on in validation", {"        judge.eval()\n": "        pass\n"}),
    Wrong(
        "eval mode stays",
        {"            module.training = mode\n    if not counted": "            module.training = False\n    if not counted"},
    ),
    Wrong(
        "all modules are in train mode afterwards",
        {"            module.training = mode\n    if not counted": "            module.training = True\n    if not counted"},
    ),
    Wrong(
        "all modules get the outermost one's mode",
        {
            "            module.training = mode\n    if not counted": "            module.training = modes[0][1]\n    if not counted"
        },
    ),
    Wrong(
        "an error leaves eval mode",
        {
            "    try:\n        with no_grad():\n            for x, y in data:\n                if n": "    if True:\n        with no_grad():\n            for x, y in data:\n                if n",
            "    finally:\n        for module, mode in modes:\n            module.training = mode\n    if not": "    for module, mode in modes:\n        module.training = mode\n    if not",
        },
    ),
    Wrong("validation records", {"        with no_grad():\n": "        if True:\n"}),
    Wrong(
        "validation by batches",
        {
            "value.item() if isinstance(value, Tensor) else value) * n": "value.item() if isinstance(value, Tensor) else value)",
            "                    counted += n\n": "                    counted += 1\n",
        },
        says="the mean over batches",
    ),
    Wrong(
        "validation of the last batch",
        {
            "                    total += float(": "                    total = float(",
            "                    counted += n\n": "                    counted = n\n",
        },
        says="the last batch's",
    ),
    Wrong("the metric is ignored", {"value = metric(network(x), y)": "value = accuracy(network(x), y)"}),
    Wrong("a metric must be a Tensor", {"value.item() if isinstance(value, Tensor) else value": "value.item()"}),
    # schedules
    Wrong("a step early", {"gamma ** (step // step_size)": "gamma ** ((step + 1) // step_size)"}),
    Wrong("steps without a floor", {"gamma ** (step // step_size)": "gamma ** (step / step_size)"}),
    Wrong(
        "the warm-up wastes a step",
        {"return (step + 1) / (warmup_steps + 1)": "return step / warmup_steps"},
        says="the first step is wasted on a rate of 0",
    ),
    Wrong(
        "the top comes twice",
        {"return (step + 1) / (warmup_steps + 1)": "return (step + 1) / warmup_steps"},
        says="the top comes twice",
    ),
    Wrong(
        "the cosine does not begin at its top",
        {"(step - warmup_steps) / (total_steps - warmup_steps)": "step / total_steps"},
        says="the cosine does not begin at its top",
    ),
    Wrong("the cosine goes up again", {"math.cos(math.pi * min(share, 1.0))": "math.cos(math.pi * share)"}),
    Wrong(
        "a straight line",
        {
            "last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2": "last + (first - last) * (1 - min(share, 1.0))"
        },
        says="a straight line",
    ),
    Wrong("final is added", {"_cosine(1.0, final, (step": "final + _cosine(1.0, 0.0, (step"}, says="final is added"),
    Wrong(
        "one cycle has its top a step late",
        {"pct_start * total_steps - 1, total_steps - 1": "pct_start * total_steps, total_steps - 1"},
    ),
    Wrong("one cycle ends a step late", {"total_steps - 1, 1 / div_factor": "total_steps, 1 / div_factor"}),
    Wrong("one cycle ends where it began", {"start / final_div_factor": "start"}),
    Wrong(
        "a cycle with pct_start=1 is let through",
        {"0 <= pct_start < 1 and": "0 <= pct_start <= 1 and"},
        says="bad input is let through",
    ),
    Wrong(
        "a warm-up as long as all is let through",
        {"if not 0 <= warmup_steps < total_steps:": "if not 0 <= warmup_steps <= total_steps:"},
    ),
    Wrong(
        "a schedule that counts its calls",
        {
            "    return lambda step: gamma ** (step // step_size)": "    calls = count()\n    return lambda step: gamma ** (next(calls) // step_size)"
        },
    ),
    # early stopping
    Wrong("it stops a value late", {"return self.waited >= self.patience": "return self.waited > self.patience"}),
    Wrong("it stops a value early", {"return self.waited >= self.patience": "return self.waited >= self.patience - 1"}),
    Wrong("it counts all that did not improve", {"(float(value), 0) if better": "(float(value), self.waited) if better"}),
    Wrong(
        "it compares with the last",
        {"else (self.best, self.waited + 1)": "else (float(value), self.waited + 1)"},
    ),
    Wrong("an equal value is better", {"(value - self.best) > self.min_delta": "(value - self.best) >= self.min_delta"}),
    Wrong("min_delta is ignored", {"(value - self.best) > self.min_delta": "(value - self.best) > 0"}),
    Wrong(
        "min_delta is relative",
        {"(value - self.best) > self.min_delta": "(value - self.best) > self.min_delta * abs(self.best)"},
    ),
    Wrong("mode is ignored", {'1 if mode == "max" else -1': "1"}),
    Wrong(
        "NaN is an improvement",
        {
            "not math.isnan(value) and (self.best is None or self.sign * (value - self.best) > self.min_delta)": "self.best is None or not self.sign * (value - self.best) <= self.min_delta"
        },
    ),
    Wrong(
        "NaN does not count",
        {
            "        self.best, self.waited = (float": "        if math.isnan(value):\n            return False\n        self.best, self.waited = (float"
        },
    ),
    Wrong("the count is not saved", {'self.best, self.waited = state["best"], state["waited"]': 'self.best = state["best"]'}),
    Wrong("the state is itself", {'return {"best": self.best, "waited": self.waited}': "return self.__dict__"}),
    Wrong(
        "patience=0 is let through",
        {"if not (patience >= 1 and min_delta >= 0):": "if not (patience >= 0 and min_delta >= 0):"},
        says="bad input is let through",
    ),
    Wrong("any mode is let through", {'if mode not in ("max", "min"):': "if False:"}, says="bad input is let through"),
    # progress
    Wrong("it is drawn into files too", {" or not self.file.isatty():\n            return": ":\n            return"}),
    Wrong("it is drawn at every step", {"if now - self.drawn < 0.1 or not": "if not"}),
    Wrong("it is drawn once a second", {"self.drawn < 0.1": "self.drawn < 1.0"}),
    Wrong(
        "epochs of the earlier run are counted as fast ones",
        {
            "self.done - self.first + share:": "self.done + share:",
            "(self.epochs - self.first) / done - 1": "self.epochs / done - 1",
        },
    ),
    Wrong("the time left is of this epoch", {"(self.epochs - self.first) / done - 1": "1 / share - 1"}),
    Wrong("the time that has passed", {"(now - self.start) * ((self.epochs - self.first) / done - 1)": "now - self.start"}),
    Wrong("hours are minutes", {"if minutes >= 60 else": "if minutes >= 60_000 else"}),
    Wrong("0:5 for 0:05", {'else f"{minutes}:{seconds:02}"': 'else f"{minutes}:{seconds}"'}),
    Wrong("a long line wraps", {"line = line[: shutil.get_terminal_size().columns - 1]": "line = line"}),
    Wrong("a line as wide as the terminal", {"shutil.get_terminal_size().columns - 1]": "shutil.get_terminal_size().columns]"}),
    Wrong("a shorter line leaves the end of a longer one", {"line.ljust(self.width)": "line"}),
    Wrong("every drawing is a new line", {'self.file.write("\\r" + line.ljust(self.width))': 'self.file.write(line + "\\n")'}),
    Wrong(
        "what is drawn waits in the buffer",
        {
            'self.file.write("\\r" + line.ljust(self.width))\n        self.file.flush()\n': 'self.file.write("\\r" + line.ljust(self.width))\n'
        },
    ),
    Wrong(
        "finished lines wait in the buffer",
        {'self.file.write(line + "\\n")\n        self.file.flush()\n': 'self.file.write(line + "\\n")\n'},
    ),
    Wrong(
        "stdout is that of the import",
        {"def __init__(self, file=None, clock: Callable": "def __init__(self, file=sys.stdout, clock: Callable"},
    ),
    Wrong(
        "the metric is forgotten",
        {"self.done + 1, -math.inf, 0\n": "self.done + 1, -math.inf, 0\n        self.metric = None\n"},
    ),
    Wrong("epochs are shown from 0", {"epoch {self.done + 1}/": "epoch {self.done}/"}),
    Wrong("a run that goes on is shown from 1", {"= epochs, done, done, self.clock()": "= epochs, 0, 0, self.clock()"}),
    Wrong(
        "no validation is shown as None",
        {'"" if self.metric is None else f"  validation {self.metric:.4f}"': 'f"  validation {self.metric}"'},
    ),
    Wrong("progress counts steps for batches", {"done + len(together)\n": "done + 1\n"}),
    Wrong(
        "progress shows the last loss", {"progress.step(done / length, total / counted)": "progress.step(done / length, value)"}
    ),
    Wrong(
        "an epoch without validation shows none",
        {"self.metric = self.metric if metric is None else metric": "self.metric = metric"},
    ),
    Wrong("the last training's validation is shown", {"        if not done:\n": '        if not hasattr(self, "metric"):\n'}),
    Wrong("what goes on shows no validation", {"        if not done:\n": "        if True:\n"}),
    # checkpoints
    Wrong(
        "the file is written in place",
        {'temporary = path.with_name(f"{path.name}.tmp")': "temporary = path", "        os.replace(temporary, path)\n": ""},
    ),
    Wrong("an error leaves the temporary file", {"        temporary.unlink(missing_ok=True)\n": "        pass\n"}),
    Wrong("temporary files pile up", {'f"{path.name}.tmp"': 'f"{path.name}.{time.time_ns()}.tmp"'}),
    Wrong(
        "it is not synchronised with the disk",
        {"            os.fsync(file.fileno())\n": ""},
        says="expected a sync before the rename",
    ),
    Wrong(
        "it is synchronised after the rename",
        {
            "            os.fsync(file.fileno())\n": "",
            "        os.replace(temporary, path)\n": "        os.replace(temporary, path)\n        with path.open() as file:\n            os.fsync(file.fileno())\n",
        },
        says="expected a sync before the rename",
    ),
    Wrong(
        "the old file is removed first",
        {
            "        os.replace(temporary, path)\n": "        path.unlink(missing_ok=True)\n        os.replace(temporary, path)\n"
        },
    ),
    Wrong(
        "the old file is moved away first",
        {
            "        os.replace(temporary, path)\n": '        if path.exists():\n            os.replace(path, f"{path}.old")\n        os.replace(temporary, path)\n        Path(f"{path}.old").unlink(missing_ok=True)\n'
        },
    ),
    Wrong(
        "errors of the disk are hidden",
        {"        temporary.unlink(missing_ok=True)\n        raise\n": "        temporary.unlink(missing_ok=True)\n"},
    ),
    Wrong("the folder is not made", {"    path.parent.mkdir(parents=True, exist_ok=True)\n": ""}),
    Wrong(
        "there is no checksum",
        {'if metadata.get("checksum") != _checksum(text, tensors):': "if not text:"},
        says="bad input is let through",
    ),
    Wrong(
        "the checksum leaves the arrays out",
        {"zlib.crc32(tensors[name], zlib.crc32(name.encode(), result))": "zlib.crc32(name.encode(), result)"},
        says="bad input is let through",
    ),
    Wrong("the checksum leaves names out", {"zlib.crc32(name.encode(), result)": "result"}, says="another error came first"),
    Wrong(
        "a damaged file is a SafetensorError",
        {
            "    except SafetensorError as error:\n        raise ValueError(": "    except SafetensorError as error:\n        raise SafetensorError("
        },
        says="another error came first",
    ),
    Wrong(
        "a damaged file is nothing",
        {'        raise ValueError(f"{path} is no checkpoint, or a damaged one: {error}") from error\n': "        return {}\n"},
        says="bad input is let through",
    ),
    Wrong(
        "integer keys become text",
        {'keys = [_encoded(key, f"{name}\'s key", tensors) for key in value]': "keys = [str(key) for key in value]"},
    ),
    Wrong(
        "keys are sorted",
        {
            "    if isinstance(value, dict):\n        keys": "    if isinstance(value, dict):\n        value = {key: value[key] for key in sorted(value, key=str)}\n        keys"
        },
    ),
    Wrong("tuples become lists", {'items if isinstance(value, list) else {"tuple": items}': "items"}),
    Wrong("0-d arrays become numbers", {'"array" if isinstance(value, np.ndarray) else': '"array" if np.ndim(value) else'}),
    Wrong("NumPy's numbers become arrays", {'"array" if isinstance(value, np.ndarray) else "scalar"': '"array"'}),
    Wrong("transposed arrays are saved as they lie", {'np.asarray(value, native, order="C")': "np.asarray(value, native)"}),
    Wrong("the other byte order is not turned", {'np.asarray(value, native, order="C")': 'np.asarray(value, order="C")'}),
    Wrong(
        "arrays become float32",
        {
            'np.asarray(value, native, order="C")': 'np.asarray(value, np.float32 if value.dtype == np.float64 else native, order="C")'
        },
    ),
    Wrong(
        "floats lose digits",
        {
            "    if value is None or isinstance(value, bool | int | float | str):\n": '    if type(value) is float and math.isfinite(value):\n        return float(f"{value:.12g}")\n    if value is None or isinstance(value, bool | int | float | str):\n'
        },
    ),
    Wrong(
        "arrays of one name replace each other",
        {
            '        while name in tensors:  # the path to an array, {"a": {"b": …}} or {"a.b": …}\n            name += "\'"\n': ""
        },
    ),
    Wrong(
        "marks of the format are taken for the state",
        {
            '        return {"dict": [*zip(keys, items, strict=True)]}\n': '        if all([type(key) is str for key in keys]) and len(keys) == 1:\n            return dict(zip(keys, items))\n        return {"dict": [*zip(keys, items, strict=True)]}\n'
        },
    ),
    Wrong(
        "arrays are lists in the JSON",
        {
            '        tensors[name] = np.asarray(value, native, order="C")': '        return {"list": [str(native), np.asarray(value, native).tolist()]}',
            "    return tensors[content] if": '    if kind == "list":\n        return np.array(content[1], content[0])\n    return tensors[content] if',
        },
    ),
    Wrong(
        "it is pickled",
        {
            'save(tensors, {"state": text, "checksum": _checksum(text, tensors)})': '__import__("pickle").dumps(state)',
            "    from safetensors import SafetensorError, safe_open\n": '    return __import__("pickle").loads(Path(path).read_bytes())\n    from safetensors import SafetensorError, safe_open\n',
        },
    ),
    Wrong(
        "what JSON lacks is pickled",
        {
            "    raise TypeError(f\"a checkpoint can't hold": '    return {"pickle": __import__("pickle").dumps(value).hex()}\n    raise TypeError(f"a checkpoint can\'t hold'
        },
        says="bad input is let through",
    ),
    Wrong(
        "what JSON lacks becomes text",
        {
            "    raise TypeError(f\"a checkpoint can't hold": "    return str(value)\n    raise TypeError(f\"a checkpoint can't hold"
        },
        says="bad input is let through",
    ),
    Wrong("what can't be saved is not located", {"can't hold {name}, a": "can't hold a"}, says="is not named"),
    Wrong(
        "safetensors is imported with the module",
        {"import numpy as np\n": "import numpy as np\nimport safetensors.numpy\n"},
        says="safetensors is imported with katas.training",
    ),
    # the trainer
    Wrong("a Trainer that does nothing", {"while len(self.history) < epochs and": "while len(self.history) > epochs and"}),
    Wrong(
        "a Trainer that trains nothing",
        {
            "loss = train_epoch(self.model, self.optimizer, data, steps=steps, progress=self.progress, **self.options)": "loss = validate(self.network, data, self.model.criterion)"
        },
    ),
    Wrong("its options are ignored", {"progress=self.progress, **self.options)": "progress=self.progress)"}),
    Wrong(
        "the Trainer's schedule counts epochs",
        {"len(self.history) + 1, count(self.step)": "len(self.history) + 1, __import__('itertools').repeat(len(self.history))"},
    ),
    Wrong(
        "the schedule lags an epoch",
        {"        self.step = next(steps)\n": "        self.ahead, self.step = next(steps), getattr(self, 'ahead', 0)\n"},
    ),
    Wrong(
        "validation is of the training data",
        {"validate(self.network, validation, self.metric)": "validate(self.network, data, self.metric)"},
    ),
    Wrong(
        "validation comes before the epoch",
        {
            "        try:\n            loss = train_epoch(": "        metric = None if validation is None else validate(self.network, validation, self.metric)\n        try:\n            loss = train_epoch(",
            "        metric = None if validation is None else validate(self.network, validation, self.metric)\n        if self.stopping": "        if self.stopping",
        },
    ),
    Wrong(
        "the history has the base rate",
        {
            'lr, seconds = self.optimizer.param_groups[0]["lr"]': 'lr, seconds = self.optimizer.param_groups[0].get("initial_lr", 0.05)'
        },
    ),
    Wrong(
        "the step of NaN is the epoch's",
        {'raise FloatingPointError(f"epoch {epoch}, {error}") from None': "raise"},
        says="epoch 3 is not named",
    ),
    Wrong("patience has no effect", {"not (self.stopping is not None and self.stopping.stop)": "True"}),
    Wrong(
        "the last parameters stay",
        {"        if self.best is not None:\n            self.whole.load_state_dict(self.best)\n": ""},
        says="the last parameters",
    ),
    Wrong(
        "the best parameters are not copied",
        {
            "self.best = self.whole.state_dict()": "self.best = {name: parameter.data for name, parameter in self.whole.named_parameters()} | dict(self.whole.named_buffers())"
        },
        says="the last parameters",
    ),
    Wrong(
        "buffers do not go back",
        {"self.whole.load_state_dict(self.best)": "self.whole.load_state_dict(self.best | dict(self.whole.named_buffers()))"},
    ),
    Wrong(
        "the best is only kept when it stops early",
        {"        if self.best is not None:\n": "        if self.best is not None and self.stopping.stop:\n"},
        says="the last parameters",
    ),
    Wrong(
        "the best replace the last in the checkpoint",
        {
            "            self.whole.load_state_dict(self.best)\n": "            self.whole.load_state_dict(self.best)\n            if self.checkpoint is not None:\n                save_checkpoint(self.checkpoint, self._state(generators))\n"
        },
    ),
    Wrong(
        "more is better of a loss", {'"min" if isinstance(metric, Differentiable) else "max"': '"max"'}, says="it did not stop"
    ),
    Wrong("patience without validation is let through", {"if self.stopping is not None and validation is None:": "if False:"}),
    Wrong(
        "the objective is ignored",
        {
            "self.model = Objective(network, criterion) if objective is None else objective": "self.model = Objective(network, criterion)"
        },
    ),
    Wrong(
        "what the objective holds does not go back to the best",
        {
            "self.whole.load_state_dict(self.best)": 'self.network.load_state_dict({name[8:]: value for name, value in self.best.items() if name.startswith("network.")})'
        },
    ),
    # resuming
    Wrong(
        "what the objective holds is not saved",
        {"self.whole.network, self.whole.objective = network, self.model": "self.whole.network = network"},
    ),
    Wrong(
        "what the objective hides is not saved",
        {"self.whole.network, self.whole.objective = network, self.model": "self.whole.objective = self.model"},
    ),
    Wrong("the checkpoint is never read", {"            self._resume(generators)\n": "            pass\n"}),
    Wrong(
        "the checkpoint is never written",
        {"                save_checkpoint(self.checkpoint, self._state(generators))\n": "                pass\n"},
    ),
    Wrong(
        "the checkpoint is written at the end",
        {
            "            if self.checkpoint is not None:\n                save_checkpoint(self.checkpoint, self._state(generators))\n": "        if self.checkpoint is not None:\n            save_checkpoint(self.checkpoint, self._state(generators))\n"
        },
    ),
    Wrong(
        "a checkpoint every other epoch",
        {
            "            if self.checkpoint is not None:\n                save": "            if self.checkpoint is not None and len(self.history) % 2 == 0:\n                save"
        },
    ),
    Wrong(
        "a checkpoint in the middle of an epoch",
        {
            "            self._epoch(data, validation)\n": "            try:\n                self._epoch(data, validation)\n            except BaseException:\n                if self.checkpoint is not None:\n                    save_checkpoint(self.checkpoint, self._state(generators))\n                raise\n"
        },
    ),
    Wrong("Adam's moments are lost", {'            self.optimizer.load_state_dict(state["optimizer"])\n': ""}),
    Wrong("parameters are not restored", {'            self.whole.load_state_dict(state["model"])\n': ""}),
    Wrong(
        "buffers are not restored",
        {
            'self.whole.load_state_dict(state["model"])': 'self.whole.load_state_dict(state["model"] | dict(self.whole.named_buffers()))'
        },
    ),
    Wrong("the schedule begins anew", {'state["step"], state["history"]\n': '0, state["history"]\n'}),
    Wrong("the history begins anew", {'state["step"], state["history"]\n': 'state["step"], []\n'}),
    Wrong(
        "only this run's history is returned",
        {
            "        if self.progress is not None:\n            self.progress.begin(": "        begun = len(self.history)\n        if self.progress is not None:\n            self.progress.begin(",
            "return list(self.history)": "return self.history[begun:]",
        },
    ),
    Wrong(
        "epochs are counted anew",
        {
            "        while len(self.history) < epochs and": "        begun = len(self.history)\n        while len(self.history) - begun < epochs and"
        },
    ),
    Wrong("generators are not saved", {'_generators({"model": self.whole, "data": data, "validation": validation})': "{}"}),
    Wrong("generators are not restored", {'generator.bit_generator.state = state["generators"][name]': "pass"}),
    Wrong(
        "only the data's generator is saved",
        {'_generators({"model": self.whole, "data": data, "validation": validation})': '_generators({"data": data})'},
    ),
    Wrong(
        "only the network's generators are saved",
        {'_generators({"model": self.whole, "data": data, "validation": validation})': '_generators({"model": self.whole})'},
    ),
    Wrong("the generators of validation are forgotten", {', "validation": validation})': "})"}),
    Wrong(
        "generators in lists are forgotten",
        {"        if isinstance(value, list | tuple):\n            value = dict(enumerate(value))\n": ""},
    ),
    Wrong(
        "generators in dicts are forgotten",
        {"id(value) in seen or isinstance(": "id(value) in seen or (name and isinstance(value, dict)) or isinstance("},
    ),
    Wrong(
        "only modules' generators are found",
        {
            "isinstance(value, Tensor | type | ModuleType)": "not isinstance(value, Module | Batches | list | tuple | dict | np.random.Generator)"
        },
    ),
    Wrong(
        "a shared generator becomes two",
        {
            '                generator.bit_generator.state = state["generators"][name]\n': '                generator.bit_generator.state = state["generators"][name]\n            for module in self.network.modules():\n                if hasattr(module, "rng"):\n                    module.rng = __import__("copy").deepcopy(module.rng)\n'
        },
    ),
    Wrong("other generators are let through", {'if state["generators"].keys() != generators.keys():': "if False:"}),
    Wrong("patience begins anew", {'                self.stopping.load_state_dict(state["stopping"])\n': ""}),
    Wrong("the best parameters are forgotten", {'                self.best = state["best"]\n': ""}),
    Wrong(
        "patience that is gone still goes back",
        {
            '                self.best = state["best"]\n': "",
            'self.step, self.history = state["step"]': 'self.best = state["best"]\n            self.step, self.history = state["step"]',
        },
    ),
    Wrong(
        "a checkpoint that does not fit is passed over",
        {'raise ValueError(f"the checkpoint {self.checkpoint} does not fit: {error}; {remedy}") from error': "return"},
        says="bad input is let through",
    ),
    Wrong(
        "the checkpoint that does not fit has no name",
        {'f"the checkpoint {self.checkpoint} does not fit: {error}; {remedy}"': "str(error)"},
        says="is not named",
    ),
    Wrong("progress counts the epochs anew", {"self.progress.begin(epochs, len(self.history))": "self.progress.begin(epochs)"}),
    Wrong(
        "progress is not told of the end of an epoch",
        {"            self.progress.end_epoch(loss, metric, seconds)\n": "            pass\n"},
    ),
    # what the budgets are there to exclude
    Wrong(
        "an epoch is copied as a whole",
        {
            "        for start in range(0, len(self.x), self.batch_size):\n": "        x = self.x if order is None else self.x[order]\n        for start in range(0, len(self.x), self.batch_size):\n"
        },
        naive="test_an_epoch_copies_one_batch_at_a_time",
    ),
    Wrong(
        "one backward for all batches of a group",
        {
            "        optimizer.zero_grad()\n": "        optimizer.zero_grad()\n        whole = Tensor(0.0)\n",
            "loss.backward(np.asarray(n / size))": "whole = whole + loss * (n / size)",
            "        if clip_norm is not None:\n": "        whole.backward()\n        if clip_norm is not None:\n",
        },
        naive="test_accumulation_needs_the_room_of_one_batch",
    ),
    Wrong(
        "sample by sample",
        {
            "zip(together, counts, strict=True)": "[((x[i : i + 1], y[i : i + 1]), 1) for x, y in together for i in range(len(x))]"
        },
        naive="test_an_epoch_adds_little_to_its_steps",
    ),
    Wrong(
        "a Trainer that goes sample by sample",
        {
            "zip(together, counts, strict=True)": "[((x[i : i + 1], y[i : i + 1]), 1) for x, y in together for i in range(len(x))]"
        },
        naive="test_a_trainer_adds_little_to_the_loop",
    ),
    Wrong(
        "every step is drawn",
        {"        if now - self.drawn < 0.1 or not self.file.isatty():\n            return\n": ""},
        naive="test_steps_that_are_not_drawn_cost_next_to_nothing",
    ),
    Wrong(
        "two iterations share one order",
        {
            "order = None if self.rng is None else self.rng.permutation(len(self.x))": "self.order = None if self.rng is None else self.rng.permutation(len(self.x))",
            "if order is not None:": "if self.order is not None:",
            "chosen = order[chosen]": "chosen = self.order[chosen]",
        },
    ),
    Wrong("mean loss summed in float32", {"total += value * n": "total = total + loss.data * n"}),
    Wrong("clip_norm of zero not clipped", {"if clip_norm is not None:": "if clip_norm:"}),
    Wrong("minus infinity is finite", {"if not math.isfinite(value):": "if not value < math.inf:"}),
    Wrong(
        "base rate renewed each epoch",
        {
            "    for together, step in zip(groups, steps or count(), strict=False):": "    if steps is None:\n        for group in optimizer.param_groups:\n            group.pop('initial_lr', None)\n    for together, step in zip(groups, steps or count(), strict=False):"
        },
    ),
    Wrong("booleans are class indices", {'labels.dtype.kind not in "iu"': 'labels.dtype.kind not in "iub"'}),
    Wrong(
        "all negative targets left out",
        {"counts = labels != ignore_index": "counts = (labels != ignore_index) & (labels >= 0)"},
    ),
    Wrong(
        "Ctrl-C leaves eval mode",
        {
            "    finally:\n        for module, mode in modes:\n            module.training = mode\n": "    except Exception as reason:\n        error = reason\n    else:\n        error = None\n    for module, mode in modes:\n        module.training = mode\n    if error is not None:\n        raise error\n"
        },
    ),
    Wrong(
        "shared module stays in eval",
        {
            "    modes = [(module, module.training) for judge in judges for module in judge.modules()]\n    for judge in judges:\n        judge.eval()\n": "    modes = []\n    for judge in judges:\n        modes += [(module, module.training) for module in judge.modules()]\n        judge.eval()\n"
        },
    ),
    Wrong(
        "metric recorded in validation",
        {
            "with no_grad():": "if True:",
            "value = metric(network(x), y)": "value = metric(no_grad()(lambda x=x: network(x))(), y)",
        },
    ),
    Wrong("best of zero is none", {"(self.best is None or self.sign": "(not self.best or self.sign"}),
    Wrong(
        "validation of zero not shown",
        {"self.metric = self.metric if metric is None else metric": "self.metric = metric or self.metric"},
    ),
    Wrong(
        "fsync before anything is written",
        {"            file.write(content)\n            file.flush()\n": "            file.write(content)\n"},
    ),
    Wrong(
        "checksum of the first kilobytes",
        {"zlib.crc32(tensors[name], zlib.crc32(": "zlib.crc32(tensors[name].reshape(-1)[:4096], zlib.crc32("},
    ),
    Wrong(
        "file read in first fit only",
        {
            "if self.checkpoint is not None and self.checkpoint.exists():": "if self.checkpoint is not None and self.checkpoint.exists() and not self.history:"
        },
    ),
    Wrong(
        "generators in tuples are forgotten",
        {
            "        if isinstance(value, list | tuple):\n            value = dict": "        if isinstance(value, list):\n            value = dict"
        },
    ),
    Wrong(
        "temporary file elsewhere",
        {
            'temporary = path.with_name(f"{path.name}.tmp")': 'import tempfile\n    temporary = Path(tempfile.gettempdir(), f"{path.name}.tmp")'
        },
    ),
    Wrong(
        "temporary file by suffix", {'temporary = path.with_name(f"{path.name}.tmp")': 'temporary = path.with_suffix(".tmp")'}
    ),
    Wrong(
        "a dict that looks like a marker",
        {
            '        return {"dict": [*zip(keys, items, strict=True)]}': '        if all(isinstance(key, str) for key in value):\n            return dict(zip(keys, items, strict=True))\n        return {"dict": [*zip(keys, items, strict=True)]}',
            "    ((kind, content),) = value.items()\n": '    if len(value) != 1 or next(iter(value)) not in ("dict", "tuple", "array", "scalar"):\n        return {key: _decoded(item, tensors) for key, item in value.items()}\n    ((kind, content),) = value.items()\n',
        },
    ),
    Wrong(
        "batches in order are copies",
        {
            "yield Tensor(self.x[chosen]), Tensor(self.y[chosen])": "yield Tensor(self.x[chosen].copy()), Tensor(self.y[chosen].copy())"
        },
    ),
    Wrong(
        "a best epoch of metric 0",
        {
            "        if self.stopping is not None and self.stopping.update(metric):": "        if self.stopping is not None and metric and self.stopping.update(metric):"
        },
    ),
    Wrong(
        "lr of 0 is no base",
        {
            'group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(step)': 'group["lr"] = (group.get("initial_lr") or group.setdefault("initial_lr", group["lr"])) * (schedule(step) or 1)'
        },
    ),
    Wrong("schedule factor 0 is none", {"* schedule(step)\n": "* (schedule(step) or 1)\n"}),
    Wrong(
        "ignore_index of accuracy is fixed",
        {"    counts = labels != ignore_index\n": "    counts = (labels != ignore_index) & (labels != -100)\n"},
    ),
    Wrong(
        "patience changed later",
        {"return self.waited >= self.patience": 'return self.waited >= self.__dict__.setdefault("_p", self.patience)'},
    ),
    Wrong(
        "resume half-way",
        {
            '            self.whole.load_state_dict(state["model"])\n            for': '            self.step = state["step"]\n            self.whole.load_state_dict(state["model"])\n            for'
        },
    ),
    Wrong(
        "uint8 labels are signed",
        {"    counts = labels != ignore_index\n": "    counts = labels != np.asarray(ignore_index).astype(labels.dtype)\n"},
    ),
    Wrong(
        "accuracy counts NaN rows as right",
        {"scores.argmax(-1) == labels": "np.where(np.isnan(scores).any(-1), labels, scores.argmax(-1)) == labels"},
    ),
    Wrong(
        "the last of equal predictions",
        {"(scores.argmax(-1) == labels)": "(scores.shape[-1] - 1 - scores[..., ::-1].argmax(-1) == labels)"},
    ),
    Wrong(
        "begin keeps the epoch",
        {
            "self.epochs, self.done, self.first, self.start = epochs, done, done, self.clock()": 'self.epochs, self.done, self.first, self.start = epochs, done or getattr(self, "done", 0), done, self.clock()'
        },
    ),
    Wrong(
        "eval mode of the objective",
        {"    model.train()\n": '    model.network.train() if hasattr(model, "network") else model.train()\n'},
    ),
    Wrong(
        "min for Module losses only by name",
        {
            "isinstance(metric, Differentiable)": 'type(metric).__name__.endswith("Loss") and not type(metric).__name__.startswith("BCE")'
        },
    ),
    Wrong(
        "the shapes of empty arrays are not checked",
        {
            '        result = zlib.crc32(f"{tensors[name].dtype} {tensors[name].shape}".encode(), result)  # all that an empty array has\n': ""
        },
    ),
    Wrong("the caller's list is the Trainer's", {"return list(self.history)": "return self.history"}),
    Wrong(
        "a falsy objective is none",
        {"Objective(network, criterion) if objective is None else objective": "objective or Objective(network, criterion)"},
    ),
    Wrong(
        "a falsy metric is accuracy",
        {"self.metric, self.progress = metric, progress": "self.metric, self.progress = metric or accuracy, progress"},
    ),
    Wrong("a falsy schedule is none", {"        if schedule is not None:\n": "        if schedule:\n"}),
    Wrong(
        "no validation batches is no validation",
        {"metric = None if validation is None else validate": "metric = None if not validation else validate"},
    ),
    Wrong("a falsy file is stdout", {"sys.stdout if file is None else file": "file or sys.stdout"}),
    Wrong(
        "the rng of the first epoch",
        {
            "order = None if self.rng is None else self.rng.permutation(len(self.x))": 'self._rng = self.__dict__.get("_rng", self.rng)\n        order = None if self._rng is None else self._rng.permutation(len(self.x))'
        },
    ),
    Wrong(
        "min_delta changed later",
        {"(value - self.best) > self.min_delta)": '(value - self.best) > self.__dict__.setdefault("_d", self.min_delta))'},
    ),
    Wrong("a model that does not fit is half loaded", {'            self.whole.load_state_dict(before["model"])\n': ""}),
    Wrong(
        "generators that do not fit are half loaded",
        {'                generator.bit_generator.state = before["generators"][name]\n': "                pass\n"},
    ),
    Wrong(
        "an interrupted save leaves its file",
        {"    except BaseException:\n        temporary.unlink": "    except Exception:\n        temporary.unlink"},
    ),
    Wrong("one temporary name a folder", {'path.with_name(f"{path.name}.tmp")': 'path.with_name("checkpoint.tmp")'}),
    Wrong(
        "saving moves arrays into the byte order",
        {
            '        native = value.dtype.newbyteorder("=")\n': '        native = value.dtype.newbyteorder("=")\n        if isinstance(value, np.ndarray) and value.flags.writeable and native != value.dtype:\n            value.byteswap(True)\n            value = value.view(native)\n'
        },
    ),
    Wrong(
        "gamma 0 is the default",
        {
            "    return lambda step: gamma ** (step // step_size)": "    gamma = gamma or 0.1\n    return lambda step: gamma ** (step // step_size)"
        },
    ),
    Wrong("infinity is no value", {"better = not math.isnan(value)": "better = math.isfinite(value)"}),
    Wrong(
        "samples of a batch are sorted",
        {"chosen = order[chosen]  # a copy of one batch, not of all": "chosen = np.sort(order[chosen])"},
    ),
    Wrong(
        "a schedule for two groups only",
        {
            "            for group in optimizer.param_groups:  # the base lr": "            for group in optimizer.param_groups[:2]:  # the base lr"
        },
    ),
    Wrong(
        "initial_lr is removed after the epoch",
        {
            '    if not counted:\n        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")\n    return total / counted\n\n\ndef accuracy': '    if not counted:\n        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")\n    for group in optimizer.param_groups:\n        if schedule is None:\n            group.pop("initial_lr", None)\n    return total / counted\n\n\ndef accuracy'
        },
    ),
    Wrong("accuracy of float16 scores", {"scores.argmax(-1)": "scores.astype(np.float16).argmax(-1)"}),
    Wrong("accuracy of float32 scores", {"scores.argmax(-1)": "scores.astype(np.float32).argmax(-1)"}),
    Wrong(
        "warmup of one step",
        {"return (step + 1) / (warmup_steps + 1)": "return (step + 1) / max(2, warmup_steps + 1) if warmup_steps > 1 else 1.0"},
    ),
    Wrong(
        "validate leaves mode when empty",
        {
            '    if not counted:\n        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")\n    return total / counted\n\n\n# 08.3': '    if not counted:\n        network.eval()\n        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")\n    return total / counted\n\n\n# 08.3'
        },
    ),
    Wrong("rounding seconds down", {"divmod(round(seconds), 60)": "divmod(int(seconds), 60)"}),
    Wrong("percent floors", {"{share:4.0%}": "{int(100 * share):3d}%"}),
    Wrong("the bar rounds", {"'#' * int(20 * share)": "'#' * round(20 * share)"}),
    Wrong("the folder's fsync only", {"os.fsync(file.fileno())": "os.fsync(os.open(path.parent, os.O_RDONLY))"}),
    Wrong("True is 1 as a key", {"keys = [_encoded(key,": "keys = [int(key) if key is True else _encoded(key,"}),
    Wrong(
        "the objective's own network is validated",
        {
            "validate(self.network, validation, self.metric)": 'validate(self.model.network if hasattr(self.model, "network") else self.network, validation, self.metric)'
        },
    ),
    Wrong(
        "falsy rng is let through",
        {"if not isinstance(rng, np.random.Generator | None):": "if rng and not isinstance(rng, np.random.Generator | None):"},
    ),
    Wrong(
        "clips the model's gradients",
        {
            'clip_grad_norm([parameter for group in optimizer.param_groups for parameter in group["params"]], clip_norm)': "clip_grad_norm([*model.parameters()], clip_norm)"
        },
    ),
    Wrong(
        "width asked once",
        {
            "line[: shutil.get_terminal_size().columns - 1]": "line[: self.columns - 1]",
            "        self.drawn, self.width = -math.inf, 0\n": "        self.drawn, self.width = -math.inf, 0\n        self.columns = shutil.get_terminal_size().columns\n",
        },
    ),
    Wrong(
        "lines in files are cut",
        {
            'line = f"{self._numbers(loss)}  {_clock_time(seconds)}"': 'line = f"{self._numbers(loss)}  {_clock_time(seconds)}"[: shutil.get_terminal_size().columns - 1]'
        },
    ),
    Wrong("longdouble is no TypeError", {" and value.itemsize <= 8:": ":"}),
]
