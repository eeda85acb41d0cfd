"""A two-layer network and its training step in plain NumPy: no classes of ours, every formula written out."""

import numpy as np


class Plain:
    """x → W₁ → ReLU → W₂ → cross-entropy, trained by Nesterov momentum as torch.optim.SGD does it."""

    def __init__(self, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray):
        self.parameters = [w1, b1, w2, b2]
        self.momenta = [np.zeros_like(parameter) for parameter in self.parameters]

    def step(self, x: np.ndarray, labels: np.ndarray, lr: float = 0.01, momentum: float = 0.9) -> None:
        """One step on a batch: x (batch, in), labels (batch,)."""
        w1, b1, w2, b2 = self.parameters
        hidden = np.maximum(x @ w1.T + b1, 0)
        logits = hidden @ w2.T + b2
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(p)), labels] -= 1
        p /= len(p)
        d_hidden = p @ w2
        d_hidden *= hidden > 0
        gradients = [d_hidden.T @ x, d_hidden.sum(0), p.T @ hidden, p.sum(0)]
        for parameter, velocity, gradient in zip(self.parameters, self.momenta, gradients, strict=True):
            velocity *= momentum
            velocity += gradient
            gradient += momentum * velocity
            gradient *= lr
            parameter -= gradient
