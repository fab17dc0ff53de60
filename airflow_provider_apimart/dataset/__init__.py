"""
Many prompts as one piece of work: rows, what was bought for each, and what each needs next.

Decisions are pure functions over rows and ledger entries. Only
:mod:`~airflow_provider_apimart.dataset.reading` and :mod:`~airflow_provider_apimart.dataset.journal` touch files or S3.
"""
