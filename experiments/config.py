"""Every setting of a run: its default, its bounds, and what it does.

The flags of `train.py`, its `--help`, the checks and the table in `docs/training.md`
all come from the fields of `TrainingConfig`. Importing this module imports neither
Keras nor a backend.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import own_shapes
from experiments.names import (
    ACTIVATIONS,
    BASE_ACTIVATIONS,
    EXAMPLES_OF_SHAPES,
    SHAPES,
    names_in,
)


class UsageError(ValueError):
    """The user asked for something impossible; the message says what to do."""


class WorkerLostError(RuntimeError):
    """Another process of the same run is gone; all must be restarted."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The range of a numeric setting; all its numbers are finite.

    Attributes:
        least: The smallest number allowed.
        above: A number it must exceed, if there is no smallest.
        below: A number it must stay below.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether a number is within the bounds."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.above is not None:
            return f"finite and greater than {self.above:g}"
        if self.below is None:
            return f"{self.least:g} or greater"
        return f"from {self.least:g} to below {self.below:.10g}"


_FROM_0, _FROM_1, _ABOVE_0 = Bounds(least=0), Bounds(least=1), Bounds(above=0)
_SHARE = Bounds(least=0, below=1)

# Each new model, with the settings that only some of them have.
MODELS: Mapping[str, tuple[str, ...]] = {
    "mlp": ("hidden_units", "batch_norm"),
    "cnn": ("width", "batch_norm"),
    "resmlp": ("hidden_units", "width", "batch_norm"),
    "lstm": ("width", "gates_alone"),
}


