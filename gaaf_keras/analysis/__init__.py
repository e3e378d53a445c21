"""What happens in a network: gradient, saturation, co-adaptation, flatness.

For any built Keras model and data, on every Keras backend. Nothing changes the model
that is looked at. What is defined by the values of an activation's pre-activations and
outputs is found wherever a model applies one: in activation layers, in layers with
`activation=`, and in nested models. Not looked into are recurrent layers,
`TimeDistributed` and `Bidirectional`.

Accuracies and compiled losses leave out what a Keras mask leaves out, such as padding.
What is said of nodes does not: there masked time steps count as all others do.
"""

from gaaf_keras.analysis.curves import Curve, curve
from gaaf_keras.analysis.distributions import Distribution, weights
from gaaf_keras.analysis.flatness import (
    Curvature,
    Robustness,
    hessian_eigenvalue,
    input_noise,
    weight_noise,
)
from gaaf_keras.analysis.gradients import GradientFlow, LayerGradient, gradient_flow
from gaaf_keras.analysis.node_dependence import (
    Ablation,
    Correlations,
    ablation,
    correlations,
)
from gaaf_keras.analysis.pre_activations import (
    ExpectedDerivative,
    PreActivationVariance,
    Saturation,
    pre_activation_variance,
    saturation,
)
from gaaf_keras.analysis.statistics import (
    Difference,
    Spread,
    paired_difference,
    paired_differences,
)

__all__ = [
    "Ablation",
    "Correlations",
    "Curvature",
    "Curve",
    "Difference",
    "Distribution",
    "ExpectedDerivative",
    "GradientFlow",
    "LayerGradient",
    "PreActivationVariance",
    "Robustness",
    "Saturation",
    "Spread",
    "ablation",
    "correlations",
    "curve",
    "gradient_flow",
    "hessian_eigenvalue",
    "input_noise",
    "paired_difference",
    "paired_differences",
    "pre_activation_variance",
    "saturation",
    "weight_noise",
    "weights",
]
