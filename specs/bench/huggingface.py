"""The same work on text, by Hugging Face's tokenizers: in Rust, on one core, with its cache of words as it comes."""

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when the first work begins

from collections.abc import Callable

import numpy as np
from tokenizers import ByteLevelBPETokenizer

from specs.bench import work
from specs.datasets.fetch import fetch
from specs.datasets.gpt2 import END, GPT2, Sample


def _trained(text: str) -> ByteLevelBPETokenizer:
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([text], work.VOCABULARY, min_frequency=1, show_progress=False)
    return tokenizer


def training(text: str) -> Callable[[], list[np.ndarray]]:
    """As ours."""
    return lambda: [np.array(_trained(text).get_vocab_size())]


def encoding(text: str) -> Callable[[], list[np.ndarray]]:
    """As ours, by a tokenizer that it trained itself: programs decide otherwise between equally frequent pairs."""
    tokenizer = _trained(text)
    return lambda: [np.array(len(tokenizer.encode(text).ids))]


def published(samples: list[Sample]) -> Callable[[], list[np.ndarray]]:
    """A call gives the ids of each sample by GPT-2's tokenizer."""
    files = [str(fetch(GPT2).folder / name) for name in GPT2.files]
    ordinary, special = ByteLevelBPETokenizer(*files), ByteLevelBPETokenizer(*files)
    special.add_special_tokens([END])
    return lambda: [np.array((special if s.special else ordinary).encode(s.text).ids) for s in samples]
