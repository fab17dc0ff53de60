"""
The input of a dataset task: its rows, which are read and checked once, and stored beside the ledger.

Begin with :func:`.read_dataset`, which returns an :class:`.Input`:

``reading``   the whole dataset: which rows are kept, and whether any may be bought
``source``    a list, or a file on this machine, in S3 or elsewhere
``formats``   records from JSON lines, CSV and Parquet
``checking``  which records may be bought, and why the others may not
``values``    the values in cells, and those of Python, numpy and Arrow
``stored``    the stored rows: keys in memory, rows in a file or in S3

May import ``gateway``, ``exceptions``, ``dataset.row`` and the addresses of reference images.
"""

from __future__ import annotations

from airflow_provider_apimart.dataset.input.reading import Shard, read_dataset
from airflow_provider_apimart.dataset.input.stored import Input, InvalidRow, delete_input, empty_input

__all__ = ["Input", "InvalidRow", "Shard", "delete_input", "empty_input", "read_dataset"]
