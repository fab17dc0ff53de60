"""
The work of a task on its dataset: buy the pictures that the ledger lacks, and collect them. Begin with :mod:`.session`.

``session``     the work of one worker: its next action, when it leaves, how the task ends
``plan``        the decision about one paid call, as a table
``tally``       the calls of the dataset by their next step
``ending``      the end of the task: a result, or the reason why there is none
``waves``       the decision whether a worker stays or leaves the waiting to the triggerer
``buying``      groups of paid calls: intended, submitted, recorded
``collecting``  accepted calls: polled, copied, recorded
``outcome``     the next entry of a call after a response of the gateway
``progress``, ``report``  the lines in the log, the XCom, the plan and the asset events
``settings``    the parameters of one generation of the task

May import the other rooms of ``dataset``, ``transfers``, ``hooks`` and what these may import.
"""

from __future__ import annotations
