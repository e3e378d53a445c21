"""Names for the types of Keras and its backends, which ship none."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

Tensor: TypeAlias = Any  # of TensorFlow, JAX or PyTorch, or a symbolic one of Keras
Function: TypeAlias = Callable[[Tensor], Tensor]
Activation: TypeAlias = str | Function | keras.Operation  # layers are operations
Config: TypeAlias = dict[str, Any]
