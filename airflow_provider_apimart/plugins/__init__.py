"""Pages of the provider in Airflow's own UI."""
