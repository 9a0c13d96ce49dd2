"""What else ``torch.export`` captures.

``MORE`` maps a name to a function that builds the case, as ``tests.models.CASES`` does.
"""

from tests.models_more import forms, sizes
from tests.models_more.table import MORE, Made

__all__ = ["MORE", "Made", "forms", "sizes"]
