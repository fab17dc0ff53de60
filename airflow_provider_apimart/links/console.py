"""To the vendor: its console shows the account and what it has bought, also where an answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import BaseOperatorLink

from airflow_provider_apimart.gateway.catalogue import Gateway

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["ApimartConsoleLink", "console_url"]

#: No page of the vendors names an address for a single task. APIMart's name only the one for API keys, so this is its
#: site; APIMaster's own programs name this one.
_CONSOLES: Final = {
    Gateway.APIMART: "https://apimart.ai",
    Gateway.APIMASTER: "https://apimaster.ai/console/wallet",
}


class ApimartConsoleLink(BaseOperatorLink):
    """Leads to what the operator holds as its ``console_url``."""

    name = "Vendor's console"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the address, or nothing while the task has not read its connection."""
        return str(getattr(operator, "console_url", ""))


def console_url(settings: GatewaySettings) -> str:
    """Return where the vendor shows what was bought; nothing for a local gateway, such as the simulator."""
    return "" if settings.is_local else _CONSOLES[settings.gateway]
