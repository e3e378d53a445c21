"""A model's score, computed with NumPy."""

import numpy as np


def accuracy(model, split):
    """Returns a model's accuracy on a split."""
    logits = model.predict(split.images.astype("float32"), verbose=0)
    return float(np.mean(logits.argmax(axis=1) == split.labels))
