"""The package you build: `from katas.tensor import Tensor` is `katas/02_tensor/tensor.py`."""

from specs import door

__path__ = door.folders()
door.install()
