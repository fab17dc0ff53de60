"""
Waiting, in the triggerer or on a worker. Begin with :mod:`.apimart`.

``apimart``     the trigger for any number of gateway tasks, its event, and the same wait on a worker
``dataset``     the trigger of a dataset, which waits until enough is finished
``poller``      the poller that all triggers of one connection share
``waiter``      the tasks that one trigger waits for, as the poller reports them
``connection``  the poller's hook, which follows its Airflow connection

May import ``hooks`` and ``gateway``. Nothing here can reach a paid call.
"""

from __future__ import annotations
