"""What can be asked of one run, and the check that it makes sense."""

import dataclasses
import math
from pathlib import Path

MODELS = ("mlp", "cnn")
# Those with a default shape, each also with "gaaf_" before it: accelerated.
BASE_ACTIVATIONS = (
    "tanh",
    "relu",
    "sigmoid",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "softsign",
    "leaky_relu",
    "relu6",
    "hard_tanh",
    "hard_sigmoid",
    "hard_silu",
    "mish",
    "celu",
    "squareplus",
    "log_sigmoid",
)
ACTIVATIONS = (*BASE_ACTIVATIONS, *(f"gaaf_{name}" for name in BASE_ACTIVATIONS))
ACCELERATION_SCHEDULES = ("constant", "linear", "cosine", "warm_up")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "rmsprop", "adagrad", "lion")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
JIT_COMPILE = ("auto", "true", "false")
LEARNING_RATE_SCHEDULES = ("constant", "cosine", "step")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")


# What describes a new model, and means nothing for one from a file.
ARCHITECTURE = (
    "model",
    "hidden_units",
    "width",
    "activation",
    "dropout",
    "batch_norm",
    "precision",
)
# What describes an acceleration, and means nothing without one.
ACCELERATION = (
    "shape_function",
    "strength",
    "unit_gain",
    "frequency",
    "acceleration_schedule",
)
# What may be otherwise when a run resumes.
PLACES = ("data_dir", "download", "output_dir", "variant")


class UsageError(ValueError):
    """Something the user asked for cannot be done; the message says what to do."""


