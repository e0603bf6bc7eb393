"""What a sweep asked, written down so that a report needs neither its grid nor its texts."""

from jobs.kinds.kind import Kind

SWEEPS = Kind(name="sweeps", label="sweeps")
KINDS = (SWEEPS,)
