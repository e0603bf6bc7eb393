"""Addresses that cannot be used, and servers that do not answer: one line, no keys."""

import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest import BUCKET, KEYS, ask, free_port
from stored import KIND, NAME, publish

from jobs.store import Store, address
from qdllm.errors import ConfigError, StoreError


def every_request(store: Store) -> Iterator[str]:
    """What the store says to each kind of request, none of which it can answer."""
    for request in (
        lambda: publish(store),
        lambda: store.has(KIND, NAME),
        lambda: store.load(KIND, NAME),
        lambda: store.fingerprints(KIND),
        lambda: store.files(),
    ):
        with pytest.raises(StoreError) as caught:
            request()
        message = str(caught.value)
        assert "\n" not in message
        assert not any(key in message for key in KEYS.values())
        yield message


def test_a_bucket_that_does_not_exist_is_told(s3):
    for message in every_request(Store("s3://no-such-bucket/results")):
        assert "The specified bucket does not exist (NoSuchBucket)" in message


def test_refused_keys_are_told_but_not_repeated(s3):
    store = Store(f"s3://{BUCKET}/refused")
    first = publish(store)
    assert ask("POST", f"{s3}/moto-api/reset-auth", b"0") == 200
    try:
        for message in every_request(store):
            assert "Access Key Id you provided does not exist" in message
    finally:
        assert ask("POST", f"{s3}/moto-api/reset-auth", b"inf") == 200
    assert store.load(KIND, NAME)[0].data == first.data


def test_a_server_that_is_not_there_is_told(s3, monkeypatch):
    monkeypatch.setattr(address, "PATIENCE", timedelta(seconds=0.2))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint := f"http://127.0.0.1:{free_port()}")
    for message in every_request(Store("s3://bucket/prefix")):
        assert f"no answer from {endpoint}" in message


def test_a_server_that_says_nothing_is_told(s3, monkeypatch):
    monkeypatch.setattr(address, "PATIENCE", timedelta(seconds=0.1))
    monkeypatch.setattr(address, "SILENCE", timedelta(seconds=0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for message in every_request(Store("s3://bucket/prefix")):
            assert "no answer from http://127.0.0.1" in message


@pytest.mark.parametrize("endpoint", ["nonsense", "127.0.0.1:9000", "http://me:secret@host:9000"])
def test_an_endpoint_that_is_none_is_told_without_repeating_it(s3, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL must be the address of") as caught:
        Store("s3://bucket/prefix")
    assert "secret" not in str(caught.value)


def test_half_a_pair_of_keys_is_told(s3, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match=r"cannot use s3://b/p: .*AccessKeyId"):
        Store("s3://b/p")


@pytest.mark.parametrize("keys", ["AKIA:secret", "AKIA:sec/secret", "secret"])
def test_keys_in_an_address_are_refused_and_not_repeated(keys):
    for scheme in ("s3", "s3a"):
        with pytest.raises(ConfigError, match="without keys") as caught:
            Store(f"{scheme}://{keys}@bucket/prefix")
        assert "secret" not in str(caught.value)


def test_an_address_without_a_bucket_is_told():
    with pytest.raises(ConfigError, match="cannot use s3:///prefix"):
        Store("s3:///prefix")


def test_a_gs_address_is_understood():
    assert Store("gs://bucket/prefix/").uri == "gs://bucket/prefix"


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"'ftp://x/y'.*file://, s3://, gs://"):
        Store("ftp://x/y")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot make the store's folder .*/file/store"):
        Store(str(tmp_path / "file" / "store"))
