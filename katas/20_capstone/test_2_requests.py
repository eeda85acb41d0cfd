import numpy as np
import pytest
from katas.capstone import Request

from specs.check import rejects


def test_a_prompt_becomes_a_tuple_of_integers():
    """A prompt may be a list, a tuple or an array of integers. It becomes a tuple of Python integers."""
    for prompt in ([3, 1], (3, 1), np.array([3, 1], np.uint8), iter([3, 1])):
        request = Request(prompt)
        assert request.prompt == (3, 1)
        assert isinstance(request.prompt, tuple)
        assert all(type(number) is int for number in request.prompt)


def test_the_defaults():
    """A request without options asks for 16 tokens at temperature 1, with a fresh seed, no stop strings and no logprobs."""
    request = Request([1])
    assert (request.max_tokens, request.temperature, request.top_p) == (16, 1.0, 1.0)
    assert (request.seed, request.stop, request.logprobs, request.echo) == (None, (), None, False)


def test_one_stop_string_or_several():
    """A string is one stop string, not its characters. Several become a tuple."""
    assert Request([1], stop="ab").stop == ("ab",)
    assert Request([1], stop=["ab", "c"]).stop == ("ab", "c")


def test_the_limits_themselves_are_allowed():
    """max_tokens 0, temperature 0, top_p 1, seed 0, logprobs 0 and 5 are allowed, as integers of NumPy too."""
    request = Request([0], max_tokens=0, temperature=0, top_p=1, seed=0, logprobs=0)
    assert (request.max_tokens, request.seed, request.logprobs) == (0, 0, 0)
    assert Request([0], logprobs=np.int64(5), max_tokens=np.int64(7), seed=2**70).seed == 2**70


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt", ()),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", None),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        pytest.param("temperature", 10**400, id="an enormous temperature"),
        ("temperature", np.complex64(1)),
        ("temperature", "1"),
        ("temperature", None),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", float("nan")),
        ("top_p", None),
        pytest.param("top_p", 10**400, id="an enormous top_p"),
        ("seed", -1),
        ("seed", 1.0),
        ("seed", False),
        ("logprobs", 6),
        ("logprobs", -1),
        ("logprobs", True),
        ("logprobs", False),
        ("logprobs", 0.0),
        ("logprobs", ""),
        ("max_tokens", False),
        ("max_tokens", 0.0),
        ("temperature", False),
        ("temperature", ""),
        ("seed", 0.0),
        ("seed", ""),
        ("stop", False),
        pytest.param("stop", "", id="an empty stop"),
        ("stop", ("ab", "")),
        ("stop", (7,)),
        ("stop", None),
        ("stop", 5),
    ],
)
def test_what_does_not_fit_is_refused(name, value):
    """A ValueError contains the name and the value of what does not fit."""
    with rejects(ValueError, name, repr(value)):
        Request(**{"prompt": [1]} | {name: value})


@pytest.mark.parametrize("prompt", [[1.0], ["a"], "ab", np.array([0.5])])
def test_ids_are_integers(prompt):
    """Ids that are not integers raise a TypeError."""
    with rejects(TypeError):
        Request(prompt)


def test_an_empty_string_is_no_stop_string():
    """A ValueError contains "stop"."""
    with rejects(ValueError, "stop"):
        Request([1], stop="")
