"""Whether `gaaf_keras.accelerate(model)` harms a network at its own learning rate.

    python benchmarks/drop_in.py --networks=mlp,lstm --seeds=5
    python benchmarks/drop_in.py --table runs/drop_in.json

Five networks are trained plain and accelerated in place, with default settings ("as
it comes") and in the paper's form, all at the best learning rate of the plain network.
That rate is chosen first, on validation data with seed 0: by factors of two, until its
neighbours are not better. Runs with the same seed are a pair: they start from the same
weights and see the same batches. The rate follows a cosine over the epochs; the test
data is scored once, after the last. Recorded runs, in `drop_in.json` and for the rates
in `drop_in_rates.json`, are not trained again.
"""

import argparse
import dataclasses
import datetime
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
from drop_in_networks import NETWORKS, Network

import gaaf_keras
from experiments.data import batches, datasets
from experiments.data.datasets import ImageData
from experiments.records import files
from experiments.report.comparison import verdict
from experiments.tables import Table, markdown, spread
from gaaf_keras.analysis import paired_difference

Record = dict[str, Any]
PLAIN = "plain"
_OF_NETWORK = ("batch_size", "epochs", "dataset")
_OF_COMMAND = ("train_examples", "precision")


def train(
    network: Network,
    data: ImageData,
    accelerate: dict[str, Any] | None,
    *,
    rate: float,
    seed: int,
    scored: str,
) -> Record:
    """Returns the result of a run, scored on `"validation"` or `"test"`."""
    start = time.perf_counter()
    keras.utils.set_random_seed(seed)
    model = network.make(data)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(network.optimizer(), loss, metrics=["accuracy"])
    accelerated = 0
    if accelerate is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the paper's form is known to fail
            acceleration = gaaf_keras.accelerate(model, **accelerate)
        accelerated = len(acceleration.accelerated)

    def cosine(epoch: int, _: float) -> float:
        return rate * (1 + math.cos(math.pi * epoch / network.epochs)) / 2

    losses = model.fit(
        batches.training_batches(data.train, network.batch_size, seed, network.augment),
        epochs=network.epochs,
        steps_per_epoch=len(data.train) // network.batch_size,
        callbacks=[
            keras.callbacks.LearningRateScheduler(cosine),
            keras.callbacks.TerminateOnNaN(),
        ],
        shuffle=False,
        verbose=0,
    ).history["loss"]
    split = getattr(data, scored)
    accuracy = model.evaluate(
        *(split.images, split.labels, 1000), verbose=0, return_dict=True
    )["accuracy"]
    failed = not math.isfinite(losses[-1]) or accuracy < 2 / data.classes
    return {
        f"{scored}_accuracy": round(float(accuracy), 6),
        "failed": bool(failed),
        "losses": [round(v, 6) if math.isfinite(v) else None for v in losses],
        "seconds": round(time.perf_counter() - start, 3),
        "accelerated_activations": accelerated,
        "examples": len(data.train),
    }


class Records:
    """The runs in a file, written after each run; recorded runs are not repeated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = read(path)

    def get(
        self, variant: str, seed: int, settings: Record, train: Callable[[], Record]
    ) -> Record:
        """Returns the result of a run, training it unless it is recorded."""
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
    """Returns the records in a file; empty if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def machine() -> Record:
    """Returns the machine, the versions and the date of a run."""
    backend = keras.backend.backend()
    device = platform.machine()
    if backend == "jax":
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

    def result(records: Records, label: str, variant: str, **given: Any) -> Record:
        settings = {
            **{key: getattr(network, key) for key in _OF_NETWORK},
            **{key: getattr(options, key) for key in _OF_COMMAND},
            "learning_rate": given["rate"],
            "accelerate": variants[variant],
        }

        def begin() -> Record:
            data = load(network, options)  # kept in memory for the next run
            return train(network, data, variants[variant], **given)

        return records.get(f"{name}, {label}", given["seed"], settings, begin)

    def score(rate: float) -> float:
        label = f"{PLAIN}, rate {rate:g}"
        found = result(rates, label, PLAIN, rate=rate, seed=0, scored="validation")
        return found["validation_accuracy"]

    rate = best_rate(score, network.rate)
    for variant, seed in itertools.product(variants, range(options.seeds)):
        result(pairs, variant, variant, rate=rate, seed=seed, scored="test")


def load(network: Network, options: argparse.Namespace) -> ImageData:
    """Returns a network's data: from a file in the folder, or as prepared."""
    name, folder = network.dataset, options.data_dir
    path = Path(folder or "").expanduser() / f"{name}.npz"
    if folder is not None and path.exists():
        name = str(path)
    return datasets.load(name, folder, train_examples=options.train_examples)


def table(records: Sequence[Record]) -> Table:
    """Returns each accelerated variant next to the plain network, from the records."""
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
    columns += " | accelerated, test % | difference | verdict | failed"
    return Table(
        columns.split(" | "),
        rows,
        "Both at the plain network's best rate. Mean (standard deviation) after the "
        "last epoch; mean difference of pairs with the same seed and its 95 % interval "
        "(t), without pairs in which either failed. Failed: the runs, plain / "
        "accelerated, whose loss was not finite or whose accuracy is below twice that "
        "of guessing; the verdict is *fails* if more accelerated than plain runs "
        "failed. "
        "Activations: the number accelerated.",
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
        shown = [difference.with_decimals(2), verdict(difference, ("better", "worse"))]
    if failed[1] > failed[0]:
        shown[1] = "fails"
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
    add("--networks", default=",".join(NETWORKS), help="Names, separated by commas.")
    add("--seeds", type=int, default=5, help="Number of pairs for each network.")
    add("--output", type=Path, default=Path("runs/drop_in.json"), help="The records.")
    add("--data_dir", help="Folder of mnist.npz and cifar10.npz, or of prepared data.")
    add("--train_examples", type=int, help="Number of training images; default: all.")
    add("--epochs", type=int, help="Epochs, instead of each network's own number.")
    add("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    add("--table", type=Path, help="Print the table of these records, and exit.")
    options = parser.parse_args(arguments)
    options.networks = options.networks.split(",")
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"unknown networks: {', '.join(sorted(unknown))}")
    return options


def main(arguments: Sequence[str]) -> None:
    """Trains runs that are not recorded, and prints the table."""
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
