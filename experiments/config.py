"""Every setting of a run: its default, its bounds, and what it does.

The flags of `train.py`, its `--help`, the checks and the table in `docs/training.md`
are all made from the fields of `TrainingConfig`. Importing this module imports neither
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
    """Something the user asked for cannot be done; the message says what to do."""


class WorkerLostError(RuntimeError):
    """Another process of the same run is gone; all must be started again."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Which numbers a setting may be; all of them are finite.

    Attributes:
        least: The smallest number allowed.
        above: A number that it must exceed, if there is no smallest.
        below: A number that it must be smaller than.
    """

    least: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether a number lies within the bounds."""
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
        choices: The names it may be.
        bounds: The numbers it may be.
        by_default: What a default of None stands for.
        group: What it describes: `"new"`, a new model; `"acceleration"`, how one is
            accelerated; `"place"`, where files are and what a run is called, which may
            change when it resumes.
        several: Whether its flag takes several values, each for runs of its own.
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
    """Everything that decides one run: a field for each flag of `train.py`.

    Raises:
        UsageError: If a value is out of range, or two exclude each other.

    Examples:
        ```python
        from experiments import TrainingConfig

        config = TrainingConfig(dataset="digits", activation="gaaf_relu", epochs=30)
        ```
    """

    dataset: str = _setting(
        "digits",
        "digits, which is bundled and needs no network; a tensorflow-datasets "
        "image-classification data set: mnist, cifar10, cifar100, svhn_cropped, ...; "
        "or a file that numpy.savez wrote, ending in .npz, with x_train, y_train, "
        "x_test and y_test.",
    )
    data_dir: str | None = _setting(
        None,
        "Folder of the prepared tensorflow-datasets data.",
        by_default="~/tensorflow_datasets or $TFDS_DATA_DIR",
        group="place",
    )
    download: bool = _setting(
        False, "Download the data set if it is not there.", group="place"
    )
    train_examples: int | None = _setting(
        None,
        "How many training examples to use.",
        bounds=_FROM_1,
        by_default="all that are not held out for validation",
    )
    augment: bool | None = _setting(
        None, "Flip and shift the training images.", by_default="for CIFAR only"
    )
    init_from: str | None = _setting(
        None,
        "Start from the model in this .keras file. It takes raw pixels, from 0 to "
        "255, and returns logits or a softmax.",
        by_default="a new model",
    )
    accelerate: bool = _setting(
        False, "Accelerate the activations of the model in --init_from."
    )
    model: str = _setting(
        "mlp",
        "The new model: mlp, fully connected; cnn, convolutional, VGG-style; resmlp, "
        "residual blocks of dense layers; lstm, which reads images row by row.",
        choices=tuple(MODELS),
        group="new",
    )
    hidden_units: tuple[int, ...] = _setting(
        (512, 256, 256),
        "Widths of the hidden layers of the mlp; of the resmlp, one a block.",
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
        f"The hidden activation: {', '.join(BASE_ACTIVATIONS)}; or accelerated, with "
        "gaaf_ before its name. Several, separated by commas, are compared.",
        group="new",
        several=True,
    )
    dropout: float = _setting(
        0.0, "Rate of the dropout layers.", bounds=_SHARE, group="new"
    )
    batch_norm: bool = _setting(
        False, "Normalise the batch before each hidden activation.", group="new"
    )
    sync_batch_norm: bool = _setting(
        True,
        "With several replicas, normalise over the global batch, as on one device, "
        "instead of over each replica's share.",
    )
    shape_function: str | None = _setting(
        None,
        "Shape function of the accelerated activations, such as "
        f"{'; '.join(EXAMPLES_OF_SHAPES)}; or one of yours, such as "
        "my_shapes:Lorentzian(width=2) in my_shapes.py. Several, separated by commas, "
        "are compared.",
        by_default="the activation's own",
        group="acceleration",
        several=True,
    )
    strength: float = _setting(
        1.0, "Factor on the shape function.", bounds=_FROM_0, group="acceleration"
    )
    unit_gain: bool | None = _setting(
        None,
        "Scale accelerated derivatives down to the largest of the plain activation.",
        by_default="with --accelerate only",
        group="acceleration",
    )
    gates_alone: bool = _setting(
        False,
        "Accelerate the gates of the lstm alone, and not its state.",
        group="acceleration",
    )
    frequency: float | None = _setting(
        None,
        "Teeth a unit of the sawtooth in the paper's literal formula.",
        bounds=_ABOVE_0,
        by_default="its limit, the exact gradient",
        group="acceleration",
    )
    acceleration_schedule: str = _setting(
        "constant",
        "How the strength changes over --epochs: constant; linear or cosine, down to "
        "0; warm_up, up from 0 in the first tenth.",
        choices=("constant", "linear", "cosine", "warm_up"),
        group="acceleration",
    )
    optimizer: str = _setting(
        "sgd",
        "The optimizer; momentum and nesterov are sgd with momentum 0.9.",
        choices=("sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "lion"),
    )
    learning_rate: float = _setting(
        0.1,
        "The step size. Several, separated by commas, are all tried; the one with the "
        "best validation accuracy is chosen.",
        bounds=_ABOVE_0,
        several=True,
    )
    scale_learning_rate: bool = _setting(
        False, "Multiply the step size by batch_size / 128."
    )
    learning_rate_schedule: str = _setting(
        "constant",
        "How the step size changes over --epochs: constant; cosine, down to 0; step, a "
        "tenth after half of them and a hundredth after three quarters.",
        choices=("constant", "cosine", "step"),
    )
    warm_up_epochs: int = _setting(
        0, "Epochs over which the step size rises first.", bounds=_FROM_0
    )
    weight_decay: float = _setting(
        0.0,
        "Share of the weights taken off in each step, times the step size. Biases and "
        "normalisations are left alone.",
        bounds=_FROM_0,
    )
    label_smoothing: float = _setting(
        0.0, "Share of each label given to all classes evenly.", bounds=_SHARE
    )
    batch_size: int = _setting(
        128, "Global batch: examples a step, over all replicas.", bounds=_FROM_1
    )
    epochs: int = _setting(100, "Most epochs to train.", bounds=_FROM_1)
    patience: int = _setting(
        15,
        "Stop after this many epochs without a better validation accuracy.",
        bounds=_FROM_1,
    )
    seed: int = _setting(
        0,
        "Seed of weights, shuffling, dropout and augmentation.",
        bounds=Bounds(least=0, below=2**32),
    )
    strategy: str = _setting(
        "auto",
        "Devices: one; mirrored, all of this machine; multi_worker, all of several "
        "machines that TF_CONFIG or Slurm describe. auto takes those if they are "
        "described, and all GPUs of this machine if there are several.",
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
        "Dtype policy of a new model, but for its logits.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
        group="new",
    )
    jit_compile: str = _setting(
        "auto",
        "Compile the training step with XLA; auto is Keras's choice on a GPU, and no "
        "on a CPU.",
        choices=("auto", "true", "false"),
    )
    deterministic: bool = _setting(
        False,
        "Compute the same weights to the last bit from the same seed on one device, "
        "interrupted or not, if need be more slowly.",
    )
    gradient_flow: int = _setting(
        100,
        "Steps between two measurements of the gradient in each layer, 0 for never.",
        bounds=_FROM_0,
    )
    histograms: bool = _setting(
        False,
        "Write histograms of pre-activations, correlations and weights for "
        "TensorBoard.",
    )
    output_dir: str | None = _setting(
        None,
        "Folder for what is written: a new one, or that of the same command, which "
        "resumes.",
        by_default="a new one under runs/; from Python nothing is written",
        group="place",
    )
    export: bool | None = _setting(
        None,
        "Write a SavedModel for serving.",
        by_default="where Keras runs on TensorFlow, which can",
    )
    variant: str | None = _setting(
        None,
        "What the run is called beside others in a table.",
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
        """What a run is about: data and network."""
        network = self.model if self.init_from is None else Path(self.init_from).name
        return f"{self.dataset}, {network}"

    @property
    def accelerates(self) -> bool:
        """Whether the model is one that this configuration accelerates."""
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
                "model choose an activation such as gaaf_tanh."
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
            f"be from 0 to below epochs ({self.epochs})",
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
    """Returns the settings, all or those of a group, in the order of the table."""
    fields = dataclasses.fields(TrainingConfig)
    return tuple(f for f in fields if group in (None, f.metadata["group"]))


def explained(name: str) -> str:
    """Returns what a setting does, its bounds, and what None stands for."""
    (metadata,) = (field.metadata for field in settings() if field.name == name)
    bounds, default = metadata["bounds"], metadata["by_default"]
    text = str(metadata["text"])
    text += f" {str(bounds).capitalize()}." if bounds is not None else ""
    return f"{text} By default {default}." if default else text


NEW_MODEL, ACCELERATION, PLACES = (
    tuple(field.name for field in settings(group))
    for group in ("new", "acceleration", "place")
)
