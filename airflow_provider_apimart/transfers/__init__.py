"""
Pictures from the gateways' URLs to S3. Begin with :mod:`~airflow_provider_apimart.transfers.apimart_to_s3`.

==================  ================================================================================
``apimart_to_s3``   the operator
``source``          its source, read as pictures (no I/O)
``keys``            bucket, key template and ``extra_args``, checked and filled in (no I/O)
``stored_objects``  the metadata of an object, and whether to write over an existing one (no I/O)
``copier``          one picture from its URL to its key
``download``        one picture from its URL into a temporary file
``address``         URLs byte for byte, and the addresses that must not be fetched
``connections``     HTTP connections, shared by threads
``s3_bucket``       one bucket: look up a key, write an object
``s3_signed``       a faster way to do so than boto3's own calls
==================  ================================================================================
"""

from __future__ import annotations
