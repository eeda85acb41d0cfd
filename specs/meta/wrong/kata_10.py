"""Wrong solutions of kata 10, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

BATCHES = "batches = (now._batch(order[start : start + now.batch_size], rng) for start in starts)"
WRONG = [
    # data sets
    Wrong(
        "a batch is its first sample repeated",
        {
            "zip(*[self[int(index)] for index in indices], strict=True)": "zip(*[self[int(indices[0])] for index in indices], strict=True)"
        },
    ),
    Wrong(
        "a batch is sorted",
        {
            "zip(*[self[int(index)] for index in indices], strict=True)": "zip(*[self[int(index)] for index in sorted(indices)], strict=True)"
        },
    ),
    Wrong(
        "fields that some samples lack are dropped",
        {"for index in indices], strict=True)": "for index in indices], strict=False)"},
    ),
    Wrong(
        "arrays of other lengths are taken",
        {
            "        if len(lengths := {array.shape[:1] for array in self.arrays}) != 1 or () in lengths:": "        if not self.arrays:"
        },
        says="let through",
    ),
    Wrong(
        "a sample is a list",
        {"return tuple([array[index] for array in self.arrays])": "return [array[index] for array in self.arrays]"},
    ),
    Wrong(
        "a batch of arrays is a slice",
        {
            "return tuple([array[np.asarray(indices)] for array in self.arrays])": "return tuple([array[: len(indices)] for array in self.arrays])"
        },
    ),
    Wrong(
        "a subset ignores its indices",
        {"return self.dataset.batch(self.indices[np.asarray(indices)])": "return self.dataset.batch(indices)"},
    ),
    Wrong(
        "a subset's samples ignore its indices", {"return self.dataset[int(self.indices[index])]": "return self.dataset[index]"}
    ),
    Wrong("a subset is as long as the whole", {"return len(self.indices)": "return len(self.dataset)"}),
    Wrong(
        "indices of no sample wait until they are used",
        {"        if wrong.size:\n": "        if False:\n"},
    ),
    Wrong(
        "a split is not random",
        {"np.split(rng.permutation(n), np.cumsum(sizes)[:-1])": "np.split(np.arange(n), np.cumsum(sizes)[:-1])"},
    ),
    Wrong(
        "the parts of a split overlap",
        {"np.split(rng.permutation(n), np.cumsum(sizes)[:-1])": "[rng.permutation(n)[:size] for size in sizes]"},
    ),
    Wrong(
        "a split loses what is left over",
        {
            "sizes = [size + (i < n - sum(down)) for i, size in enumerate(down)]": "sizes = [*down, 0]\n        return [Subset(dataset, part) for part in np.split(rng.permutation(n), np.cumsum(sizes)[:-1])][: len(lengths)]"
        },
    ),
    Wrong("lengths need not add up", {"if not fit or min(lengths, default=0) < 0:": "if min(lengths, default=0) < 0:"}),
    Wrong(
        "arrays keep NumPy's dtype for lists",
        {"[Tensor(array).data for array in arrays]": "[np.asarray(array) for array in arrays]"},
    ),
    Wrong("a table of indices is taken", {"        if indices.ndim != 1:\n": "        if False:\n"}, says="let through"),
    Wrong(
        "lengths add up more or less",
        {"math.isclose(sum(lengths), 1, rel_tol=max(1e-9, 4 * rounding))": "abs(sum(lengths) - 1) < 0.05"},
        says="let through",
    ),
    Wrong(
        "parts are rounded, not rounded down",
        {"math.floor(n * length + max(1e-9, 2 * n * rounding))": "math.floor(n * length + 0.2)"},
    ),
    Wrong("rounding errors count", {"math.floor(n * length + max(1e-9, 2 * n * rounding))": "math.floor(n * length)"}),
    Wrong(
        "rounding errors of float32 count in a part",
        {"math.floor(n * length + max(1e-9, 2 * n * rounding))": "math.floor(n * length + 1e-9)"},
    ),
    Wrong("rounding errors of float32 count in the sum", {"rel_tol=max(1e-9, 4 * rounding)": "rel_tol=1e-9"}),
    Wrong(
        "rounding errors count in the sum",
        {"math.isclose(sum(lengths), 1, rel_tol=max(1e-9, 4 * rounding))": "sum(lengths) == 1"},
    ),
    Wrong(
        "NumPy's fractions are refused",
        {
            'for array in arrays if array.dtype.kind == "f"': "for array, length in zip(arrays, given) if isinstance(length, float)",
            "    n, arrays = len(dataset)": "    given = lengths\n    n, arrays = len(dataset)",
        },
    ),
    Wrong("NumPy's lengths wrap around", {"[array.item() for array in arrays]": "[array[()] for array in arrays]"}),
    Wrong(
        "indices of no sample are named as a range",
        {"there is no sample {wrong[0]}:": "there are no samples from {indices.min()} to {indices.max()}:"},
    ),
    # loader
    Wrong(
        "the last sample is dropped",
        {
            "starts = range(0, len(self) * self.batch_size, self.batch_size)": "starts = range(0, n - n % self.batch_size, self.batch_size)"
        },
    ),
    Wrong("drop_last is ignored", {"(math.floor if self.drop_last else math.ceil)": "math.ceil"}),
    Wrong("the number of batches is rounded down", {"(math.floor if self.drop_last else math.ceil)": "math.floor"}),
    Wrong("shuffle is ignored", {"order = rng.permutation(n) if self.shuffle else np.arange(n)": "order = np.arange(n)"}),
    Wrong("it always shuffles", {"order = rng.permutation(n) if self.shuffle else np.arange(n)": "order = rng.permutation(n)"}),
    Wrong(
        "every epoch has the same order",
        {"np.random.default_rng(self.rng.integers(2**63)), len": "np.random.default_rng(0), len"},
    ),
    Wrong("samples are drawn with replacement", {"order = rng.permutation(n) if": "order = rng.integers(n, size=n) if"}),
    Wrong(
        "batches are shuffled, not samples",
        {
            "order = rng.permutation(n) if": "order = np.concatenate([np.arange(n)[s : s + self.batch_size] for s in rng.permutation(np.arange(0, n, self.batch_size))]) if"
        },
    ),
    Wrong(
        "the epoch draws from the loader's own generator",
        {"rng, n = np.random.default_rng(self.rng.integers(2**63)), len": "rng, n = self.rng, len"},
    ),
    Wrong(
        "the generator is not kept",
        {"self.rng = np.random.default_rng() if rng is None else rng": "self.rng = np.random.default_rng(1)"},
    ),
    Wrong(
        "transforms have a generator of their own",
        {"self.transform(Tensor(first).data, rng)": "self.transform(Tensor(first).data, np.random.default_rng())"},
    ),
    Wrong(
        "without shuffle an epoch draws from the loader's own generator",
        {
            "rng, n = np.random.default_rng(self.rng.integers(2**63)), len": "rng, n = np.random.default_rng(self.rng.integers(2**63)) if self.shuffle else self.rng, len"
        },
    ),
    Wrong("there are a thousand seeds", {"self.rng.integers(2**63)": "self.rng.integers(1000)"}),
    Wrong(
        "two numbers are drawn",
        {
            "np.random.default_rng(self.rng.integers(2**63)), len": "np.random.default_rng(self.rng.integers(2**63, size=2)), len"
        },
    ),
    Wrong(
        "transforms wait for the loop",
        {
            BATCHES: "batches = (self._raw(order[start : start + self.batch_size]) for start in starts)",
            "return _ahead(batches, self.prefetch) if self.prefetch else batches": "return (self._finish(fields, rng) for fields in (_ahead(batches, self.prefetch) if self.prefetch else batches))",
            "    def _batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:\n": "    def _raw(self, indices):\n",
            "        if self.transform is not None:\n": "        return first, *others\n\n    def _finish(self, fields, rng):\n        first, *others = fields\n        if self.transform is not None:\n",
        },
        says="in the loop's own thread",
    ),
    Wrong("a transform gets what collate gave", {"self.transform(Tensor(first).data, rng)": "self.transform(first, rng)"}),
    Wrong("transforms are forgotten", {"            first = self.transform(Tensor(first).data, rng)\n": "            pass\n"}),
    Wrong("collate is forgotten", {"        if self.collate is None:\n": "        if True:\n"}),
    Wrong("one batch is repeated", {BATCHES: "batches = (self._batch(order[: self.batch_size], rng) for start in starts)"}),
    Wrong("batches are arrays", {"return (Tensor(first), *map(Tensor, others))": "return (first, *others)"}),
    Wrong("any size will do", {"        if batch_size < 1 or prefetch < 0:\n": "        if False:\n"}),
    Wrong("a seed will do", {"        if not isinstance(rng, np.random.Generator | None):\n": "        if False:\n"}),
    Wrong("everything is made ahead", {"for _ in range(count)])": "for _ in range(10 * count)])"}),
    Wrong("nothing is made ahead", {"return _ahead(batches, self.prefetch) if self.prefetch else batches": "return batches"}),
    Wrong("one batch more is made ahead", {"for _ in range(count)])": "for _ in range(count + 1)])"}),
    Wrong(
        "an error ends the epoch",
        {
            "        while (batch := made.popleft().result()) is not None:\n": "        while (future := made.popleft()).exception() is None and (batch := future.result()) is not None:\n"
        },
    ),
    # transforms
    Wrong("std is not used", {"        y /= self.std.reshape(-1, 1, 1)\n": ""}, says=""),
    Wrong("the mean is not used", {"np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)": "x.astype(np.float32)"}),
    Wrong("channels are the last axis", {"self.mean.reshape(-1, 1, 1)": "self.mean"}),
    Wrong(
        "normalised images are float64",
        {", dtype=np.float32)\n        y /=": ", dtype=np.float64)\n        y /="},
        says="a silent promotion",
    ),
    Wrong(
        "normalising writes into a batch of float32",
        {
            "y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)": "y = x.astype(np.float32, copy=False)\n        y -= self.mean.reshape(-1, 1, 1)"
        },
    ),
    Wrong("a std of 0 will do", {"if not (self.std > 0).all():": "if False:"}, says="let through"),
    Wrong(
        "all images have the same crop",
        {"rng.integers(places, size=len(x)) for places": "np.full(len(x), rng.integers(places)) for places"},
    ),
    Wrong(
        "the crop is in the middle", {"rng.integers(places, size=len(x)) for places": "np.full(len(x), places // 2) for places"}
    ),
    Wrong(
        "the last place is never drawn",
        {"rng.integers(places, size=len(x)) for places": "rng.integers(max(1, places - 1), size=len(x)) for places"},
    ),
    Wrong("the crop is not padded", {"pieces = windows(x, self.size, padding=self.padding)": "pieces = windows(x, self.size)"}),
    Wrong(
        "top and left are the same",
        {
            "top, left = (rng.integers(places, size=len(x)) for places in pieces.shape[2:4])": "top = left = rng.integers(min(pieces.shape[2:4]), size=len(x))"
        },
    ),
    Wrong(
        "the whole batch is flipped or not",
        {"turned = rng.random(len(x)) < self.p": "turned = np.full(len(x), rng.random() < self.p)"},
    ),
    Wrong("all are flipped", {"turned = rng.random(len(x)) < self.p": "turned = np.full(len(x), self.p > 0)"}),
    Wrong(
        "an exact share is flipped",
        {"turned = rng.random(len(x)) < self.p": "turned = rng.permutation(len(x)) < self.p * len(x)"},
    ),
    Wrong("up and down are turned round", {"x[..., ::-1], x)": "x[..., ::-1, :], x)"}),
    Wrong("p is the probability to stay", {"turned = rng.random(len(x)) < self.p": "turned = rng.random(len(x)) >= self.p"}),
    Wrong(
        "NumPy's own generator draws", {"turned = rng.random(len(x)) < self.p": "turned = np.random.random(len(x)) < self.p"}
    ),
    Wrong(
        "a flip writes into the batch",
        {
            "return np.where(turned[:, None, None, None], x[..., ::-1], x)": "x[turned] = x[turned][..., ::-1].copy()\n        return x"
        },
        says="read-only",
    ),
    Wrong(
        "transforms are composed in reverse",
        {"for transform in self.transforms:": "for transform in reversed(self.transforms):"},
    ),
    # readers
    Wrong(
        "lengths are little-endian",
        {'int.from_bytes(content[at : at + 4], "big")': 'int.from_bytes(content[at : at + 4], "little")'},
    ),
    Wrong("values stay big-endian", {'.astype(dtype.newbyteorder("="))': ""}),
    Wrong(
        "values are read as if they were this machine's",
        {"np.dtype(_IDX[content[2]])": 'np.dtype(_IDX[content[2]]).newbyteorder("=")'},
    ),
    Wrong("the size is counted in 64 bits", {"math.prod(shape) * dtype": "int(np.prod(shape, dtype=np.int64)) * dtype"}),
    Wrong(
        "a missing file is a damaged one",
        {
            "    content = Path(path).read_bytes()\n    try:\n": "    try:\n        content = Path(path).read_bytes()\n",
            "except (EOFError, gzip.BadGzipFile, zlib.error) as error:": "except (EOFError, OSError, zlib.error) as error:",
        },
    ),
    Wrong("what follows is ignored", {"if len(content) != (size :=": "if len(content) < (size :="}),
    Wrong(
        "what is missing is no matter",
        {
            "if len(content) != (size := start + math.prod(shape) * dtype.itemsize):": "size = start + math.prod(shape) * dtype.itemsize\n    content = content.ljust(size, b'\\0')\n    if len(content) != size:"
        },
    ),
    Wrong("any file is an IDX file", {'content[:2] != b"\\0\\0" or ': ""}),
    Wrong(
        "packed files are not unpacked",
        {'content = gzip.decompress(content) if Path(path).suffix == ".gz" else content': "content = content"},
    ),
    Wrong(
        "a damaged packed file is gzip's own error",
        {"except (EOFError, gzip.BadGzipFile, zlib.error) as error:": "except ZeroDivisionError as error:"},
    ),
    Wrong(
        "pixels come colour by colour",
        {"return images.reshape(-1, 3, 32, 32), labels": "return images.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2), labels"},
    ),
    Wrong(
        "labels come last",
        {
            "np.concatenate([part[:, 1:] for part in parts]), np.concatenate([part[:, 0] for part in parts])": "np.concatenate([part[:, :-1] for part in parts]), np.concatenate([part[:, -1] for part in parts])"
        },
    ),
    Wrong("labels stay bytes", {"labels.astype(np.int64)": "labels"}),
    Wrong(
        "the rest of a file is dropped",
        {
            "if not len(content) or len(content) % 3073:": "content = content[: len(content) // 3073 * 3073]\n        if not len(content):"
        },
    ),
    Wrong(
        "any label will do",
        {"if (largest := parts[-1][:, 0].max()) > 9:": "if (largest := parts[-1][:, 0].max()) > 99:"},
        says="let through",
    ),
    Wrong(
        "only the first file is read",
        {"    images, labels = np.concatenate": "    parts = parts[:1]\n    images, labels = np.concatenate"},
    ),
    # naive
    Wrong(
        "every batch is one sample",
        {"= dataset, batch_size, shuffle, drop_last": "= dataset, 1, shuffle, drop_last"},
        naive="test_an_epoch_of_batches_is_six_times_faster_than_sample_by_sample",
    ),
    Wrong(
        "a batch of arrays is stacked sample by sample",
        {
            "tuple([array[np.asarray(indices)] for array in self.arrays])": "tuple([np.stack([array[int(i)] for i in indices]) for array in self.arrays])"
        },
        naive="test_a_batch_of_arrays_does_not_touch_sample_by_sample",
    ),
    Wrong(
        "numbers are looked up one by one",
        {
            "self.dataset.batch(self.indices[np.asarray(indices)])": "self.dataset.batch([int(self.indices[int(i)]) for i in indices])"
        },
        naive="test_a_batch_of_a_subset_does_not_touch_sample_by_sample",
    ),
    Wrong(
        "a large batch is stacked sample by sample",
        {
            "tuple([array[np.asarray(indices)] for array in self.arrays])": "tuple([np.stack([array[int(i)] for i in indices]) for array in self.arrays])"
        },
        naive="test_a_large_batch_takes_no_more_steps_than_a_small_one",
    ),
    Wrong(
        "all batches are made at once",
        {BATCHES: "batches = iter([self._batch(order[start : start + self.batch_size], rng) for start in starts])"},
        naive="test_an_epoch_copies_one_batch_at_a_time",
    ),
    Wrong(
        "one image after another is changed",
        {
            "        y = np.subtract(": "        [image.max() for image in x.reshape(-1)]\n        y = np.subtract(",
            "        pieces = windows(": "        [image.max() for image in x.reshape(-1)]\n        pieces = windows(",
            "        turned = rng.random(len(x)) < self.p": "        [image.max() for image in x.reshape(-1)]\n        turned = rng.random(len(x)) < self.p",
        },
        naive="test_no_step_is_taken_for_each_image",
    ),
    Wrong(
        "normalising goes through float64",
        {
            "y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)": "y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float64)\n        y = (y / 1.0).astype(np.float32)"
        },
        naive="test_normalize_needs_the_memory_of_its_result",
    ),
    Wrong(
        "all pieces are copied",
        {"return pieces[": "return pieces.copy()["},
        naive="test_a_crop_needs_the_memory_of_the_padded_images_and_its_result",
    ),
    Wrong(
        "flipping goes through float64",
        {
            "return np.where(turned[:, None, None, None], x[..., ::-1], x)": "return np.where(turned[:, None, None, None], x[..., ::-1], x.astype(np.float64)).astype(x.dtype)"
        },
        naive="test_a_flip_needs_the_memory_of_its_result",
    ),
    Wrong(
        "values are read one by one",
        {
            "return np.frombuffer(content, dtype, offset=start).reshape(shape)": "return np.array([v for v in np.frombuffer(content, dtype, offset=start)], dtype).reshape(shape)"
        },
        naive="test_values_are_not_read_one_by_one",
    ),
    Wrong(
        "records are read byte by byte",
        {"content = np.fromfile(path, np.uint8)": "content = np.array([v for v in np.fromfile(path, np.uint8)], np.uint8)"},
        naive="test_records_are_not_read_byte_by_byte",
    ),
    Wrong(
        "shapes that broadcast are stacked",
        {
            "np.stack([Tensor(value).data for value in field])": "np.stack(np.broadcast_arrays(*[Tensor(value).data for value in field]))"
        },
    ),
    Wrong(
        "first sample decides the dtype",
        {
            "np.stack([Tensor(value).data for value in field])": 'np.stack([Tensor(value).data for value in field], dtype=Tensor(field[0]).dtype, casting="unsafe")'
        },
    ),
    Wrong(
        "repeated numbers count once",
        {"*[self[int(index)] for index in indices]": "*[self[int(index)] for index in dict.fromkeys(indices)]"},
    ),
    Wrong("smallest wrong index is named", {"{wrong[0]}": "{wrong.min()}"}),
    Wrong(
        "integers 1 and 0 are fractions",
        {'== "f"], default=0)': '== "f"], default=np.finfo(float).eps if sum(lengths) == 1 else 0)'},
    ),
    Wrong("float32 error not times n", {"2 * n * rounding": "2 * rounding"}),
    Wrong("nearly whole is rounded up", {"max(1e-9, 2 * n * rounding)) for": "max(1e-2, 2 * n * rounding)) for"}),
    Wrong(
        "a later rng is ignored",
        {
            "self.rng = np.random.default_rng() if rng is None else rng": "self.rng = self._first = np.random.default_rng() if rng is None else rng",
            "self.rng.integers(2**63)": "self._first.integers(2**63)",
        },
    ),
    Wrong(
        "rng of 0 is no error",
        {"if not isinstance(rng, np.random.Generator | None):": "if rng and not isinstance(rng, np.random.Generator):"},
    ),
    Wrong(
        "random_split rotates",
        {"np.split(rng.permutation(n), np": "np.split(np.roll(np.arange(n), rng.integers(max(n, 1))), np"},
    ),
    Wrong(
        "random_split only shuffles the first",
        {
            "np.split(rng.permutation(n), np": "np.split(np.concatenate([np.sort(p) for p in np.split(rng.permutation(n), [n // 2])]), np"
        },
    ),
    Wrong(
        "batches in order are copies",
        {
            "        return tuple([array[np.asarray(indices)] for array in self.arrays])": "        return tuple([array[np.asarray(indices)].copy() for array in self.arrays])"
        },
    ),
    Wrong(
        "a shuffle that rotates",
        {
            "order = rng.permutation(n) if self.shuffle": "order = np.roll(np.arange(n), rng.integers(max(n, 1))) if self.shuffle"
        },
    ),
    Wrong(
        "drop_last changed later is ignored",
        {
            "self.drop_last = dataset, batch_size, shuffle, drop_last\n": "self.drop_last = dataset, batch_size, shuffle, drop_last\n        self._d = drop_last\n",
            "math.floor if self.drop_last": "math.floor if self._d",
        },
    ),
    Wrong(
        "the mean's last axis is the channel",
        {
            "y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)": "y = np.subtract(x, self.mean.reshape(-1, 1, 1) if x.shape[1] != x.shape[3] else self.mean, dtype=np.float32)"
        },
    ),
    Wrong(
        "a size of 0 crops nothing",
        {
            "pieces = windows(x, self.size, padding=self.padding)": "if self.size == 0:\n            return x[:, :, :0, :0].copy()\n        pieces = windows(x, self.size, padding=self.padding)"
        },
    ),
    Wrong(
        "negative padding is none",
        {
            "pieces = windows(x, self.size, padding=self.padding)": "pieces = windows(x, self.size, padding=np.maximum(self.padding, 0).tolist() if np.ndim(self.padding) else max(self.padding, 0))"
        },
    ),
    Wrong(
        "axes beyond four refused",
        {
            "dtype, start = np.dtype(_IDX[content[2]]), 4 + 4 * content[3]": "if content[3] > 4:\n        raise ValueError(f'{path}: expected up to four axes, found {content[3]}')\n    dtype, start = np.dtype(_IDX[content[2]]), 4 + 4 * content[3]"
        },
    ),
    Wrong(
        "no axes refused",
        {
            "dtype, start = np.dtype(_IDX[content[2]]), 4 + 4 * content[3]": "if content[3] == 0:\n        raise ValueError(f'{path}: expected axes, found none')\n    dtype, start = np.dtype(_IDX[content[2]]), 4 + 4 * content[3]"
        },
    ),
    Wrong(
        "lengths beyond 2**31 are negative",
        {'int.from_bytes(content[at : at + 4], "big")': 'int.from_bytes(content[at : at + 4], "big", signed=True)'},
    ),
    Wrong(
        "length is counted in float32",
        {
            "(math.floor if self.drop_last else math.ceil)(len(self.dataset) / self.batch_size)": "int((math.floor if self.drop_last else math.ceil)(np.float32(len(self.dataset)) / np.float32(self.batch_size)))"
        },
    ),
    Wrong("float batch_size", {"if batch_size < 1 or prefetch < 0:": "if batch_size <= 0 or prefetch < 0:"}),
    Wrong(
        "fields of collate must be a tuple",
        {
            "first, *others = self.collate([self.dataset[int(index)] for index in indices])": "fields = self.collate([self.dataset[int(index)] for index in indices])\n            first, *others = fields if isinstance(fields, tuple) else (fields,)"
        },
    ),
    Wrong(
        "booleans are not transformed",
        {"if self.transform is not None:": "if self.transform is not None and Tensor(first).data.dtype.kind != 'b':"},
    ),
    Wrong(
        "two samples are never shuffled",
        {"order = rng.permutation(n) if self.shuffle": "order = rng.permutation(n) if self.shuffle and n > 2"},
    ),
    Wrong(
        "two samples are never exchanged in split",
        {"np.split(rng.permutation(n), np": "np.split(rng.permutation(n) if n > 2 else np.arange(n), np"},
    ),
    Wrong(
        "the order is uint8",
        {"else np.arange(n)\n        starts": "else np.arange(n, dtype=np.uint8 if n < 256 else np.int64)\n        starts"},
    ),
    Wrong(
        "epoch seeds have 8 bits",
        {"np.random.default_rng(self.rng.integers(2**63)), len": "np.random.default_rng(self.rng.integers(2**63) % 2**8), len"},
    ),
    Wrong(
        "batch of a Subset wraps around",
        {
            "return self.dataset.batch(self.indices[np.asarray(indices)])": "return self.dataset.batch(self.indices[np.asarray(indices) % len(self.indices)])"
        },
    ),
    Wrong("an epoch takes the options of each batch", {"now = copy.copy(self)": "now = self"}),
    Wrong("array without axes accepted", {" != 1 or () in lengths:": " != 1:"}),
    Wrong(
        "tuple of numbers as one index",
        {
            "return tuple([array[np.asarray(indices)] for array in self.arrays])": "return tuple([array[indices] for array in self.arrays])"
        },
    ),
    Wrong(
        "a mean of 0 is not taken off, nor is std",
        {
            "        y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)\n        y /= self.std.reshape(-1, 1, 1)\n        return y": "        if not self.mean.any():\n            return x.astype(np.float32)\n        y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)\n        y /= self.std.reshape(-1, 1, 1)\n        return y"
        },
    ),
]
