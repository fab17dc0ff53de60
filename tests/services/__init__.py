"""Real services for the demo and the tests: an S3 server, the simulator, Airflow. All of them listen on 127.0.0.1."""
