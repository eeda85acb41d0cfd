"""Wrong solutions of kata 20, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

IDS = "        for number in sorted(set(range(size)) ^ vocab.keys()):\n"
ENDS = "        if self.end is not None and self.end not in self.tokenizer.special_tokens:\n"
AROUND = "                if not isinstance(around, list | tuple) or [*map(type, around)] != [str, str]:\n"
STRING = "                if not isinstance(role, str):\n"
IN_MESSAGE = '            for field in ("role", "content"):\n'
ASSISTANT = '            if "assistant" not in self.chat:\n'
ROLES = '            object.__setattr__(self, "chat", {role: tuple(around) for role, around in self.chat.items()})\n'
NO_CHAT = "        if self.chat is None:\n            raise ValueError"
ROLE = '            if message["role"] not in self.chat:\n'
TEMPLATE = '            before, after = (self.tokenizer.encode(text, special=True) for text in self.chat[message["role"]])\n'
MESSAGE = '            ids += before + self.tokenizer.encode(message["content"]) + after\n'
REPLY = '        return ids + self.tokenizer.encode(self.chat["assistant"][0], special=True)\n'
STATE = "        state = half_state(self.model.state_dict()) if half else self.model.state_dict()\n"
CHECKED = "        _check_arrays({name: (str(array.dtype), array.shape) for name, array in state.items()}, sizes)\n"
INFINITE = '(name.endswith("limits") or np.isfinite(array).all())'
RECOVERED = "            raise ValueError(f\"not finite: {', '.join(infinite)}\")\n        _recover(folder, old)\n"
OTHERS = "    if folder.exists() and not _replaceable(folder):\n"
FOREIGN = "        return FORMAT.encode() in (folder / CONFIG).read_bytes()\n    return not names\n"
WEIGHTS = '            _write(new / "model.safetensors", save({name: np.ascontiguousarray(array) for name, array in state.items()}))\n'
AWAY = "            if folder.exists():\n                os.rename(folder, old)\n            os.rename(new, folder)\n"
FAILED = "        except BaseException:\n            _recover(folder, old)\n            shutil.rmtree(new, ignore_errors=True)\n            raise\n"
DONE = "            raise\n        shutil.rmtree(old, ignore_errors=True)\n"
FALLBACK = '        if not folder.exists() and _beside(folder, "old").exists():'
REGULAR = "        for name in (CONFIG, *FILES):\n            _check_regular(folder / name)\n"
FACTS = 'if folder.joinpath(name).stat().st_size != claims["bytes"] or _facts(folder / name) != claims:'
LOADED = '                _check_arrays(found, config["sizes"])\n'
ACCELERATED = '            if config["accelerated"]:\n                accelerate(model)\n'
CAUGHT = "        except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:\n"
BACK = "    if old.exists() and not folder.exists():\n        os.rename(old, folder)\n"
SYNCED = "        file.flush()\n        os.fsync(file.fileno())\n"
CHECKSUM = "    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()\n"
LEXISTS = "    if not os.path.lexists(path):\n"
SIZE = "    if path.stat().st_size > CONFIG_BYTES:\n"
VERSIONS = '        if config["format"] != FORMAT or config["version"] != VERSION:\n'
NAMED = '        if sorted(config["files"]) != sorted(FILES):\n'
ALTERED = '        if config["checksum"] != _checksum(config):\n'
HEADS = "    heads = [block.attn.n_head for block in model.transformer.h]\n"
NEURONS = "    neurons = [block.mlp.c_fc.out_features for block in model.transformer.h]\n"
BLOCKS = "        if len(sizes[name]) != config.n_layer:\n"
LAYERS = "    if config.n_layer > len(found):  # so all that follows takes as long as the file is\n"
PARTS = "            if not _is_integer(value) or not 1 <= value <= most:\n"
KINDS = "            if type(config[name]) is not kind:\n"
HALF = '    floats = found.get(last, ("float32",))[0] if weights in _BITS else weights  # what is not quantized may be half\n'
LONG = 'is not None and length > LONGEST and config.positions != "learned":'
OTHER = "    others = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]\n"
FIELDS = '        for name, kind in (("name", str), ("accelerated", bool)):\n'
SHAPED = '    model = GPT(GPTConfig(**sizes["model"])).eval()\n'
PROMPT = '        object.__setattr__(self, "prompt", tuple(map(operator.index, self.prompt)))\n'
STOPS = "(self.stop,) if isinstance(self.stop, str) else tuple(self.stop)"
HOT = "0 <= self.temperature <= sys.float_info.max"
SHIFTED = "        p = logits.astype(np.float64) - logits.max(1, keepdims=True)\n"
DIVIDED = "        p /= np.where(greedy, 1, temperature)[:, None]\n"
CUT = "    cut = np.flatnonzero((top_p < 1) & ~greedy)\n"
BEST_FIRST = "        best = np.sort(tried, 1)[:, ::-1]\n"
COUNT = "        count = (before < (top_p[cut] * best.sum(1))[:, None]).sum(1, keepdims=True)\n"
TIES = "(np.cumsum(equal, 1) <= count - above.sum(1, keepdims=True))"
LEFT = "        p[cut] = np.where(kept, tried, 0)\n"
GREEDY = "    return np.where(greedy, logits.argmax(1), _first_above(p, draws))\n"
PADDED = "        p = np.pad(p, ((0, 0), (0, -p.shape[1] % _BLOCK)))\n"
SUMS = "    ends = np.cumsum(blocks @ np.ones(_BLOCK), 1)\n"
GOAL = "    goal = draws[:, None] * ends[:, -1:]\n"
BLOCK = "    block = (ends > goal).argmax(1)\n"
WITHIN = """    inside = np.cumsum(blocks[rows, block], 1)
    goal -= np.where(block > 0, ends[rows, block - 1], 0)[:, None]
"""
ROUNDED = (
    "    goal = np.minimum(goal, np.nextafter(inside[:, -1:], 0))  # the sum in another order may be smaller by rounding\n"
)
DRAWN = "    return _BLOCK * block + (inside > goal).argmax(1)\n"
LOGS = "    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)\n    return"
NONE = "    if top is None or logits is None:  # before the first token there are none\n        return Token(number)\n"
BEST = '    best = np.argsort(-logprobs, kind="stable")[:top] if top else ()\n'
TABLE = '        new, half = None if self._ids else self.texts.get(token.id), ""\n'
NEW = "            new, self._taken = text[self._taken :], len(text)\n"
WHOLE = "    return {number: text for number, text in texts.items() if text.encode() == tokenizer.vocab[number]}\n"
REACHES = "        self._tokens.append((token, self._seen + len(new) + bool(half)))\n"
FLUSHED = "        return self._passed(rest, final=True)\n"
FROM = "        for end in range(len(self._held) + 1, len(out) + 1) if self.stop else ():\n"
STOPPED = '                self.stopped, self._held, out = True, "", out[: end - max(map(len, found))]\n'
KEPT = "            kept = 0 if final else max([_opening(out, stop) for stop in self.stop], default=0)\n"
SENT = "        while self._tokens and self._tokens[0][1] <= self._sent:\n"
OPENING = "    lengths = range(min(len(stop) - 1, len(text)), 0, -1)\n"
SEED = "self.rng, self.stream = np.random.default_rng(request.seed), TextStream(tokenizer, request.stop, texts)"
LEAST = "            if not _is_integer(value) or value < least:\n"
EVAL = "        self.model, config = bundle.model.eval(), bundle.model.config\n"
ROOM = "        if (length := len(request.prompt) + request.max_tokens) > self.room:\n"
KNOWN = "            if not 0 <= number < size:\n"
FULL = "        if self.running + self.waiting >= self.rows + self.queue:\n"
RELEASED = "            self._cache.release(job.row)\n            heapq.heappush(self._free, job.row)\n"
WAITS = "        self._waiting.pop(number, None)\n"
FIRST = "            job = self._waiting.pop(next(iter(self._waiting)))\n"
READ = "            self._decode([job for job in self._running.values() if job.next is not None])\n"
READY = "        self._sample([job for job in self._running.values() if job.read == len(job.request.prompt)])\n"
TAKEN = (
    "        for job in jobs:  # now, so that no token is read twice whatever raises after this\n            job.next = None\n"
)
ALONE = "        if len(jobs) == 1:\n            jobs[0].logits = self._decoder.step([jobs[0].next], self._single[jobs[0].row])[0]\n"
REAL = "            ids[rows], real[rows] = [job.next for job in jobs], True\n"
ROW = "                job.logits = logits[job.row]\n"
SLICE = "            if part := job.request.prompt[job.read : job.read + room]:\n"
ECHOED = "                before = [job.logits, *logits[:-1]]  # the logits of each token of this part\n"
TOGETHER = "            while n < len(parts) and parts[n][0].row == first + n and len(parts[n][1]) == length:\n"
PASS = "zip(together, self._decoder.forward(ids, cache=cache).data, strict=True)"
LAST = "            job.logits, job.read = logits[-1], job.read + len(part)\n"
LESS = "                room -= len(part)\n"
NOTHING = """        for job in jobs:
            if job.request.max_tokens == 0:
                self._finish(job, "", (), "length")
"""
SETTINGS = "        settings = [(job.draw, job.request.temperature, job.request.top_p) for job in jobs]\n"
DRAW = "            job.next, job.made, job.draw = number, job.made + 1, job.rng.random()\n"
END = '                self._finish(job, *job.stream.flush(), "stop")\n                continue\n'
FLUSH = "                rest, others = job.stream.flush()\n                text, tokens = text + rest, tokens + others\n"
FINISH = '                self._finish(job, text, tokens, "stop" if job.stream.stopped else "length")\n'
SAYS = "            elif text or tokens:\n"
CLOSED = "        if self._closing or not self._thread.is_alive():\n"
OPEN = "        if len(self._open) >= self.engine.rows + self.engine.queue:\n"
ENDS_THREAD = "                if not self._inbox and not self._streams:\n                    return\n"
SLEEPS = "                while not (self._inbox or self._closing or self._streams):\n                    self._wake.wait()\n"
POP = "                    elif self._streams.pop(stream.number, None):\n                        self.engine.cancel(stream.number)\n"
ERROR = "            except BaseException as error:"
BEGUN = "        except Exception as error:  # nobody else's request fails\n"
NEXT = "        if self._over:\n            self._updates.put_nowait(None)  # another task may wait, too\n"
FAILS = "                for number in self._streams:\n                    self.engine.cancel(number)\n"
DISCARD = "                self._open.discard(stream)\n\n\nclass Stream"
DELIVER = "                self._loop.call_soon_threadsafe(self._deliver, news)\n"
WAITED = "        except asyncio.CancelledError:\n            self.cancel()\n            raise\n"
WOKEN = "        self._updates.put_nowait(None)  # for who waits for the next Update\n"
LEAVES = "    async def __aexit__(self, *exception) -> None:\n        self.cancel()\n"
POSTED = "            self._owner._open.discard(self)\n            self._owner._post(self, None)\n"
STUDENT = '        student = GPT(GPTConfig(tokenizer.vocab_size, **distill["model"]), rng)\n'
LONGER = """        if model.config.window is None and student.config.context > model.config.context:
            raise ValueError(f"distill can't be {distill!r}: the teacher's context is {model.config.context}")
