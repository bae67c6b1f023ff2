"""The rules of a run as its config states them: parts, metric, constraints. Nothing here needs a model."""

from bedside.core.errors import DataError
from bedside.core.protocols import Launch, Metric
from bedside.kernel.registry import find, open_plugin
from bedside.kernel.schema import Config, Part
from bedside.stages import select, split
from bedside.stages.gates import conditions


def read_parts(config: Config, launch: Launch) -> split.Parts:
    """train, valid and test: no group stands in two of them."""
    data = config.data
    return split.parts(
        train=_read(data.train, "train", launch),
        valid=_read(data.valid, "valid", launch),
        test=_read(data.test, "test", launch),
        seed=config.seed,
    )


def _read(part: Part, name: str, launch: Launch) -> split.Drawn:
    prompts = list(open_plugin(part.dataset, launch, {}).read())
    unlabelled = sum(prompt.harm is None for prompt in prompts)
    if unlabelled:
        raise DataError(
            f"data.{name}: {unlabelled} of {len(prompts)} prompts have no harm level, so no stance is right or "
            "wrong for them; label them 0 to 3, or set unlabelled: skip"
        )
    return split.Drawn(prompts, part.share, part.limit)


def safety(config: Config) -> Metric:
    """The safety metric as ``select`` defines it."""
    chosen = config.select.model_dump(include={"alpha", "err", "preset"})
    metric: Metric = open_plugin(find("metric", "safety").model_validate(chosen), Launch(), {})
    return metric


def constraints(config: Config, metric: Metric) -> list[select.Constraint]:
    """``select.require`` and the ceiling on KL."""
    known = [*metric.definitions(), "kl"]
    limits = [*config.select.require, *conditions({"kl": config.gates.kl_max})]
    return [select.Constraint.parse(text, known) for text in limits]
