"""Whether `gaaf_keras.accelerate(model)` harms a network at the rate that it has.

    python benchmarks/drop_in.py --networks=mlp,lstm --seeds=5
    python benchmarks/drop_in.py --table runs/drop_in.json

Five networks are trained plain and accelerated in place, as it comes and in the paper's
form, all at the best learning rate of the plain network. That is chosen first, on
validation data with seed 0: by factors of two, until those next to the best are not
better. Runs with the same seed are a pair: they start with the same weights and
see the same batches. The rate falls by a cosine from epoch to epoch; the test data is
scored once, after the last. What is recorded, in `drop_in.json` and for the rates in
`drop_in_rates.json`, is not trained again. On JAX with a GPU an epoch is one compiled
loop there, elsewhere `fit` on the same batches.
"""

import argparse
import dataclasses
import datetime
import functools
import itertools
import json
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # must come before TensorFlow

import keras
import numpy as np
from drop_in_networks import NETWORKS, Network

import gaaf_keras
from experiments.data import batches, datasets
from experiments.data.batches import SHIFT, EpochOrder
from experiments.data.datasets import ImageData
from experiments.records import files
from experiments.report.comparison import interval, verdict
from experiments.tables import Table, markdown, spread
from gaaf_keras.analysis import paired_difference

Record = dict[str, Any]
TrainEpoch = Callable[[EpochOrder], float]  # returns the mean loss

PLAIN = "plain"


def epoch_on_device(model: keras.Model, data: ImageData, augment: bool) -> TrainEpoch:
    """Returns what trains an epoch in one compiled loop, on JAX."""
    import jax

    pad = [(0, 0), *[(SHIFT * augment,) * 2] * 2, (0, 0)]
    arrays = jax.device_put((np.pad(data.train.images, pad), data.train.labels))

    def step(images: Any, labels: Any, state: Any, batch: EpochOrder) -> Any:
        trainable, others, slots = state
        x = moved(images, batch) if augment else images[batch.indices]

        def loss(trainable: Any) -> Any:
            outputs, changed = model.stateless_call(
                trainable, others, x.astype("float32"), training=True
            )
            return model.loss(labels[batch.indices], outputs), changed

        differentiated = jax.value_and_grad(loss, has_aux=True)
        (value, others), gradients = differentiated(trainable)
        trainable, slots = model.optimizer.stateless_apply(slots, gradients, trainable)
        return (trainable, others, slots), value

    @jax.jit
    def epoch(state: Any, order: EpochOrder, arrays: Any) -> Any:
        return jax.lax.scan(functools.partial(step, *arrays), state, order)

    def train(order: EpochOrder) -> float:
        kept = [model.trainable_variables, model.non_trainable_variables]
        kept.append(model.optimizer.variables)
        state = tuple([variable.value for variable in part] for part in kept)
        state, values = epoch(state, order, arrays)
        for variables, found in zip(kept, state, strict=True):
            for variable, value in zip(variables, found, strict=True):
                variable.assign(value)
        return float(values.mean())

    return train


def moved(padded: Any, batch: EpochOrder) -> Any:
    """Returns what `batches.flip_and_shift` makes of a batch, of padded images."""
    import jax.numpy as jnp

    height, width = (size - 2 * SHIFT for size in padded.shape[1:3])
    rows = batch.rows[:, None] + jnp.arange(height)
    columns = batch.columns[:, None] + jnp.arange(width)
    mirrored = padded.shape[2] - 1 - columns
    columns = jnp.where(batch.flips[:, None], mirrored, columns)
    return padded[batch.indices[:, None, None], rows[:, :, None], columns[:, None]]


def epoch_by_fit(model: keras.Model, data: ImageData, augment: bool) -> TrainEpoch:
    """Returns what trains an epoch with `fit`, on any backend."""

    def train(order: EpochOrder) -> float:
        indices, *augmentation = (part.reshape(-1) for part in order)
        x, y = data.train.images[indices], data.train.labels[indices]
        x = batches.flip_and_shift(x, *augmentation) if augment else x
        options = {"batch_size": order.indices.shape[1], "shuffle": False}
        return float(model.fit(x, y, **options, verbose=0).history["loss"][-1])

    return train


def _has_accelerator() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return jax.default_backend() != "cpu"


