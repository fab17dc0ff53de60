"""
The wire: requests to the gateways, their responses, and the meaning of both. Begin with :mod:`.endpoints`.

``request``     the fields of a request, its JSON body, and its idempotency key
``catalogue``   the values that each known model accepts
``validation``  checks of requests and parameters before anything is submitted
``settings``    address, key and limits, from an Airflow connection
``endpoints``   each HTTP request, and how to read its response
``response``    one HTTP response, and what may be shown of third-party text
``errors``      the meaning of a refusal or a failure
``task``        one gateway task, and the response to a submit
``parsing``     tolerant readers of the values in a response
``images``      image formats: recognised by content, complete or not
``reference_images``  reference images and masks, checked before they are uploaded
``cost``        price estimates and sums
``polling``     when to query tasks, in which batches, and which outcome is final
``throttle``    limits on simultaneous requests, and pauses
``client``      the HTTP client, the only module that talks to the network

Imports nothing of Airflow, and of this provider only ``exceptions``.
"""

from __future__ import annotations
