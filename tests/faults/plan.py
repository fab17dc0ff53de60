"""Plans of scenarios: what goes wrong in each. The same seed gives the same plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from faults.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faults.fault import Fault, Kind

__all__ = ["Scenario", "plan_scenario"]

#: Shares of the scenarios that get a second and a third fault.
SECOND, THIRD = 0.45, 0.15


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    One request that is bought and copied while things go wrong.

    :param faults: the first one is what the scenario is there for; the others may miss it, when the first changes what
        happens.
    :param honours_keys: whether the gateway recognises an ``Idempotency-Key``.
    :param speed: of the gateway.
    :param timeout: of the operator, in seconds; ``http_timeout`` that of its connection.
    :param max_concurrency: of the connection: how many parts are bought at a time.
    :param s3_attempts: how often the S3 client itself tries.
    :param copies: whether the pictures are copied at all.
    :param key_template: of the objects; one that does not tell the tasks apart is for several copies at the same time.
    :param rendering: which template comes out otherwise in each process, or is ``gone`` after the first one.
    :param operator: module and class of what buys; ``parameters`` are more of its own.
    """

    seed: int
    index: int
    faults: tuple[Fault, ...]
    n: int
    model: str
    output_format: str | None
    honours_keys: bool
    speed: float
    on_unknown_submit: Literal["fail", "resubmit"]
    on_clear: Literal["regenerate", "reuse"]
    timeout: float
    http_timeout: float
    retries: int
    max_concurrency: int = 16
    s3_attempts: int
    copies: bool = True
    key_template: str = "{task_id}-{index}.{ext}"
    rendering: Literal["same", "prompt", "reference", "gone"] = "same"
    operator: str = "airflow_provider_apimart.operators.image:ApimartImageOperator"
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"s{self.seed}-{self.index}"

    @property
    def prompt(self) -> str:
        return f"a lighthouse, scenario {self.name}"

    @property
    def matching_prompt(self) -> str:
        """Regular expression for the prompt in all its renderings."""
        return f"{self.prompt}(,.*)?$"

    def rendered(self, process: int) -> dict[str, Any]:
        """Return the templated fields as they come out in the n-th process that renders them, from 1."""
        match self.rendering:
            case "prompt":
                return {"prompt": f"{self.prompt}, rendering {process}"}
            case "reference":
                return {"image_urls": [f"https://pictures.example/reference.png?signature={process}"]}
            case "gone":
                return {"prompt": self.prompt if process == 1 else None}
            case _:
                return {}

    @property
    def parts(self) -> int:
        """Gateway tasks that the request becomes: gpt-image-2 delivers one picture each, its official channel four."""
        return 1 if self.model.endswith("-official") else self.n

    @property
    def kind(self) -> str:
        return self.faults[0].kind


def plan_scenario(seed: int, index: int, *, kinds: Sequence[Kind] = KINDS, combine: bool = True) -> Scenario:
    """
    Return one scenario. All kinds come in turn, in an order that the seed decides.

    :param kinds: what may go wrong.
    :param combine: whether some scenarios get more than one fault.
    """
    order = list(kinds)
    Random(f"{seed}:order:{index // len(order)}").shuffle(order)  # noqa: S311 - repeatable, not secret
    first = order[index % len(order)]
    random = Random(f"{seed}:{index}")  # noqa: S311
    chosen = [first]
    if combine and random.random() < SECOND:
        chosen.append(random.choice([kind for kind in kinds if kind.combines_with(first)]))
        if random.random() < THIRD / SECOND:
            chosen.append(random.choice([kind for kind in kinds if all(map(kind.combines_with, chosen))]))
    needs: dict[str, Any] = {}
    for kind in reversed(chosen):
        needs |= kind.needs
    honours_keys = needs.get("honours_keys", random.random() < 0.6)
    model = needs.get("model", random.choice(("gpt-image-2", "gpt-image-2", "gpt-image-2-official")))
    n = random.randint(needs.get("at_least", 1), 3)
    parts = 1 if model.endswith("-official") else n
    max_concurrency = random.choice((1, 16))
    groups = parts if max_concurrency == 1 else 1
    faults = first.faults(random, parts=parts, groups=groups)
    for kind in chosen[1:]:
        faults += kind.faults(random, parts=parts, groups=groups, occurrence=random.choice((1, 2)))
    return Scenario(
        seed=seed,
        index=index,
        faults=tuple(faults),
        n=n,
        model=model,
        output_format=random.choice((None, "jpeg", "webp")) if model.endswith("-official") else None,
        honours_keys=honours_keys,
        speed=needs.get("speed", 3000.0),
        on_unknown_submit="resubmit" if honours_keys and random.random() < 0.4 else "fail",
        on_clear=needs.get("on_clear", random.choice(("reuse", "reuse", "regenerate"))),
        timeout=needs.get("timeout", 30.0),
        http_timeout=needs.get("http_timeout", 20.0),
        max_concurrency=max_concurrency,
        retries=4,
        s3_attempts=random.choice((1, 1, 5)),
        key_template=needs.get("key_template", Scenario.key_template),
        rendering=needs.get("rendering", "same"),
        parameters=needs.get("parameters", {}),
    )
