"""What can go wrong in the worker beside the frames it is sent (those are ``protos.errors``).

CloudError          root
├── ListenError     the address cannot be listened on, or not without saying that it is open
└── NoModelError    nothing of what was asked for can be served
"""

from __future__ import annotations

from partitioner.errors import CleftError


class CloudError(CleftError):
    """The worker cannot do what it was started for."""


class ListenError(CloudError):
    """The address cannot be listened on, or not without saying that it is open."""


class NoModelError(CloudError):
    """Nothing of what was asked for can be served."""
