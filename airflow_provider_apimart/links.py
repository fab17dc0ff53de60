"""
Extra links of the operators: buttons on the page of a task instance.

Airflow asks for each link in the worker when the task ends or defers, and stores it as an XCom; its pages read only
that. So an operator keeps each URL as an attribute, and no link looks anything up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink

from airflow_provider_apimart.gateway.catalogue import Gateway

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey
    from mypy_boto3_s3 import S3Client

    from airflow_provider_apimart.gateway.settings import GatewaySettings

__all__ = ["ApimartConsoleLink", "ApimartPicturesLink", "ApimartS3FolderLink", "console_url", "s3_folder_url"]

#: The vendors document no page for a single task. APIMart documents only the page of its API keys, so its link is the
#: site; APIMaster's own programs name this page.
_CONSOLES: Final = {
    Gateway.APIMART: "https://apimart.ai",
    Gateway.APIMASTER: "https://apimaster.ai/console/wallet",
}
#: Domains of AWS's own S3 endpoints, including those in a VPC.
_AWS_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn")


class ApimartPicturesLink(BaseOperatorLink):
    """Link to the provider's tab with the pictures of a task instance, including those still being made."""

    name = "Pictures"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the path of the tab without a host: only the browser knows by which host it reaches Airflow."""
        from airflow.configuration import conf  # noqa: PLC0415 - reads its files when it is loaded

        root = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
        dag_id, run_id, task_id = (quote(text, safe="") for text in (ti_key.dag_id, ti_key.run_id, ti_key.task_id))
        mapped = "" if ti_key.map_index is None or ti_key.map_index < 0 else f"/mapped/{ti_key.map_index}"
        return f"{root}/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/apimart-images"


class ApimartConsoleLink(BaseOperatorLink):
    """Link to the vendor's console, which shows the account and what it has bought."""

    name = "Vendor's console"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the operator's ``console_url``, or an empty text before the task has read its connection."""
        return str(getattr(operator, "console_url", ""))


class ApimartS3FolderLink(BaseOperatorLink):
    """Link to the folder in S3 that a task writes to, in the AWS console."""

    name = "S3 folder"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the operator's ``s3_folder_url``, or an empty text before the task has connected to S3."""
        return str(getattr(operator, "s3_folder_url", ""))


def console_url(settings: GatewaySettings) -> str:
    """Return the URL of the vendor's console, or an empty text for a local gateway such as the simulator."""
    return "" if settings.is_local else _CONSOLES[settings.gateway]


def s3_folder_url(client: S3Client, bucket: str, folder: str) -> str:
    """
    Return the URL of a folder in the AWS console, in the form of the amazon provider's own links.

    Other S3 servers do not have such a page, and neither does a bucket that is named by the ARN of an access point.

    :param client: the S3 client; only its endpoint, region and partition are read, and no request is made.
    :param folder: keys up to a slash, without it; empty for the whole bucket.
    :return: a URL, or an empty text.
    """
    from airflow.providers.amazon.aws.links.base_aws import BASE_AWS_CONSOLE_LINK, BaseAwsLink

    domain = BaseAwsLink.get_aws_domain(client.meta.partition)
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if domain is None or not host.endswith(_AWS_DOMAINS) or ":" in bucket:
        return ""
    # The pseudo region "aws-global" stands for a bucket whose region is not known.
    region = {} if client.meta.region_name.endswith("-global") else {"region": client.meta.region_name}
    query = urlencode({**region, "prefix": f"{folder}/" if folder else ""}, quote_via=quote, safe="/")
    return f"{BASE_AWS_CONSOLE_LINK.format(aws_domain=domain)}/s3/buckets/{bucket}?{query}"
