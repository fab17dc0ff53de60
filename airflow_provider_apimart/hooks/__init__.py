"""Airflow connections become gateway clients."""
