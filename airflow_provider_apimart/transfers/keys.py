"""Places in S3: the bucket, the template of each picture's key, and the arguments of each ``PutObject``."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_apimart.exceptions import InvalidRequestError

if TYPE_CHECKING:
    from airflow_provider_apimart.transfers.source import Picture

__all__ = [
    "beginning_of",
    "check_distinct",
    "check_extra_args",
    "check_template",
    "key_of",
    "s3_location",
    "stable_prefix",
    "template_text",
]

_PLACEHOLDERS: Final = "{task_id}, {index} and {ext}, besides Jinja"
_EXAMPLE: Final = {"task_id": "task_0", "index": 0, "ext": "png"}
_JINJA: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
#: A format such as ``03d`` is harmless; a longer number would ask for a gigabyte of zeros.
_FORMAT: Final = re.compile(r"[^{}]?[<>=^]?[ +-]?#?0?\d{0,3}(?:\.\d{1,3})?[a-zA-Z]?")


def template_text(value: Any) -> str | None:
    """
    Return a text or a path as text; ``None`` for a value that is known when the task runs, such as an XCom.

    :raises InvalidRequestError: for any other value.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, PathLike) or hasattr(value, "as_uri"):  # ObjectStoragePath has only the latter.
        return str(value)
    if _is_resolved_later(value):
        return None
    raise _refused("s3_key", value, "must be a text or a path", _PLACEHOLDERS)


def _is_resolved_later(value: Any) -> bool:
    """Return whether a value is an XCom of Airflow's, the argument of a mapped task group, or a ``literal()``."""
    return hasattr(value, "resolve") and hasattr(value, "iter_references")


def s3_location(bucket: str, key: str) -> tuple[str, str]:
    """
    Return the name of the bucket and the key template, from how people write them.

    ``s3://bucket`` stands for the bucket, ``s3://bucket/key`` for the key if it is in the same bucket, and a slash at
    the beginning of the key is left out. Templates are accepted: they are checked again when they are rendered.

    :raises InvalidRequestError: when the two contradict each other. Nothing was copied.
    """
    name = _without_scheme(bucket).rstrip("/")
    if not name.strip():
        raise _refused("s3_bucket", bucket, "names no bucket", "the name of a bucket")
    if "/" in _JINJA.sub("", name) and not name.startswith("arn:"):
        raise _refused("s3_bucket", bucket, "holds a folder; folders belong into s3_key", "the name of a bucket")
    if key.startswith(_SCHEMES):
        other, _, path = _split_at_slash(_without_scheme(key))
        if other != name:
            if _is_template(other) or _is_template(name):
                return name, key  # Compared when both are rendered.
            raise _refused("s3_key", key, f"is in another bucket than s3_bucket={bucket!r}", _PLACEHOLDERS)
        key = path
    key = key.lstrip("/")
    if not key.strip():
        raise _refused("s3_key", key, "is empty", _PLACEHOLDERS)
    return name, key


#: The last one is what ``Path("s3://...")`` makes of the first.
_SCHEMES: Final = ("s3://", "s3a://", "s3n://", "s3:/")


def _without_scheme(text: str) -> str:
    for scheme in _SCHEMES:
        if text.startswith(scheme):
            # ObjectStoragePath writes the connection in front of the bucket.
            bucket, slash, path = _split_at_slash(text.removeprefix(scheme))
            return bucket.rpartition("@")[2] + slash + path
    return text


def _split_at_slash(text: str) -> tuple[str, str, str]:
    """Partition a text at the first slash outside of Jinja."""
    place = _hide_jinja(text).find("/")
    return (text, "", "") if place < 0 else (text[:place], "/", text[place + 1 :])


def _hide_jinja(text: str) -> str:
    """Return a text of the same length, in which only what is outside of Jinja is left."""
    return _JINJA.sub(lambda match: "x" * len(match[0]), text)


def _is_template(text: str) -> bool:
    return _JINJA.search(text) is not None


def check_template(template: str, *, is_rendered: bool = False) -> None:
    """
    Raise unless the template uses the known placeholders only, in plain form.

    :param is_rendered: whether Jinja is done; what looks like Jinja is part of the key then.
    """
    try:
        fields = list(string.Formatter().parse(template if is_rendered else _JINJA.sub("", template)))
    except ValueError as error:
        raise _refused("s3_key", template, str(error), _PLACEHOLDERS) from None
    for _, name, spec, conversion in fields:
        if name is None:
            continue
        if name not in _EXAMPLE:
            raise _refused("s3_key", template, f"unknown placeholder {{{name}}}", _PLACEHOLDERS)
        if conversion or not _FORMAT.fullmatch(spec or ""):
            reason = f"{{{name}}} cannot be formatted by {conversion or spec!r}"
            raise _refused("s3_key", template, reason, _PLACEHOLDERS)
        try:
            format(_EXAMPLE[name], spec or "")
        except ValueError as error:
            raise _refused("s3_key", template, f"{{{name}}}: {error}", _PLACEHOLDERS) from None


def key_of(template: str, picture: Picture, ext: str) -> str:
    """Return the key of a picture, from the template after Jinja."""
    return template.format(task_id=picture.task_id, index=picture.index, ext=ext)


