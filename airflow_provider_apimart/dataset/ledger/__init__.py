"""
The ledger of a dataset in S3: the state of every paid call of every row. Begin with :mod:`.ledger`.

``entry``      the state of one paid call, as a value and as a line of JSON; which of two entries is the newer
``index``      the newest state of every call in little memory, and as the content of a checkpoint
``money``      the accounts of task instances, and the budget of a DAG run
``ledger``     one worker's access: read, record outcomes, claim the calls that are about to be bought
``log``        the numbered objects to which all workers append their entries, one after the other
``appends``    the two ways to append, for stores with and without conditional writes
``store``      the objects in S3: list, read, write, delete
``reading``    all lines of table and log, for pages, tables, manifests and exports
``newest``     the newest line of each purchase among any number of lines, on disk
``snapshots``  checkpoints and the table, into which the log is merged
``manifest``   one line for each call of a dataset
``legacy``     ledgers of release 0.1
``verdicts``   decisions of a person about single rows
``export``     the pictures in a local folder, with a table of their metadata

::

    {prefix}/ledger/
        log/00000001.jsonl.gz       the entries that workers have appended, in one order; never changed
        checkpoints/00000001.gz     the index through a number of the log; a cache
        ledger.jsonl.gz             the table, through the number of the log that its metadata names
        manifests/{digest}.jsonl.gz the newest line of each call of a dataset when a task has ended
        inputs/  references/        the stored rows of running tasks; uploads of reference images
        probe                       shows whether the store honours conditional writes
        queue/                      tickets, on a store that does not honour them

May import ``gateway``, ``transfers``, ``exceptions`` and ``dataset.row``.
"""

from __future__ import annotations
