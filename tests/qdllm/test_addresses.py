"""Addresses as they are told: scheme, host and path, and never what a secret was."""

import pytest

from qdllm.addresses import bare, without_secrets
from qdllm.errors import ConfigError, StoreError

SECRET = "hunter2"
PASSWORDS = ["{}", "{}/x", "x/{}", "12/{}", "{} x", "x {}", "x?{}", "x#{}", "x@{}", "x:{}", "%2F{}"]
FORMS = {
    "postgresql://me:{}@host:5432/db": "postgresql://host:5432/db",
    "postgresql+psycopg2://me:{}@host/db?sslmode=require": "postgresql+psycopg2://host/db",
    "http://me:{}@127.0.0.1:5000": "http://127.0.0.1:5000",
    "http://me:{}@[::1]:5000/x": "http://[::1]:5000/x",
    "{}://me:x@host": "",
    "http://host/x?token={}": "http://host/x",
    "s3://bucket/prefix?key={}#there": "s3://bucket/prefix",
    "{}@host": "",
    "me:{}@host:5000": "…@host:5000",
    "http://me:{}": "",
}


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form]])
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_secret_is_in_nothing_that_is_told(form, password):
    secret = password.format(SECRET)
    address = form.format(secret)
    assert SECRET not in bare(address)
    said = f"cannot connect to {address} (or to {address!r}): no '{secret}' for me"
    told = without_secrets(said, address)
    assert SECRET not in told
    assert told.startswith("cannot connect to ")
    if "://" in address and " " not in address:
        for error in (ConfigError, StoreError):
            assert SECRET not in str(error(f"--set task.data={address}: no"))


@pytest.mark.parametrize("form", [form for form in FORMS if FORMS[form]])
def test_scheme_host_and_path_are_told(form):
    assert bare(form.format(SECRET)) == FORMS[form]


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////folder/mlflow.db",
        "http://127.0.0.1:5000/path",
        "models:/qdllm-ablation@champion",
        "look: 'http://127.0.0.1:5000', write to me@host: or to http://[::1]:80/x",
        "a folder/with:colons@and",
    ],
)
def test_what_holds_no_secret_is_left_as_it_is(text):
    assert without_secrets(text) == text
    assert str(ConfigError(text)) == text


def test_every_spelling_of_a_secret_is_found():
    address = "postgresql://me:p%2Fss%20w@host/db"
    assert "p/ss w" not in without_secrets("FATAL: 'p/ss w' or 'p%2Fss%20w'", address)
    address = "postgresql://me:p/ss w@host/db"
    assert "p%2Fss%20w" not in without_secrets("FATAL: 'p/ss w' or 'p%2Fss%20w'", address)
