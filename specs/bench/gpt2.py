"""GPT-2's architecture by Hugging Face's transformers, with random weights: nothing is downloaded."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel

from specs.bench import work

STD = 0.2  # large enough that continuations are not one token again and again
transformers.utils.logging.disable_progress_bar()


def gpt2(shape: work.GPT2, path: str) -> Callable[[], list[np.ndarray]]:
    """As ours, of a network that is written to a file first, with the margin of each decision between the best two tokens."""
    torch.manual_seed(0)
    ends = {"bos_token_id": None, "eos_token_id": None}  # GPT-2's own are no ids of so small a vocabulary
    sizes = {"n_embd": shape.width, "n_layer": shape.layers, "n_head": shape.heads}
    config = GPT2Config(vocab_size=shape.vocabulary, n_positions=shape.context, **sizes, **ends)
    network, rows = GPT2LMHeadModel(config).eval(), torch.from_numpy(shape.rows())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += STD * torch.randn_like(parameter)
    network.save_pretrained(Path(path).parent)

    def call():
        with torch.no_grad():
            logits = network(rows).logits
        options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        real = torch.ones_like(rows)  # else the pad token, which it can't do without, would be hidden in the rows
        found = network.generate(rows, attention_mask=real, pad_token_id=0, max_new_tokens=work.GREEDY, **options)
        best = torch.stack(found.logits, 1).topk(2).values  # (rows, tokens, 2)
        new = found.sequences[:, rows.shape[1] :]
        return [array.numpy() for array in (logits, new, best[..., 0] - best[..., 1])]

    return call
