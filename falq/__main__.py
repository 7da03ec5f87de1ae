"""`python -m falq`: the command line."""

from __future__ import annotations

import sys

from falq.cli import main

sys.exit(main())
