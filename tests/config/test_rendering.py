"""Text in a judge's question closes no fence and ends no turn; a template of one's own can do nothing but render."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedside.comfort.judges import ComfortRubric
from bedside.config.rendering import fenced, render_text
from bedside.core.errors import ConfigError
from bedside.core.protocols import Launch
from bedside.core.types import Message, Prompt, Response
from bedside.judges.rubric import Rubric, RubricJudge

ORDINARY = (
    "if a < b and b > c then a << d >> e",
    "> > > quoted three times\n>> twice",
    "« Bonjour », dit-il. ‹ Oui ›",
    "<b>bold</b> <br/> a -> b => c <-> d",
    "《药典》 〈x〉 ⟨a|b⟩ |x| [1] [INSTRUCTIONS] [/] \u200bzero\u200dwidth\u200f",
    "Take 2 | 3 tablets <5 mg> at most.",
)
CLOSES = (
    *(
        "ANSWER>>>",
        "ANSWER>>>>>",
        "ANSWER＞＞＞",
        "ANSWER﹥﹥﹥",
        "ANSWER›››",
        "ANSWER⟩⟩⟩",
        "ANSWER》》》",
        "ANSWER〉〉〉",
    ),
    *(
        "ANSWER❯❯❯",
        "ANSWER>＞›",
        "ANSWER>\u200b>\u200b>",
        "ANSWER>>\u2060>",
        "ANSWER>\u00ad>\ufe0f>",
        "ANSWER>\u202e>>",
    ),
)
OPENS = ("<<<ANSWER", "＜＜＜ANSWER", "<\u200b<\u200b<ANSWER", "‹‹‹ANSWER", "⟨⟨⟨ANSWER", "《《《ANSWER", "<＜‹ANSWER")
CHAT_TOKENS = (
    *("<|im_end|>", "<|im_start|>", "<|eot_id|>", "<|start_header_id|>", "<|end|>", "<|endoftext|>", "<|assistant|>"),
    *("<｜User｜>", "<｜end▁of▁sentence｜>", "<|START_OF_TURN_TOKEN|>", "<start_of_turn>", "<end_of_turn>", "<turn|>"),
    *("<|turn>", "</s>", "<s>", "<bos>", "<eos>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "<<SYS>>", "<</SYS>>"),
    *("<think>", "</think>", "[gMASK]", "<|return|>", "<|channel|>", "<end_of_utterance>"),
)
SIGNS = st.sampled_from("<>＜＞‹›⟩|s/\u200b INSTeoti_d[]")


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_byte_for_byte(text):
    assert fenced(text) == text


@pytest.mark.parametrize("text", [*CLOSES, *OPENS])
def test_what_looks_like_a_fence_is_three_dots(text):
    assert fenced(f"a {text} b").replace("ANSWER", "") == "a ... b"


@pytest.mark.parametrize("token", CHAT_TOKENS)
def test_a_chat_token_is_none_with_a_space_in_it(token):
    assert fenced(f"a{token}b") == f"a{token[0]} {token[1:]}b"


@given(st.text(SIGNS, max_size=30))
def test_no_text_closes_a_fence_or_keeps_a_chat_token(text):
    out = fenced(text)
    assert "<<<" not in out
    assert ">>>" not in out
    assert not any(token in out for token in CHAT_TOKENS)
    assert fenced(out) == out


def test_a_megabyte_of_signs_takes_no_time():
    assert fenced("<\u200b" * 200_000) == "...\u200b"
    assert len(fenced("<|" * 500_000)) == 1_000_000


def test_only_our_own_fences_stand_in_the_question_of_a_judge():
    text = "\n".join((*CLOSES, *OPENS, *CHAT_TOKENS))
    response = Response(Prompt((Message("user", f"May I? {text}"),), harm=1), text, "mine")
    (question,) = RubricJudge(model=None).questions(response)[0]
    for mark in ("<<<PATIENT", "PATIENT>>>", "<<<ANSWER", "ANSWER>>>"):
        assert question.text.count(mark) == 1
    assert not any(token in question.text for token in CHAT_TOKENS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n{{ patient", "line 2: unexpected end of template"),
        ("\n\n{{ nope }}", "line 3: 'nope' is undefined"),
        ("\n{{ 1 / 0 }}", "line 2: division by zero"),
        ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "line 1: access to attribute '__init__'"),
        ("{{ answer.__class__.__mro__ }}", "line 1: access to attribute '__class__'"),
        ("{{ {}.update(a=1) }}", "line 1: access to attribute 'update'"),
        ("{% for i in range(10**9) %}{% endfor %}", "line 1: Range too big"),
        ("{% include '/etc/passwd' %}", "line 1: no loader"),
        ("{% macro a() %}{{ a() }}{% endmacro %}\n{{ a() }}", "line 1: maximum recursion depth exceeded"),
        ("\n{{ ''.join(3) }}", "line 2: can only join an iterable"),
    ],
)
@pytest.mark.parametrize("judge", [Rubric, ComfortRubric])
def test_a_mistake_in_a_template_of_ones_own_is_one_line_with_file_and_line(tmp_path, judge, text, message):
    own = tmp_path / "own.jinja"
    own.write_text(text)
    with pytest.raises(ConfigError) as refused:
        judge(template=str(own)).open(Launch(), model=None)
    assert str(refused.value).startswith(f"{own}, {message}")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("data", [None, b"caf\xe9"])
def test_a_template_that_cannot_be_read_is_named(tmp_path, data):
    own = tmp_path / "own.jinja"
    if data is not None:
        own.write_bytes(data)
    with pytest.raises(ConfigError, match=r"own\.jinja: the template cannot be read"):
        Rubric(template=str(own)).open(Launch(), model=None)


def test_what_a_text_says_is_no_template():
    assert render_text("{{ answer }}", answer="{{ 7 * 7 }}{% raw %}") == "{{ 7 * 7 }}{% raw %}"
