import numpy as np
import pytest
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.spatial import CNN, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor

from specs.check import assert_close, rejects


def layers() -> list:
    rng = np.random.default_rng(0)
    return [Conv2d(2, 4, 3, padding=1, rng=rng), BatchNorm2d(4), ReLU(), MaxPool2d(2), Linear(4 * 3 * 4, 5, rng=rng)]


def test_layers_come_one_after_another_and_images_are_flattened_for_a_linear(draw):
    """(batch, channels, h, w) becomes (batch, channels · h · w), channel by channel."""
    own, x = layers(), Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32))
    conv, norm, relu, pool, linear = own
    images = pool(relu.forward(norm(conv(x)))).data
    norm.running_mean[:], norm.running_var[:] = 0, 1
    flat = np.stack([np.concatenate([image[c].ravel() for c in range(4)]) for image in images])
    wrong = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(3, -1)
    mistakes = {"flattened pixel by pixel": linear(Tensor(wrong)).data}
    assert_close(CNN(own)(x), linear(Tensor(flat)).data, mistakes=mistakes)


def test_what_is_flat_already_stays(draw):
    """After GlobalAvgPool there is nothing to flatten; a second Linear takes what the first gives."""
    rng = np.random.default_rng(0)
    own = [Conv2d(2, 4, 3, rng=rng), GlobalAvgPool(), Linear(4, 6, rng=rng), ReLU(), Linear(6, 5, rng=rng)]
    x = Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32))
    want = own[4](own[3].forward(own[2](own[1](own[0](x)))))
    assert_close(CNN(own)(x), want)


def test_the_names_are_those_of_the_list():
    """ "0.weight" is of the first layer in the list, "4.weight" of the fifth: flattening is none of them."""
    names = [name for name, _ in CNN(layers()).named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert CNN(layers()).state_dict().keys() == Sequential(*layers()).state_dict().keys()


def test_train_and_eval_reach_every_layer():
    """A BatchNorm2d in a CNN is in the mode of the CNN."""
    cnn = CNN(layers())
    cnn.eval()
    assert not cnn[1].training
    cnn.train()
    assert cnn[1].training


def test_every_parameter_receives_a_gradient(draw):
    """From the loss back to the first filters, and to the images if asked."""
    cnn, x = CNN(layers()), Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32), requires_grad=True)
    y = cnn(x)
    y.backward(draw.normal(3, 5, dtype=np.float32))
    for name, parameter in cnn.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        if name != "0.bias":  # which the normalisation takes away again
            assert np.abs(parameter.grad).max() > 1e-4, f"the gradient of {name} is zero"
    assert x.grad.shape == x.shape


def test_nothing_of_a_batch_is_kept(budget):
    """No layer keeps its images, its result or the record between two steps: a megabyte of images leaves nothing behind."""
    own = [Conv2d(4, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2), AvgPool2d(2), GlobalAvgPool(), Linear(4, 5)]
    cnn, images = CNN(own), np.ones((16, 4, 64, 64), np.float32)

    def step():
        cnn(Tensor(images)).sum().backward()
        for parameter in cnn.parameters():
            parameter.grad = None

    budget.bytes(step, retained=100_000)


def test_features_that_do_not_fit_are_refused(draw):
    """Images of another size than the Linear was made for: its own error says so."""
    with rejects(ValueError, "Linear(48, 5)"):
        CNN(layers())(Tensor(np.zeros((3, 2, 8, 8), np.float32)))


@pytest.mark.parametrize("layer", [ReLU, 3])
def test_what_is_no_layer_is_refused(layer):
    """A class rather than a layer, or something else, as in Sequential."""
    with rejects(TypeError):
        CNN([layer])
