"""
Buttons on the page of a task instance.

Airflow asks for each address in the worker, when the task ends or defers, and keeps it as an XCom; its pages read only
that. So an address that a task has found out while it worked is kept on the operator, and no link looks anything up.
"""
