"""
Submit, record, defer, finish. Begin with :mod:`.image` and, for its decisions, :mod:`.record`.

``base``             what all operators share, and the parameters of those that buy
``image``            the operator for one request
``attempt``          one segment of a try of ``image``: from its start or a resume to a result or a deferral
``record``           the record of a purchase, its states, its requests, and the decisions that rest on it (no I/O)
``record_store``     where the record is stored: the task state store, or an XCom
``purchase``         price check, reference images and submits, with the record written before and after each group
``result``           the XCom, the error, or the asset event that a purchase ends in (no I/O)
``dataset``          the operator for many requests; its work is in the package ``dataset``
``dataset_session``  one segment of a try of ``dataset``

May import everything but ``decorators``, ``plugins`` and ``simulator``.
"""

from __future__ import annotations
