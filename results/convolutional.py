"""The section on convolutional networks."""

import dataclasses
from collections.abc import Iterator

from parts import (
    HERE,
    Part,
    against_gaaf,
    chosen,
    compared,
    made_by,
    named,
    not_run,
    recorded,
)

from experiments.report import pictures

RECORDS = {"with": "search_relu_cnn.json", "without": "cifar10_rates.json"}
SLICE = "--train_examples=5000 --width=8 --epochs=12"
# Those in the search for a shape that a table of activations has: the paper's, and what
# it competes with.
IN_TABLE = (
    *("base", "dropout", "SiLU", "GELU"),
    *("GAAF", "unit gain", "one-sided", "b_silu"),
)


def section() -> Iterator[Part]:
    """Yields the section."""
    yield "## Convolutional networks on CIFAR-10\n"
    yield (
        "5,000 training images, 8 channels in the first block and 12 epochs, which "
        "fits a CPU; the best epoch is mostly among the last, so that these tables are "
        "as much about speed. Those with batch normalisation are of the search below.\n"
    )
    for kind, name in RECORDS.items():
        yield f"### {kind.capitalize()} batch normalisation\n"
        if not (HERE / name).is_file():
            yield not_run(name, f"{SLICE} --runs=3")
            continue
        study, _ = recorded(name)
        if name.startswith("search"):
            variants = [each for each in study.variants if each.group in IN_TABLE]
            study = dataclasses.replace(study, variants=variants)
        yield made_by(study)
        own = chosen(study)
        title = f"CNN {kind} batch norm, each at its best rate"
        found = pictures.differences(own, title) | pictures.learning_rates(study)
        yield from named(f"cifar10_{kind}", found)
        yield from compared(own, against_gaaf(own))
    yield "### All images, and the paper's width\n"
    yield "These take a GPU, or days.\n"
    for name in ("cifar10_batch_norm_rates", "cifar10_rates"):
        yield not_run(name, "--runs=5")
