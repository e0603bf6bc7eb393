"""Content-addressed results: what lies where, what each is, and whether it is whole."""

from jobs.store.content import parsed, unfit
from jobs.store.record import DataFile, Record
from jobs.store.results import RECORD, Store

__all__ = ["RECORD", "DataFile", "Record", "Store", "parsed", "unfit"]
