"""What the paper reports, to be shown beside what was found here.

"Gradient Acceleration in Activation Functions" (Hahn and Choi, arXiv 1806.09783). Means
with their standard deviations where it gives them; of MNIST, five runs each.
"""

import dataclasses

from experiments import TrainingConfig


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of one of the paper's tables.

    Attributes:
        accuracy: Test accuracy in percent.
        accuracy_deviation: Its standard deviation, None if it is not given.
        epochs: Training epochs, None if they are not given.
        epochs_deviation: Their standard deviation.
    """

    accuracy: float
    accuracy_deviation: float | None = None
    epochs: float | None = None
    epochs_deviation: float | None = None


def _convolutional(
    base: float, batch_norm: float, gaaf: float, both: float
) -> dict[tuple[bool, bool, bool], PaperRow]:
    return {
        (False, False, False): PaperRow(base),
        (False, False, True): PaperRow(batch_norm),
        (True, False, False): PaperRow(gaaf),
        (True, False, True): PaperRow(both),
    }


# By data set and by whether the network is accelerated, has dropout, normalises.
_TABLES = {
    "mnist": {
        (False, False, False): PaperRow(98.23, 0.075, 82, 16.6),
        (False, True, False): PaperRow(98.40, 0.034, 169, 9.7),
        (True, False, False): PaperRow(98.35, 0.059, 114, 24.8),
    },
    "cifar100": _convolutional(59.63, 67.48, 61.29, 69.36),
    "cifar10": _convolutional(89.55, 91.1, 90.16, 91.92),
    "svhn_cropped": _convolutional(92.03, 93.80, 92.19, 94.16),
}

# Mean absolute gradient of the nodes of a layer, MNIST: without and with dropout.
MNIST_GRADIENTS = {
    "activation_1": (1.07e-4, 5.93e-4),
    "activation_2": (1.40e-4, 6.52e-4),
    "activation_3": (9.35e-5, 5.83e-4),
}


def is_network(config: TrainingConfig) -> bool:
    """Whether the paper has trained such a network, with all of the data.

    Whatever its dropout, batch normalisation and acceleration.
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


def row(
    dataset: str, *, accelerated: bool, dropout: bool, batch_norm: bool
) -> PaperRow | None:
    """Returns what the paper reports for a network, if it does."""
    return _TABLES.get(dataset, {}).get((accelerated, dropout, batch_norm))
