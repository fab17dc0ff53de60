"""Where Airflow looks for what the contestants do."""
