"""The reference beside PyTorch, and beside Hugging Face's tokenizers and transformers, on the same machine: `tox -e bench`.

Each side runs in a process of its own, since in one process the waiting threads of NumPy's OpenBLAS starve PyTorch's. The
sides take turns, and what is quoted is the ratio within a turn: the machine's speed drifts, and both feel it alike.
"""