def _setting(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] = (),
    bounds: Bounds | None = None,
    by_default: str = "",
    group: str = "",
    several: bool = False,
) -> Any:
    """Returns a field of `TrainingConfig`.

    Args:
        default: Its value if none is given.
        text: What it does, in a sentence.
        choices: The names it may take.
        bounds: The numbers it may take.
        by_default: What a default of None means.
        group: What it describes: `"new"`, a new model; `"acceleration"`, how a model is
            accelerated; `"place"`, where files are and what a run is called, which may
            change when the run resumes.
        several: Whether its flag takes several values, each for separate runs.
    """
    metadata = {
        "text": text,
        "choices": tuple(choices),
        "bounds": bounds,
        "by_default": by_default,
        "group": group,
        "several": several,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """All settings of one run: a field for each flag of `train.py`.

    Raises:
        UsageError: If a value is out of range, or two cannot be combined.

    Examples:
        ```python
        from experiments import TrainingConfig

        config = TrainingConfig(dataset="digits", activation="gaaf_relu", epochs=30)
        ```
    """

    dataset: str = _setting(
        "digits",
        "The data set: digits, which is bundled and needs no network; a "
        "tensorflow-datasets image-classification data set, such as mnist, cifar10, "
        "cifar100 or svhn_cropped; or an .npz file written by numpy.savez, with "
        "x_train, y_train, x_test and y_test.",
    )
    data_dir: str | None = _setting(
        None,
        "Folder of the prepared tensorflow-datasets data.",
        by_default="~/tensorflow_datasets or $TFDS_DATA_DIR",
        group="place",
    )
    download: bool = _setting(
        False, "Download the data set if it is missing.", group="place"
    )
    train_examples: int | None = _setting(
        None,
        "Number of training examples to use.",
        bounds=_FROM_1,
        by_default="all that are not held out for validation",
    )
    augment: bool | None = _setting(
        None, "Flip and shift the training images.", by_default="only for CIFAR"
    )
    init_from: str | None = _setting(
        None,
        "Start from the model in this .keras file. It must take raw pixels, from 0 to "
        "255, and return logits or a softmax.",
        by_default="a new model",
    )
    accelerate: bool = _setting(
        False, "Accelerate the activations of the model in --init_from."
    )
    model: str = _setting(
        "mlp",
        "Architecture to build: mlp, fully connected; cnn, convolutional, VGG-style; "
        "resmlp, residual blocks of dense layers; lstm, which reads images row by row.",
        choices=tuple(MODELS),
        group="new",
    )
    hidden_units: tuple[int, ...] = _setting(
        (512, 256, 256),
        "Widths of the hidden layers of the mlp, or of the blocks of the resmlp.",
        bounds=_FROM_1,
        group="new",
    )
    width: int = _setting(
        64,
        "Channels of the first stage of the cnn; width of the resmlp between its "
        "blocks; units of the lstm.",
        bounds=_FROM_1,
        group="new",
    )
    activation: str = _setting(
        "gaaf_tanh",
        f"The hidden activation: {', '.join(BASE_ACTIVATIONS)}; or the accelerated "
        "form, with the prefix gaaf_. Give several, separated by commas, to compare "
        "them.",
        group="new",
        several=True,
    )
    dropout: float = _setting(0.0, "Dropout rate.", bounds=_SHARE, group="new")
    batch_norm: bool = _setting(
        False, "Add batch normalisation before each hidden activation.", group="new"
    )
    sync_batch_norm: bool = _setting(
        True,
        "With several replicas, compute batch statistics over the global batch, as on "
        "one device, instead of over each replica's share.",
    )
    shape_function: str | None = _setting(
        None,
        "Shape function of the accelerated activations, such as "
        f"{'; '.join(EXAMPLES_OF_SHAPES)}; or your own, such as "
        "my_shapes:Lorentzian(width=2) from my_shapes.py. Give several, separated by "
        "commas, to compare them.",
        by_default="the default shape of the activation",
        group="acceleration",
        several=True,
    )
    strength: float = _setting(
        1.0, "Factor on the shape function.", bounds=_FROM_0, group="acceleration"
    )
    unit_gain: bool | None = _setting(
        None,
        "Scale accelerated derivatives down to the maximum of the plain derivative.",
        by_default="only with --accelerate",
        group="acceleration",
    )
    gates_alone: bool = _setting(
        False,
        "Accelerate only the gates of the lstm, not its state.",
        group="acceleration",
    )
    frequency: float | None = _setting(
        None,
        "Teeth per unit of the sawtooth in the paper's literal formula.",
        bounds=_ABOVE_0,
        by_default="the limit of the formula, the exact gradient",
        group="acceleration",
    )
    acceleration_schedule: str = _setting(
        "constant",
        "How the strength changes over --epochs. linear and cosine: down to 0; "
        "warm_up: up from 0 during the first tenth.",
        choices=("constant", "linear", "cosine", "warm_up"),
        group="acceleration",
    )
    optimizer: str = _setting(
        "sgd",
        "The optimizer. momentum and nesterov are sgd with momentum 0.9.",
        choices=("sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "lion"),
    )
    learning_rate: float = _setting(
        0.1,
        "Learning rate. Give several, separated by commas, to choose the one with the "
        "best validation accuracy.",
        bounds=_ABOVE_0,
        several=True,
    )
    scale_learning_rate: bool = _setting(
        False, "Multiply the learning rate by batch_size / 128."
    )
    learning_rate_schedule: str = _setting(
        "constant",
        "How the learning rate changes over --epochs. cosine: down to 0; step: a tenth "
        "after half of them, a hundredth after three quarters.",
        choices=("constant", "cosine", "step"),
    )
    warm_up_epochs: int = _setting(
        0, "Epochs of learning-rate warm-up.", bounds=_FROM_0
    )
    weight_decay: float = _setting(
        0.0,
        "Decoupled weight decay: each step subtracts this fraction of the weights, "
        "times the learning rate. It excludes biases and normalisation parameters.",
        bounds=_FROM_0,
    )
    label_smoothing: float = _setting(
        0.0,
        "Label smoothing: the share of each label spread evenly over all classes.",
        bounds=_SHARE,
    )
    batch_size: int = _setting(
        128, "Examples per step, over all replicas.", bounds=_FROM_1
    )
    epochs: int = _setting(100, "Maximum number of epochs.", bounds=_FROM_1)
    patience: int = _setting(
        15,
        "Stop after this many epochs without an improvement in validation accuracy.",
        bounds=_FROM_1,
    )
    seed: int = _setting(
        0,
        "Seed of weights, shuffling, dropout and augmentation.",
        bounds=Bounds(least=0, below=2**32),
    )
    strategy: str = _setting(
        "auto",
        "Devices to train on. mirrored: all of this machine; multi_worker: all of the "
        "machines that TF_CONFIG or Slurm describes; auto: those machines if they are "
        "described, else all GPUs of this machine if it has several, else one device.",
        choices=("auto", "one_device", "mirrored", "multi_worker"),
    )
    logical_devices: int | None = _setting(
        None,
        "Split the GPU or CPU into this many devices, to try --strategy=mirrored.",
        bounds=_FROM_1,
        by_default="not split",
    )
    precision: str = _setting(
        "float32",
        "Dtype policy of a new model, except for its logits.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
        group="new",
    )
    jit_compile: str = _setting(
        "auto",
        "Compile the training step with XLA. auto: Keras's choice on a GPU, false on a "
        "CPU.",
        choices=("auto", "true", "false"),
    )
    deterministic: bool = _setting(
        False,
        "Compute bit-identical weights from the same seed on one device, interrupted "
        "or not, even if that is slower.",
    )
    gradient_flow: int = _setting(
        100,
        "Steps between two measurements of the gradient in each layer; 0 for none.",
        bounds=_FROM_0,
    )
    histograms: bool = _setting(
        False,
        "Write histograms of pre-activations, correlations and weights for "
        "TensorBoard.",
    )
    output_dir: str | None = _setting(
        None,
        "Output folder: a new one, or that of an earlier, identical command, which "
        "then resumes.",
        by_default="a new folder under runs/; from Python nothing is written",
        group="place",
    )
    export: bool | None = _setting(
        None,
        "Write a SavedModel for serving.",
        by_default="if Keras runs on TensorFlow",
    )
    variant: str | None = _setting(
        None,
        "Name of the run in a table.",
        by_default="its activation",
        group="place",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_units", tuple(self.hidden_units))
        if self.shape_function is not None:
            try:
                text = own_shapes.text_of(self.shape_function)
            except ValueError as error:
                raise UsageError(f"shape_function {error}") from error
            object.__setattr__(self, "shape_function", text)
        if self.output_dir is not None:
            folder = Path(self.output_dir).expanduser()
            object.__setattr__(self, "output_dir", str(folder))
        if self.unit_gain is None:
            object.__setattr__(self, "unit_gain", self.accelerate)
        if self.variant is None:
            from_file = "accelerated" if self.accelerate else "as it is"
            name = self.activation if self.init_from is None else from_file
            object.__setattr__(self, "variant", name)
        for field in settings():
            self._require_in_range(field)
        self._require_to_fit_each_other()

    @property
    def title(self) -> str:
        """The data and the network of a run."""
        network = self.model if self.init_from is None else Path(self.init_from).name
        return f"{self.dataset}, {network}"

    @property
    def accelerates(self) -> bool:
        """Whether this configuration accelerates the model."""
        if self.init_from is None:
            return self.activation.startswith("gaaf_")
        return self.accelerate

    @property
    def augments(self) -> bool:
        """Whether training images are flipped and shifted."""
        if self.augment is not None:
            return self.augment
        return self.dataset.startswith("cifar") and not self.reads_file

    @property
    def reads_file(self) -> bool:
        """Whether the data is in a user's own file."""
        return self.dataset.endswith(".npz")

    def _require_in_range(self, field: "dataclasses.Field[Any]") -> None:
        name, value = field.name, getattr(self, field.name)
        choices, bounds = field.metadata["choices"], field.metadata["bounds"]
        if choices:
            self._require_name(name, value, choices)
        if bounds is not None and value is not None:
            values = value if isinstance(value, tuple) else (value,)
            within = bool(values) and all(map(bounds.hold, values))
            several = "one or more numbers, each " if isinstance(value, tuple) else ""
            self._require(name, within, f"be {several}{bounds}")

    def _require_to_fit_each_other(self) -> None:
        self._require_name("activation", self.activation, ACTIVATIONS)
        for name in names_in(self.shape_function or ""):
            self._require_name("shape_function", name, SHAPES)
        if self.accelerate and self.init_from is None:
            raise UsageError(
                "accelerate needs a model in init_from, which is missing. For a new "
                "model, choose an activation such as gaaf_tanh."
            )
        self._require(
            "precision",
            self.precision == "float32" or self.frequency is None,
            "be float32 with a frequency: the sawtooth of the literal formula is lost "
            "in half precision",
        )
        self._require(
            "strategy",
            self.logical_devices is None or self.strategy == "mirrored",
            "be mirrored with logical_devices",
        )
        self._require(
            "warm_up_epochs",
            self.warm_up_epochs < self.epochs,
            f"be at least 0 and below epochs ({self.epochs})",
        )

    def _require_name(self, name: str, value: str, known: Sequence[str]) -> None:
        if value not in known:
            close = difflib.get_close_matches(value, known, n=1)
            raise UsageError(
                f"{name} must be one of {', '.join(known)}. "
                f"Received: {getattr(self, name)!r}"
                + "".join(f". Did you mean {each}?" for each in close)
            )

    def _require(self, name: str, condition: bool, rule: str) -> None:
        if not condition:
            raise UsageError(f"{name} must {rule}. Received: {getattr(self, name)!r}")


@functools.cache
def settings(group: str | None = None) -> "tuple[dataclasses.Field[Any], ...]":
    """Returns all settings, or those of a group, in the order of the table."""
    fields = dataclasses.fields(TrainingConfig)
    return tuple(f for f in fields if group in (None, f.metadata["group"]))


def explained(name: str) -> str:
    """Returns what a setting does, its bounds, and what None means."""
    (metadata,) = (field.metadata for field in settings() if field.name == name)
    bounds, default = metadata["bounds"], metadata["by_default"]
    text = str(metadata["text"])
    text += f" {str(bounds).capitalize()}." if bounds is not None else ""
    return f"{text} Default: {default}." if default else text


NEW_MODEL, ACCELERATION, PLACES = (
    tuple(field.name for field in settings(group))
    for group in ("new", "acceleration", "place")
)