class Trainer:
    """Trains a variant of a network, with one seed and rate after another.

    One model serves all of them, so that its training step is compiled once.
    """

    def __init__(
        self, network: Network, data: ImageData, accelerate: dict[str, Any] | None
    ) -> None:
        self._network = network
        self._data = data
        self._model = network.make(data)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(network.optimizer(), loss, metrics=["accuracy"])
        self._model.optimizer.build(self._model.trainable_variables)
        self._accelerated = 0
        if accelerate is not None:
            with warnings.catch_warnings():
                # Of the paper's form, which is known to fail.
                warnings.simplefilter("ignore")
                acceleration = gaaf_keras.accelerate(self._model, **accelerate)
            self._accelerated = len(acceleration.accelerated)
        make = epoch_on_device if _has_accelerator() else epoch_by_fit
        self._train_epoch = make(self._model, data, network.augment)

    def train(self, rate: float, seed: int, scored: str) -> Record:
        """Returns what came of a run, scored on `"validation"` or `"test"`."""
        start = time.perf_counter()
        self._begin(seed)
        losses: list[float] = []
        epochs, batch_size = self._network.epochs, self._network.batch_size
        while len(losses) < epochs and all(map(math.isfinite, losses)):
            epoch = len(losses)
            share = (1 + math.cos(math.pi * epoch / epochs)) / 2
            self._model.optimizer.learning_rate = rate * share
            examples = len(self._data.train)
            order = batches.epoch_order(examples, batch_size, seed, epoch)
            losses.append(self._train_epoch(order))
        split = getattr(self._data, scored)
        accuracy = self._model.evaluate(
            *(split.images, split.labels, 1000), verbose=0, return_dict=True
        )["accuracy"]
        failed = not math.isfinite(losses[-1]) or accuracy < 2 / self._data.classes
        return {
            f"{scored}_accuracy": round(float(accuracy), 6),
            "failed": bool(failed),
            "losses": [round(v, 6) if math.isfinite(v) else None for v in losses],
            "seconds": round(time.perf_counter() - start, 3),
            "accelerated_activations": self._accelerated,
            "examples": len(self._data.train),
        }

    def _begin(self, seed: int) -> None:
        """Gives the model the weights of a seed, and the optimizer no past."""
        keras.utils.set_random_seed(seed)
        self._model.set_weights(self._network.make(self._data).get_weights())
        for variable in self._model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable.value))


class Records:
    """The runs in a file, written after each; what is there is not repeated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = read(path)

    def get(
        self, variant: str, seed: int, settings: Record, train: Callable[[], Record]
    ) -> Record:
        """Returns the result of a run, which is run unless it is recorded."""
        for record in self._records:
            if (record["variant"], record["seed"]) == (variant, seed):
                if record["settings"] != settings:
                    name = f"{self._path} has '{variant}', seed {seed}"
                    sys.exit(f"{name}, with other settings. Give another --output.")
                return record["result"]
        result = train()
        record = {"variant": variant, "seed": seed, "settings": settings}
        self._records.append(record | {"result": result, "resolved": machine()})
        lines = ",\n".join(json.dumps(record) for record in self._records)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(self._path, f"[\n{lines}\n]\n")
        (accuracy,) = (value for key, value in result.items() if "accuracy" in key)
        took = f"{result['seconds']:.1f} s"
        print(f"{variant}, seed {seed}: {100 * accuracy:.2f} % in {took}", flush=True)
        return result


def read(path: Path) -> list[Record]:
    """Returns the records in a file, none if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def machine() -> Record:
    """Returns what a run ran on, and when."""
    backend = keras.backend.backend()
    device = platform.machine()
    if _has_accelerator():
        import jax

        device = jax.devices()[0].device_kind
    versions = {"keras": keras.__version__, backend: sys.modules[backend].__version__}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": date, "device": device, "versions": versions}


def best_rate(score: Callable[[float], float], first: float) -> float:
    """Returns the rate with the highest score, next to two that are not better."""
    scores = {first: score(first)}
    while True:
        best = max(scores, key=lambda rate: scores[rate])
        missing = [rate for rate in (best / 2, best * 2) if rate not in scores]
        if not missing:
            return best
        scores[missing[0]] = score(missing[0])


def run(name: str, options: argparse.Namespace, rates: Records, pairs: Records) -> None:
    """Finds the rate of a network, and trains its pairs at it."""
    network = NETWORKS[name]
    network = dataclasses.replace(network, epochs=options.epochs or network.epochs)
    variants = {PLAIN: None, **network.variants}

    @functools.cache
    def trainer(variant: str) -> Trainer:
        data = load(network.dataset, options.data_dir, options.train_examples)
        return Trainer(network, data, variants[variant])

    def settings(variant: str, rate: float) -> Record:
        own, given = (
            ("batch_size", "epochs", "dataset"),
            ("train_examples", "precision"),
        )
        found = {key: getattr(network, key) for key in own}
        found |= {key: getattr(options, key) for key in given}
        return {**found, "learning_rate": rate, "accelerate": variants[variant]}

    def train(variant: str, rate: float, seed: int, scored: str) -> Record:
        return trainer(variant).train(rate, seed, scored)

    def score(rate: float) -> float:
        result = rates.get(
            *(f"{name}, {PLAIN}, rate {rate:g}", 0, settings(PLAIN, rate)),
            functools.partial(train, PLAIN, rate, 0, "validation"),
        )
        return result["validation_accuracy"]

    rate = best_rate(score, network.rate)
    for variant, seed in itertools.product(variants, range(options.seeds)):
        pairs.get(
            *(f"{name}, {variant}", seed, settings(variant, rate)),
            functools.partial(train, variant, rate, seed, "test"),
        )


