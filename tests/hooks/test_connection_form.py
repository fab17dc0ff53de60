"""The connection form in the UI, of this Airflow and of those before 3.2."""

from __future__ import annotations

import sys
from types import ModuleType

import jsonschema
import pytest
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

from airflow_provider_apimart.exceptions import ConfigurationError
from airflow_provider_apimart.gateway.settings import GatewaySettings
from airflow_provider_apimart.hooks.apimart import ApimartHook
from airflow_provider_apimart.hooks.connection_form import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR

FIELDS = ["gateway", "submit_path", "timeout", "max_concurrency", "requests_per_second", "batch_polling"]


def test_the_ui_shows_the_form() -> None:
    (form,) = [form for form in HookMetaService.hook_meta_data() if form.connection_type == "apimart"]

    assert form.hook_name == "APIMart"
    assert form.standard_fields is not None
    assert form.standard_fields.password is not None
    assert form.standard_fields.password.title == "API key"
    assert form.standard_fields.host is not None
    assert form.standard_fields.host.title == "Base URL"
    assert [form.standard_fields.login, form.standard_fields.port, form.standard_fields.url_schema] == [
        form.standard_fields.login
    ] * 3
    assert form.standard_fields.login is not None
    assert form.standard_fields.login.hidden
    assert form.extra_fields is not None
    assert list(form.extra_fields) == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_the_ui_shows_every_extra_field_with_its_label_its_help_and_its_default(name: str) -> None:
    (form,) = [form for form in HookMetaService.hook_meta_data() if form.connection_type == "apimart"]
    assert form.extra_fields is not None
    shown, declared = form.extra_fields[name], CONNECTION_FIELDS[name]

    assert shown["schema"]["title"] == declared["label"]
    assert shown["description"] == declared["description"]
    assert shown["value"] == declared["schema"].get("default")


@pytest.mark.parametrize("name", ["host", "password"])
def test_a_field_without_room_for_help_says_in_its_placeholder_what_belongs_there(name: str) -> None:
    (form,) = [form for form in HookMetaService.hook_meta_data() if form.connection_type == "apimart"]

    assert getattr(form.standard_fields, name).placeholder == UI_FIELD_BEHAVIOUR["placeholders"][name]


@pytest.fixture
def old_form_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two libraries of the older forms, which this Airflow has replaced by stand-ins of its own."""
    wtforms, widgets = ModuleType("wtforms"), ModuleType("flask_appbuilder.fieldwidgets")
    wtforms.__dict__.update(IntegerField=HookMetaService.MockIntegerField, StringField=HookMetaService.MockStringField)
    widgets.__dict__.update(BS3TextFieldWidget=HookMetaService.MockAnyWidget)
    for name, module in {
        "wtforms": wtforms,
        "flask_appbuilder": ModuleType("flask_appbuilder"),
        "flask_appbuilder.fieldwidgets": widgets,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("old_form_libraries")
def test_an_older_ui_gets_the_same_fields() -> None:
    widgets = ApimartHook.get_connection_form_widgets()

    assert list(widgets) == FIELDS
    assert [type(field) for field in widgets.values()].count(HookMetaService.MockIntegerField) == 1
    shown = {name: field.param.dump() for name, field in widgets.items()}
    assert shown["max_concurrency"]["schema"]["type"] == ["integer", "null"]
    assert {name: field["schema"]["title"] for name, field in shown.items()} == {
        name: field["label"] for name, field in CONNECTION_FIELDS.items()
    }
    assert all(field["description"] for field in shown.values())


def test_an_older_ui_gets_the_same_labels() -> None:
    behaviour = ApimartHook.get_ui_field_behaviour()

    assert behaviour["hidden_fields"] == ["login", "port", "schema"]
    assert behaviour["relabeling"] == {"password": "API key", "host": "Base URL"}
    assert set(behaviour["placeholders"]) == {"host", "password"}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_has_a_label_a_description_and_a_schema(name: str) -> None:
    field = CONNECTION_FIELDS[name]

    assert field["label"]
    assert field["description"].endswith(".")
    jsonschema.Draft202012Validator.check_schema(field["schema"])


def test_the_defaults_of_the_form_are_those_of_the_settings() -> None:
    defaults = {name: field["schema"].get("default") for name, field in CONNECTION_FIELDS.items()}

    shown = GatewaySettings.from_connection(password="sk-key", host=None, extra=defaults)
    assert shown == GatewaySettings.from_connection(password="sk-key", host=None, extra={})
    for name, default in defaults.items():
        jsonschema.validate(default, CONNECTION_FIELDS[name]["schema"])


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [0, -1, 0.5, 1, 10_000, "auto", "apimart", "off", "sometimes", "/v1/x", "v1/x", None])
def test_the_form_takes_what_the_hook_takes(name: str, value: object) -> None:
    schema = CONNECTION_FIELDS[name]["schema"]
    # An empty field is not checked against the choices of a list.
    is_valid = value is None or jsonschema.Draft202012Validator(schema).is_valid(value)

    try:
        GatewaySettings.from_connection(password="sk-key", host=None, extra={name: value})
    except ConfigurationError:
        assert not is_valid
    else:
        assert is_valid


def test_the_labels_of_choices_belong_to_choices() -> None:
    for field in CONNECTION_FIELDS.values():
        assert list(field["schema"].get("values_display", {})) == field["schema"].get("enum", [])
