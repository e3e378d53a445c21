"""Which modules pytest leaves alone when it looks for examples in docstrings."""

import importlib.util

collect_ignore = []
if importlib.util.find_spec("torch") is None:
    collect_ignore.append("experiments/devices/torch.py")  # these import it
    collect_ignore.append("experiments/devices/torch_epochs.py")
