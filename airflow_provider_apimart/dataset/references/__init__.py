"""
Reference images that a request names by an ``s3://`` address or a path: checked, uploaded, and replaced by URLs. Begin
with :mod:`.resolver`.

``addresses``   the forms of an address, and the addresses in a request
``resolver``    reads and checks the images, uploads them, and puts their URLs into requests
``uploads``     the uploads that are recorded beside a ledger, because a URL lives for 72 hours

The checks of an image's content are in ``gateway/reference_images.py``. May import ``dataset.ledger.store``, ``hooks``
and ``gateway``.
"""

from __future__ import annotations
