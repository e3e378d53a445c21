"""A page about a training, a suite or several seeds: tables, figures, how it was made.

    python -m gaaf_keras.report DIRECTORY

writes `report.html` and `figures/` into the directory. It needs the packages that
`pip install 'gaaf-keras[train]'` installs.
"""

from gaaf_keras.report.writing import write

__all__ = ["write"]