def load(name: str, folder: str | None, examples: int | None) -> ImageData:
    """Returns a data set: from a file in the folder, or as it was prepared."""
    path = Path(folder or "").expanduser() / f"{name}.npz"
    if folder is not None and path.exists():
        return datasets.load(str(path), train_examples=examples)
    return datasets.load(name, folder, train_examples=examples)


def table(records: Sequence[Record]) -> Table:
    """Returns each accelerated variant beside the plain network, from the records."""
    found: dict[tuple[str, str], dict[int, Record]] = {}
    for record in records:
        network, variant = record["variant"].rsplit(", ", 1)
        found.setdefault((network, variant), {})[record["seed"]] = record
    rows = [
        row(NETWORKS[network].title, variant, found[network, PLAIN], runs)
        for (network, variant), runs in found.items()
        if variant != PLAIN
    ]
    columns = "network | data | accelerated | activations | rate | plain, test %"
    columns += " | accelerated, test % | difference | shown | failed"
    return Table(
        columns.split(" | "),
        rows,
        "Both at the plain network's best rate. Mean (standard deviation) after the "
        "last epoch; mean difference of pairs with the same seed and its 95 % interval "
        "(t), without pairs in which either failed. Failed is a run whose "
        "loss was not finite or whose accuracy is below twice that of guessing: plain "
        "/ accelerated, of how many. Activations: how many were accelerated.",
    )


def row(
    title: str, variant: str, plain: Mapping[int, Record], other: Mapping[int, Record]
) -> list[str]:
    """Returns a row of the table."""
    seeds = sorted(set(plain) & set(other))
    results = [[each[seed]["result"] for seed in seeds] for each in (plain, other)]
    failed = [sum(result["failed"] for result in each) for each in results]
    pairs = [
        [100 * result["test_accuracy"] for result in pair]
        for pair in zip(*results, strict=True)
        if not any(result["failed"] for result in pair)
    ]
    before, after = ([pair[index] for pair in pairs] for index in (0, 1))
    shown = ["–", "–"]
    if pairs:
        difference = paired_difference(after, before)
        shown = [interval(difference, 2), verdict(difference, ("better", "worse"))]
    settings = other[seeds[0]]["settings"]
    data = f"{settings['dataset']}, {results[1][0]['examples']:,}"
    return [
        *(title, data, variant, str(results[1][0]["accelerated_activations"])),
        *(f"{settings['learning_rate']:g}", spread(before, 2), spread(after, 2)),
        *(*shown, f"{failed[0]} / {failed[1]} of {len(seeds)}"),
    ]


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options of the command."""
    parser = argparse.ArgumentParser(prog="drop_in.py", allow_abbrev=False)
    add = parser.add_argument
    add("--networks", default=",".join(NETWORKS), help="Separated by commas.")
    add("--seeds", type=int, default=5, help="Pairs of each network.")
    add("--output", type=Path, default=Path("runs/drop_in.json"), help="The records.")
    add("--data_dir", help="Of mnist.npz and cifar10.npz, or of tensorflow-datasets.")
    add("--train_examples", type=int, help="Training images, by default all.")
    add("--epochs", type=int, help="Instead of each network's own.")
    add("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    add("--table", type=Path, help="Print the table of these records, and end.")
    options = parser.parse_args(arguments)
    options.networks = options.networks.split(",")
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"unknown networks: {', '.join(sorted(unknown))}")
    return options


def main(arguments: Sequence[str]) -> None:
    """Trains what is not recorded yet, and prints the table."""
    options = parsed(arguments)
    output = options.table or options.output
    if not options.table:
        keras.config.set_dtype_policy(options.precision)
        beside = output.with_name(f"{output.stem}_rates{output.suffix}")
        rates, pairs = Records(beside), Records(output)
        for name in options.networks:
            run(name, options, rates, pairs)
    if records := read(output):
        print(markdown(table(records)))


if __name__ == "__main__":
    main(sys.argv[1:])
