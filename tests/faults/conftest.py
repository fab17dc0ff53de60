"""One campaign's services for all tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.campaign import campaign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.campaign import Campaign


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    with campaign(tmp_path_factory.mktemp("campaign")) as started:
        yield started
