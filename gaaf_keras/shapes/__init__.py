"""Shape functions s(x): where gradient is added to an activation, and how much.

An accelerated activation keeps its value and has the derivative
`phi'(x) + strength * s(x)`. The shape function `s` decides the second term.

A shape is any callable of one tensor. To make one that can be saved with a model and
combined with others, write a frozen dataclass:

```python
@keras.saving.register_keras_serializable("my_package")
@dataclasses.dataclass(frozen=True)
class Lorentzian(gaaf_keras.shapes.Shape):
    width: float = 1.0

    def __call__(self, x):
        return 1 / (1 + keras.ops.square(x / self.width))
```
"""

from typing import TYPE_CHECKING

from gaaf_keras.shapes.base import *  # noqa: F403  everything defined there
from gaaf_keras.shapes.base import DEFINED
from gaaf_keras.shapes.dropout import *  # noqa: F403
from gaaf_keras.shapes.lookup import default_for as default_for
from gaaf_keras.shapes.lookup import get as get
from gaaf_keras.shapes.surrogates import *  # noqa: F403

if not TYPE_CHECKING:  # type checkers see what is imported here
    __all__ = [  # noqa: PLE0604
        *("Shape", "default_for", "get"),
        *(each.make.__name__ for each in DEFINED.values()),
    ]
