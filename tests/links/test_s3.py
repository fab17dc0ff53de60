"""The button to the folder in the AWS console."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from airflow.sdk import BaseOperator

from airflow_provider_apimart.links import ApimartS3FolderLink, s3_folder_url
from airflow_provider_apimart.transfers.apimart_to_s3 import ApimartToS3Operator

NOBODY: Any = None


def url(folder: str = "shots/a-17", *, bucket: str = "pictures", **client: Any) -> str:
    return s3_folder_url(boto3.client("s3", **{"region_name": "eu-central-1", **client}), bucket, folder)


def test_shows_the_folder_in_the_region_of_the_connection() -> None:
    assert url() == "https://console.aws.amazon.com/s3/buckets/pictures?region=eu-central-1&prefix=shots/a-17/"


@pytest.mark.parametrize(
    "folder", ["apimart/a_dag/manual__2026-11-22T12:30:50.403490+00:00", "a&b=c #d/über uns/100%", ""]
)
def test_finds_the_folder_whatever_it_is_called(folder: str) -> None:
    query = dict(parse_qsl(urlsplit(url(folder)).query, keep_blank_values=True))

    assert query == {"region": "eu-central-1", "prefix": f"{folder}/" if folder else ""}
    assert "+" not in url(folder)


@pytest.mark.parametrize(
    ("region", "console"),
    [
        ("us-east-1", "https://console.aws.amazon.com/s3/"),
        ("cn-north-1", "https://console.amazonaws.cn/s3/"),
        ("us-gov-west-1", "https://console.amazonaws-us-gov.com/s3/"),
    ],
)
def test_knows_the_consoles_of_other_partitions(region: str, console: str) -> None:
    assert url(region_name=region).startswith(console)


def test_names_no_region_that_is_none() -> None:
    assert "region" not in url(region_name="aws-global")


@pytest.mark.parametrize(
    "endpoint_url",
    ["https://bucket.vpce-1a2b3c4d-5e6f.s3.eu-central-1.vpce.amazonaws.com", "https://s3.eu-central-1.amazonaws.com"],
)
def test_an_endpoint_of_aws_itself_changes_nothing(endpoint_url: str) -> None:
    assert url(endpoint_url=endpoint_url) == url()


@pytest.mark.parametrize(
    "endpoint_url", ["http://127.0.0.1:8333", "https://s3.example.com", "https://amazonaws.com.example.com"]
)
def test_another_s3_server_has_no_page_there(endpoint_url: str) -> None:
    assert url(endpoint_url=endpoint_url) == ""


def test_an_access_point_has_no_page_there() -> None:
    assert url(bucket="arn:aws:s3:eu-central-1:123456789012:accesspoint/pictures") == ""


def test_a_partition_without_a_public_console_has_no_page() -> None:
    assert url(region_name="us-iso-east-1") == ""


def test_is_what_the_task_has_found_out() -> None:
    operator = ApimartToS3Operator(task_id="copy", source="task_1", s3_bucket="pictures")

    before = ApimartS3FolderLink().get_link(operator, ti_key=NOBODY)
    operator.s3_folder_url = url()

    assert before == ""
    assert ApimartS3FolderLink().get_link(operator, ti_key=NOBODY) == url()


def test_of_a_task_whose_mapping_failed_leads_nowhere() -> None:
    assert ApimartS3FolderLink().get_link(BaseOperator(task_id="a_task"), ti_key=NOBODY) == ""
