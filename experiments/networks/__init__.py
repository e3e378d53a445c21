"""The networks: new ones, and models from files."""

from experiments.networks.files import accelerated
from experiments.networks.models import cnn, lstm, mlp, resmlp
from experiments.networks.network import Network

__all__ = ["Network", "accelerated", "cnn", "lstm", "mlp", "resmlp"]
