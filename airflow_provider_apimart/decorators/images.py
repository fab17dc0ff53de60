"""``@task.apimart_images``: a function says which pictures to buy."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from airflow_provider_apimart.assets import with_assets
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

__all__ = ["images_task"]


class _ImagesDecoratedOperator(DecoratedOperator, ApimartImageDatasetOperator):
    """
    Buys a picture for every row that a function returns.

    The function is called once in a generation (a run of the task until somebody clears it): a resume and a retry might
    get other rows from it, so the checked rows are stored in S3 until the task has ended.

    :param python_callable: the function.
    :param op_args: its positional arguments (templated).
    :param op_kwargs: its arguments by name (templated).
    :param map_index_template: what a mapped task instance is called in Airflow's pages; its number unless given.
    :param kwargs: of :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator`, except
        ``prompts``.
    """

    custom_operator_name = "@task.apimart_images"
    # What comes out of a database must not be taken for a template.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(name for name in ApimartImageDatasetOperator.template_fields if name != "prompts"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **ApimartImageDatasetOperator.template_fields_renderers,
    }

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        map_index_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            prompts=(),
            # The rows that a function returns have no name.
            map_index_template=map_index_template,
            **kwargs,
        )

    def rows_to_read(self, context: Context) -> Any:
        """Call the function, and return the rows that it gives, or the address of a file."""
        context_merge(context, self.op_kwargs)
        given = self.python_callable(*self.op_args, **_keyword_arguments(self.python_callable, self.op_args, context))
        is_address = isinstance(given, str | os.PathLike) or hasattr(given, "storage_options")
        is_rows = (
            isinstance(given, Iterable) and not isinstance(given, bytes | Mapping) and not hasattr(given, "columns")
        )
        if not is_address and not is_rows:
            raise InvalidRequestError(
                f"{self.python_callable.__name__}() returned a {type(given).__name__}: it must return texts or "
                "mappings, as a list or by yielding them, or the address of a file; the rows of a data frame are its "
                ".to_dict('records'). Nothing was submitted.",
                field="prompts",
                value=given,
            )
        return given


def _keyword_arguments(function: Callable[..., Any], args: Collection[Any], context: Context) -> dict[str, Any]:
    """Return the context variables that a function takes by name. Below 3.2, Airflow has no function for it."""
    parameters = list(inspect.signature(function).parameters.values())[len(args) :]
    values: Mapping[str, Any] = {**context}
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return dict(values)
    return {parameter.name: values[parameter.name] for parameter in parameters if parameter.name in values}


def images_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """
    Make a task of a function that says which pictures to buy: ``@task.apimart_images(s3_bucket="pictures")``.

    The function returns or yields texts or mappings, a row each, or returns the address of a file, all as
    :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator` takes them. It is called once in a
    generation, before anything is bought; the checked rows are stored in ``{s3_prefix}/ledger/inputs/`` for the workers
    that continue the task. The task returns what the operator returns.

    :param python_callable: the function.
    :param multiple_outputs: push each key of the task's result as an XCom of its own, besides the whole.
    :param kwargs: parameters of the operator, except ``prompts``.
    """
    # A mapped task has no operator yet when Airflow looks for its outlets.
    kwargs["outlets"] = with_assets(kwargs.get("outlets"), _ImagesDecoratedOperator.produces)
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_ImagesDecoratedOperator,
        **kwargs,
    )
