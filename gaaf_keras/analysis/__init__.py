"""Analyses of a network: gradient, saturation, co-adaptation, flatness.

They work on any built Keras model and data, on every Keras backend, and leave the model
unchanged. Analyses of pre-activations and outputs cover activations wherever a model
applies them: in activation layers, in layers with `activation=`, and in nested models,
but not inside recurrent layers, `TimeDistributed` and `Bidirectional`.

Accuracies and compiled losses respect Keras masks, such as those for padding. Analyses
of nodes do not: masked time steps count like all others.
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
