"""
A local stand-in for both gateways: real pictures, no key, no payment, and faults on demand.

From a shell ``python -m airflow_provider_apimart.simulator``, in a test :class:`Simulator`. It needs the extra
``airflow-provider-apimart[simulator]``.
"""

from __future__ import annotations

from airflow_provider_apimart.simulator.server import Simulator
from airflow_provider_apimart.simulator.settings import SimulatorSettings

__all__ = ["Simulator", "SimulatorSettings"]
