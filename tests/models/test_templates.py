"""Chat templates and tokens of real models: several templates, no system turn, another end of turn."""

import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from tests.support.tiny_models import TEMPLATE

from bedside.config.plugins import find
from bedside.core.errors import DataError, ModelError
from bedside.core.protocols import Launch
from bedside.core.types import Message
from bedside.models import model_files

USER, SYSTEM = Message("user", "How much?"), Message("system", "Be brief.")
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WITHOUT_SYSTEM = TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")


@pytest.fixture
def folder(tiny, tmp_path):
    return shutil.copytree(tiny["llama"], tmp_path / "model")


def with_template(folder, template, **changed):
    (folder / "chat_template.jinja").write_text(template)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | changed
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def renderer(folder):
    return find("model", "local")(model=str(folder)).open(Launch()).renderer


def shown(folder, *turns):
    """What the model reads, special tokens included."""
    opened = renderer(folder)
    return opened.tokenizer.decode(opened.prompt_ids(turns))


def test_the_default_of_several_templates_is_used_and_a_choice_is_asked_for_without_one(folder):
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("rag")
    assert shown(folder, USER) == "<|user|>How much?<|end|><|assistant|>"
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has the chat templates rag and none called default"):
        renderer(folder)


@pytest.mark.parametrize("template", [STRICT, WITHOUT_SYSTEM], ids=["refuses it", "leaves it out"])
def test_a_system_turn_that_a_template_does_not_show_begins_the_first_question(folder, template):
    assert shown(with_template(folder, template), SYSTEM, USER) == "<|user|>Be brief.\n\nHow much?<|end|><|assistant|>"


@pytest.mark.parametrize("turns", [(Message("assistant", "Hello."), USER), (USER, USER)])
def test_a_conversation_that_a_template_refuses_is_named_with_its_words(folder, turns):
    with pytest.raises(DataError, match=r"the conversation that ends with 'How much\?' .*: roles must alternate"):
        shown(with_template(folder, STRICT), *turns)


def test_what_the_template_ends_turns_with_ends_an_answer_whatever_the_eos_is(folder):
    opened = renderer(with_template(folder, TEMPLATE, eos_token="<|pad|>"))
    end = opened.tokenizer.convert_tokens_to_ids("<|end|>")
    assert end in opened.stop_ids
    assert opened.completion_ids([USER], "Two.")[-1] == end


@pytest.mark.parametrize("call", ["strftime_now('%d %b %Y')", 'strftime_now( "%d %b %Y" )'])
def test_a_template_that_writes_todays_date_always_writes_the_same(folder, call):
    dated = (
        f"{{% if strftime_now is defined %}}{{% set today = {call} %}}{{% endif %}}Today: {{{{ today }}}} {TEMPLATE}"
    )
    assert shown(with_template(folder, dated), USER).startswith("Today: 01 Jan 2026 <|user|>")
    assert renderer(folder).notes == ["it writes today's date: here always 01 January 2026"]


def test_a_date_that_cannot_be_pinned_and_a_system_turn_that_is_not_shown_are_told(folder):
    dated = "{% set as = '%Y' %}{{ strftime_now(as) }}" + WITHOUT_SYSTEM
    assert [note.partition(",")[0] for note in renderer(with_template(folder, dated)).notes] == [
        "it shows no system turn",
        "it writes today's date",
    ]


def test_an_ordinary_template_has_nothing_to_tell(folder):
    assert renderer(folder).notes == []


@pytest.mark.parametrize(("method", "package"), [("gptq", "gptqmodel"), ("bitsandbytes", "bitsandbytes")])
def test_quantised_weights_name_the_package_that_they_need(folder, method, package, monkeypatch):
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    with pytest.raises(ModelError, match=rf"are quantised \({method}\), which needs the package {package}"):
        renderer(folder)
