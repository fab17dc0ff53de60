"""The description of this provider that Airflow reads: its classes, connection form, links and plugins."""

from __future__ import annotations

from typing import Any

from airflow_provider_apimart import __version__
from airflow_provider_apimart.hooks.connection_form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR

__all__ = ["get_provider_info"]


def get_provider_info() -> dict[str, Any]:
    """Return the description that the entry point ``apache_airflow_provider`` promises."""
    return {
        "package-name": "airflow-provider-apimart",
        "name": "APIMart",
        "description": "Asynchronous image generation on [APIMart](https://apimart.ai) and [APIMaster](https://apimaster.ai).",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "APIMart",
                "external-doc-url": "https://docs.apimart.ai",
                "tags": ["service"],
            }
        ],
        "hooks": [{"integration-name": "APIMart", "python-modules": ["airflow_provider_apimart.hooks.apimart"]}],
        "operators": [
            {
                "integration-name": "APIMart",
                "python-modules": [
                    "airflow_provider_apimart.operators.dataset",
                    "airflow_provider_apimart.operators.image",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": "APIMart",
                "python-modules": [
                    "airflow_provider_apimart.triggers.apimart",
                    "airflow_provider_apimart.triggers.dataset",
                ],
            }
        ],
        "transfers": [
            {
                "source-integration-name": "APIMart",
                "target-integration-name": "Amazon Simple Storage Service (S3)",
                "python-module": "airflow_provider_apimart.transfers.apimart_to_s3",
            }
        ],
        "task-decorators": [
            {"name": "apimart_images", "class-name": "airflow_provider_apimart.decorators.images.images_task"}
        ],
        "extra-links": [
            "airflow_provider_apimart.links.ApimartConsoleLink",
            "airflow_provider_apimart.links.ApimartPicturesLink",
            "airflow_provider_apimart.links.ApimartS3FolderLink",
        ],
        "connection-types": [
            {
                "connection-type": "apimart",
                "hook-class-name": "airflow_provider_apimart.hooks.apimart.ApimartHook",
                "hook-name": "APIMart",
                "ui-field-behaviour": UI_FIELD_BEHAVIOUR,
                "conn-fields": CONNECTION_FIELDS,
            }
        ],
    }
