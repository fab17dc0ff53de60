"""
Prompt datasets: many rows, bought by one task and recorded in a ledger in S3. ``operators/dataset.py`` is the operator.

Begin with :mod:`.run.session`, the work of one worker, and for its decisions with the table in :mod:`.run.plan`.

``row``            a row, its paid calls, and the keys that identify them in the next run
``input``          a room: the rows of a dataset, read and checked once, stored, and then only read
``references``     a room: reference images, checked, uploaded, and replaced by URLs
``ledger``         a room: every paid call of every row, by any task instance, in S3
``run``            a room: the next step of each call, and the work of buying and collecting
``object_names``   the names of the pictures in S3
``__main__``       verdicts and exports from the command line

``row`` and ``object_names`` import none of the rooms; ``ledger`` and ``input`` import ``row``; ``run`` imports all. May
import ``transfers``, ``hooks`` and what these may import.
"""

from __future__ import annotations
