"""Reference images of the image operator: those that cannot be used are refused before anything is uploaded or paid."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from services.reference_files import image_file, transparent_png

from airflow_provider_apimart.exceptions import IncompleteDatasetError, InvalidRequestError
from airflow_provider_apimart.hooks.apimart import ApimartHook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from operators.task_instance import TaskInstance
    from services.seaweedfs import SeaweedFS

    from airflow_provider_apimart.operators.dataset import ApimartImageDatasetOperator
    from airflow_provider_apimart.operators.image import ApimartImageOperator
    from airflow_provider_apimart.simulator import Simulator

    Describe = Callable[..., Callable[[], ApimartImageOperator]]
    Dataset = Callable[..., Callable[[], ApimartImageDatasetOperator]]
    Place = Callable[[str, bytes], str]

TRUNCATED = {
    "8 bytes of PNG": image_file("PNG")[:8],
    "half a JPEG": image_file("JPEG")[:600],
    "half a WebP": image_file("WEBP")[:300],
    "nearly a GIF": image_file("GIF")[:-1],
}
UNFIT_MASKS = {
    "RGB PNG": (image_file("PNG"), "has no alpha channel"),
    "JPEG": (image_file("JPEG"), "has no alpha channel"),
    "GIF with a transparent colour": (image_file("GIF", "P", transparency=0), "has no alpha channel"),
    "larger PNG": (image_file("PNG", "RGBA", (80, 60)), "80x60 pixels, and the first reference image 40x30"),
    "turned WebP": (image_file("WEBP", "RGBA", (30, 40)), "30x40 pixels, and the first reference image 40x30"),
    "smaller PNG": (transparent_png((4, 3)), "4x3 pixels, and the first reference image 40x30"),
    "half a PNG": (image_file("PNG", "RGBA")[:900], "ends before the picture does"),
}
FIT_MASKS = {
    "RGBA PNG": image_file("PNG", "RGBA"),
    "PNG with a transparent colour": transparent_png(),
    "WebP": image_file("WEBP", "RGBA"),
}


@pytest.fixture(params=["file", "S3", "data URI"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, s3_server: SeaweedFS, bucket: str, aws_connection: str
) -> Place:
    """Put an image somewhere, and return what an operator calls it."""

    def put(name: str, content: bytes) -> str:
        if request.param == "data URI":
            return f"data:image/png;base64,{base64.b64encode(content).decode()}"
        if request.param == "S3":
            s3_server.client().put_object(Bucket=bucket, Key=name, Body=content)
            return f"s3://{aws_connection}@{bucket}/{name}"
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return put


def uploads_and_submits(simulator: Simulator) -> tuple[int, int]:
    requests = simulator.stats()["requests"]
    return requests["upload"], requests["submit"]


@pytest.mark.parametrize("content", TRUNCATED.values(), ids=TRUNCATED)
def test_a_truncated_image_is_refused_at_no_cost(
    simulator: Simulator, task_instance: TaskInstance, operator: Describe, place: Place, content: bytes
) -> None:
    with pytest.raises(InvalidRequestError, match="file ends before the picture does") as refusal:
        task_instance.run(operator(image_urls=[place("a.png", content)]))

    assert str(refusal.value).count("image_urls=") == 1
    assert "othing was " in str(refusal.value)
    assert "a complete JPEG, PNG, WebP or GIF file" in str(refusal.value)
    assert (refusal.value.field, refusal.value.charged, refusal.value.retryable) == ("image_urls", "no", False)
    assert uploads_and_submits(simulator) == (0, 0)


@pytest.mark.parametrize(("content", "problem"), UNFIT_MASKS.values(), ids=UNFIT_MASKS)
@pytest.mark.parametrize("place", ["file", "S3"], indirect=True)
def test_a_mask_that_does_not_fit_is_refused_at_no_cost(
    simulator: Simulator,
    task_instance: TaskInstance,
    operator: Describe,
    place: Place,
    content: bytes,
    problem: str,
) -> None:
    first, mask = place("first", image_file("PNG")), place("mask", content)

    with pytest.raises(InvalidRequestError, match=problem) as refusal:
        task_instance.run(operator(model="gpt-image-2-official", image_urls=[first], mask_url=mask))

    assert str(refusal.value).startswith(f"mask_url='{mask}': ")
    assert (refusal.value.field, refusal.value.charged, refusal.value.retryable) == ("mask_url", "no", False)
    assert uploads_and_submits(simulator) == (0, 0)


@pytest.mark.parametrize("content", FIT_MASKS.values(), ids=FIT_MASKS)
@pytest.mark.parametrize("place", ["file", "S3"], indirect=True)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_mask_that_fits_is_uploaded_with_the_image(
    simulator: Simulator, task_instance: TaskInstance, operator: Describe, place: Place, content: bytes, kind: str
) -> None:
    first, mask = place("first", image_file(kind)), place("mask", content)

    task_instance.run(operator(model="gpt-image-2-official", image_urls=[first], mask_url=mask, quality="low"))

    (task,) = simulator.tasks()
    assert task["body"]["mask_url"].startswith(simulator.url)
    assert uploads_and_submits(simulator) == (2, 1)


@pytest.mark.parametrize("content", TRUNCATED.values(), ids=TRUNCATED)
def test_the_hook_uploads_no_truncated_image(
    simulator: Simulator, apimart_connection: str, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)

    with ApimartHook(apimart_connection) as hook:
        for image in (content, path):
            with pytest.raises(InvalidRequestError, match="is not complete"):
                hook.upload_image(image)

    assert uploads_and_submits(simulator) == (0, 0)


class TestADataset:
    @pytest.mark.parametrize("place", ["file", "S3"], indirect=True)
    def test_refuses_such_rows_at_no_cost_and_buys_the_others(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Dataset, place: Place
    ) -> None:
        good, mask = place("good", image_file("PNG")), place("mask", image_file("PNG", "RGBA"))
        unfit = [(place(f"mask-{n}", content), problem) for n, (content, problem) in enumerate(UNFIT_MASKS.values())]
        truncated = [place(f"truncated-{n}", content) for n, content in enumerate(TRUNCATED.values())]
        rows = [
            {"id": "good", "prompt": "a", "image_urls": [good], "mask_url": mask},
            *(
                {"id": f"mask-{n}", "prompt": "a", "image_urls": [good], "mask_url": m}
                for n, (m, _) in enumerate(unfit)
            ),
            *({"id": f"cut-{n}", "prompt": "a", "image_urls": [good, cut]} for n, cut in enumerate(truncated)),
        ]
        make = dataset_operator(rows, model="gpt-image-2-official", quality="low", row_retries=0)

        with pytest.raises(IncompleteDatasetError) as failure:
            task_instance.run(make)

        assert uploads_and_submits(simulator) == (2, 1)
        assert "mask-0" in str(failure.value)
        assert "mask_url=" in str(failure.value)
        assert unfit[0][1] in str(failure.value)

    @pytest.mark.parametrize("content", TRUNCATED.values(), ids=TRUNCATED)
    @pytest.mark.parametrize("place", ["data URI"], indirect=True)
    def test_names_the_row_of_a_truncated_data_uri_before_anything_is_bought(
        self, simulator: Simulator, task_instance: TaskInstance, dataset_operator: Dataset, place: Place, content: bytes
    ) -> None:
        rows = [{"id": "good", "prompt": "a"}, {"id": "cut", "prompt": "a", "image_urls": [place("a", content)]}]

        with pytest.raises(InvalidRequestError, match=r"image_urls=.*ends before the picture does") as refusal:
            task_instance.run(dataset_operator(rows))

        assert "row 2" in str(refusal.value).lower()
        assert uploads_and_submits(simulator) == (0, 0)
