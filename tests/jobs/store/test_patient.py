"""A store that waits for its server, but not for what waiting cannot mend."""

import threading
from datetime import timedelta

import pytest
from conftest import BUCKET
from gate import Gate
from stored import KIND, NAME, flip, publish

from jobs.store import Store, address, patient
from jobs.store.patient import PatientStore
from jobs.store.record import DamagedError


def test_what_is_asked_and_published_waits_for_the_server(s3, monkeypatch, tmp_path):
    """A request by itself is given up after a fifth of a second here."""
    gate = Gate(int(s3.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gate.port}")
    monkeypatch.setattr(address, "PATIENCE", timedelta(seconds=0.2))
    monkeypatch.setattr(patient, "PAUSE", 0.1)
    store = PatientStore(f"s3://{BUCKET}/{tmp_path.name}")
    for act, expected in ((store.has, False), (lambda *_: publish(store).kind, KIND)):
        gate.shut()
        threading.Timer(1.5, gate.open).start()
        assert act(KIND, NAME) == expected
    gate.close()


def test_damage_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(patient.time, "sleep", lambda seconds: pytest.fail("it waits"))
    publish(Store(str(tmp_path)))
    record = tmp_path / KIND / NAME / "record.json"
    record.write_bytes(flip(record.read_bytes(), 40))
    store = PatientStore(str(tmp_path))
    for act in (lambda: store.has(KIND, NAME), lambda: publish(store)):
        with pytest.raises(DamagedError):
            act()
