"""The section on convolutional networks."""

import dataclasses
from collections.abc import Iterator

from parts import HERE, Part, against_gaaf, compared, made_by, named, not_run

from gaaf_keras.report import pictures, records

RECORDS = {"with": "cifar10_batch_norm_rates.json", "without": "cifar10_rates.json"}
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
        yield made_by(study)
        yield from named(f"cifar10_{kind}", pictures.learning_rates(study))
        own = dataclasses.replace(study, variants=study.chosen)
        yield from compared(own, against_gaaf(own))
    yield "### All images, and the paper's width\n"
    yield "These take a GPU, or days.\n"
    for name in RECORDS.values():
        yield not_run(name, "--runs=5")
