"""`python -m jobs.store`."""

import sys

from jobs.store.housekeeping import main

sys.exit(main())
