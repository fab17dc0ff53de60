"""The hook: an Airflow connection as a gateway client, and the connection form. May import ``gateway``."""
