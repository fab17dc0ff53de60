"""``@task.apimart_images``: a function says which pictures to buy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory
from airflow.sdk.definitions.context import context_merge

from airflow_provider_apimart.assets import with_assets
from airflow_provider_apimart.exceptions import InvalidRequestError
from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
from airflow_provider_apimart.retry_policy import failing_fast
from airflow_provider_apimart.transfers.stored_objects import writer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator

__all__ = ["images_task"]

#: The XCom with the address of the rows. It lives exactly as long as they do: Airflow removes it before the next try.
_ADDRESS: Final = "prompts"


class _ImagesDecoratedOperator(DecoratedOperator, ApimartImageDatasetOperator):
    """
    Buys a picture for every row that a function gives.

    The function is called when a try begins, and not again after a deferral, when it might give other rows: what it
    gave is kept in S3 until the try has ended.

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
            # The rows that a function gives have no name.
            map_index_template=map_index_template,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Call the function, keep what it gives, and begin to buy it."""
        with failing_fast():
            self.prompts = self._keep(self._call(context), context)
        context["ti"].xcom_push(_ADDRESS, self.prompts)
        return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on with the rows that this try began with."""
        ti = context["ti"]
        self.prompts = ti.xcom_pull(task_ids=ti.task_id, key=_ADDRESS, map_indexes=ti.map_index)
        return super().resume_execution(next_method, next_kwargs, context)

    def _call(self, context: Context) -> Any:
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        return self.python_callable(*self.op_args, **arguments)

    def _keep(self, given: Any, context: Context) -> str:
        """Return the address of the rows, after writing them there unless it is itself what the function gave."""
        from airflow_provider_apimart.dataset.inputs import save_rows  # noqa: PLC0415 - loaded by the task that buys

        if isinstance(given, str | os.PathLike) or hasattr(given, "storage_options"):
            return str(given)
        if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping) or hasattr(given, "columns"):
            raise InvalidRequestError(
                f"{self.python_callable.__name__}() gave a {type(given).__name__}: must give texts or mappings, as a "
                "list or by yielding them, or the address of a file; the rows of a data frame are its "
                ".to_dict('records'). Nothing was sent.",
                field="prompts",
                value=given,
            )
        address = save_rows(
            given,
            bucket=self.s3_bucket,
            prefix=self.s3_prefix.strip("/"),
            aws_conn_id=self.aws_conn_id,
            extra_args=self.extra_args or {},
            writer=writer_id(context["ti"]),
        )
        self.log.info("The rows of this try are in %s", address)
        return address


def images_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """
    Make a task of a function that says which pictures to buy: ``@task.apimart_images(s3_bucket="pictures")``.

    The function returns or yields texts or mappings, a row each, or returns the address of a file, all as
    :class:`~airflow_provider_apimart.operators.dataset.ApimartImageDatasetOperator` takes them. It is called once for
    each try, before anything is bought; what it gives is kept in ``{s3_prefix}/ledger/inputs/`` for the workers that
    go on after a deferral. The task returns what the operator returns.

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
