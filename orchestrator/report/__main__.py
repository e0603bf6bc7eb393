"""`python -m orchestrator.report`."""

import sys

from orchestrator.report.command import main

sys.exit(main())
