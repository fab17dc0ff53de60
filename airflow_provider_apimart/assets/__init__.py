"""What Airflow is told of pictures that were bought or stored: events of assets, with what they show and cost."""
