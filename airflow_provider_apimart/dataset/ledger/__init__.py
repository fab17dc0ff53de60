"""
The ledger of a dataset in S3: each paid call of each row, whoever made it. Begin with :mod:`.ledger`.

``entry``        the state of one paid call, as a value and as a line of JSON
``index``        the newest state of every call, and what is open, in little memory and as a checkpoint
``records``      the state of one call as packed bytes
``account``      the money of one task instance
``ledger``       one worker's access: read, record, claim what is about to be bought
``log``          the numbered objects in which all workers append their entries, one after the other
``checkpoints``  the index in S3
``tickets``      the order in which workers append where the store does not decide that itself
``store``        the objects in S3: listed, read, written, deleted
``table``        the newest line of each purchase, for people, pandas and DuckDB; what is merged is deleted
``newest``       the newest lines among many, on disk
``reading``      every line of table and log, for pages and manifests
``manifest``     one line for each call of a dataset
``legacy``       ledgers of release 0.1
``budget``       the money of a DAG run that is left
``verdicts``     decisions of a person about single rows
``export``       the pictures in a local folder, with a table of what is known of each

::

    {prefix}/ledger/
        log/00000001.jsonl.gz       what all workers appended, in one order; created once, never changed
        checkpoints/00000001.gz     the index through a number of the log; a cache
        ledger.jsonl.gz             the table, through a number of the log that its metadata names
        manifests/{digest}.jsonl.gz what became of each call of a dataset, as a task has ended
        inputs/  references/        the stored rows of tasks at work; uploads of reference images
        probe                       shows whether the store honours conditional writes
        queue/                      tickets, where it does not

May import ``gateway``, ``transfers``, ``exceptions`` and ``dataset.row``.
"""

from __future__ import annotations
