"""
The wire: what is asked of the gateways, what they answer, and what that means.

Nothing in this package imports Airflow. Requests, answers and errors are pure data and pure functions;
only :mod:`~airflow_provider_apimart.gateway.client` talks to the network.
"""
