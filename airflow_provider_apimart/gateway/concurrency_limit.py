"""How many submits may be under way at the same time, found out from what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ConcurrencyLimit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyLimit:
    """
    Additive increase, multiplicative decrease, as TCP does it: halved at a refusal, and one more after as many
    accepted submits as there may be at once.

    A submit tells something about the limit under which it was sent. So many that were sent together and are all
    refused halve it once, and those of them that were accepted do not raise it again.

    :param maximum: what the connection allows, at least 1.
    :param current: from 1 to ``maximum``.
    :param accepted: submits since ``current`` changed.
    :param reductions: how often a refusal has counted.
    """

    maximum: int
    current: int
    accepted: int = 0
    reductions: int = 0

    def after_refusal(self, sent_under: Self) -> Self:
        """
        Return the limit after the gateway refused one submit as one too many.

        :param sent_under: the limit when it was sent.
        """
        if sent_under.reductions != self.reductions:
            return self
        return replace(self, current=max(1, self.current // 2), accepted=0, reductions=self.reductions + 1)

    def after_acceptance(self, sent_under: Self) -> Self:
        """
        Return the limit after the gateway accepted one submit.

        :param sent_under: the limit when it was sent.
        """
        if sent_under.reductions != self.reductions or self.current == self.maximum:
            return self
        if self.accepted + 1 < self.current:
            return replace(self, accepted=self.accepted + 1)
        return replace(self, current=self.current + 1, accepted=0)
