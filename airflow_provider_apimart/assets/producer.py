"""Operators whose success is an event of assets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk import Asset, BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

__all__ = ["IMAGES", "PURCHASES", "AssetProducer", "with_assets"]

#: Of everything that was bought: the only events from which money is to be added up.
PURCHASES: Final = Asset("apimart-purchases")
#: Of all pictures that were put into S3.
IMAGES: Final = Asset("apimart-images")


class AssetProducer(BaseOperator):
    """
    An operator that says what it has bought or stored.

    Its assets are declared when the DAG is parsed. An ``AssetAlias`` would make them when they are first needed; but of
    two tasks that end at that moment, such as mapped ones, Airflow 3.3.2 takes one for failed, for good and without a
    retry: both insert the asset, and a database keeps one. A paid task must not be lost for its event.
    """

    #: What the class makes events of, besides the outlets that a DAG author gives.
    produces: ClassVar[tuple[Asset, ...]] = ()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outlets = with_assets(self.outlets, self.produces)

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Begin to map the operator, whose instances do not exist yet when Airflow looks for their outlets."""
        begun = super().partial(**kwargs)
        begun.kwargs["outlets"] = with_assets(begun.kwargs.get("outlets"), cls.produces)
        return begun

    def _emit_purchase(self, context: Context, extra: Mapping[str, Any] | None) -> None:
        """
        Make the task's success the event of a purchase. It must be said in the segment in which the task ends.

        :param extra: see :func:`~airflow_provider_apimart.assets.extra.purchase_extra`; ``None`` where nothing was
            bought, and no event is made.
        """
        self._emit(context, PURCHASES, extra)

    def _emit_images(self, context: Context, extra: Mapping[str, Any] | None) -> None:
        """
        Make it the event of pictures in S3, of their folder too, where any DAG of this Airflow names that as an asset.

        :param extra: see :func:`~airflow_provider_apimart.assets.extra.images_extra`; ``None`` where there are none.
        """
        self._emit(context, IMAGES, extra)
        if extra is not None:
            self._emit_folder(context, extra)

    def _emit(self, context: Context, asset: Asset, extra: Mapping[str, Any] | None) -> None:
        if extra is None:
            self.outlets = [outlet for outlet in self.outlets if outlet != asset]
        else:
            _say(context, asset, extra)

    def _emit_folder(self, context: Context, extra: Mapping[str, Any]) -> None:
        try:
            folder = Asset(uri=extra["prefix"])
        except ValueError as error:
            self.log.warning("%s cannot be an asset, no DAG is told of it: %s", extra["prefix"], error)
            return
        declared = [outlet for outlet in self.outlets if isinstance(outlet, Asset) and outlet.uri == folder.uri]
        for outlet in declared or [folder]:
            _say(context, outlet, extra)
        if not declared:
            # By its address alone: Airflow makes an event of it where it knows such an asset, and none where not.
            self.outlets = [*self.outlets, Asset.ref(uri=folder.uri)]


def _say(context: Context, asset: Asset, extra: Mapping[str, Any]) -> None:
    from airflow.sdk.execution_time.context import context_get_outlet_events  # noqa: PLC0415 - needed by workers only

    context_get_outlet_events(context)[asset].extra = dict(extra)


def with_assets(outlets: Any, assets: tuple[Asset, ...]) -> list[Any]:
    """
    Return outlets with some assets, each of them once.

    :param outlets: as DAG authors give them: one, several, or none.
    """
    given = [] if outlets is None else list(outlets) if isinstance(outlets, list | tuple | set) else [outlets]
    return [*given, *(asset for asset in assets if asset not in given)]
