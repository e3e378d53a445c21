"""Tables of networks at the learning rates that they have."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.suites.suite import Suite, comparison


def _drop_in(title: str, base: str, **common: Any) -> Suite:
    """Plain and accelerated at each of the learning rates that somebody may have."""
    return dataclasses.replace(
        comparison(base),
        title=f"At the rate that you have: {title}",
        common={
            "dataset": "mnist",
            "train_examples": 5_000,
            "learning_rate_schedule": "cosine",
            "epochs": 5,
            "patience": 1_000,
            "gradient_flow": 0,
            **common,
        },
        at_each_rate=True,
    )


def _drop_in_lstm(**common: Any) -> Suite:
    """The same for an LSTM, of which the gates alone can be accelerated too."""
    suite = _drop_in("MNIST, LSTM", "tanh", model="lstm", optimizer="adam", **common)
    gates = {"activation": "gaaf_tanh", "gates_alone": True, "unit_gain": True}
    return dataclasses.replace(suite, variants={**suite.variants, "gates": gates})


_SMALL_CNN = {
    "train_examples": 1_000,
    "batch_size": 32,
    "model": "cnn",
    "width": 4,
    "optimizer": "momentum",
}
# The rate in the middle is the best of the plain network, for training as short as
# here. It was chosen beforehand, on validation data and with other seeds.
DROP_INS: Mapping[str, Suite] = {
    "drop_in_tanh_mlp": _drop_in(
        "MNIST, tanh MLP",
        "tanh",
        hidden_units=(128,) * 3,
        learning_rate=(0.2, 0.4, 0.8),
    ),
    "drop_in_relu_mlp": _drop_in(
        "MNIST, ReLU MLP",
        "relu",
        hidden_units=(128,) * 3,
        learning_rate=(0.2, 0.4, 0.8),
    ),
    "drop_in_tanh_deep": _drop_in(
        "MNIST, tanh MLP of 12 hidden layers",
        "tanh",
        hidden_units=(64,) * 12,
        learning_rate=(0.1, 0.2, 0.4),
    ),
    "drop_in_relu_cnn": _drop_in(
        "MNIST, ReLU CNN",
        "relu",
        **_SMALL_CNN,
        learning_rate=(0.01, 0.02, 0.04),
    ),
    "drop_in_relu_cnn_batch_norm": _drop_in(
        "MNIST, ReLU CNN with batch norm",
        "relu",
        **_SMALL_CNN,
        batch_norm=True,
        learning_rate=(0.08, 0.16, 0.32),
    ),
    "drop_in_relu_resmlp": _drop_in(
        "MNIST, ReLU residual MLP",
        "relu",
        model="resmlp",
        hidden_units=(128,) * 4,
        optimizer="adam",
        learning_rate=(0.0015, 0.003, 0.006),
    ),
    "drop_in_lstm": _drop_in_lstm(width=32, learning_rate=(0.01, 0.02, 0.04)),
}
