"""What a model scores, by NumPy."""

import numpy as np


def accuracy(model, split):
    """Returns the share of a split's examples that a model classifies rightly."""
    logits = model.predict(split.images.astype("float32"), verbose=0)
    return float(np.mean(logits.argmax(axis=1) == split.labels))