"""
TENTH = "(text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :])"
PLAIN = "        return _plain(network)\n"
PER_BYTE = "_bits(model, others) / len(texts[1].encode())"
QUANTIZED = "        model = quantize(model, config.quantize)\n"
SAVED = "    bundle.save(folder, config.half)\n"
CHECKPOINTS = "    for checkpoint in checkpoints:\n        checkpoint.unlink()\n"
STRONGEST = "    return strongest(scores, max(1, round(len(scores) * (1 - prune))))\n"

TOO_SHORT = "    if len(others) < 2 or any(len(ids) <= network.config.context for network in networks):\n"
EXITS = "    except (OSError, TypeError, ValueError) as error:\n"
WRONG = [
    # 20.1
    Wrong("the tokenizer may have more ids", {IDS: "        for number in sorted(set(range(size)) - vocab.keys()):\n"}),
    Wrong("the model may have more ids", {IDS: "        for number in sorted(vocab.keys() - set(range(size))):\n"}),
    Wrong("any string is an end", {ENDS: "        if False:\n"}),
    Wrong("an empty end is none", {ENDS: "        if self.end and self.end not in self.tokenizer.special_tokens:\n"}),
    Wrong(
        "an ordinary token is an end",
        {ENDS: "        if self.end is not None and self.end.encode() not in self.tokenizer.vocab.values():\n"},
    ),
    Wrong("one text for a role", {AROUND: "                if not all(isinstance(text, str) for text in around):\n"}),
    Wrong("a role's texts may be anything", {AROUND: "                if len(around) != 2:\n"}),
    Wrong("two characters are two texts", {AROUND: AROUND.replace("not isinstance(around, list | tuple) or ", "")}),
    Wrong(
        "a role without texts is a TypeError",
        {AROUND: AROUND.replace("not isinstance(around, list | tuple)", "isinstance(around, str) or len(around) != 2")},
    ),
    Wrong(
        "an empty chat is none",
        {"        if self.chat is not None:\n            if not": "        if self.chat:\n            if not"},
    ),
    Wrong(
        "a chat that is a list is an AttributeError",
        {"            if not isinstance(self.chat, dict):\n": "            if False:\n"},
    ),
    Wrong("a role may be anything", {STRING: "                if False:\n"}),
    Wrong("a message may lack its role", {IN_MESSAGE: '            for field in ("content",):\n'}),
    Wrong("a message may lack its content", {IN_MESSAGE: '            for field in ("role",):\n'}),
    Wrong(
        "a message's role and content may be anything",
        {"                if not isinstance(message.get(field), str):\n": "                if field not in message:\n"},
    ),
    Wrong("a chat without an assistant", {ASSISTANT: "            if False:\n"}),
    Wrong("a chat is lists when it is loaded", {ROLES: ""}),
    Wrong("a chat of None has roles", {NO_CHAT: "        if False:\n            raise ValueError"}),
    Wrong("an unknown role is a KeyError", {ROLE: "            if False:\n"}),
    Wrong(
        "an unknown role is the user",
        {
            ROLE: '            if message["role"] not in self.chat:\n                message = {**message, "role": "user"}\n            if False:\n'
        },
    ),
    Wrong(
        "a message can forge a special token",
        {'encode(message["content"]) + after': 'encode(message["content"], special=True) + after'},
    ),
    Wrong("special tokens in the template are text", {TEMPLATE: TEMPLATE.replace(", special=True", "")}),
    Wrong("nothing after a message", {MESSAGE: MESSAGE.replace(" + after", "")}),
    Wrong("the assistant's turn does not begin", {REPLY: "        return ids\n"}),
    Wrong("half is forgotten", {STATE: "        state = self.model.state_dict()\n"}),
    Wrong("what can't be loaded is saved", {CHECKED: ""}),
    Wrong("NaN is saved", {INFINITE: "True"}),
    Wrong("infinity is saved", {INFINITE: '(name.endswith("limits") or not np.isnan(array).any())'}),
    Wrong("infinite limits are an error", {INFINITE: "np.isfinite(array).all()"}),
    Wrong("any folder is replaced", {OTHERS: "    if False:\n"}),
    Wrong(
        "a file is replaced",
        {'if folder.is_dir() else {""}': "if folder.is_dir() else set()"},
    ),
    Wrong(
        "a link is replaced by a folder",
        {
            "        folder = Path(folder).resolve()\n        new, old": "        folder = Path(folder).absolute()\n        new, old"
        },
    ),
    Wrong("an empty folder is not replaced", {FOREIGN: FOREIGN.replace("return not names", "return False")}),
    Wrong("another tool's folder is replaced", {FOREIGN: FOREIGN.replace("FORMAT.encode() in", "True or")}),
    Wrong("a part of a bundle is replaced", {FOREIGN: FOREIGN.replace("not names", "names <= {*FILES}")}),
    Wrong(
        "arrays are saved as they lie in memory",
        {WEIGHTS: WEIGHTS.replace("np.ascontiguousarray(array)", "array.T if array.ndim == 2 else array")},
    ),
    Wrong(
        "files are written into the folder itself",
        {
            'new, old = _beside(folder, "new"), _beside(folder, "old")': 'new, old = folder, _beside(folder, "old")',
            AWAY: "",
        },
    ),
    Wrong(
        "the old bundle is removed first",
        {AWAY: "            shutil.rmtree(folder, ignore_errors=True)\n            os.rename(new, folder)\n"},
    ),
    Wrong(
        "after an error the old bundle lies beside its place",
        {FAILED: FAILED.replace("            _recover(folder, old)\n", "")},
    ),
    Wrong(
        "after an error the new files stay",
        {FAILED: FAILED.replace("            shutil.rmtree(new, ignore_errors=True)\n", "")},
    ),
    Wrong("after Ctrl-C the new files stay", {FAILED: FAILED.replace("BaseException", "Exception")}),
    Wrong("errors are hidden", {FAILED: FAILED.replace("            raise\n", "            return\n")}),
    Wrong("the old bundle stays beside the new one", {DONE: "            raise\n"}),
    Wrong("between the renames there is none", {FALLBACK: "        if False:"}),
    Wrong("save forgets what was put aside", {BACK: ""}),
    Wrong(
        "the next save does not recover",
        {RECOVERED: RECOVERED.replace("        _recover(folder, old)\n", "        shutil.rmtree(old, ignore_errors=True)\n")},
    ),
    Wrong("files are not synced", {SYNCED: ""}),
    Wrong(
        "the config is not synced",
        {"            _write(new / CONFIG, content)\n": "            (new / CONFIG).write_bytes(content)\n"},
    ),
    Wrong("links are followed", {"not stat.S_ISREG(path.lstat().st_mode)": "not path.is_file()"}),
    Wrong("a pipe is read", {"not stat.S_ISREG(path.lstat().st_mode)": "path.is_symlink() or path.is_dir()"}),
    Wrong("only the config must be a regular file", {REGULAR: "        _check_regular(folder / CONFIG)\n"}),
    Wrong("a broken link is a missing file", {LEXISTS: "    if not path.exists():\n"}),
    Wrong("checksums of files are not compared", {FACTS: 'if folder.joinpath(name).stat().st_size != claims["bytes"]:'}),
    Wrong("bytes of files are not compared", {FACTS: 'if _facts(folder / name)["sha256"] != claims["sha256"]:'}),
    Wrong("sizes are believed", {LOADED: ""}),
    Wrong(
        "sizes are compared after the model was made",
        {
            LOADED: "",
            "                model.load_state_dict(": '                _check_arrays(found, config["sizes"])\n                model.load_state_dict(',
        },
    ),
    Wrong("the config of a bundle is not checked against its checksum", {ALTERED: "        if False:\n"}),
    Wrong("the checksum covers the sizes only", {CHECKSUM: CHECKSUM.replace("rest,", 'rest["sizes"],')}),
    Wrong("a config of any length is read", {SIZE: "    if False:\n"}),
    Wrong("a newer version is read", {VERSIONS: '        if config["format"] != FORMAT:\n'}),
    Wrong("an older version is read", {VERSIONS: '        if config["format"] != FORMAT or config["version"] > VERSION:\n'}),
    Wrong("any format is read", {VERSIONS: '        if config["version"] != VERSION:\n'}),
    Wrong("other files may be named", {NAMED: '        if not set(config["files"]) >= set(FILES):\n'}),
    Wrong("a file need not be named", {NAMED: '        if not set(config["files"]) <= set(FILES):\n'}),
    Wrong(
        "deep brackets end in a RecursionError",
        {"TypeError, ValueError, RecursionError) as error:": "TypeError, ValueError) as error:"},
    ),
    Wrong("a config that lacks something is a KeyError", {CAUGHT: CAUGHT.replace("KeyError, ", "")}),
    Wrong("accelerated is forgotten", {ACCELERATED: ""}),
    Wrong("every model is accelerated", {ACCELERATED: "            accelerate(model)\n"}),
    Wrong("the model is in train mode", {SHAPED: SHAPED.replace(".eval()", "")}),
    Wrong("all blocks have the heads of the config", {HEADS: "    heads = [model.config.n_head] * model.config.n_layer\n"}),
    Wrong(
        "all blocks have the neurons of the first",
        {NEURONS: "    neurons = [model.transformer.h[0].mlp.c_fc.out_features] * model.config.n_layer\n"},
    ),
    Wrong("other counts of blocks are seen too late", {BLOCKS: "        if False:\n"}),
    Wrong("as many layers as the config claims", {LAYERS: "    if False:\n"}),
    Wrong("heads and neurons may be anything", {PARTS: "            if False:\n"}),
    Wrong("a block without heads is loaded", {PARTS: PARTS.replace("1 <= value <= most", "0 <= value <= most")}),
    Wrong("heads and neurons have no upper bound", {PARTS: PARTS.replace("1 <= value <= most", "1 <= value")}),
    Wrong("True heads are one", {PARTS: PARTS.replace("_is_integer(value)", "isinstance(value, int)")}),
    Wrong("what config.json holds may be of any type", {KINDS: "            if False:\n"}),
    Wrong("a half quantized model can't be saved", {HALF: HALF.replace('found.get(last, ("float32",))[0]', '"float32"')}),
    Wrong("an error of the fields does not name the file", {"{folder / CONFIG} does not fit": "{folder} does not fit"}),
    Wrong("a context of any length", {'    for name in ("context", "window"):\n': '    for name in ("window",):\n'}),
    Wrong("a window of any length", {'    for name in ("context", "window"):\n': '    for name in ("context",):\n'}),
    Wrong("LONGEST itself is too long", {LONG: LONG.replace("> LONGEST", ">= LONGEST")}),
    Wrong(
        "dtypes are not compared",
        {
            OTHER: OTHER.replace(
                "wanted.get(name) != found.get(name)", "wanted.get(name, (0, 0))[1] != found.get(name, (0, 0))[1]"
            )
        },
    ),
    Wrong("further arrays are ignored", {OTHER: OTHER.replace("wanted.keys() | found.keys()", "wanted")}),
    Wrong("the name may be anything", {FIELDS: FIELDS.replace('("name", str), ', "")}),
    Wrong("accelerated may be anything", {FIELDS: FIELDS.replace(', ("accelerated", bool)', ",")}),
    Wrong(
        "an error in a cancel leaves those that were to begin",
        {
            "                asked = [stream for stream, request in posts if request is not None]\n": "                asked = []\n"
        },
    ),
    Wrong("a sinusoidal context of any length", {LONG: LONG.replace('!= "learned"', '== "rotary"')}),
    Wrong(
        "the checksum is of a file's beginning",
        {'hashlib.file_digest(file, "sha256").hexdigest()': "hashlib.sha256(file.read(1 << 16)).hexdigest()"},
    ),
    Wrong(
        "a bundle that is replaced while it is read is mixed",
        {"            if _read_config(folder / CONFIG) != config:\n": "            if False:\n"},
    ),
    # 20.2
    Wrong(
        "a prompt stays a list", {PROMPT: '        object.__setattr__(self, "prompt", [*map(operator.index, self.prompt)])\n'}
    ),
    Wrong("ids are truncated", {PROMPT: '        object.__setattr__(self, "prompt", tuple(map(int, self.prompt)))\n'}),
    Wrong("a stop string is its characters", {STOPS: "tuple(self.stop)"}),
    Wrong("an empty prompt", {'            ("prompt", len(self.prompt) > 0),\n': ""}),
    Wrong("an empty stop string", {"isinstance(text, str) and text for text": "isinstance(text, str) for text"}),
    Wrong(
        "max_tokens of 0 is refused",
        {"_is_integer(self.max_tokens) and self.max_tokens >= 0": "_is_integer(self.max_tokens) and self.max_tokens > 0"},
    ),
    Wrong("negative temperatures", {HOT: "self.temperature <= sys.float_info.max"}),
    Wrong("an infinite temperature", {HOT: "self.temperature >= 0"}),
    Wrong("an enormous integer is a temperature", {HOT: "0 <= self.temperature < math.inf"}),
    Wrong("a complex temperature is a TypeError", {"float | np.integer | np.floating)": "float | np.number)"}),
    Wrong("no stop strings are a TypeError", {"        if isinstance(self.stop, Iterable):\n": "        if True:\n"}),
    Wrong("top_p of 0", {"0 < self.top_p <= 1": "0 <= self.top_p <= 1"}),
    Wrong("top_p above 1", {"0 < self.top_p <= 1": "0 < self.top_p"}),
    Wrong("a negative seed is noticed later", {"(_is_integer(self.seed) and self.seed >= 0)": "_is_integer(self.seed)"}),
    Wrong(
        "a seed of 0 is none",
        {
            "self.seed is None or (_is_integer(self.seed) and self.seed >= 0)": "not self.seed or (_is_integer(self.seed) and self.seed >= 0)"
        },
    ),
    Wrong("any number of logprobs", {"0 <= self.logprobs <= 5": "0 <= self.logprobs"}),
    Wrong(
        "True is an integer",
        {
            "    return isinstance(value, int | np.integer) and not isinstance(value, bool)\n": "    return isinstance(value, int | np.integer)\n"
        },
    ),
    # 20.3
    Wrong("argmax whatever the temperature", {GREEDY: "    return logits.argmax(1)\n"}),
    Wrong("the largest probability, not the largest logit", {GREEDY: GREEDY.replace("logits.argmax", "p.argmax")}),
    Wrong("one row's top_p cuts all rows", {CUT: "    cut = np.arange(len(p) if (top_p < 1).any() else 0)\n"}),
    Wrong("temperature 0 draws", {GREEDY: "    return _first_above(p, draws)\n"}),
    Wrong(
        "of several largest logits the last",
        {GREEDY: GREEDY.replace("logits.argmax(1)", "logits.shape[1] - 1 - logits[:, ::-1].argmax(1)")},
    ),
    Wrong("the temperature multiplies", {DIVIDED: DIVIDED.replace("/=", "*=")}),
    Wrong("the first row's temperature for all", {DIVIDED: DIVIDED.replace("[:, None]", "[:1, None]")}),
    Wrong(
        "a warning at tiny temperatures", {'    with np.errstate(over="ignore"):  # of tiny temperatures\n': "    if True:\n"}
    ),
    Wrong("no maximum is subtracted", {SHIFTED: "        p = logits.astype(np.float64)\n"}),
    Wrong("the maximum of all rows is subtracted", {SHIFTED: SHIFTED.replace("logits.max(1, keepdims=True)", "logits.max()")}),
    Wrong("sums in float32", {SUMS: "    ends = np.cumsum(blocks.sum(2), 1, dtype=np.float32)\n"}),
    Wrong(
        "the most probable ids come first in the sum",
        {
            GREEDY: '    by = np.argsort(-p, 1, kind="stable")\n    ids = np.take_along_axis(by, _first_above(np.take_along_axis(p, by, 1), draws)[:, None], 1)[:, 0]\n    return np.where(greedy, logits.argmax(1), ids)\n'
        },
    ),
    Wrong("a draw at a boundary takes the id before it", {BLOCK: BLOCK.replace(">", ">="), DRAWN: DRAWN.replace(">", ">=")}),
    Wrong("a draw at the boundary of two blocks takes the id before it", {BLOCK: BLOCK.replace(">", ">=")}),
    Wrong("a draw at a boundary within a block takes the id before it", {DRAWN: DRAWN.replace(">", ">=")}),
    Wrong("the sum is not normalized", {GOAL: "    goal = draws[:, None] + 0 * ends[:, -1:]\n"}),
    Wrong("the sum is that of the first row", {GOAL: GOAL.replace("ends[:, -1:]", "ends[:1, -1:]")}),
    Wrong("one draw for all rows", {GOAL: GOAL.replace("draws[:, None]", "draws[:1, None]")}),
    Wrong(
        "ids behind the last whole block are never drawn",
        {PADDED: PADDED + "        p = p[:, : max(_BLOCK, p.shape[1] - _BLOCK)]\n"},
    ),
    Wrong(
        "a block of zeros stands before the ids",
        {PADDED: PADDED.replace("(0, -p.shape[1] % _BLOCK)", "(-p.shape[1] % _BLOCK, 0)")},
    ),
    Wrong(
        "each block's sum begins at 0",
        {WITHIN: WITHIN.replace("goal -=", "goal = goal +").replace("ends[rows, block - 1]", "0")},
    ),
    Wrong("a block's own sum is before it", {WITHIN: WITHIN.replace("block - 1", "block")}),
    Wrong(
        "the first block has all before it",
        {WITHIN: WITHIN.replace("np.where(block > 0, ends[rows, block - 1], 0)", "ends[rows, block - 1]")},
    ),
    Wrong("where the sum of a block is rounded up its first id is drawn", {ROUNDED: ""}),
    Wrong(
        "an id of probability 0 that a block begins with is drawn",
        {
            WITHIN: "    inside = blocks[rows, block]\n    inside[:, 0] += np.where(block > 0, ends[rows, block - 1], 0)\n    inside = np.cumsum(inside, 1)\n"
        },
    ),
    Wrong("top_p is ignored", {CUT: "    cut = np.flatnonzero(top_p < 0)\n"}),
    Wrong(
        "top_p counts before the temperature",
        {
            BEST_FIRST: "        drawn, tried = tried, np.exp(logits[cut].astype(np.float64) - logits[cut].max(1, keepdims=True))\n"
            + BEST_FIRST,
            LEFT: LEFT.replace("np.where(kept, tried, 0)", "np.where(kept, drawn, 0)"),
        },
    ),
    Wrong(
        "top_p leaves out the id that reaches it",
        {COUNT: COUNT.replace("(before <", "(before + best <") + "        count = np.maximum(count, 1)\n"},
    ),
    Wrong("top_p keeps one id more", {COUNT: COUNT + "        count = np.minimum(count + 1, p.shape[1])\n"}),
    Wrong("a sum that is top_p exactly does not reach it", {COUNT: COUNT.replace("before <", "before <=")}),
    Wrong("top_p is a part of 1, not of the sum", {COUNT: COUNT.replace("(top_p[cut] * best.sum(1))", "top_p[cut]")}),
    Wrong(
        "of equally probable ids top_p keeps the last",
        {TIES: TIES.replace("np.cumsum(equal, 1)", "np.cumsum(equal[:, ::-1], 1)[:, ::-1]")},
    ),
    Wrong("of equally probable ids top_p keeps all", {TIES: "equal"}),
    Wrong(
        "of equally probable ids top_p keeps as many as it keeps in all",
        {TIES: TIES.replace("count - above.sum(1, keepdims=True)", "count")},
    ),
    Wrong(
        "top_p's ids are left in the order of probability",
        {LEFT: "        p[cut] = np.where(np.arange(p.shape[1]) < count, best, 0)\n"},
    ),
    Wrong(
        "top_p of all rows is the first's", {"(top_p[cut] * best.sum(1))[:, None]": "(top_p[cut[:1]] * best.sum(1))[:, None]"}
    ),
    Wrong(
        "logits are changed",
        {
            SHIFTED: SHIFTED.replace("logits.astype(np.float64)", "logits.astype(np.float64, copy=False)")
            .replace("p = ", "p = np.subtract(")
            .replace(
                " - logits.max(1, keepdims=True)\n",
                ", logits.max(1, keepdims=True), logits if logits.dtype == np.float64 else None)\n",
            )
        },
    ),
    Wrong(
        "a loop over rows and ids",
        {SUMS: "    ends = np.cumsum(np.array([[sum(block) for block in row] for row in blocks.tolist()]), 1)\n"},
        naive="test_a_row_takes_no_python_loop",
    ),
    Wrong("log_softmax overflows", {LOGS: "    shifted = logits.astype(np.float64)\n    return"}),
    Wrong(
        "log-probabilities are taken as they are",
        {LOGS: "    if np.array_equal(np.exp(logits).sum(-1), np.ones(logits.shape[:-1])):\n        return logits\n" + LOGS},
    ),
    Wrong("log_softmax in float32", {LOGS: "    shifted = logits - logits.max(-1, keepdims=True)\n    return"}),
    Wrong(
        "probabilities for log-probabilities",
        {LOGS: LOGS.replace("    return", "    return np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)\n    return")},
        says="probabilities",
    ),
    # 20.4
    Wrong(
        "each token is decoded by itself",
        {NEW: "            text, half = self.tokenizer.decode([token.id]), ''\n            new = text\n"},
    ),
    Wrong("half characters are sent at once", {NEW: "            text, half = text + half, ''\n" + NEW}),
    Wrong("text of unfinished characters comes twice", {NEW: "            new = text\n"}),
    Wrong("the table is asked amid a character", {TABLE: TABLE.replace("None if self._ids else ", "")}),
    Wrong(
        "what the table has is part of no stop string",
        {
            TABLE: TABLE
            + "        if new and not self._held:\n            self._seen, self._sent = self._seen + len(new), self._sent + len(new)\n            return new, (token,)\n"
        },
    ),
    Wrong("halves of characters are in the table", {WHOLE: "    return texts\n"}),
    Wrong(
        "halves of characters are U+FFFD in the table",
        {
            WHOLE: WHOLE.replace(" if text.encode() == tokenizer.vocab[number]", ""),
            'token.decode(errors="ignore")': 'token.decode(errors="replace")',
        },
    ),
    Wrong(
        "special tokens are nothing in the table",
        {WHOLE: WHOLE.replace("{number: text for", '{number: "" if number in tokenizer.special_tokens.values() else text for')},
    ),
    Wrong("a token with half a character does not wait", {REACHES: REACHES.replace(" + bool(half)", "")}),
    Wrong("a second flush repeats half a character", {"        self._ids, self._taken = [], 0\n" + FLUSHED: FLUSHED}),
    Wrong("the end loses half a character", {FLUSHED: '        return self._passed("", final=True)\n'}),
    Wrong(
        "the stop string that begins first",
        {
            FROM
            + "            if found := [stop for stop in self.stop if out.endswith(stop, 0, end)]:\n"
            + STOPPED: "        for start in range(len(out)):\n"
            "            if any(out.startswith(stop, start) for stop in self.stop):\n"
            '                self.stopped, self._held, out = True, "", out[:start]\n'
        },
    ),
    Wrong("the end holds back", {KEPT: KEPT.replace("0 if final else ", "")}),
    Wrong("nothing is held back", {KEPT: "            kept = 0\n"}),
    Wrong(
        "as much as the longest stop string is held back",
        {
            KEPT: KEPT.replace(
                "max([_opening(out, stop) for stop in self.stop], default=0)",
                "min(len(out), max(map(len, self.stop), default=1) - 1)",
            )
        },
    ),
    Wrong(
        "what one stop string may become is held back",
        {
            KEPT: KEPT.replace(
                "max([_opening(out, stop) for stop in self.stop], default=0)", "_opening(out, self.stop[0]) if self.stop else 0"
            )
        },
    ),
    Wrong("the shortest beginning is held back", {OPENING: "    lengths = range(1, min(len(stop) - 1, len(text)) + 1)\n"}),
    Wrong(
        "stop strings are looked for in what was sent last",
        {
            "        out = self._held + new\n        for": "        out = self._held + new\n        self._held = self._held[:0] if False else self._held\n        for",
            FROM: "        for end in [len(out)] if new else []:\n",
        },
    ),
    Wrong("the stop string itself is sent", {STOPPED: STOPPED.replace("out[: end - max(map(len, found))]", "out[:end]")}),
    Wrong("of stop strings that end together the shortest counts", {STOPPED: STOPPED.replace("max(", "min(")}),
    Wrong(
        "the first stop string of the list counts",
        {
            FROM: '        for stop in self.stop if any(stop in out for stop in self.stop) else ():\n            if stop in out:\n                self.stopped, self._held, out = True, "", out[: out.index(stop)]\n                self._sent += len(out)\n                return out, ()\n'
            + FROM
        },
    ),
    Wrong(
        "tokens of a stop string are returned",
        {SENT: "        while self._tokens and (self.stopped or self._tokens[0][1] <= self._sent):\n"},
    ),
    Wrong("tokens are returned at once", {SENT: "        while self._tokens:\n"}),
    Wrong(
        "tokens lose their log-probabilities",
        {
            "            tokens.append(self._tokens.popleft()[0])\n": "            tokens.append(Token(self._tokens.popleft()[0].id))\n"
        },
    ),
    Wrong("after a stop string the text goes on", {'        if self.stopped:\n            return "", ()\n': ""}),
    Wrong("a stop string is not noticed", {STOPPED: STOPPED.replace("True", "False")}),
    # 20.5
    Wrong("one seed for all", {SEED: SEED.replace("request.seed", "0")}),
    Wrong("a seed of 0 is a fresh one", {SEED: SEED.replace("request.seed", "request.seed or None")}),
    Wrong(
        "one generator for all",
        {
            SEED: SEED.replace("np.random.default_rng(request.seed)", "_SHARED"),
            "class _Job:\n": "_SHARED = np.random.default_rng(0)\n\n\nclass _Job:\n",
        },
    ),
    Wrong("stop strings are ignored", {SEED: SEED.replace("request.stop", "()")}),
    Wrong(
        "a stop string in the end is overlooked",
        {FINISH: '                self._finish(job, text, tokens, "length" if full else "stop")\n'},
    ),
    Wrong("a row keeps its former tenant's keys", {RELEASED: "            heapq.heappush(self._free, job.row)\n"}),
    Wrong("a row is never free again", {RELEASED: "            self._cache.release(job.row)\n"}),
    Wrong("a row may be freed twice", {RELEASED: RELEASED + "            heapq.heappush(self._free, job.row)\n"}),
    Wrong("all rows are emptied", {RELEASED: RELEASED.replace("self._cache.release(job.row)", "self._cache.truncate(0)")}),
    Wrong("rows are exchanged", {ROW: "                job.logits = logits[self.rows - 1 - job.row]\n"}),
    Wrong(
        "a row that leaves shifts the others",
        {REAL: "            ids[rows], real[: len(rows)] = [job.next for job in jobs], True\n"},
    ),
    Wrong(
        "waiting rows are filled too",
        {
            "            logits = self._decoder.step(ids, self._first[max(rows)], real)\n": "            logits = self._decoder.step(ids, self._first[max(rows)])\n"
        },
    ),
    Wrong(
        "each request has a step of the decoder",
        {
            ALONE: "        if True:\n            for job in jobs:\n                job.logits = self._decoder.step([job.next], self._single[job.row])[0]\n"
        },
    ),
    Wrong("sizes are not checked", {LEAST: "            if False:\n"}),
    Wrong("no queue is a size that is too small", {'("queue", queue, 0)': '("queue", queue, 1)'}),
    Wrong("the model stays in train mode", {EVAL: "        self.model, config = bundle.model, bundle.model.config\n"}),
    Wrong(
        "a prompt may be as long as the context, whatever follows",
        {ROOM: "        if (length := len(request.prompt)) > self.room:\n"},
    ),
    Wrong("the context is too short by one", {ROOM: ROOM.replace("> self.room", ">= self.room")}),
    Wrong(
        "a window limits the text",
        {"        self.room = math.inf if config.window else config.context\n": "        self.room = config.context\n"},
    ),
    Wrong("id -1 is the last one", {KNOWN: "            if not number < size:\n"}),
    Wrong("ids are not checked", {KNOWN: "            if False:\n"}),
    Wrong("the queue is not bounded", {FULL: "        if False:\n"}),
    Wrong("the queue holds one more", {FULL: FULL.replace(">=", ">")}),
    Wrong("only those that wait count", {FULL: "        if self.waiting >= self.queue:\n"}),
    Wrong("a waiting request can't be cancelled", {WAITS: ""}),
    Wrong("last come, first served", {FIRST: "            job = self._waiting.pop(next(reversed(self._waiting)))\n"}),
    Wrong(
        "after an error a token is read twice",
        {TAKEN: ""},
    ),
    Wrong(
        "after an error a draw is lost",
        {
            SETTINGS: SETTINGS.replace("job.draw", "job.rng.random()"),
            DRAW: DRAW.replace("job.rng.random()", "None"),
            "        self.draw = self.rng.random()  # for the token after it\n": "",
        },
    ),
    Wrong(
        "after an error an echo is lost",
        {
            "        with no_grad():\n            self._read()\n": "        self._updates = []\n        with no_grad():\n            self._read()\n"
        },
    ),
    Wrong(
        "after an error a cancelled request is told of",
        {"        self._updates = [update for update in self._updates if update.number != number]\n": ""},
    ),
    Wrong("prompts are read as a whole", {SLICE: "            if part := job.request.prompt[job.read :]:\n"}),
    Wrong("each prompt has a slice", {LESS: ""}),
    Wrong("one prompt a step", {LESS: "                room = 0\n"}),
    Wrong(
        "the youngest prompt is read first",
        {
            "        for job in self._running.values():\n            if part": "        for job in reversed(self._running.values()):\n            if part"
        },
    ),
    Wrong(
        "the others wait while prompts are read",
        {
            READ: "            if all(job.read == len(job.request.prompt) for job in self._running.values()):\n    " + READ,
        },
    ),
    Wrong("echoed log-probabilities are those of the next token", {ECHOED: "                before = [*logits]\n"}),
    Wrong(
        "each slice of an echo begins without a log-probability", {ECHOED: "                before = [None, *logits[:-1]]\n"}
    ),
    Wrong(
        "an echo comes without text",
        {"                text = self.bundle.tokenizer.decode(job.request.prompt)\n": '                text = ""\n'},
    ),
    Wrong(
        "an echo comes with each slice",
        {"            if job.request.echo and job.read == len(job.request.prompt):\n": "            if job.request.echo:\n"},
    ),
    Wrong("each prompt has a pass of its own", {TOGETHER: "            while False:\n"}),
    Wrong("rows that are not side by side share a pass", {TOGETHER: TOGETHER.replace("parts[n][0].row == first + n and ", "")}),
    Wrong("prompts read together are exchanged", {PASS: PASS.replace(".data,", ".data[::-1],")}),
    Wrong("prompts read together have the first one's logits", {PASS: PASS.replace(".data,", ".data[[0] * n],")}),
    Wrong("prompts are read into the first rows", {"self._cache.row(first, n)\n": "self._cache.row(0, n)\n"}),
    Wrong("the logits after a part's first token", {LAST: LAST.replace("logits[-1]", "logits[0]")}),
    Wrong("no tokens are one token", {NOTHING: "", "if job.request.max_tokens > 0]": "]"}),
    Wrong(
        "rows that are done draw for nobody",
        {SETTINGS: "        settings = [(jobs[0].rng.random(), job.request.temperature, job.request.top_p) for job in jobs]\n"},
    ),
    Wrong(
        "the temperature of the first for all",
        {SETTINGS: SETTINGS.replace("job.request.temperature", "jobs[0].request.temperature")},
    ),
    Wrong("two draws a token", {DRAW: DRAW.replace("job.rng.random()", "job.rng.random(2)[1]")}),
    Wrong("the end token is text", {"            if number == self._end:\n": "            if False:\n"}),
    Wrong(
        "every special token is an end",
        {
            "        self._end = None if bundle.end is None else bundle.tokenizer.special_tokens[bundle.end]\n": "        self._end = next(iter(bundle.tokenizer.special_tokens.values()))\n"
        },
    ),
    Wrong(
        "the end loses what was held back",
        {END: '                self._finish(job, "", (), "stop")\n                continue\n'},
    ),
    Wrong(
        "made counts what is returned",
        {"Update(job.number, text, tokens, finish, job.made)": "Update(job.number, text, tokens, finish, len(tokens))"},
    ),
    Wrong(
        "made is told at the end",
        {"Update(job.number, text, tokens, None, job.made)": "Update(job.number, text, tokens, None, 0)"},
    ),
    Wrong("the end counts", {END: "                job.made += 1\n" + END}),
    Wrong("the end is a length", {END: END.replace('"stop"', '"length"')}),
    Wrong("max_tokens loses what was held back", {"if full and not job.stream.stopped:": "if False:"}),
    Wrong(
        "max_tokens loses the tokens that were held back",
        {
            FLUSH: FLUSH.replace(
                "text, tokens = text + rest, tokens + others", "text = text + rest + ''.join('' for _ in others)"
            )
        },
    ),
    Wrong(
        "one token too many",
        {"            full = job.made == job.request.max_tokens\n": "            full = job.made > job.request.max_tokens\n"},
    ),
    Wrong("updates that say nothing", {SAYS: "            else:\n"}),
    Wrong("text waits for tokens", {SAYS: "            elif tokens:\n"}),
    Wrong(
        "log-probabilities after the temperature",
        {
            "_token(number, job.logits, job.request.logprobs)": "_token(number, job.logits / max(job.request.temperature, 1e-9), job.request.logprobs)"
        },
    ),
    Wrong(
        "without logprobs they are told", {NONE: "    if logits is None:\n        return Token(number)\n    top = top or 0\n"}
    ),
    Wrong("log-probabilities without their ids", {BEST: BEST.replace("[:top] if top else ()", "[: top + 1]")}),
    Wrong(
        "of equally probable ids the last is told",
        {BEST: '    best = np.argsort(logprobs, kind="stable")[::-1][:top] if top else ()\n'},
    ),
    Wrong(
        "finished requests are kept",
        {
            "        self._leave(job.number)\n        self._updates": "        self._leave(job.number)\n        self.__dict__.setdefault('done', []).append(job)\n        self._updates"
        },
    ),
    Wrong(
        "the last free row is taken first",
        {"heapq.heappop(self._free)  # the first, so that a step needs few rows": "self._free.pop()"},
    ),
    Wrong(
        "a step computes all rows",
        {
            "np.zeros(max(rows) + 1, np.int64), np.zeros(max(rows) + 1, bool)": "np.zeros(self.rows, np.int64), np.zeros(self.rows, bool)",
            "self._first[max(rows)], real)": "self._cache, real)",
        },
    ),
    Wrong(
        "numbers are rows",
        {
            "            job.row = heapq.heappop(self._free)  # the first, so that a step needs few rows\n": "            job.row = job.number % self.rows\n            heapq.heappop(self._free)\n"
        },
    ),
    # 20.6
    Wrong(
        "all services have one engine",
        {"        self.engine = engine\n        self._open": "        type(self).engine = engine\n        self._open"},
    ),
    Wrong("submit after close", {CLOSED: "        if not self._thread.is_alive():\n"}),
    Wrong("a service that was not started accepts", {CLOSED: "        if self._closing:\n"}),
    Wrong("the service's queue is not bounded", {OPEN: "        if False:\n"}),
    Wrong("the service's queue forgets the rows", {OPEN: "        if len(self._open) >= self.engine.queue:\n"}),
    Wrong("close drops requests", {ENDS_THREAD: "                if self._closing:\n                    return\n"}),
    Wrong("the thread does not sleep", {SLEEPS: ""}),
    Wrong(
        "cancelled streams run on",
        {POP: "                    elif self._streams.pop(stream.number, None):\n                        pass\n"},
    ),
    Wrong("an error ends the thread", {ERROR: "            except ZeroDivisionError as error:"}),
    Wrong("what is no Exception ends the thread", {ERROR: "            except Exception as error:"}),
    Wrong(
        "an error of the engine's submit ends the thread",
        {BEGUN: BEGUN.replace("Exception", "ZeroDivisionError"), ERROR: "            except ZeroDivisionError as error:"},
    ),
    Wrong("an error of the engine's submit fails all", {BEGUN: BEGUN.replace("Exception", "ZeroDivisionError")}),
    Wrong(
        "other requests of the engine are an error",
        {"self._streams.get(update.number), update)": "self._streams[update.number], update)"},
    ),
    Wrong("one of two tasks waits on at the end", {NEXT: "        if self._over and update is None:\n            pass\n"}),
    Wrong(
        "an update comes after cancel",
        {"        ended, self._over = self._over,": "        ended, self._over = update is None,"},
    ),
    Wrong(
        "a service that was not started can't be closed",
        {"        if self._thread.is_alive():\n            await": "        if True:\n            await"},
    ),
    Wrong("after close a request is checked first", {CLOSED: "        self.engine.check(request)\n" + CLOSED}),
    Wrong("after an error the rows stay taken", {FAILS: ""}),
    Wrong("a finished stream keeps its place", {DISCARD: "                pass\n\n\nclass Stream"}),
    Wrong("updates are put by the engine's thread", {DELIVER: "                self._deliver(news)\n"}),
    Wrong(
        "a cancelled task leaves its request running", {WAITED: "        except asyncio.CancelledError:\n            raise\n"}
    ),
    Wrong("who waits is not woken", {WOKEN: ""}),
    Wrong("leaving does not cancel", {LEAVES: "    async def __aexit__(self, *exception) -> None:\n        pass\n"}),
    Wrong(
        "leaving cancels after an error only",
        {LEAVES: "    async def __aexit__(self, *exception) -> None:\n        if exception[0]:\n            self.cancel()\n"},
    ),
    Wrong("a cancelled stream keeps its place", {POSTED: "            self._owner._post(self, None)\n"}),
    Wrong("the engine is not told of a cancel", {POSTED: "            self._owner._open.discard(self)\n"}),
    Wrong(
        "cancel is done by the event loop",
        {POSTED: "            self._owner._open.discard(self)\n            self._owner.engine.cancel(self.number)\n"},
    ),
    Wrong(
        "requests are checked by the thread",
        {"        self.engine.check(request)\n        if len(self._open)": "        if len(self._open)"},
    ),
    # 20.7
    Wrong("the last tenth is trained on", {TENTH: "(text, text[len(text) * 9 // 10 :])"}),
    Wrong("what was trained on judges", {TENTH: "(text[: len(text) * 9 // 10], text)"}),
    Wrong("bits of a token", {PER_BYTE: "_bits(model, others) / len(others)"}),
    Wrong("bits of a character", {PER_BYTE: "_bits(model, others) / len(texts[1])"}),
    Wrong("nats", {"    return total / math.log(2)\n": "    return total\n"}),
    Wrong("END in the text is ordinary text", {"tokenizer.encode(part, special=True)": "tokenizer.encode(part)"}),
    Wrong(
        "nothing is trained", {"    Trainer(network, None, optimizer, objective=objective, **options).fit(data, epochs)\n": ""}
    ),
    Wrong(
        "the student learns nothing",
        {'        model = train("distill", student, objective, distill["train"])\n': "        model = student\n"},
    ),
    Wrong(
        "the student has no teacher",
        {
            "        objective = Distillation(student, model, criterion=CrossEntropyLoss())\n": "        objective = Objective(student, CrossEntropyLoss())\n"
        },
    ),
    Wrong("speed is guessed", {"    return made / min(seconds)\n": "    return 1000.0\n"}),
    Wrong("speed is guessed, and low", {"    return made / min(seconds)\n": "    return 50.0\n"}),
    Wrong(
        "an epoch is the whole text",
        {
            "        chosen = self.rng.integers(0, len(self.windows), self.steps * self.batch_size)\n": "        chosen = self.rng.permutation(len(self.windows))\n"
        },
    ),
    Wrong("quantize is forgotten", {QUANTIZED: "        quantize(model, config.quantize)\n"}),
    Wrong("always 8 bits", {QUANTIZED: "        model = quantize(model)\n"}),
    Wrong("half is forgotten by build", {SAVED: "    bundle.save(folder)\n"}),
    Wrong("the bundle is not saved", {SAVED: ""}),
    Wrong("checkpoints stay", {CHECKPOINTS: ""}),
    Wrong(
        "no checkpoint",
        {
            '"checkpoint": checkpoint}': '"checkpoint": None}',
            "        checkpoint.unlink()\n": "        checkpoint.unlink(missing_ok=True)\n",
        },
    ),
    Wrong("a checkpoint of another config is resumed", {'f"{name}-{mark}"': "name"}),
    Wrong("a checkpoint of another teacher is resumed", {"trained = [start,": "trained = [config.model,"}),
    Wrong("prune may be of any type", {"(_is_number(config.prune) and 0 < config.prune < 1)": "(0 < config.prune < 1)"}),
    Wrong(
        "a config that is never read is written", {"            if len(content) > CONFIG_BYTES:\n": "            if False:\n"}
    ),
    Wrong("a checkpoint of another text is resumed", {"config.seed, text]": "config.seed]"}),
    Wrong("False is a stage", {"    config = dataclasses.replace(config, **absent)\n": ""}),
    Wrong(
        "the chat of a loaded bundle is dropped",
        {"chat = loaded.chat if config.chat is None else config.chat": "chat = config.chat"},
    ),
    Wrong(
        "the name of a loaded bundle is dropped",
        {"name = loaded.name if config.name is None else": 'name = "gpt" if config.name is None else'},
    ),
    Wrong(
        "an empty name is none",
        {"config.name is None else config.name\n        chat": "not config.name else config.name\n        chat"},
    ),
    Wrong(
        "the name of a loaded bundle stays",
        {"name = loaded.name if config.name is None else config.name": "name = loaded.name"},
    ),
    Wrong(
        "options of the training are checked when it begins",
        {"isinstance(config.model, str) or _has(config.train, _TRAIN)": "True"},
    ),
    Wrong("options may be of any type", {"isinstance(options, dict) and set(options)": "set(options)"}),
    Wrong(
        "options of the student are checked after the teacher",
        {'_has(distill["train"], _TRAIN)': "True"},
    ),
    Wrong(
        "the student's shape is checked after the teacher",
        {
            "    if distill is not None:\n" + STUDENT + LONGER: "",
            "*([] if distill is None else [student])]": "]",
            "        objective = Distillation": STUDENT + "        objective = Distillation",
        },
    ),
    Wrong("progress is forgotten", {'"progress": progress, ': ""}),
    Wrong("the weakest are kept", {STRONGEST: "    return strongest(-scores, max(1, round(len(scores) * (1 - prune))))\n"}),
    Wrong("the fraction that is kept", {STRONGEST: "    return strongest(scores, max(1, round(len(scores) * prune)))\n"}),
    Wrong("the last head may go", {STRONGEST: "    return strongest(scores, round(len(scores) * (1 - prune)))\n"}),
    Wrong(
        "heads are not pruned", {"            prune_heads(block.attn, _strongest(head_scores(block.attn), config.prune))\n": ""}
    ),
    Wrong(
        "neurons are not pruned",
        {
            "            prune_units(block.mlp, block.mlp.c_fc, _strongest(unit_scores(block.mlp, block.mlp.c_fc), config.prune))\n": ""
        },
    ),
    Wrong(
        "a stage tells what was before it",
        {
            "        stages.append(Stage(name, nbytes, ": "        stages.append(Stage(name, stages[-1].nbytes if stages else nbytes, "
        },
    ),
    Wrong("stages are not told", {"        tell(stages[-1])\n": ""}),
    Wrong("the seed is ignored", {"np.random.default_rng(config.seed)": "np.random.default_rng(0)"}),
    Wrong("a loaded bundle gets another end", {"loaded.tokenizer, loaded.end, _plain": "loaded.tokenizer, None, _plain"}),
    Wrong("a loaded model is not made plain", {"loaded.end, _plain(loaded.model)": "loaded.end, loaded.model"}),
    Wrong("cache measures without a cache", {'        done("cache", lambda': '        done("cache") or (lambda'}),
    Wrong("the chat is forgotten", {"end, chat, bool(config.accelerate))": "end, None, bool(config.accelerate))"}),
    Wrong("accelerate is always told", {"end, chat, bool(config.accelerate))": "end, chat, True)"}),
    Wrong("everything may be pruned", {"0 < config.prune < 1": "0 < config.prune <= 1"}),
    Wrong("nothing may be pruned", {"0 < config.prune < 1": "0 <= config.prune < 1"}),
    Wrong("bits are checked after the training", {"config.quantize in (None, *_BITS.values())": "True"}),
    Wrong(
        "the folder is checked after the training",
        {"Path(folder).resolve()\n    _check_place(folder)\n": "Path(folder).resolve()\n"},
    ),
    Wrong(
        "the chat is checked after the training",
        {"    Bundle(model, tokenizer, name, end, chat)  # a mistake in chat shall not show after an hour of training\n": ""},
    ),
    Wrong(
        "a student's context may be longer than its teacher's",
        {LONGER: ""},
    ),
    Wrong("a student without a model is a KeyError", {'_has(distill, {"model", "train"})': "isinstance(distill, dict)"}),
    Wrong(
        "an empty distill is none",
        {
            '("distill", "prune", "quantize") if getattr(config, name) is False': '("distill", "prune", "quantize") if not getattr(config, name)'
        },
    ),
    Wrong("a text may be empty", {TOO_SHORT: "    if False:\n"}),
    Wrong("nothing needs to be left to judge by", {TOO_SHORT: TOO_SHORT.replace("len(others) < 2 or ", "")}),
    Wrong("one token judges", {TOO_SHORT: TOO_SHORT.replace("len(others) < 2", "len(others) < 1")}),
    Wrong("nothing needs to be there to learn from", {TOO_SHORT: "    if len(others) < 2:\n"}),
    Wrong("as many tokens as the context are enough", {TOO_SHORT: TOO_SHORT.replace("<= network", "< network")}),
    Wrong("the student's context is not looked at", {"*([] if distill is None else [student])]": "]"}),
    Wrong(
        "what a loaded bundle would have been trained with is checked",
        {"isinstance(config.model, str) or _has(config.train, _TRAIN)": "_has(config.train, _TRAIN)"},
    ),
    # 20.9
    Wrong(
        "stop is ignored",
        {'("max_tokens", "temperature", "top_p", "seed", "stop")': '("max_tokens", "temperature", "top_p", "seed")'},
    ),
    Wrong(
        "top-p is ignored",
        {'("max_tokens", "temperature", "top_p", "seed", "stop")': '("max_tokens", "temperature", "seed", "stop")'},
    ),
    Wrong(
        "the text comes at the end",
        {
            '            print(update.text, end="", flush=True)\n    print()\n': '            text = locals().get("text", "") + update.text\n    print(text)\n'
        },
    ),
    Wrong("parts are not flushed", {'end="", flush=True)': 'end="")'}),
    Wrong("a traceback for a missing file", {EXITS: EXITS.replace("OSError, ", "")}),
    Wrong("a traceback for a bad value", {EXITS: EXITS.replace(", ValueError", "")}),
    Wrong("a traceback for an unknown field", {EXITS: EXITS.replace("TypeError, ", "")}),
    Wrong(
        "a prompt may hold special tokens",
        {"bundle.tokenizer.encode(options.prompt)": "bundle.tokenizer.encode(options.prompt, special=True)"},
    ),
    Wrong("status 0 after an error", {"        parser.exit(1, f": "        parser.exit(0, f"}),
    Wrong("build shows no epochs", {"build(config, options.folder, Progress())": "build(config, options.folder)"}),
    Wrong(
        "what the assistant said may hold special tokens",
        {
            'self.tokenizer.encode(message["content"])': 'self.tokenizer.encode(message["content"], special=message["role"] == "assistant")'
        },
    ),
    Wrong(
        "an old bundle is looked for beside the link",
        {
            "folder = Path(folder).resolve()\n        if not folder.exists()": "folder = Path(folder)\n        if not folder.exists()"
        },
    ),
    Wrong(
        "any format is replaced", {"return FORMAT.encode() in (folder / CONFIG)": "return b'\"format\"' in (folder / CONFIG)"}
    ),
    Wrong(
        "a checksum of other letters",
        {"json.dumps(rest, sort_keys=True)": "json.dumps(rest, sort_keys=True, ensure_ascii=False)"},
    ),
    Wrong("any falsy logprobs are none", {"self.logprobs is None or (": "not self.logprobs or ("}),
    Wrong("a tiny temperature is 0", {"greedy = temperature == 0": "greedy = temperature < 1e-6"}),
    Wrong(
        "an end in a step that raises is lost",
        {
            "        with no_grad():\n            self._read()\n": "        self._updates = [update for update in self._updates if update.finish is None]\n        with no_grad():\n            self._read()\n"
        },
    ),
    Wrong(
        "an error leaves the service open",
        {
            "async def __aexit__(self, *exception) -> None:\n        await self.close()": "async def __aexit__(self, *exception) -> None:\n        if exception[0] is None:\n            await self.close()"
        },
    ),
    Wrong(
        "checkpoints are removed before the bundle is saved",
        {
            "    bundle.save(folder, config.half)\n    for checkpoint in checkpoints:\n        checkpoint.unlink()\n": "    for checkpoint in checkpoints:\n        checkpoint.unlink()\n    bundle.save(folder, config.half)\n"
        },
    ),
    Wrong(
        "generate takes a seed of 0 for none",
        {
            "engine = Engine(bundle, rows=1, slice=bundle.model.config.context)": 'settings["seed"] = options.seed or None\n    engine = Engine(bundle, rows=1, slice=bundle.model.config.context)'
        },
    ),
    Wrong(
        "stage counts half bytes of disk",
        {
            "        nbytes = sum(array.nbytes for array in model.state_dict().values())": "        state = model.state_dict()\n        nbytes = sum(array.nbytes for array in (half_state(state) if config.half else state).values())"
        },
    ),
    Wrong(
        "accelerate None fails after training",
        {
            "Bundle(model, tokenizer, name, end, chat, bool(config.accelerate))": "Bundle(model, tokenizer, name, end, chat, config.accelerate)"
        },
    ),
    Wrong(
        "chat_ids strips the content",
        {'self.tokenizer.encode(message["content"])': 'self.tokenizer.encode(message["content"].strip())'},
    ),
    Wrong(
        "chat_ids refuses an empty content",
        {
            "if not isinstance(message.get(field), str):": "if not message.get(field) or not isinstance(message.get(field), str):"
        },
    ),
    Wrong(
        "hidden files are not seen",
        {
            "{path.name for path in folder.iterdir()}": '{path.name for path in folder.iterdir() if not path.name.startswith(".")}'
        },
    ),
    Wrong("4 bits of odd columns refused", {"(rows, -(-columns // 2))": "(rows, columns // 2)"}),
    Wrong(
        "hash of the first megabyte",
        {'hashlib.file_digest(file, "sha256").hexdigest()': "hashlib.sha256(file.read(1 << 20)).hexdigest()"},
    ),
    Wrong(
        "config of exactly CONFIG_BYTES refused", {"path.stat().st_size > CONFIG_BYTES": "path.stat().st_size >= CONFIG_BYTES"}
    ),
    Wrong(
        "seed of 32 bits only",
        {
            "np.random.default_rng(request.seed)": "np.random.default_rng(None if request.seed is None else int(request.seed) % 2**32)"
        },
    ),
    Wrong(
        "temperature is at least 1e-6",
        {"np.where(greedy, 1, temperature)": "np.where(greedy, 1, np.maximum(temperature, 1e-6))"},
    ),
    Wrong("echo forgets logprobs=0", {"_token(*pair, job.request.logprobs)": "_token(*pair, job.request.logprobs or None)"}),
    Wrong(
        "the student's window excuses it",
        {
            "if model.config.window is None and student.config.context": "if student.config.window is None and student.config.context"
        },
    ),
    Wrong(
        "loaded teacher's context judges text",
        {"networks = [*([] if isinstance(config.model, str) else [model]), ": "networks = [model, "},
    ),
    Wrong(
        "loaded bundle's student learns all",
        {
            "_fit(network, objective, ids, rng, progress, checkpoints[-1], **options)": "_fit(network, objective, np.concatenate([ids, others]) if isinstance(config.model, str) else ids, rng, progress, checkpoints[-1], **options)"
        },
    ),
    Wrong("free rows popped, not heap-popped", {"heapq.heappop(self._free)": "self._free.pop(0)"}),
    Wrong("half character after a stop", {"        if self.stopped:\n": "        if self.stopped and not final:\n"}),
    Wrong(
        "stopping push returns no tokens",
        {
            "while self._tokens and self._tokens[0][1] <= self._sent:": "while self._tokens and not self.stopped and self._tokens[0][1] <= self._sent:"
        },
    ),
    Wrong(
        "maximum subtracted in float32",
        {
            "p = logits.astype(np.float64) - logits.max(1, keepdims=True)": "p = (logits - logits.max(1, keepdims=True)).astype(np.float64)"
        },
    ),
    Wrong(
        "top_p orders by logits",
        {
            "kept = above | (equal & (np.cumsum(equal, 1) <= count - above.sum(1, keepdims=True)))": 'kept = np.argsort(np.argsort(-logits[cut], 1, kind="stable"), 1) < count'
        },
    ),
    Wrong(
        "refused requests take numbers",
        {
            "        self.check(request)\n        if self.running + self.waiting": "        number = next(self._numbers)\n        self.check(request)\n        if self.running + self.waiting",
            "job = _Job(next(self._numbers), request,": "job = _Job(number, request,",
        },
    ),
    # 20.8: what is asked
    Wrong("true is 1 where it asks for nothing", {" and isinstance(value, bool) == isinstance(other, bool)": ""}),
    Wrong("an empty key is one", {" for key in keys if key]": " for key in keys]"}),
    Wrong(
        "a path with a slash behind is redirected",
        {"served.router.redirect_slashes = False, False": "served.extra = False, False"},
    ),
    Wrong(
        "max_tokens is ignored",
        {
            '    SETTINGS = ("max_tokens", "temperature", "top_p", "seed", "stop", "echo", "logprobs")\n': '    SETTINGS = ("temperature", "top_p", "seed", "stop", "echo", "logprobs")\n'
        },
    ),
    Wrong(
        "top_p is not the request's",
        {
            '"temperature", "top_p", "seed", "stop", "echo", "logprobs")\n    MARK': '"temperature", "seed", "stop", "echo", "logprobs")\n    MARK'
        },
    ),
    Wrong(
        "the seed is not the request's",
        {'"top_p", "seed", "stop", "echo", "logprobs")\n    MARK': '"top_p", "stop", "echo", "logprobs")\n    MARK'},
    ),
    Wrong(
        "stop is not the request's", {'"seed", "stop", "echo", "logprobs")\n    MARK': '"seed", "echo", "logprobs")\n    MARK'}
    ),
    Wrong("echo is not the request's", {'"stop", "echo", "logprobs")\n    MARK': '"stop", "logprobs")\n    MARK'}),
    Wrong("a completion has no end by default", {"    LENGTH = 16  #": "    LENGTH = None  #"}),
    Wrong("a message has sixteen tokens by default", {"    LENGTH = None  # as far as": "    LENGTH = 16  # as far as"}),
    Wrong("all choices have the same seed", {"None if seed is None else seed + choice": "seed"}),
    Wrong("choices without a seed are the same", {"None if seed is None else seed + choice": "(seed or 0) + choice"}),
    Wrong(
        "seeds go on from prompt to prompt",
        {
            "self._request(ids, choice, **settings) for ids in rows for choice in range(n)": "self._request(ids, p * n + choice, **settings) for p, ids in enumerate(rows) for choice in range(n)"
        },
    ),
    Wrong(
        "all prompts' first choices come first",
        {"for ids in rows for choice in range(n)": "for choice in range(n) for ids in rows"},
    ),
    Wrong(
        "null is a value",
        {"self.fields = {name: value for name, value in fields.items() if value is not None}": "self.fields = dict(fields)"},
    ),
    Wrong(
        "a client can write special tokens",
        {"return self.bundle.tokenizer.encode(prompt)": "return self.bundle.tokenizer.encode(prompt, special=True)"},
    ),
    Wrong(
        "max_completion_tokens is ignored", {'SETTINGS = ("max_tokens", "max_completion_tokens",': 'SETTINGS = ("max_tokens",'}
    ),
    Wrong(
        "a chat's max_tokens counts first",
        {'SETTINGS = ("max_tokens", "max_completion_tokens",': 'SETTINGS = ("max_completion_tokens", "max_tokens",'},
    ),
    Wrong(
        "a message goes on after its end",
        {'            settings["stop"] = (*settings.get("stop", ()), after)\n': "            pass\n"},
    ),
    Wrong(
        "the template's stop replaces the request's",
        {'settings["stop"] = (*settings.get("stop", ()), after)': 'settings["stop"] = (after,)'},
    ),
    Wrong("three stops at most", {'len(settings.get("stop", ())) > 4': 'len(settings.get("stop", ())) > 3'}),
    Wrong("stops without a limit", {'len(settings.get("stop", ())) > 4': "False"}),
    Wrong(
        "other fields are ignored",
        {"not (name in _NEUTRAL and _same(value, _NEUTRAL[name]))": "name in _NEUTRAL and value != _NEUTRAL[name]"},
    ),
    Wrong(
        "fields that ask for nothing are refused",
        {
            "if name not in self.FIELDS and not (name in _NEUTRAL and _same(value, _NEUTRAL[name])):": "if name not in self.FIELDS:"
        },
    ),
    Wrong(
        "best_of is taken and ignored",
        {
            "not (name in _NEUTRAL and _same(value, _NEUTRAL[name]))": 'name != "best_of" and (name not in _NEUTRAL or value != _NEUTRAL[name])'
        },
    ),
    Wrong("types are not checked", {"if self.FIELDS.get(name) and type(value) not in self.FIELDS[name]:": "if False:"}),
    Wrong("true is an integer", {"type(value) not in self.FIELDS[name]:": "not isinstance(value, tuple(self.FIELDS[name])):"}),
    Wrong(
        "true is an id",
        {
            "isinstance(given, str) or all(type(item) is int for item in given)": "isinstance(given, str) or all(isinstance(item, int) for item in given)",
            "not all(type(item) is int for item in prompt)": "not all(isinstance(item, int) for item in prompt)",
        },
    ),
    Wrong(
        "any model is this one",
        {'        if self.fields["model"] != self.bundle.name:\n': '        if not self.fields["model"]:\n'},
    ),
    Wrong(
        "a model by another case",
        {
            '        if self.fields["model"] != self.bundle.name:\n': '        if self.fields["model"].lower() != self.bundle.name:\n'
        },
    ),
    Wrong(
        "a request without a model",
        {
            '        for name in ("model", self.SOURCE):\n': '        self.fields.setdefault("model", self.bundle.name)\n        for name in ("model", self.SOURCE):\n'
        },
    ),
    Wrong("n is as large as a client likes", {"n < 1 or n * len(prompts) > places": "n < 1"}),
    Wrong("only rows count as places", {"engine.rows + engine.queue\n        if n": "engine.rows\n        if n"}),
    Wrong("no choices", {"n < 1 or n *": "n *"}),
    Wrong(
        "errors do not name the field",
        {"raise _Refusal(400, str(error), param) from error": "raise _Refusal(400, str(error)) from error"},
    ),
    Wrong("errors name the engine's field", {"            with _blaming(name):\n": "            with _blaming(argument):\n"}),
    Wrong(
        "half a character is a fault",
        {
            "    except ValueError as error:\n        raise _Refusal(400, str(error), param)": "    except ValueError as error:\n        if isinstance(error, UnicodeError):\n            raise\n        raise _Refusal(400, str(error), param)"
        },
    ),
    Wrong("a message repeats all that was sent", {"message[:500]": "message"}),
    Wrong(
        "the engine says what is too long",
        {'        if settings["max_tokens"] > room:\n            raise self._too_long()\n': ""},
    ),
    Wrong(
        "the last token of the context is not used", {'if settings["max_tokens"] > room:': 'if settings["max_tokens"] >= room:'}
    ),
    Wrong("tokens is no limit", {"min(tokens, engine.room)": "engine.room"}),
    Wrong("the context is no limit", {"min(tokens, engine.room)": "tokens"}),
    Wrong("a message where there is no room for one", {"self.LENGTH or max(1, room)": "self.LENGTH or max(0, room)"}),
    Wrong("what is too long is encoded first", {"if sum(map(len, texts)) > self.characters:": "if False:"}),
    Wrong(
        "each message may be as long as all",
        {"sum(map(len, texts)) > self.characters": "max(map(len, texts)) > self.characters"},
    ),
    Wrong(
        "the event loop encodes",
        {"await asyncio.to_thread(kind, fields, self.engine, *limits)": "kind(fields, self.engine, *limits)"},
    ),
    Wrong(
        "top_logprobs turns logprobs on",
        {'raise _Refusal(400, "top_logprobs needs logprobs", "top_logprobs")': 'self.fields["logprobs"] = True'},
    ),
    Wrong(
        "messages may be anything",
        {"if not messages or not all(isinstance(message, dict) for message in messages):": "if not messages:"},
    ),
    Wrong(
        "a bundle without a chat is a fault",
        {
            'if self.bundle.chat and (after := self.bundle.chat["assistant"][1]):': 'if after := self.bundle.chat["assistant"][1]:'
        },
    ),
    Wrong("a chat without messages", {"if not messages or not all(": "if not all("}),
    # 20.8: what is answered
    Wrong(
        "usage counts a prompt for each choice",
        {"self.read, self.tells = sum(map(len, rows)),": "self.read, self.tells = n * sum(map(len, rows)),"},
    ),
    Wrong(
        "usage counts the tokens that are told",
        {"made = sum(choice.made for choice in choices)": "made = sum(len(choice.tokens) for choice in choices)"},
    ),
    Wrong("the total is without the prompt", {'"total_tokens": self.read + made': '"total_tokens": made'}),
    Wrong("all ids are the same", {"-{uuid.uuid4().hex}": "-0"}),
    Wrong("created is a float", {'"created": int(time.time()), "model"': '"created": time.time(), "model"'}),
    Wrong("finish_reason is always stop", {'"finish_reason": finish}': '"finish_reason": finish and "stop"}'}),
    Wrong(
        "halves of characters have the same name",
        {
            "            return self.vocab[number].decode()\n        except": '            return self.vocab[number].decode(errors="replace")\n        except'
        },
    ),
    Wrong("top_logprobs without the token itself", {"(*token.top, token[:2])": "token.top"}),
    Wrong(
        "the first token of an echo has alternatives",
        {
            "            None if token.logprob is None else {self._name": "            {} if token.logprob is None else {self._name"
        },
    ),
    Wrong(
        "text_offset is where the last character ended",
        {"place = self._end + begun - (not self._decoder.getstate()[0])": "place = self._end"},
    ),
    Wrong(
        "text_offset counts bytes",
        {
            "        return place\n": "        self._bytes = getattr(self, '_bytes', 0) + len(part)\n        return self._bytes - len(part)\n"
        },
    ),
    Wrong(
        "the prompt's half character goes on in the answer",
        {
            '        self._end += len(self._decoder.decode(b"", True))  # half a character at the end of a prompt stays one\n': ""
        },
    ),
    Wrong("logprobs=0 tells none", {'"logprobs" in settings\n': 'bool(settings.get("logprobs"))\n'}),
    Wrong("a chat's tokens without bytes", {', "logprob": logprob, "bytes": [*part]}': ', "logprob": logprob}'}),
    Wrong(
        "a message without its role",
        {'return {"message": {"role": "assistant", "content": text}}': 'return {"message": {"content": text}}'},
    ),
    Wrong("models tells no list", {'return JSONResponse({"object": "list", "data": [model]})': "return JSONResponse([model])"}),
    Wrong("ready while it drains", {"503 if draining else 200)": "200)"}),
    Wrong(
        "not alive while it drains",
        {
            'return JSONResponse({"status": "live"})': 'return JSONResponse({"status": "live"}, 503 if request.app.state.draining else 200)'
        },
    ),
    # 20.8: streams
    Wrong(
        "a stream is sent at the end",
        {
            "            async for index, update in updates:\n                if (tokens": "            for index, update in [pair async for pair in updates]:\n                if (tokens"
        },
    ),
    Wrong(
        "choices are streamed one after another",
        {
            "{asyncio.create_task(_follow(index, stream, arrived)) for index, stream in enumerate(streams)}": "{asyncio.create_task(_in_turn(streams, arrived))}",
            "while ended < len(tasks):": "while ended < len(streams):",
            "async def _follow(": "async def _in_turn(streams, arrived):\n    for index, stream in enumerate(streams):\n        await _follow(index, stream, arrived)\n\n\nasync def _follow(",
        },
    ),
    Wrong("[DONE] is missing", {'            yield "data: [DONE]\\n\\n"\n': ""}),
    Wrong("no role", {"for index in range(len(choices)) if self.OPENING else ():": "for index in ():"}),
    Wrong(
        "the first choice alone has a role",
        {"for index in range(len(choices)) if self.OPENING": "for index in range(1) if self.OPENING"},
    ),
    Wrong(
        "the last delta is not empty",
        {'return {"delta": {"content": text} if text else {}}': 'return {"delta": {"content": text}}'},
    ),
    Wrong(
        "the role is told with each part",
        {
            'return {"delta": {"content": text} if text else {}}': 'return {"delta": {"role": "assistant", "content": text} if text else {}}'
        },
    ),
    Wrong(
        "usage is null without being asked for",
        {'counts = {"usage": usage} if self.counts else {}': 'counts = {"usage": usage}'},
    ),
    Wrong(
        "usage is absent before the last event",
        {'counts = {"usage": usage} if self.counts else {}': 'counts = {"usage": usage} if usage else {}'},
    ),
    Wrong(
        "the usage is forgotten",
        {"            if self.counts:\n                yield": "            if False:\n                yield"},
    ),
    Wrong("an error ends a stream without a word", {"            yield _event(_Refusal(*_FAULT).fields)\n": ""}),
    Wrong(
        "a stream that failed is done",
        {
            "            yield _event(_Refusal(*_FAULT).fields)\n": '            yield _event(_Refusal(*_FAULT).fields)\n            yield "data: [DONE]\\n\\n"\n'
        },
    ),
    Wrong(
        "a stream tells the engine's error",
        {
            "        except Exception:\n            logging.getLogger": "        except Exception as error:\n            yield _event(_Refusal(500, str(error.__cause__)).fields)\n            logging.getLogger"
        },
    ),
    Wrong(
        "nobody hears why a stream failed",
        {'            logging.getLogger("uvicorn.error").exception("a stream failed")\n': ""},
    ),
    Wrong(
        "each part counts its characters anew",
        {
            "if (tokens := choices[index].add(update)) or update.text:": "if (tokens := _Choice(self.vocab, self.tells).add(update)) or update.text:"
        },
    ),
    Wrong("a blank line is missing", {'return f"data: {json.dumps(fields)}\\n\\n"': 'return f"data: {json.dumps(fields)}\\n"'}),
    Wrong("events are indented", {"json.dumps(fields)}": "json.dumps(fields, indent=1)}"}),
    Wrong(
        "a proxy may collect the parts",
        {'{"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}': '{"Cache-Control": "no-cache"}'},
    ),
    Wrong(
        "a part without text is not sent",
        {
            "if (tokens := choices[index].add(update)) or update.text:": "if (tokens := choices[index].add(update)) and update.text:"
        },
    ),
    # 20.8: what is refused
    Wrong(
        "an error can't name half a character",
        {"content = json.dumps(self.fields)": "content = json.dumps(self.fields, ensure_ascii=False)"},
    ),
    Wrong(
        "deep JSON is a fault",
        {
            "except (ValueError, RecursionError) as error:\n            raise _Refusal": "except ValueError as error:\n            raise _Refusal"
        },
    ),
    Wrong(
        "any JSON is an object",
        {
            "        if not isinstance(fields, dict):\n            raise _Refusal": "        if False:\n            raise _Refusal"
        },
    ),
    Wrong("any content type", {'if kind != "application/json":': 'if kind == "multipart/form-data":'}),
    Wrong(
        "a content type that only begins so", {'if kind != "application/json":': 'if not kind.startswith("application/json"):'}
    ),
    Wrong("a content type with parameters is refused", {'.partition(";")[0].strip().lower()': ".strip().lower()"}),
    Wrong(
        "404 is plain text",
        {
            "dict.fromkeys((_Refusal, HTTPException, ClientDisconnect, Exception), _on_error)": "dict.fromkeys((_Refusal, ClientDisconnect, Exception), _on_error)"
        },
    ),
    Wrong("405 does not say what is allowed", {"error.detail, **(error.headers or {}))": "error.detail)"}),
    Wrong(
        "500 tells the engine's error",
        {
            "(error if isinstance(error, _Refusal) else _Refusal(*_FAULT))": "(error if isinstance(error, _Refusal) else _Refusal(500, str(error.__cause__), None, 'internal_error'))"
        },
    ),
    Wrong(
        "500 is plain text",
        {"HTTPException, ClientDisconnect, Exception), _on_error)": "HTTPException, ClientDisconnect), _on_error)"},
    ),
    Wrong(
        "an engine that is closed is a fault",
        {
            "        except RuntimeError as error:\n            raise _Refusal(503": "        except ZeroDivisionError as error:\n            raise _Refusal(503"
        },
    ),
    Wrong("429 does not say when", {'"queue_full", Retry_After="1")': '"queue_full")'}),
    Wrong("a full queue is 503", {"raise _Refusal(429, str(error)": "raise _Refusal(503, str(error)"}),
    Wrong("server errors are the client's", {'"server_error" if status >= 500': '"server_error" if status > 500'}),
    Wrong(
        "CORS for everybody",
        {
            "        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),\n": '        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),\n        Middleware(__import__("starlette.middleware.cors").middleware.cors.CORSMiddleware, allow_origins="*", allow_headers="*"),\n'
        },
    ),
    Wrong("a body without a limit", {"if len(body) > self.body_bytes:": "if False:"}),
    Wrong("a body of just its limit is too long", {"if len(body) > self.body_bytes:": "if len(body) >= self.body_bytes:"}),
    Wrong(
        "content-length is believed",
        {"if len(body) > self.body_bytes:": 'if int(request.headers.get("content-length", 0)) > self.body_bytes:'},
    ),
    Wrong(
        "the whole body is read first",
        {
            "                    if len(body) > self.body_bytes:\n                        raise": "                if len(body) > self.body_bytes:\n                    raise"
        },
    ),
    Wrong(
        "the last part of a body is all of it",
        {"                    body += chunk\n": "                    body = chunk or body\n"},
    ),
    Wrong("a body may take for ever", {"asyncio.timeout(self.body_seconds)": "asyncio.timeout(None)"}),
    Wrong(
        "each part of a body has its time",
        {
            "            async with asyncio.timeout(self.body_seconds):\n                async for chunk in request.stream():\n": "            async with asyncio.timeout(self.body_seconds) as patience:\n                async for chunk in request.stream():\n                    patience.reschedule(asyncio.get_running_loop().time() + self.body_seconds)\n"
        },
    ),
    Wrong("a slow client keeps its connection", {'"request_timeout", Connection="close")': '"request_timeout")'}),
    Wrong(
        "an answer must be as fast as a body",
        {
            "await _unless_left(asked.whole(updates), receive)\n": "await asyncio.wait_for(_unless_left(asked.whole(updates), receive), self.body_seconds)\n"
        },
    ),
    # 20.8: who is let in
    Wrong(
        "a key that is not ASCII is a fault",
        {
            '[f"Bearer {key}".encode() for key in keys if key]': '[f"Bearer {key}" for key in keys if key]',
            'dict(headers).get(b"authorization", b"")': 'dict(headers).get(b"authorization", b"").decode("latin-1")',
        },
    ),
    Wrong(
        "keys are compared by ==",
        {"any([hmac.compare_digest(given, key) for key in self.keys])": "any([given == key for key in self.keys])"},
    ),
    Wrong(
        "the comparing stops at the right key",
        {
            "any([hmac.compare_digest(given, key) for key in self.keys])": "any(hmac.compare_digest(given, key) for key in self.keys)"
        },
    ),
    Wrong("a key may go on", {"hmac.compare_digest(given, key) for": "hmac.compare_digest(given[: len(key)], key) for"}),
    Wrong("the first key alone is known", {"for key in self.keys])": "for key in self.keys[:1]])"}),
    Wrong(
        "without the word Bearer",
        {'[f"Bearer {key}".encode() for key in keys if key]': "[key.encode() for key in keys if key]"},
    ),
    Wrong("metrics are for everybody", {'    OPEN = ("/", ': '    OPEN = ("/", "/metrics", '}),
    Wrong("the page needs a key", {'    OPEN = ("/", "/healthz/live"': '    OPEN = ("/healthz/live"'}),
    Wrong(
        "unknown paths tell that they are",
        {'or scope["path"] in self.OPEN or': 'or not scope["path"].startswith(("/v1/c", "/v1/m", "/metrics")) or'},
    ),
    Wrong("keys lock everybody out where there are none", {" or not self.locked or self._knows(": " or self._knows("}),
    Wrong(
        "a wrong key is logged",
        {
            "        refusal = _Refusal(401,": '        logging.getLogger("uvicorn.error").warning("refused %s", scope["headers"])\n        refusal = _Refusal(401,'
        },
    ),
    Wrong("401 does not say how", {', WWW_Authenticate="Bearer")': ")"}),
    Wrong("any host", {"        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),\n": ""}),
    Wrong("this machine is always allowed", {"allowed_hosts=hosts, www": "allowed_hosts=[*HOSTS, *hosts], www"}),
    Wrong(
        "scripts may be anything",
        {
            'policy.append(f"{tag}-src " + (" ".join(f"\'sha256-{value}\'" for value in hashes) or "\'none\'"))': "policy.append(f\"{tag}-src 'unsafe-inline'\")"
        },
    ),
    Wrong("the first script alone may run", {"for part in parts]\n        policy": "for part in parts[:1]]\n        policy"}),
    Wrong(
        "scripts are hashed without their blank lines",
        {"hashlib.sha256(part.encode())": "hashlib.sha256(part.strip().encode())"},
    ),
    Wrong("scripts with attributes may not run", {'rf"<{tag}\\b[^>]*>(.*?)</{tag}>"': 'rf"<{tag}>(.*?)</{tag}>"'}),
    Wrong("the page may be framed", {'"; ".join([*policy, "frame-ancestors \'none\'"])': '"; ".join(policy)'}),
    Wrong("the page may talk to anyone", {"\"connect-src 'self'\"": '"connect-src *"'}),
    Wrong("the page's type may be guessed", {'{"X-Content-Type-Options": "nosniff", "Referrer-Policy"': '{"Referrer-Policy"'}),
    # 20.8: who leaves
    Wrong(
        "a failed choice leaves the others behind",
        {
            "streams = [await stack.enter_async_context(self.submit(one)) for one in asked.requests]  # all, or none stays\n": "streams = [self.submit(one) for one in asked.requests]\n                for one in streams:\n                    await stack.enter_async_context(one)\n"
        },
    ),
    Wrong(
        "nobody's requests end before their time",
        {
            "streams = [await stack.enter_async_context(self.submit(one)) for one in asked.requests]  # all, or none stays\n": "streams = [self.submit(one) for one in asked.requests]\n"
        },
    ),
    Wrong(
        "only the first choice ends",
        {
            "streams = [await stack.enter_async_context(self.submit(one)) for one in asked.requests]  # all, or none stays\n": "streams = [self.submit(one) for one in asked.requests]\n                await stack.enter_async_context(streams[0])\n"
        },
    ),
    Wrong(
        "who waits for the whole may not leave",
        {"await _unless_left(asked.whole(updates), receive)\n": "await asked.whole(updates)\n"},
    ),
    Wrong(
        "streams end with their generator",
        {
            "        async def respond(scope, receive, send) -> None:\n            async with AsyncExitStack() as stack:\n": "        async def respond(scope, receive, send) -> None:\n            stack = AsyncExitStack()\n            if True:\n",
            "                updates = self.measured(_merged(streams), len(streams))\n": "                updates = self.measured(_merged(streams), len(streams))\n                asked.ends = stack\n",
            "            yield _event(_Refusal(*_FAULT).fields)\n": "            yield _event(_Refusal(*_FAULT).fields)\n        finally:\n            await self.ends.aclose()\n",
        },
    ),
    Wrong(
        "a client that leaves while it sends is a fault",
        {"(_Refusal, HTTPException, ClientDisconnect, Exception)": "(_Refusal, HTTPException, Exception)"},
    ),
    Wrong("an answer for nobody waits for ever", {"    finally:\n        answering.cancel()\n": "    finally:\n"}),
    Wrong("a body is in Latin-1", {"fields = json.loads(body)\n": 'fields = json.loads(body.decode("latin-1"))\n'}),
    Wrong("a seed of 0 is the same as no seed", {"None if seed is None else seed + choice": "seed + choice if seed else None"}),
    Wrong(
        "all parts are of the first choice",
        {
            "yield event([self._told(index, self._part(update.text), tokens)])": "yield event([self._told(0, self._part(update.text), tokens)])"
        },
    ),
    # 20.8: what is measured
    Wrong(
        "each path that a client makes up is counted",
        {
            'self.requests.labels(scope["path"] if scope["path"] in self.paths else "other", status)': 'self.requests.labels(scope["path"], status)'
        },
    ),
    Wrong("a fault is counted as 200", {"        status = 500  # if the app raises\n": "        status = 200\n"}),
    Wrong(
        "refused hosts are not counted",
        {
            "        Middleware(_Counted, requests=api.meters.requests, paths={route.path for route in routes}),\n        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),\n": "        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),\n        Middleware(_Counted, requests=api.meters.requests, paths={route.path for route in routes}),\n"
        },
    ),
    Wrong(
        "a client that left is counted as a fault",
        {'error = _Refusal(499, "the client left")': 'error = _Refusal(500, "the client left")'},
    ),
    Wrong("updates are counted for tokens", {".inc(update.made - made[index])": ".inc()"}),
    Wrong("an echo is a first token", {"if update.made > made[index]:": "if update.made >= made[index]:"}),
    Wrong("tokens are counted twice", {".inc(update.made - made[index])": ".inc(update.made)"}),
    Wrong("prompts are not counted", {"                self.meters.read.inc(asked.read)\n": ""}),
    Wrong("each token is the first", {"self.meters.between if made[index] else self.meters.first": "self.meters.first"}),
    Wrong(
        "the first token is one of many",
        {
            "self.meters.between if made[index] else self.meters.first": "self.meters.between if made[index] else self.meters.between"
        },
    ),
    Wrong(
        "times between tokens are from the start", {"last[index], made[index] = now, update.made": "made[index] = update.made"}
    ),
    Wrong(
        "the first token's time begins with the engine's answer",
        {
            "            if update.made > made[index]:\n": "            last[index] = last[index] if made[index] else time.perf_counter()\n            if update.made > made[index]:\n"
        },
    ),
    Wrong(
        "the registry of all",
        {
            "self.registry = CollectorRegistry()\n": "from prometheus_client import REGISTRY\n        self.registry = REGISTRY\n        for name in [*REGISTRY._names_to_collectors]:\n            if name.startswith('kata_') and name in REGISTRY._names_to_collectors:\n                REGISTRY.unregister(REGISTRY._names_to_collectors[name])\n"
        },
    ),
    Wrong(
        "running is that of the start",
        {"gauge.set_function(partial(getattr, engine, name))": "gauge.set(getattr(engine, name))"},
    ),
    Wrong("metrics are of no known type", {'headers={"Content-Type": CONTENT_TYPE_LATEST})': 'media_type="text/html")'}),
    # 20.8: serving
    Wrong(
        "the socket closes at once",
        {
            "            served.state.draining = True\n            await asyncio.sleep(1)\n": "            served.state.draining = True\n"
        },
    ),
    Wrong("ready until the end", {"            served.state.draining = True\n": ""}),
    Wrong(
        "no new connections while it drains",
        {
            "            await asyncio.sleep(1)\n": "            for server in self.servers:\n                server.close()\n            await asyncio.sleep(1)\n"
        },
    ),
    Wrong(
        "a shutdown that drops",
        {"            await asyncio.sleep(1)\n": "            await asyncio.sleep(1)\n            self.force_exit = True\n"},
    ),
    Wrong("connections without a limit", {'limits = {"limit_concurrency": CONNECTIONS, "timeout': 'limits = {"timeout'}),
    Wrong("a shutdown without an end", {', "timeout_graceful_shutdown": GRACE}': "}"}),
    Wrong(
        "a traceback at Ctrl-C",
        {'with threadpool_limits(1, "blas"), suppress(KeyboardInterrupt):': 'with threadpool_limits(1, "blas"):'},
    ),
    Wrong("serve forgets its keys", {"served = app(bundle, keys=keys, hosts=hosts)": "served = app(bundle, hosts=hosts)"}),
    Wrong("serve forgets its hosts", {"served = app(bundle, keys=keys, hosts=hosts)": "served = app(bundle, keys=keys)"}),
    # 20.9: serve
    Wrong(
        "serve listens everywhere",
        {'serves.add_argument("--host", default="127.0.0.1")': 'serves.add_argument("--host", default="0.0.0.0")'},
    ),
    Wrong("serve ignores its port", {"options.host, options.port, keys, hosts)": "options.host, 8000, keys, hosts)"}),
    Wrong("all keys are one", {'[key.strip() for key in names.split(",")] if names': "[names] if names"}),
    Wrong("keys keep their blanks", {"[key.strip() for key in names": "[key for key in names"}),
    Wrong(
        "keys that are empty let everybody in",
        {
            '[key.strip() for key in names.split(",")] if names else ()': '[key.strip() for key in (names or "").split(",") if key.strip()]'
        },
    ),
    Wrong("the environment has no keys", {'names = os.environ.get("KATA_API_KEYS")': "names = None"}),
    Wrong(
        "other names replace this machine's",
        {"hosts = [*HOSTS, options.host, *options.allow_host]": "hosts = options.allow_host or HOSTS"},
    ),
    Wrong(
        "the host's own name is refused",
        {"hosts = [*HOSTS, options.host, *options.allow_host]": "hosts = [*HOSTS, *options.allow_host]"},
    ),
    Wrong(
        "products take all cores",
        {'with threadpool_limits(1, "blas"), suppress(KeyboardInterrupt):': "with suppress(KeyboardInterrupt):"},
    ),
    Wrong(
        "--max-tokens 0 writes hundred",
        {
            "engine = Engine(bundle, rows=1, slice=bundle.model.config.context)": 'settings["max_tokens"] = options.max_tokens or 100\n    engine = Engine(bundle, rows=1, slice=bundle.model.config.context)'
        },
    ),
    Wrong(
        "chat's stop is stripped",
        {'(after := self.bundle.chat["assistant"][1])': '(after := self.bundle.chat["assistant"][1].strip())'},
    ),
    Wrong(
        "chat encodes on the loop",
        {
            "asked = await asyncio.to_thread(kind, fields, self.engine, *limits)": "asked = (\n            kind(fields, self.engine, *limits)\n            if kind is _AskedChat\n            else await asyncio.to_thread(kind, fields, self.engine, *limits)\n        )"
        },
    ),
    Wrong(
        "Content-Length is believed",
        {
            "        body = bytearray()\n": '        body = bytearray()\n        if int(request.headers.get("content-length", 0)) > self.body_bytes:\n            raise _Refusal(413, f"the body has more than {self.body_bytes} bytes", None, "request_too_large")\n'
        },
    ),
    Wrong("host without www is redirected", {", www_redirect=False": ""}),
    Wrong(
        "generate strips the prompt",
        {"bundle.tokenizer.encode(options.prompt)": "bundle.tokenizer.encode(options.prompt.strip() or options.prompt)"},
    ),
    Wrong(
        "build reads config as latin-1",
        {'Path(options.config).read_text(encoding="utf-8")': 'Path(options.config).read_text(encoding="latin-1")'},
    ),
    Wrong(
        "environment keys become lower case",
        {'[key.strip() for key in names.split(",")]': '[key.strip().lower() for key in names.split(",")]'},
    ),
    Wrong(
        "only missing files without traceback",
        {"except (OSError, TypeError, ValueError) as error:": "except (FileNotFoundError, TypeError, ValueError) as error:"},
    ),
    Wrong(
        "blank chat deltas are empty",
        {'{"delta": {"content": text} if text else {}}': '{"delta": {"content": text} if text.strip() else {}}'},
    ),
    Wrong(
        "certain token has no top",
        {"None if token.logprob is None else {self._name(number)": "None if not token.logprob else {self._name(number)"},
    ),
    Wrong(
        "choices merged in lockstep",
        {
            '    arrived, ended = asyncio.Queue(), 0\n    tasks = {asyncio.create_task(_follow(index, stream, arrived)) for index, stream in enumerate(streams)}\n    while ended < len(tasks):\n        index, update = await arrived.get()\n        if isinstance(update, BaseException):\n            raise RuntimeError("the engine failed") from update\n        yield index, update\n        ended += update.finish is not None\n': '    alive = dict(enumerate(streams))\n    while alive:\n        for index, stream in list(alive.items()):\n            try:\n                update = await anext(stream)\n            except asyncio.CancelledError:\n                raise\n            except BaseException as error:\n                raise RuntimeError("the engine failed") from error\n            yield index, update\n            if update.finish is not None:\n                del alive[index]\n'
        },
    ),
    Wrong(
        "times from another choice's token",
        {"last[index], made[index] = now, update.made": "last[:], made[index] = [now] * count, update.made"},
    ),
    Wrong(
        "slash behind counts as path",
        {
            'self.requests.labels(scope["path"] if scope["path"] in self.paths else "other", status).inc()': 'path = scope["path"].rstrip("/") or "/"\n            self.requests.labels(path if path in self.paths else "other", status).inc()'
        },
    ),
    Wrong(
        "max_completion_tokens 0 is none",
        {
            "        settings = super()._settings()\n": '        if not self.fields.get("max_completion_tokens"):\n            self.fields.pop("max_completion_tokens", None)\n        settings = super()._settings()\n'
        },
    ),
    Wrong("length check forgets tokens", {"self.characters = self.most * max(": "self.characters = engine.room * max("}),
    Wrong(
        "OPTIONS needs no key",
        {"or not self.locked or self._knows(": 'or not self.locked or scope.get("method") == "OPTIONS" or self._knows('},
    ),
    Wrong("stop is the caller's list", {"tokenizer, tuple(stop), texts, False": "tokenizer, stop, texts, False"}),
    Wrong(
        "half a body is whole",
        {
            "class _Api:\n": "async def _sent(request):\n    from starlette.requests import ClientDisconnect\n\n    with suppress(ClientDisconnect):\n        async for chunk in request.stream():\n            yield chunk\n\n\nclass _Api:\n",
            "async for chunk in request.stream():\n                    body": "async for chunk in _sent(request):\n                    body",
        },
    ),
    Wrong("broken UTF-8 patched up", {"fields = json.loads(body)": 'fields = json.loads(body.decode("utf-8", "replace"))'}),
    Wrong(
        "metrics without stop's tokens",
        {"self.meters.made.inc(update.made - made[index])": "self.meters.made.inc(len(update.tokens))"},
    ),
    Wrong("engine's exception raised on", {'raise RuntimeError("the engine failed") from update': "raise update"}),
    Wrong(
        "unknown null refused",
        {
            "for name, value in fields.items() if value is not None}": "for name, value in fields.items() if value is not None or name not in {*self.FIELDS, *_NEUTRAL}}"
        },
    ),
    Wrong("include_usage by truth", {'.get("include_usage") is True': '.get("include_usage")'}),
    Wrong("sixteen cut to the room", {"self.LENGTH or max(1, room)": "max(1, min(self.LENGTH or room, room))"}),
    Wrong("no hosts let everybody in", {"allowed_hosts=hosts, www_redirect": 'allowed_hosts=hosts or ["*"], www_redirect'}),
    Wrong(
        "long message without a param", {'"message": message[:500]': '"message": message if param is None else message[:500]'}
    ),
    Wrong(
        "prompts' lengths count together",
        {
            "            rows = [self._ids(prompt) for prompt in prompts]\n": "            self._check_length(*(prompt for prompt in prompts if isinstance(prompt, str)))\n            rows = [self._ids(prompt) for prompt in prompts]\n"
        },
    ),
    Wrong("one hexadecimal digit", {"\\\\x{byte:02x}": "\\\\x{byte:x}"}),
    Wrong(
        "no more than two keys",
        {
            'keys = [key.strip() for key in names.split(",")] if names': 'keys = [key.strip() for key in names.split(",")[:2]] if names'
        },
    ),
    Wrong(
        "a body has a second at least",
        {"async with asyncio.timeout(self.body_seconds):": "async with asyncio.timeout(max(1, self.body_seconds)):"},
    ),
    Wrong(
        "all apps have the limits of the last",
        {"self.characters = self.most * max(": "type(self).characters = self.most * max("},
    ),
    Wrong(
        "all choices are made before they are counted",
        {
            "        if n < 1 or n * len(prompts) > places:\n            raise": "        if n < 1 or len([prompt for prompt in prompts for _ in range(n)]) > places:\n            raise"
        },
    ),
    Wrong("top_logprobs 0 without logprobs", {'elif "top_logprobs" in self.fields:': 'elif self.fields.get("top_logprobs"):'}),
    Wrong(
        "empty chat answer is null",
        {
            'return {"message": {"role": "assistant", "content": text}}': 'return {"message": {"role": "assistant", "content": text or None}}'
        },
    ),
    Wrong("one long stop is many", {'if len(settings.get("stop", ())) > 4:': 'if len(self.fields.get("stop", ())) > 4:'}),
    Wrong(
        "refused prompts count as read",
        {
            "                streams = [await stack.enter": "                self.meters.read.inc(asked.read)\n                streams = [await stack.enter",
            "  # all, or none stays\n                self.meters.read.inc(asked.read)\n": "  # all, or none stays\n",
        },
    ),
    Wrong("end token observed as token", {"if update.made > made[index]:": "if update.made:"}),
    Wrong(
        "every falsy value is neutral",
        {
            "return value == other and isinstance(value, bool)": "return (value == other or not value) and isinstance(value, bool)"
        },
    ),
]

EQUIVALENT = {
    "Bundle.__post_init__: booleans are taken for integers": "it takes no arguments",
    **{
        f"{name}: {habit}": reason
        for name, more in (("choose", "ids are int64"), ("log_softmax", "log-probabilities are float64"))
        for habit, reason in (
            ("a result is a copy, not a view", "the result is new"),
            ("float64 for float32", more),
            ("int32 for int64" if name == "log_softmax" else "float32 for float64", more),
        )
    },
    "choose: a result is a view of an equal argument": "ids are no logits",
    "choose: a result is read-only": "nobody is told to write into the ids",
    "choose: infinities and NaN in results are made finite": "ids are int64",
    "log_softmax: int64 for int32": "log-probabilities are float64",
    "TextStream.__init__: a falsy argument is taken as absent": "what is falsy is as the default: empty",
    "TextStream.__init__: NumPy's numbers are refused": "it takes none",
    "Engine.cancel: NumPy's numbers are refused": "submit gives Python's",
    **{
        f"{name}: attributes are those of the construction": "they stay the same objects"
        for name in (
            *("Engine.running", "Engine.waiting", "Engine.check", "AsyncEngine.__aenter__", "AsyncEngine.__aexit__"),
            *("AsyncEngine.close", "Stream.__aenter__", "Stream.__aexit__", "Stream.__anext__", "Stream.cancel"),
        )
    },
    "choose: int32 for int64": "no vocabulary is so large",
    **{
        f"{name}: {habit}": "it takes no arrays"
        for name in ("AsyncEngine.__aexit__", "Stream.__aexit__", "build")
        for habit in ("arguments are changed", "axes of length 0 are refused", "arguments are read in the order of memory")
    },
    "AsyncEngine.__aexit__: NumPy's numbers are refused": "it takes none",
    "Stream.__aexit__: infinities and NaN in arguments are made finite": "it takes no arrays",
    "build: infinities and NaN in arguments are made finite": "it takes no arrays",
    "build: shapes that differ are broadcast": "it takes no arrays",
    "build: NumPy's numbers are refused": "it takes none",
    "build: a falsy argument is taken as absent": "neither a config nor a function is falsy",
    "_check_arrays: None is whatever is falsy": "a window is at least 1",
    "_merged: None is whatever is falsy": "no finish is empty",
    "_Meters.__init__: state is on the class, 2": "each app's middleware has taken its own",
    "_Api.fields: a check comes after the effect": "it is refused all the same, and the body is bounded",
    "Bundle.chat_ids: None is whatever is falsy": "a chat is never empty",
    "choose: int64 for int32": "ids are int64",
    "choose: infinities and NaN in arguments are made finite": "the smallest number has a probability of 0, too",
    **{
        f"build: None is whatever is falsy{more}": "what is falsy and not None was refused before"
        for more in ("", ", 2", ", 3", ", 4", ", 5", ", 8")
    },
    "build: arguments are changed before an error": "it takes no arrays",
    "Stream.__aexit__: NumPy's numbers are refused": "it takes none",
    "AsyncEngine.__aexit__: infinities and NaN in arguments are made finite": "it takes no arrays",
    "TextStream.push: None is whatever is falsy": "what the table has not is decoded",
    "Engine.submit: attributes are those of the construction": "nobody changes rows and queue of an engine",
}
