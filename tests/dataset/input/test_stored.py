"""An input in its stored form."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from airflow_provider_apimart.dataset.input import Input
from airflow_provider_apimart.dataset.ledger.store import LedgerStore
from airflow_provider_apimart.dataset.row import KEY_BYTES, call_key
from airflow_provider_apimart.exceptions import RecordUnavailableError
from airflow_provider_apimart.gateway.catalogue import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataset.input.conftest import MemoryStore
    from services.seaweedfs import SeaweedFS

    Read = Callable[..., Input]

KEYS, ROWS = "inputs/me.keys.gz", "inputs/me.jsonl.gz"


def record(number: int) -> dict[str, Any]:
    return {
        "id": None if number % 3 else f"sku-{number}",
        "prompt": f"ein Käuzchen {number}\r\n\u2028猫",
        "n": number % 2 + 1,
        "extra_body": {"seed": number},
        "sku": {"number": number},
    }


@pytest.fixture
def saved(read: Read, store: MemoryStore) -> Input:
    rows = read(map(record, range(1200)), columns=("sku",), shard=(0, 1), limit=1100)
    rows.save(store, "me")
    return rows


def test_what_is_loaded_is_what_was_saved(saved: Input, store: MemoryStore) -> None:
    loaded = Input.load(store, "me")

    assert list(loaded.row_keys()) == list(saved.row_keys())
    places = sorted(range(len(saved)), key=lambda place: place * 7919 % 1100)
    assert [loaded.row(place) for place in places] == [saved.row(place) for place in places]
    assert [loaded.n(place) for place in places] == [saved.n(place) for place in places]
    assert [loaded.images_per_task(place) for place in places] == [saved.images_per_task(place) for place in places]
    assert (len(loaded), loaded.left_out, loaded.row(4).columns) == (1100, 100, {"sku": {"number": 4}})


def test_the_key_of_a_row_is_that_of_its_first_call(saved: Input) -> None:
    row = saved.row(7)

    assert list(saved.row_keys())[7] == call_key(row.fingerprint, row.id, 0)
    assert len(next(saved.row_keys())) == KEY_BYTES


def test_facts_and_notices_are_stored(read: Read, store: MemoryStore) -> None:
    rows = read(["a cat", "a cat", "", "nan"], on_invalid="skip", defaults={"quality": "low"})
    rows.save(store, "me")

    loaded = Input.load(store, "me")

    assert (len(loaded), loaded.invalid, loaded.left_out) == (2, 1, 0)
    assert (loaded.listed, loaded.notices) == (rows.listed, rows.notices)
    assert len(loaded.notices) == 3


def test_loading_reads_keys_and_rows_are_read_by_range(saved: Input, store: MemoryStore) -> None:
    loaded = Input.load(store, "me")
    assert [name for name, _ in store.reads] == [KEYS]

    for place in range(400):
        loaded.row(place)
    assert [name for name, _ in store.reads] == [KEYS, ROWS]

    for place in range(len(saved)):
        loaded.row(place)
    assert [name for name, _ in store.reads[1:]] == [ROWS] * 3
    assert sum(size for name, size in store.reads if name == ROWS) == len(store.objects[ROWS])


def test_rows_with_pictures_in_them_are_in_smaller_members(read: Read, store: MemoryStore) -> None:
    image = io.BytesIO()
    Image.frombytes("RGB", (200, 250), hashlib.shake_256(b"").digest(150_000)).save(image, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}"
    rows = read([{"prompt": f"a cat {number}", "image_urls": [picture]} for number in range(20)])
    rows.save(store, "me")

    loaded = Input.load(store, "me")

    assert loaded.row(19).request.image_urls == (picture,)
    assert store.reads[-1][1] < 2 * MEBIBYTE


def test_the_rows_are_lines_that_any_gzip_reads(saved: Input, store: MemoryStore) -> None:
    text = gzip.decompress(store.objects[ROWS])

    assert text.count("ein Käuzchen".encode()) == len(saved)


def test_a_ledger_in_a_real_store_holds_an_input(read: Read, s3_server: SeaweedFS, bucket: str) -> None:
    ledger = LedgerStore(s3_server.client(), bucket, "catalogue")
    rows = read(map(record, range(1200)), columns=("sku",))
    rows.save(ledger, "me")
    rows.save(ledger, "me")

    loaded = Input.load(ledger, "me")

    assert [loaded.row(place) for place in (0, 499, 500, 1199)] == [rows.row(place) for place in (0, 499, 500, 1199)]
    with pytest.raises(FileNotFoundError):
        Input.load(ledger, "somebody else")


def test_an_empty_input(read: Read, store: MemoryStore) -> None:
    read([]).save(store, "me")

    loaded = Input.load(store, "me")

    assert (len(loaded), list(loaded.row_keys())) == (0, [])
    with pytest.raises(IndexError):
        loaded.row(0)


def test_nothing_is_stored_under_the_name(store: MemoryStore) -> None:
    with pytest.raises(FileNotFoundError):
        Input.load(store, "me")


def test_rows_of_another_input_are_never_bought(saved: Input, read: Read, store: MemoryStore) -> None:
    loaded = Input.load(store, "me")
    keys = store.objects[KEYS]
    read([{"id": number, "prompt": f"a dog {number}"} for number in range(2000)]).save(store, "me")
    store.objects[KEYS] = keys

    with pytest.raises(RecordUnavailableError, match=r"Nothing was submitted for"):
        loaded.row(3)
    assert saved.row(3).number == 4


def test_rows_that_are_gone_are_named(saved: Input, store: MemoryStore) -> None:  # noqa: ARG001
    loaded = Input.load(store, "me")
    del store.objects[ROWS]

    with pytest.raises(RecordUnavailableError, match="are gone"):
        loaded.row(0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{}\n", mtime=0),
        gzip.compress(b'{"schema_version": 99}\n', mtime=0),
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"\xff\n", mtime=0),
    ],
)
def test_keys_that_cannot_be_read_are_named(store: MemoryStore, content: bytes) -> None:
    store.objects[KEYS] = content

    with pytest.raises(RecordUnavailableError, match=r"cannot be read by this release.* Nothing was submitted"):
        Input.load(store, "me")


def test_keys_that_were_cut_off_are_named(saved: Input, store: MemoryStore) -> None:  # noqa: ARG001
    content = gzip.decompress(store.objects[KEYS])
    store.objects[KEYS] = gzip.compress(content[:-4])

    with pytest.raises(RecordUnavailableError, match="it should hold 1100 rows"):
        Input.load(store, "me")
