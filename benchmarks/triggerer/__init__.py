"""What it costs to wait for many tasks in Airflow's triggerer."""
