"""Small networks in float64 NumPy, forward and backward, written independently."""

import contextlib

import keras
import numpy as np

from tests import reference


class Dense:
    def __init__(self, layer):
        self.kernel, *rest = (w.astype("float64") for w in layer.get_weights())
        self.bias = rest[0] if rest else 0.0

    def forward(self, x):
        self.input = x
        return x @ self.kernel + self.bias

    def backward(self, upstream):
        self.gradients = [self.input.T @ upstream]
        if not np.isscalar(self.bias):
            self.gradients.append(upstream.sum(axis=0))
        return upstream @ self.kernel.T

    def set_weights(self, weights):
        self.kernel = next(weights)
        if not np.isscalar(self.bias):
            self.bias = next(weights)


class Convolution:
    """A convolution without padding, as a product with patches."""

    def __init__(self, layer):
        self.kernel, self.bias = (w.astype("float64") for w in layer.get_weights())

    def forward(self, x):
        self.input = x
        rows, columns = self.kernel.shape[:2]
        height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
        self.offsets = [(i, j) for i in range(rows) for j in range(columns)]
        self.size = height, width
        return self.bias + sum(
            x[:, i : i + height, j : j + width] @ self.kernel[i, j]
            for i, j in self.offsets
        )

    def backward(self, upstream):
        gradient, of_kernel = np.zeros(self.input.shape), np.zeros(self.kernel.shape)
        height, width = self.size
        for i, j in self.offsets:
            place = np.s_[:, i : i + height, j : j + width]
            gradient[place] += upstream @ self.kernel[i, j].T
            of_kernel[i, j] = np.tensordot(
                self.input[place], upstream, ([0, 1, 2], [0, 1, 2])
            )
        self.gradients = [of_kernel, upstream.sum(axis=(0, 1, 2))]
        return gradient

    def set_weights(self, weights):
        self.kernel, self.bias = next(weights), next(weights)


class BatchNorm:
    def __init__(self, layer, training):
        self.gamma, self.beta, self.mean, self.variance = (
            w.astype("float64") for w in layer.get_weights()
        )
        self.epsilon, self.training = layer.epsilon, training

    def forward(self, x):
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = x.mean(axis=0), x.var(axis=0)
        self.deviation = np.sqrt(variance + self.epsilon)
        self.normal = (x - mean) / self.deviation
        return self.gamma * self.normal + self.beta

    def set_weights(self, weights):
        self.gamma, self.beta = next(weights), next(weights)

    def backward(self, upstream):
        self.gradients = [(upstream * self.normal).sum(axis=0), upstream.sum(axis=0)]
        scaled = upstream * self.gamma
        if self.training:
            along = (scaled * self.normal).mean(axis=0)
            scaled = scaled - scaled.mean(axis=0) - self.normal * along
        return scaled / self.deviation


class Times:
    """Dropout with a known mask."""

    def __init__(self, mask):
        self.mask = mask

    def forward(self, x):
        return x * self.mask

    def backward(self, upstream):
        return upstream * self.mask


class Flatten:
    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, upstream):
        return upstream.reshape(self.shape)


FUNCTIONS = {
    "tanh": (np.tanh, reference.tanh_derivative),
    "relu": (lambda x: np.maximum(x, 0), reference.relu_derivative),
}
SHAPES = {"tanh": reference.gaussian, "relu": reference.shifted_sigmoid}


class Activation:
    def __init__(self, name, kind, accelerated):
        self.name, self.kind, self.accelerated = name, kind, accelerated
        self.replace = lambda values: values

    def slope(self, z):
        slope = FUNCTIONS[self.kind][1](z)
        return slope + SHAPES[self.kind](z) if self.accelerated else slope

    def forward(self, z):
        self.pre_activation = z
        self.output = FUNCTIONS[self.kind][0](z)
        return self.replace(self.output)

    def backward(self, upstream):
        self.output_gradient = upstream
        self.pre_activation_gradient = upstream * self.slope(self.pre_activation)
        return self.pre_activation_gradient


class Network:
    """A chain of the parts above, ending in softmax and cross-entropy."""

    def __init__(self, parts):
        self.parts = parts
        self.activations = {p.name: p for p in parts if isinstance(p, Activation)}

    def forward(self, x):
        for part in self.parts:
            x = part.forward(x)
        return x

    def loss(self, x, y):
        logits = self.forward(x)
        shifted = logits - logits.max(axis=1, keepdims=True)
        return np.mean(
            np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
        )

    def accuracy(self, x, y):
        return np.mean(self.forward(x).argmax(axis=1) == y)

    def backward(self, x, y, weights=None):
        logits = self.forward(x)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        upstream = odds / odds.sum(axis=1, keepdims=True)
        upstream[np.arange(len(y)), y] -= 1
        upstream /= len(y)
        if weights is not None:
            upstream *= weights[:, np.newaxis]
        for part in reversed(self.parts):
            upstream = part.backward(upstream)

    def weight_gradient(self, x, y, weights):
        """Returns the gradient of the loss at other weights, as one vector."""
        weights = iter(weights)
        trained = [part for part in self.parts if hasattr(part, "set_weights")]
        for part in trained:
            part.set_weights(weights)
        self.backward(x, y)
        return np.concatenate([g.ravel() for part in trained for g in part.gradients])


def of_model(model, training=False, masks=()):
    """Returns the same network in NumPy.

    In training it is accelerated where the model is, with the given dropout masks.
    """
    masks = iter(masks)
    parts = []
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Dropout":
            if training:
                parts.append(Times(next(masks)))
            continue
        if kind == "BatchNormalization":
            parts.append(BatchNorm(layer, training))
        elif kind == "Conv2D":
            parts.append(Convolution(layer))
        elif kind == "Dense":
            parts.append(Dense(layer))
        elif kind == "Flatten":
            parts.append(Flatten())
        held = layer if kind.startswith(("GAAF", "Activation")) else None
        activation = getattr(layer, "activation", None)
        if held is None and type(activation).__name__.startswith("GAAF"):
            held = activation
        name = getattr(held or layer, "activation", None)
        name = getattr(name, "__name__", None)
        if name in FUNCTIONS:
            accelerated = training and type(held).__name__.startswith("GAAF")
            parts.append(Activation(layer.name, name, accelerated))
    return Network(parts)


def dropout_masks(model, x, runs=1):
    """Returns the masks of each of several runs of a model, one after the other."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(keras.StatelessScope())
        if keras.backend.backend() == "torch":
            import torch

            stack.enter_context(torch.random.fork_rng())
        found = []
        for _ in range(runs):
            masks = []
            values = keras.ops.convert_to_tensor(x)
            for layer in model.layers:
                if isinstance(layer, keras.layers.Dropout):
                    ones = keras.ops.ones_like(values)
                    masks.append(keras.ops.convert_to_numpy(layer(ones, training=True)))
                values = layer(values)
            found.append(masks)
    return found
