"""``python -m wfe``: the command ``wfe``."""

from __future__ import annotations

import sys

from wfe.host.cli import main

if __name__ == "__main__":
    sys.exit(main())