class WorkerLostError(RuntimeError):
    """Another process of the same run is gone; all must be started again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides one run.

    Attributes:
        dataset: `"digits"`, which needs no network, the name of a
            tensorflow-datasets image-classification data set, or an `.npz` file with
            the arrays `x_train`, `y_train`, `x_test` and `y_test`.
        data_dir: Folder of the prepared tensorflow-datasets data. Defaults to that
            package's own default.
        download: Whether a data set that is not there may be downloaded.
        train_examples: How many training examples to use. Defaults to all that are
            not held out for validation.
        augment: Whether to flip and shift training images. Defaults to yes for the
            CIFAR data sets and no for others.
        init_from: A `.keras` file to start from, with its architecture and weights.
            Defaults to a new model as `model`, `hidden_units`, `width`, `activation`,
            `dropout`, `batch_norm` and `precision` say, which are not used with a file.
        accelerate: Whether to accelerate the activations of the model in `init_from`.
        model: `"mlp"` or `"cnn"`.
        hidden_units: Widths of the MLP's hidden layers.
        width: Channels of the first stage of the CNN.
        activation: Hidden activation: the name of a Keras activation that has a
            default shape, or of its accelerated form, such as `"gaaf_tanh"`.
        dropout: Rate of the dropout layers, from 0 (none) to below 1.
        batch_norm: Whether to normalise before each hidden activation.
        sync_batch_norm: Whether batch normalisation is over the global batch, as on one
            device, and not over each replica's share of it.
        shape_function: Shape function of the accelerated activations, as
            `gaaf_keras.shapes.get` takes it: `"b_silu"`, `"gaussian(width=3)"`.
            Defaults to that of the activation.
        strength: Factor on the shape, 0 or greater.
        unit_gain: Whether to scale the derivative down to the largest of the plain
            activation. Defaults to yes with `accelerate`, and to no otherwise.
        frequency: None for the exact gradient, K for the paper's literal formula.
        acceleration_schedule: How the strength changes over `epochs` epochs:
            `"constant"`, to 0 in a straight line (`"linear"`) or a half cosine
            (`"cosine"`), or up from 0 over the first tenth (`"warm_up"`).
        optimizer: `"sgd"`, `"momentum"` and `"nesterov"` (SGD with momentum 0.9),
            `"adam"`, `"rmsprop"`, `"adagrad"` or `"lion"`.
        learning_rate: Step size, greater than 0.
        scale_learning_rate: Whether to multiply it by `batch_size / 128`.
        learning_rate_schedule: `"constant"`, down to 0 in a half cosine
            (`"cosine"`), or a tenth after half of the epochs and a hundredth after
            three quarters (`"step"`).
        warm_up_epochs: Over how many epochs the learning rate rises first.
        weight_decay: Share of the weights that is taken off them in each step, times
            the learning rate. Biases and normalisations are left alone.
        label_smoothing: Share of each label given to all classes evenly, from 0 to
            below 1.
        batch_size: Global batch: examples a step, over all replicas.
        epochs: Most epochs to train.
        patience: Epochs without a better validation accuracy after which training
            stops.
        seed: Seed of the weights, the shuffling, dropout and augmentation.
        strategy: `"one_device"`, `"mirrored"` (all devices of this machine),
            `"multi_worker"` (all devices of several machines, as `TF_CONFIG` or Slurm
            describe them) or `"auto"` (multi_worker if there is such a description,
            mirrored if there is more than one GPU).
        logical_devices: Into how many devices the GPU or CPU is split, to try the
            mirrored strategy without several. Defaults to leaving them as they are.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`: the dtype
            policy of a new model, but for its logits.
        jit_compile: Whether XLA compiles the training step: `"true"`, `"false"`, or
            `"auto"`, which is Keras's own choice on a GPU and no on a CPU.
        deterministic: Whether the same seed gives the same weights to the last bit,
            on one device, at some cost in speed.
        gradient_flow: Steps between two measurements of the gradient that reaches each
            layer, 0 for none. Needs `output_dir`, which gets `gradient_flow.csv`.
        histograms: Whether to write histograms of pre-activations, correlations between
            node values, and weights for TensorBoard.
        output_dir: Folder for what the run writes. If it holds the same run,
            interrupted, that goes on; otherwise it must be new or empty. Defaults to
            writing nothing.
        variant: What the run is called among others; runs of a variant differ in their
            seed only. Defaults to what it trains.
        export: Whether to write a SavedModel into `output_dir`. Defaults to yes where
            the Keras backend is TensorFlow, which can.

    Raises:
        UsageError: If a value is out of range.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    download: bool = False
    train_examples: int | None = None
    augment: bool | None = None
    init_from: str | None = None
    accelerate: bool = False
    model: str = "mlp"
    hidden_units: tuple[int, ...] = (512, 256, 256)
    width: int = 64
    activation: str = "gaaf_tanh"
    dropout: float = 0.0
    batch_norm: bool = False
    sync_batch_norm: bool = True
    shape_function: str | None = None
    strength: float = 1.0
    unit_gain: bool | None = None
    frequency: float | None = None
    acceleration_schedule: str = "constant"
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    scale_learning_rate: bool = False
    learning_rate_schedule: str = "constant"
    warm_up_epochs: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    batch_size: int = 128
    epochs: int = 100
    patience: int = 15
    seed: int = 0
    strategy: str = "auto"
    logical_devices: int | None = None
    precision: str = "float32"
    jit_compile: str = "auto"
    deterministic: bool = False
    gradient_flow: int = 100
    histograms: bool = False
    output_dir: str | None = None
    variant: str | None = dataclasses.field(default=None, compare=False)
    export: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_units", tuple(self.hidden_units))
        if self.output_dir is not None:
            folder = Path(self.output_dir).expanduser()
            object.__setattr__(self, "output_dir", str(folder))
        if self.unit_gain is None:
            object.__setattr__(self, "unit_gain", self.accelerate)
        if self.accelerate and self.init_from is None:
            raise UsageError(
                "accelerate needs a model in init_from, which is missing. For a new "
                "model choose an activation such as gaaf_tanh."
            )
        self._require_choice("model", MODELS)
        self._require_choice("activation", ACTIVATIONS)
        self._require_choice("acceleration_schedule", ACCELERATION_SCHEDULES)
        self._require_choice("optimizer", OPTIMIZERS)
        self._require_choice("learning_rate_schedule", LEARNING_RATE_SCHEDULES)
        self._require_choice("strategy", STRATEGIES)
        self._require_choice("precision", PRECISIONS)
        self._require_choice("jit_compile", JIT_COMPILE)
        self._require(
            "precision",
            self.precision == "float32" or self.frequency is None,
            "be float32 with a frequency: the sawtooth of the literal formula is lost "
            "in half precision",
        )
        for name in ("width", "batch_size", "epochs", "patience"):
            self._require(name, getattr(self, name) >= 1, "be 1 or greater")
        if self.logical_devices is not None:
            self._require("logical_devices", self.logical_devices >= 1, "be at least 1")
            self._require(
                "strategy",
                self.strategy == "mirrored",
                "be mirrored with logical_devices",
            )
        if self.train_examples is not None:
            self._require("train_examples", self.train_examples >= 1, "be at least 1")
        self._require(
            "hidden_units",
            self.hidden_units and min(self.hidden_units) >= 1,
            "be one or more widths of 1 or greater",
        )
        self._require("dropout", 0 <= self.dropout < 1, "be from 0 to below 1")
        self._require(
            "learning_rate",
            0 < self.learning_rate < math.inf,
            "be finite and greater than 0",
        )
        self._require(
            "warm_up_epochs",
            0 <= self.warm_up_epochs < self.epochs,
            f"be from 0 to below epochs ({self.epochs})",
        )
        self._require(
            "weight_decay", 0 <= self.weight_decay < math.inf, "be 0 or greater"
        )
        self._require(
            "label_smoothing", 0 <= self.label_smoothing < 1, "be from 0 to below 1"
        )
        self._require("strength", 0 <= self.strength < math.inf, "be 0 or greater")
        if self.frequency is not None:
            self._require("frequency", 0 < self.frequency < math.inf, "be above 0")
        self._require("gradient_flow", self.gradient_flow >= 0, "be 0 or greater")
        self._require("seed", 0 <= self.seed < 2**32, "be from 0 to 2**32 - 1")

    @property
    def variant_name(self) -> str:
        """What the run is called among others."""
        if self.variant is not None:
            return self.variant
        if self.init_from is None:
            return self.activation
        return "accelerated" if self.accelerate else "as it is"

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

    def _require_choice(self, name: str, choices: tuple[str, ...]) -> None:
        self._require(
            name, getattr(self, name) in choices, f"be one of {', '.join(choices)}"
        )

    def _require(self, name: str, condition: object, rule: str) -> None:
        if not condition:
            raise UsageError(f"{name} must {rule}. Received: {getattr(self, name)!r}")
