import dataclasses

import numpy as np
import pytest
from katas.transformers import GPTConfig

from specs.check import rejects

SIZES = {"vocab_size": 11, "context": 8, "n_layer": 2, "n_head": 3, "d_model": 12}


def test_the_fields_and_their_defaults():
    """vocab_size, context, n_layer, n_head, d_model, in this order; the others have defaults."""
    config = GPTConfig(11, 8, 2, 3, 12)
    options = {"dropout": 0.0, "bias": True, "positions": "learned", "norm": "layer", "window": None}
    assert dataclasses.asdict(config) == SIZES | options
    assert [field.name for field in dataclasses.fields(config)] == [*SIZES, *options]


def test_a_config_is_frozen_and_compares_by_value():
    """A field can't be assigned. Configs with equal fields are equal, and can be keys of a dict."""
    config = GPTConfig(**SIZES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.n_layer = 3
    assert config == GPTConfig(**SIZES)
    assert hash(config) == hash(GPTConfig(**SIZES))
    assert config != dataclasses.replace(config, n_layer=3)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_every_kind_of_positions_goes_with_every_norm(positions, norm):
    """All six are accepted. A window goes with rotary positions, and may be 1, or longer than the context."""
    GPTConfig(**SIZES, positions=positions, norm=norm)
    for window in (1, 100) if positions == "rotary" else ():
        assert GPTConfig(**SIZES, positions=positions, norm=norm, window=window).window == window


@pytest.mark.parametrize(
    "options",
    [
        {"n_head": 2, "d_model": 6, "positions": "sinusoidal"},
        {"n_head": 3, "d_model": 9},
        {"n_head": 3, "d_model": 6, "positions": "rotary"},
        {"dropout": 0.99},
        {"dropout": 0},
    ],
    ids=str,
)
def test_what_just_fits_is_accepted(options):
    """Sinusoidal positions need an even width, whatever the heads; learned ones nothing; rotary ones a head of 2 at least."""
    GPTConfig(**SIZES | options)


def test_numpys_integers_are_integers():
    """Sizes may be NumPy's integers, as vocab_size often is; all may be 1. The config holds Python's."""
    config = GPTConfig(np.int64(11), 8, 2, 3, np.int32(12))
    assert config == GPTConfig(**SIZES)
    assert {type(getattr(config, name)) for name in SIZES} == {int}
    assert type(GPTConfig(**SIZES, positions="rotary", window=np.uint8(3)).window) is int
    GPTConfig(1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in [*SIZES, "window"] for value in [0, -3, 2.5, 3.0, "3", True, None]][:-1],
)
def test_a_size_must_be_a_positive_integer(name, value):
    """Anything else, True too, raises a ValueError that contains the name and the value. Only window may be None."""
    with rejects(ValueError, name, repr(value)):
        GPTConfig(**SIZES | {"positions": "rotary", name: value})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"dropout": -0.1}, ["dropout", "-0.1"]),
        ({"dropout": float("nan")}, ["dropout", "nan"]),
        ({"positions": "absolute"}, ["positions", "absolute"]),
        ({"positions": None}, ["positions", "None"]),
        ({"norm": "batch"}, ["norm", "batch"]),
        ({"norm": "Layer"}, ["norm", "Layer"]),
        ({"n_head": 5}, ["n_head", "5", "d_model", "12"]),
        ({"n_head": 4, "positions": "rotary"}, ["12", "4", "rotary"]),
        ({"n_head": 5, "d_model": 15, "positions": "rotary"}, ["15", "5", "rotary"]),
        ({"n_head": 3, "d_model": 15, "positions": "sinusoidal"}, ["15", "sinusoidal"]),
        ({"window": 4}, ["window", "4", "learned"]),
        ({"window": 4, "positions": "sinusoidal"}, ["window", "4", "sinusoidal"]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(options, named):
    """A dropout outside [0, 1), an unknown kind, heads that don't divide the width, rotary positions with an odd head,
    sinusoidal ones with an odd width, or a window without rotary positions: the ValueError contains the names and values.
    """
    with rejects(ValueError, *named):
        GPTConfig(**SIZES | options)


def test_replacing_a_field_checks_again():
    """dataclasses.replace makes a new config, which is checked as well."""
    with rejects(ValueError, "n_head", "5"):
        dataclasses.replace(GPTConfig(**SIZES), n_head=5)
