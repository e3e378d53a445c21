"""The paper's numbers, to show next to our own.

"Gradient Acceleration in Activation Functions" (Hahn and Choi, arXiv 1806.09783). Means
with standard deviations where the paper gives them; for MNIST, five runs each.
"""

from experiments.config import TrainingConfig

# Test accuracy in percent and training epochs, as texts, by data set and by whether the
# network is accelerated, has dropout, has batch normalisation.
_TABLES = {
    "mnist": {
        (False, False, False): ("98.23 (0.075)", "82 (16.6)"),
        (False, True, False): ("98.40 (0.034)", "169 (9.7)"),
        (True, False, False): ("98.35 (0.059)", "114 (24.8)"),
    },
    **{
        dataset: {
            (False, False, False): (base, ""),
            (False, False, True): (batch_norm, ""),
            (True, False, False): (gaaf, ""),
            (True, False, True): (both, ""),
        }
        for dataset, base, batch_norm, gaaf, both in (
            ("cifar100", "59.63", "67.48", "61.29", "69.36"),
            ("cifar10", "89.55", "91.10", "90.16", "91.92"),
            ("svhn_cropped", "92.03", "93.80", "92.19", "94.16"),
        )
    },
}

# Mean absolute gradient of the nodes of a layer, MNIST: without and with dropout.
_MNIST_GRADIENTS = {
    "activation_1": (1.07e-4, 5.93e-4),
    "activation_2": (1.40e-4, 6.52e-4),
    "activation_3": (9.35e-5, 5.83e-4),
}


def scores(config: TrainingConfig) -> tuple[str, str] | None:
    """Returns the paper's accuracy and epochs of a network, or None."""
    changed = (
        config.shape_function is not None or config.unit_gain or config.strength != 1
    )
    if changed or not _is_network(config):
        return None
    network = config.accelerates, config.dropout > 0, config.batch_norm
    return _TABLES[config.dataset].get(network)


def gradients(config: TrainingConfig) -> dict[str, float]:
    """Returns the paper's gradients of a network by layer; empty without them."""
    plain = not config.accelerates and not config.batch_norm
    if not plain or config.dataset != "mnist" or not _is_network(config):
        return {}
    return {layer: of[config.dropout > 0] for layer, of in _MNIST_GRADIENTS.items()}


def _is_network(config: TrainingConfig) -> bool:
    """Whether the paper trained such a network with all of the data.

    Dropout, batch normalisation and acceleration do not matter.
    """
    own = TrainingConfig()
    activation = config.activation.removeprefix("gaaf_")
    return (
        config.dataset in _TABLES
        and (config.model, activation) in (("mlp", "tanh"), ("cnn", "relu"))
        and config.train_examples is None
        and config.hidden_units == own.hidden_units
        and config.width == own.width
    )
