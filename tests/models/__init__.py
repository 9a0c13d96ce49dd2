"""Small architectures with random weights, one per thing that may go wrong when a model is cut.

``CASES`` maps a name to a function that builds the case; building one is fast, and the same every time.
"""

from __future__ import annotations

from tests.models import odd, sequence, vision
from tests.models.case import CASES, Case

TORCHVISION = {
    "alexnet": "1x3x64x64",
    "vgg11": "1x3x32x32",
    "resnet18": "1x3x64x64",
    "mobilenet_v2": "1x3x64x64",
    "googlenet": "1x3x64x64",
    "densenet121": "1x3x64x64",
    "efficientnet_b0": "1x3x64x64",
    "vit_b_16": "1x3x224x224",
    "squeezenet1_1": "1x3x64x64",
    "shufflenet_v2_x0_5": "1x3x64x64",
    "convnext_tiny": "1x3x64x64",
    "swin_t": "1x3x64x64",
    "regnet_y_400mf": "1x3x64x64",
    "inception_v3": "1x3x96x96",
}
"""torchvision's names, each with an input that is small for it."""

__all__ = ["CASES", "TORCHVISION", "Case", "odd", "sequence", "vision"]
