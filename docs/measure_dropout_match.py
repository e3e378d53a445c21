"""How close the dropout-matched derivative is to the one under real dropout masks.

    python docs/measure_dropout_match.py

For random tanh layers: the mean and the largest distance, over the units, between the
derivative averaged over dropout masks and (a) the matched one, (b) the plain one.
"""

import numpy as np

from gaaf_keras.shapes import DropoutMatched

MASKS, UNITS, LAYERS = 4000, 100, 5


def distances(width, rate, seed):
    random = np.random.default_rng(seed)
    activities = np.tanh(random.normal(size=width))
    weights = random.normal(size=(width, UNITS)) * np.sqrt(1 / width)
    masks = random.random((MASKS, width)) >= rate
    noisy = (activities * masks / (1 - rate)) @ weights
    real = (1 / np.cosh(noisy) ** 2).mean(axis=0)
    net = activities @ weights
    plain = 1 / np.cosh(net) ** 2
    variance = rate / (1 - rate) * (activities**2 @ weights**2).mean()
    shape = DropoutMatched("tanh", np.sqrt(variance))
    matched = plain + np.asarray(shape(net))
    return np.abs(real - matched), np.abs(real - plain)


def main():
    print("| inputs | rate | matched: mean | largest | plain: mean | largest |")
    print("|---|---|---|---|---|---|")
    for width in (25, 100, 400):
        for rate in (0.2, 0.5):
            both = [distances(width, rate, seed) for seed in range(LAYERS)]
            cells = [
                f"{reduce([reduce(part[i]) for part in both]):.3f}"
                for i in (0, 1)
                for reduce in (np.mean, np.max)
            ]
            print(f"| {width} | {rate} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
