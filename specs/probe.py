"""A recorder for specs: sees what the operations of Tensor report, as automatic differentiation will."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Record(NamedTuple):
    """One operation: its name, the Tensor it made, the Tensors it was made of, and its attributes."""

    op: str
    result: Any
    parents: tuple
    attrs: dict


class Probe(list[Record]):
    """The records in the order in which they came."""

    def __call__(self, op: str, result, parents: tuple, attrs: dict) -> None:
        self.append(Record(op, result, parents, attrs))

    def reaches(self, result, leaf) -> bool:
        """Whether `result` was computed from `leaf` by recorded operations only."""
        seen, waiting = set(), [result]
        while waiting:
            tensor = waiting.pop()
            if tensor is leaf:
                return True
            if id(tensor) not in seen:
                seen.add(id(tensor))
                waiting += [parent for record in self if record.result is tensor for parent in record.parents]
        return False


@contextmanager
def recording() -> Iterator[Probe]:
    """Installs a Probe as the recorder of every Tensor operation in the block."""
    from katas.tensor import Tensor

    before, Tensor._recorder = Tensor._recorder, Probe()
    try:
        yield Tensor._recorder
    finally:
        Tensor._recorder = before