def beginning_of(template: str, task_ids: Sequence[str] = ()) -> str:
    """
    Return the beginning that all keys have in common, as far as it is known before the pictures are.

    :param template: after Jinja.
    :param task_ids: the gateway tasks whose pictures get the keys, where they are known.
    """
    known = template.replace("{task_id}", task_ids[0]) if len(task_ids) == 1 else template
    return known.partition("{")[0]


def check_distinct(template: str, pictures: Iterable[Picture]) -> None:
    """Raise if two pictures would get the same key: one of them would be lost."""
    seen: dict[str, Picture] = {}
    for picture in pictures:
        other = seen.setdefault(key_of(template, picture, ""), picture)
        if other is not picture:
            both = (
                f"picture {other.index} of task {other.task_id} and picture {picture.index} of task {picture.task_id}"
            )
            reason = f"{both} get the same key; add {{task_id}} and {{index}}"
            raise _refused("s3_key", template, reason, _PLACEHOLDERS)


#: Names in a template that mean the same in every run. A Variable changes too, but then a person has changed it.
_CONSTANT: Final = frozenset({"dag", "task", "var"})


def stable_prefix(s3_key: str) -> str:
    """
    Return the leading folders of a key template, up to the first that depends on the run or on the picture.

    They are the folder of the pictures of all runs: the asset that other DAGs can wait for.

    :param s3_key: the template, Jinja included.
    :return: a template, without a slash at its end; empty where the first folder differs already.
    """
    from jinja2 import Environment, TemplateSyntaxError  # noqa: PLC0415 - a DAG file that imports us needs no Jinja
    from jinja2.meta import find_undeclared_variables  # noqa: PLC0415

    environment = Environment()  # noqa: S701 - nothing is rendered here
    hidden = _hide_jinja(s3_key)
    stable = ""
    for slash in re.finditer("/", hidden):
        folders = s3_key[: slash.start()]
        try:
            names = find_undeclared_variables(environment.parse(folders))
        except TemplateSyntaxError:  # A block spans several folders, or Airflow reports the mistake when it renders.
            break
        if "{" in hidden[: slash.start()] or not names <= _CONSTANT:
            break
        stable = folders
    return stable.rstrip("/")


#: Arguments of ``PutObject`` that do not concern which object is written, or what is in it.
_ALLOWED_ARGS: Final = (
    "ACL",
    "BucketKeyEnabled",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "ExpectedBucketOwner",
    "Expires",
    "GrantFullControl",
    "GrantRead",
    "GrantReadACP",
    "GrantWriteACP",
    "Metadata",
    "ObjectLockLegalHoldStatus",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "RequestPayer",
    "SSECustomerAlgorithm",
    "SSECustomerKey",
    "SSECustomerKeyMD5",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "ServerSideEncryption",
    "StorageClass",
    "Tagging",
    "WebsiteRedirectLocation",
)
#: Metadata by which the transfer recognises its objects.
_RESERVED: Final = frozenset({"bytes", "sha256", "width", "height"})


def check_extra_args(extra_args: Any) -> dict[str, Any]:
    """
    Return the arguments of each ``PutObject`` with numbers in ``Metadata`` as text.

    Values that are known when the task runs are passed over; they are checked then.

    :raises InvalidRequestError: for an argument that would change which object is written or what is in it, and for
        metadata that an HTTP header cannot hold. Nothing was copied.
    """
    is_template = isinstance(extra_args, str) and _is_template(extra_args)
    if extra_args is None or is_template or _is_resolved_later(extra_args):
        return {}
    if not isinstance(extra_args, Mapping):
        raise _refused("extra_args", extra_args, "must be a mapping", ", ".join(_ALLOWED_ARGS))
    if unknown := [name for name in extra_args if name not in _ALLOWED_ARGS]:
        raise _refused("extra_args", extra_args, f"{unknown[0]!r} cannot be given here", ", ".join(_ALLOWED_ARGS))
    metadata = extra_args.get("Metadata")
    if metadata is None or _is_resolved_later(metadata):
        return {name: value for name, value in extra_args.items() if value is not None}
    if not isinstance(metadata, Mapping):
        raise _refused("extra_args", extra_args, "Metadata must be a mapping", _METADATA)
    return {**extra_args, "Metadata": dict(_metadata_item(name, value) for name, value in metadata.items())}


_METADATA: Final = "names and values in printable ASCII; numbers as values"


def _metadata_item(name: Any, value: Any) -> tuple[str, str]:
    text = str(value) if isinstance(value, int | float) else name if _is_resolved_later(value) else value
    if not all(isinstance(part, str) and part.isascii() and part.isprintable() for part in (name, text)) or not name:
        raise _refused("extra_args", value, f"Metadata {name!r} holds {value!r}", _METADATA)
    if name.lower() in _RESERVED or name.lower().startswith("apimart-"):
        raise _refused("extra_args", value, f"Metadata {name!r} is written by the transfer itself", "other names")
    return name, text


def _refused(field: str, value: Any, reason: str, allowed: str) -> InvalidRequestError:
    # Not the value of extra_args: it may hold a key.
    what = field if field == "extra_args" else f"{field}={str(value)[:200]!r}"
    return InvalidRequestError(
        f"{what}: {reason}. Allowed: {allowed}. Nothing was copied, nothing was charged and no picture was lost.",
        field=field,
        value=None if field == "extra_args" else value,
        allowed=allowed,
    )
