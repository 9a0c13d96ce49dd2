"""``python -m cloud``: the same as ``cleft-cloud``."""

import sys

from cloud.cli import main

sys.exit(main())
