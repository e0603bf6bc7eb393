"""Labelled texts: reading, cleaning, splitting them; the authors' own, and sample corpora."""
