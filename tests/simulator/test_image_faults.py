from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from simulator.clients import fetch

if TYPE_CHECKING:
    from simulator.fixtures import Finish

    from airflow_provider_apimart.simulator import Simulator


@pytest.fixture
def url(finish: Finish) -> str:
    return str(finish()["result"]["images"][0]["url"][0])


def test_a_file_can_be_too_short(simulator: Simulator, url: str) -> None:
    whole = fetch(url).content
    simulator.add_fault({"fault": "image_truncated", "fraction": 0.25})
    answer = fetch(url)

    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 4]
    assert int(answer.headers["content-length"]) == len(whole) // 4


def test_a_download_can_break_off(simulator: Simulator, url: str) -> None:
    whole = fetch(url).content
    simulator.add_fault({"fault": "image_truncated", "cut": True})
    with pytest.raises(httpx.RemoteProtocolError, match=f"expected {len(whole)}"):
        fetch(url)


def test_an_address_can_expire_early(simulator: Simulator, url: str) -> None:
    simulator.add_fault({"fault": "image_expired", "times": 1})

    assert [fetch(url).status_code for _ in range(2)] == [403, 200]


@pytest.mark.parametrize(("body", "beginning"), [("html", b"<!DOCTYPE html>"), ("json", b"{")])
def test_what_comes_can_be_no_picture(simulator: Simulator, url: str, body: str, beginning: bytes) -> None:
    simulator.add_fault({"fault": "image_not_an_image", "body": body})
    answer = fetch(url)

    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(beginning)


def test_a_download_can_be_redirected(simulator: Simulator, url: str) -> None:
    simulator.add_fault({"fault": "image_redirect", "location": "http://169.254.169.254/latest"})
    answer = fetch(url)

    assert (answer.status_code, answer.headers["location"]) == (302, "http://169.254.169.254/latest")


def test_a_slow_download_arrives_whole(simulator: Simulator, url: str) -> None:
    whole = fetch(url).content
    simulator.add_fault({"fault": "image_slow", "seconds": 0.05, "pieces": 5})

    assert fetch(url).content == whole


def test_a_rule_for_a_prompt_follows_its_pictures(simulator: Simulator, finish: Finish) -> None:
    urls = {prompt: finish(prompt=prompt)["result"]["images"][0]["url"][0] for prompt in ("a red fox", "an owl")}
    simulator.add_fault({"fault": "image_expired", "match": {"prompt": "owl"}})

    assert {prompt: fetch(url).status_code for prompt, url in urls.items()} == {"a red fox": 200, "an owl": 403}
