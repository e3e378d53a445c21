"""The section on convolutional networks."""

import dataclasses
from collections.abc import Iterator

from parts import HERE, Part, against_gaaf, compared, made_by, named, not_run

from gaaf_keras.report import pictures, records

# The rows of the table, of the search with batch normalisation, which has more.
VARIANTS = (
    *("base", "dropout", "GAAF", "unit gain", "one-sided", "b_silu", "SiLU", "GELU"),
)
RECORDS = {"with": "search_relu_cnn.json", "without": "cifar10_rates.json"}
SLICE = "--train_examples=5000 --width=8 --epochs=12"


def section() -> Iterator[Part]:
    """Yields the section."""
    yield "## Convolutional networks on CIFAR-10\n"
    for kind, name in RECORDS.items():
        yield f"### {kind.capitalize()} batch normalisation\n"
        if not (HERE / name).is_file():
            yield not_run(name, f"{SLICE} --runs=3")
            continue
        study, _ = records.read(HERE / name)
        if name.startswith("search"):
            variants = [v for v in study.variants if v.group in VARIANTS]
            study = dataclasses.replace(study, variants=variants)
        yield made_by(study)
        yield from named(f"cifar10_{kind}", pictures.learning_rates(study))
        own = dataclasses.replace(study, variants=study.chosen)
        yield from compared(own, against_gaaf(own))
    yield "### All images, and the paper's width\n"
    for name in ("cifar10_batch_norm_rates", "cifar10_rates"):
        yield not_run(name, "--runs=5")
