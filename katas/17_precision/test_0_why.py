import numpy as np
from katas.precision import QuantizedLinear, quantize, quantize_array
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import cpu_ratio


def nbytes(model) -> int:
    return sum(array.nbytes for array in model.state_dict().values())


def test_a_quarter_of_the_bytes_gives_the_same_logits(tell):
    """float32 weights take four times the bytes of int8. astype(np.int8) makes most of them 0; with a scale for each row the
    logits hardly change. In NumPy that saves memory and no time.
    """
    config = GPTConfig(1024, 32, 2, 4, 128, bias=False)
    model = GPT(config, np.random.default_rng(0)).eval()
    ids = np.random.default_rng(1).integers(1024, size=(4, 32))
    logits = model(ids).data
    cut = GPT(config)
    cut.load_state_dict({name: array.astype(np.int8).astype(np.float32) for name, array in model.state_dict().items()})
    small = quantize(model)

    spread, share = float(logits.std()), nbytes(small) / nbytes(model)
    lost, off = (float(np.abs(other.data - logits).max()) / spread for other in (cut.eval()(ids), small(ids)))
    rows, weight = np.ones((256, 512), np.float32), model.transformer.h[0].mlp.c_proj.weight.data
    layer = QuantizedLinear(quantize_array(weight, 0))
    ratios = [cpu_ratio(lambda x=x: layer(Tensor(x)), lambda x=x: x @ weight.T) for x in (rows, rows[:1])]
    tell(
        f"int8: {share:.3f} of the bytes; logits are {off:.3f} deviations off at most, as astype(np.int8) by {lost:.1f}; "
        f"{ratios[0]:.1f} times the time of float32 for 256 rows, {ratios[1]:.1f} times for one: no gain in NumPy"
    )
    assert share <= 0.27
    assert lost > 1
    assert off < 0.1
