"""Times of a model on a device that never ran it, learned from other models that it ran.

``fit`` learns from profiles, ``predicted`` makes a profile of them. ``features`` describes layers, ``model`` turns
descriptions into times, ``training`` says what was measured, ``codecs`` does the same for codecs by bytes.

Source: Kang et al., "Neurosurgeon", ASPLOS 2017, who predict each layer by a regression for its kind. Here segments are
fitted instead of layers, since layer times do not add, and every error that is told is of models that were left out.
"""

from partitioner.predict.fitted import SCHEMA, Fit, FittedModel, architecture_of, differences, fit
from partitioner.predict.predicted import predicted

__all__ = ["SCHEMA", "Fit", "FittedModel", "architecture_of", "differences", "fit", "predicted"]
