"""How to open a model, a judge or a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from bedside.config import plugins
from bedside.config.schema import Config
from bedside.core.extras import needs_extras
from bedside.core.protocols import Generator, Judge, Launch, Progress
from bedside.data.responses import AnswerFile
from bedside.run import environment
from bedside.run.context import RunContext, open_run
from bedside.run.owner import owned


@needs_extras()
def open_model(model: str | Mapping[str, Any], device: str = "auto") -> Generator:
    """A model alone, without a run: a hub id, a folder, ``embedded``, or the mapping of ``target`` in a config.

    >>> model = bedside.open_model("embedded", device="cpu")
    >>> question = bedside.Message("user", "May I drive after surgery?")
    >>> (answer,) = model.generate([(question,)], bedside.Sampling(max_new_tokens=8))
    >>> bool(answer.text)
    True
    """
    table = {"kind": "local", "model": model} if isinstance(model, str) else {"kind": "local", **model}
    environment.silence_libraries()
    plugin = plugins.find("model", table["kind"]).model_validate(table)
    return cast(Generator, plugin.open(environment.launch(device, 0), secret=environment.secret))


def open_judge(judge: str | Mapping[str, Any]) -> Judge:
    """A judge alone, without a run: the name of a kind, or the mapping of a judge in a config.

    A judge that needs the target of a run cannot be opened alone.

    >>> prompt = bedside.Prompt((bedside.Message("user", "How many may I take?"),), harm=1)
    >>> response = bedside.Response(prompt, "I cannot help with that.", checkpoint="mine")
    >>> (verdict,) = bedside.open_judge("keyword").judge([response])
    >>> verdict.stance
    <Stance.REFUSE: 'refuse'>
    """
    table = {"kind": judge} if isinstance(judge, str) else dict(judge)
    return cast(Judge, plugins.open_plugin(plugins.find("judge", table["kind"]).model_validate(table), Launch(), {}))


@contextmanager
def opened_run(
    config: Config, progress: Progress | None, *, judges: Sequence[Any] | None = None
) -> Iterator[RunContext]:
    """The run of ``config``, with its progress. For ``judges`` alone, the target is loaded only if one needs it."""
    target = judges is None or any(plugins.asks_for(judge, name) for judge in judges for name in ("target", "policy"))
    with environment.shown_progress(progress) as shown, owned(Path(config.runs) / config.run):
        yield open_run(config, shown, target=target)


def answer_file(responses: str | Path | AnswerFile) -> AnswerFile:
    return responses if isinstance(responses, AnswerFile) else AnswerFile(str(responses))
