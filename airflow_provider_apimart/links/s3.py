"""To the folder in S3 that a task writes to, in the AWS console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey
    from mypy_boto3_s3 import S3Client

__all__ = ["ApimartS3FolderLink", "s3_folder_url"]

#: Of the S3 endpoints of AWS, those in a VPC included.
_AWS_DOMAINS: Final = (".amazonaws.com", ".amazonaws.com.cn")


class ApimartS3FolderLink(BaseOperatorLink):
    """Leads to what the operator holds as its ``s3_folder_url``."""

    name = "S3 folder"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's own signature
        """Return the address, or nothing while the task has not connected to S3."""
        return str(getattr(operator, "s3_folder_url", ""))


def s3_folder_url(client: S3Client, bucket: str, folder: str) -> str:
    """
    Return where the AWS console shows a folder, in the form of the amazon provider's own links.

    Another S3 server has no page there, nor has a bucket that is named by the ARN of an access point.

    :param client: knows its endpoint, its region and its partition. It is not asked anything.
    :param folder: keys up to a slash, without it; empty for the whole bucket.
    :return: an address, or an empty text.
    """
    from airflow.providers.amazon.aws.links.base_aws import BASE_AWS_CONSOLE_LINK, BaseAwsLink

    domain = BaseAwsLink.get_aws_domain(client.meta.partition)
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    if domain is None or not host.endswith(_AWS_DOMAINS) or ":" in bucket:
        return ""
    # The pseudo region "aws-global" stands for a bucket of a region that is not known.
    region = {} if client.meta.region_name.endswith("-global") else {"region": client.meta.region_name}
    query = urlencode({**region, "prefix": f"{folder}/" if folder else ""}, quote_via=quote, safe="/")
    return f"{BASE_AWS_CONSOLE_LINK.format(aws_domain=domain)}/s3/buckets/{bucket}?{query}"
