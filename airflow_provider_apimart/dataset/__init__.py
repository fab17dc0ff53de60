"""
Prompt datasets: many rows, bought by one task and recorded in a ledger in S3. Begin with :mod:`.session`, and for its
decisions with :mod:`.plan`. ``operators/dataset.py`` is the operator.

The work of one worker:

``session``          one worker's share of a dataset, until there is only something to wait for
``intake``           all rows, read and checked before the first purchase
``claiming``         the check just before a purchase: other workers, their purchases, the budget
``queue``            the order in which workers may record what they are about to buy
``buying``           the paid calls, each recorded before and after it
``collecting``       status queries, and copies to S3
``references``       a room: reference images, checked and uploaded

The ledger in S3:

``journal``          the ledger as many small objects, which several workers write at once
``ledger_objects``   those objects: list, read, write, delete
``recorder``         entries on their way to the journal, at most a second later
``compaction``       many objects become one, and the table for people
``manifest``         one line for each row of a task, when it ends
``inputs``           rows that a function returned, stored beside the ledger

Decisions, which do no I/O:

``plan``             what each row needs next, and whether a task defers, ends or fails
``survey``           the same for all rows at once
``outcome``          the next entry of a row after a response of the gateway
``budget``           the money that is left, derived from the ledger
``checking``         which rows may be bought
``ledger``           the newest entry of each purchase

Values and formats:

``row``, ``part``    a row, and one paid call of it
``entry``, ``line``  an entry of the ledger, and its JSON
``object_names``     the names of the pictures in S3
``reading``          rows from a list or a file, of the formats in ``formats``
``spool``            checked rows in a temporary file
``progress``, ``report``, ``event``  the progress, the XCom and the asset events of a task

May import ``transfers``, ``hooks`` and what these may import.
"""

from __future__ import annotations
