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
    """A CNN runs its layers in order. Before a Linear, (batch, channels, h, w) becomes (batch, channels · h · w), channel by
    channel.
    """
    own, x = layers(), Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32))
    conv, norm, relu, pool, linear = own
    images = pool(relu.forward(norm(conv(x)))).data
    norm.running_mean[:], norm.running_var[:] = 0, 1
    flat = np.stack([np.concatenate([image[c].ravel() for c in range(4)]) for image in images])
    wrong = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).reshape(3, -1)
    mistakes = {"flattened pixel by pixel": linear(Tensor(wrong)).data}
    assert_close(CNN(own)(x), linear(Tensor(flat)).data, mistakes=mistakes)


def test_what_is_flat_already_stays(draw):
    """An input that is already flat stays as it is: after GlobalAvgPool, or between two Linear layers."""
    rng = np.random.default_rng(0)
    own = [Conv2d(2, 4, 3, rng=rng), GlobalAvgPool(), Linear(4, 6, rng=rng), ReLU(), Linear(6, 5, rng=rng)]
    x = Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32))
    want = own[4](own[3].forward(own[2](own[1](own[0](x)))))
    assert_close(CNN(own)(x), want)


def test_the_names_are_those_of_the_list():
    """Names count the layers in the list: "0.weight" belongs to the first, "4.weight" to the fifth. Flattening isn't a layer
    and has no number.
    """
    names = [name for name, _ in CNN(layers()).named_parameters()]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert CNN(layers()).state_dict().keys() == Sequential(*layers()).state_dict().keys()


def test_any_linear_is_flattened_for(draw):
    """A subclass of Linear gets (batch, features), too."""

    class Wider(Linear):
        """A Linear by another name."""

    linear, x = Wider(4 * 3 * 4, 5, rng=np.random.default_rng(0)), Tensor(draw.normal(3, 4, 3, 4, dtype=np.float32))
    assert_close(CNN([linear])(x), linear(Tensor(x.data.reshape(3, -1))).data)


def test_images_of_one_pixel_are_flattened(draw):
    """Before a Linear, (batch, channels, 1, 1) becomes (batch, channels)."""
    linear, x = Linear(4, 5, rng=np.random.default_rng(0)), draw.normal(3, 4, 1, 1, dtype=np.float32)
    assert_close(CNN([linear])(Tensor(x)), linear(Tensor(x[:, :, 0, 0])).data)


def test_a_batch_may_have_one_image_or_none():
    """Before a Linear, (1, channels, h, w) becomes (1, features), and (0, channels, h, w) becomes (0, features)."""
    cnn = CNN(layers()).eval()
    for batch in (1, 0):
        x = Tensor(np.ones((batch, 2, 6, 8), np.float32), requires_grad=True)
        y = cnn(x)
        assert y.shape == (batch, 5)
        y.sum().backward()
        assert x.grad.shape == x.shape


def test_a_layer_may_be_at_two_places(draw):
    """A convolution that is listed twice runs twice with the same weight, and its gradients add up."""
    conv, x = Conv2d(2, 2, 3, padding=1, rng=np.random.default_rng(0)), draw.normal(3, 2, 4, 5, dtype=np.float32)
    cnn = CNN([conv, ReLU(), conv])
    want = conv(ReLU().forward(conv(Tensor(x))))
    assert_close(cnn(Tensor(x)), want.data, mistakes={"the second time is left out": ReLU().forward(conv(Tensor(x))).data})
    assert len(cnn) == 3
    want.sum().backward()
    grad, conv.weight.grad = conv.weight.grad, None
    cnn(Tensor(x)).sum().backward()
    assert_close(conv.weight.grad, grad)


def test_the_list_is_left_alone_and_may_change_later(draw):
    """A CNN has the layers that were in the list when it was created. It doesn't change the list, and later changes of the list
    don't change the CNN.
    """
    own, x = layers(), Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32))
    before, cnn = [*own], CNN(own)
    cnn.eval()
    want = cnn(x).data
    assert len(own) == len(before)
    assert all(one is other for one, other in zip(own, before, strict=True)), "the list has other layers"
    own.pop()
    assert_close(cnn(x), want)
    assert len(cnn) == 5


def test_train_and_eval_reach_every_layer():
    """train() and eval() of a CNN reach its BatchNorm2d."""
    cnn = CNN(layers())
    cnn.eval()
    assert not cnn[1].training
    cnn.train()
    assert cnn[1].training


def test_every_parameter_receives_a_gradient(draw):
    """Every parameter receives a gradient, back to the first filters; the images receive one if they need it."""
    cnn, x = CNN(layers()), Tensor(draw.normal(3, 2, 6, 8, dtype=np.float32), requires_grad=True)
    y = cnn(x)
    y.backward(draw.normal(3, 5, dtype=np.float32))
    for name, parameter in cnn.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        if name != "0.bias":  # which the normalisation takes away again
            assert np.abs(parameter.grad).max() > 1e-4, f"the gradient of {name} is zero"
    assert x.grad.shape == x.shape


def test_nothing_of_a_batch_is_kept(budget):
    """Between two steps, no layer keeps its images, its result or the graph: nothing of 1 MB of images stays in memory."""
    own = [Conv2d(4, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2), AvgPool2d(2), GlobalAvgPool(), Linear(4, 5)]
    cnn, images = CNN(own), np.ones((16, 4, 64, 64), np.float32)

    def step():
        cnn(Tensor(images)).sum().backward()
        for parameter in cnn.parameters():
            parameter.grad = None

    budget.bytes(step, retained=100_000)


def test_features_that_do_not_fit_are_refused(draw):
    """Images whose size doesn't fit the Linear raise the Linear's own ValueError."""
    with rejects(ValueError, "Linear(48, 5)"):
        CNN(layers())(Tensor(np.zeros((3, 2, 8, 8), np.float32)))


@pytest.mark.parametrize("layer", [ReLU, 3])
def test_what_is_no_layer_is_refused(layer):
    """A class, or an object that is not a layer, raises a TypeError, as in Sequential."""
    with rejects(TypeError):
        CNN([layer])
