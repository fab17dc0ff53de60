"""Which picture an address names."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import Depends, HTTPException

from airflow_provider_apimart.plugins.web.scope import Scope, ScopeQuery

__all__ = ["Named", "NamedQuery"]


class Named(NamedTuple):
    """
    A picture, by one of its names.

    :param scope: the task instance that is said to have reported it.
    :param uri: of its object in S3; empty for one that is in none.
    :param name: the gateway's name of it, see :attr:`~airflow_provider_apimart.plugins.web.card.Card.name`; empty where
        there is a ``uri``.
    """

    scope: Scope
    uri: str
    name: str


def _read(scope: ScopeQuery, uri: str = "", picture: str = "") -> Named:
    if not scope.is_task or bool(uri) == bool(picture):
        raise HTTPException(422, "A picture is named by its task instance and by either its uri or its picture.")
    return Named(scope, uri, picture)


#: For a route: the picture that its address names.
NamedQuery = Annotated[Named, Depends(_read)]
