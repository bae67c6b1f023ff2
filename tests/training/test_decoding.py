"""Our own decoding against ``generate``: the same tokens, whoever shares a step; and the base stays as it was."""

import pytest

torch = pytest.importorskip("torch")

from tests.training.test_packing import SHAPES, folders, load  # noqa: F401
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation import TopPLogitsWarper

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Message, Sampling
from bedside.training import adapters, decoding
from bedside.training.decoding import TokenSampler, decode, greedy_tokens, sample_tokens

HEAD = [(11 * i) % 240 + 5 for i in range(20)]
PROMPTS = [[*HEAD, 7, 8], [9], [*HEAD, *HEAD[::-1], 4], [*HEAD, 7, 8], [30, 31, 32, 33], [*HEAD, 90]]


def by_generate(model, stop_ids, limit):
    """Each prompt alone, so that no padding is anywhere."""
    config = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=stop_ids, pad_token_id=0)
    ids = [torch.tensor([p]) for p in PROMPTS]
    out = [model.generate(i, attention_mask=torch.ones_like(i), generation_config=config) for i in ids]
    return [row[0, len(p) :].tolist() for row, p in zip(out, PROMPTS, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_is_generate_token_for_token(shape, load):  # noqa: F811
    model = load(shape).eval()
    free = decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler())
    stops = sorted({1, free[0][7], free[2][20], free[4][31]})
    expected = by_generate(model, stops, 36)
    assert len({len(e) for e in expected}) > 2, "answers end at different steps, or the test shows little"
    for slots in (2, 64):
        assert decode(model, PROMPTS, [36] * 6, frozenset(stops), TokenSampler(), slots=slots) == expected


def test_each_answer_has_its_own_limit(load):  # noqa: F811
    model = load("llama").eval()
    free = by_generate(model, [1], 12)
    limits = [1, 12, 3, 7, 5, 2]
    answers = decode(model, PROMPTS, limits, frozenset([1]), TokenSampler(), slots=3)
    assert answers == [ids[:limit] for ids, limit in zip(free, limits, strict=True)]


def test_drawn_answers_depend_on_the_seed_and_not_on_company(load):  # noqa: F811
    model = load("qwen").eval()
    arguments = (model, PROMPTS, [20] * 6, frozenset([1]))
    one = decode(*arguments, TokenSampler(1.0, 0.9, seed=3))
    assert decode(*arguments, TokenSampler(1.0, 0.9, seed=3)) == one
    assert decode(*arguments, TokenSampler(1.0, 0.9, seed=3), slots=2) == one
    assert decode(*arguments, TokenSampler(1.0, 0.9, seed=4)) != one
    assert one[0] != one[3], "samples of one prompt are different samples"


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.6), (1.5, 0.9)])
def test_the_shares_drawn_are_those_of_the_nucleus(temperature, top_p):
    torch.manual_seed(0)
    logits, n = torch.randn(1, 12), 20_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    chosen = sample_tokens(logits.expand(n, -1), uniform, TokenSampler(temperature, top_p))
    kept = TopPLogitsWarper(top_p)(None, logits / temperature) if top_p < 1 else logits / temperature
    shares = torch.bincount(chosen, minlength=12) / n
    torch.testing.assert_close(shares, torch.softmax(kept, -1)[0], atol=2 / n, rtol=0)


def test_the_base_comes_back_bit_for_bit_even_from_an_error(load):  # noqa: F811
    model = load("llama").eval()
    before = {n: (p.data_ptr(), p.clone()) for n, p in model.named_parameters()}
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        plain = model(ids).logits
        with pytest.raises(ZeroDivisionError):
            _fails_while_merged(model, ids, plain)
        assert torch.equal(model(ids).logits, plain)
    for name, weight in model.named_parameters():
        assert (weight.data_ptr(), True) == (before[name][0], torch.equal(weight, before[name][1]))


def _fails_while_merged(model, ids, plain):
    weight = model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    before = weight.clone()
    with adapters.merged_weights(model):
        assert not torch.equal(weight, before)
        torch.testing.assert_close(model(ids).logits, plain, atol=1e-4, rtol=1e-4)
        raise ZeroDivisionError


def test_a_disabled_adapter_is_not_merged(load):  # noqa: F811
    model = load("llama").eval()
    with model.disable_adapter():
        bare = decode(model, PROMPTS, [8] * 6, frozenset([1]), TokenSampler())
    base = model.unload()
    assert bare == decode(base, PROMPTS, [8] * 6, frozenset([1]), TokenSampler())


def test_what_we_do_not_know_is_left_to_generate(folders, monkeypatch):  # noqa: F811
    model = open_plugin(find("model", "local")(model=str(folders["llama"])), Launch(), {})
    conversations = [(Message("user", "word " * n),) for n in (1, 9, 4)]
    for sampling in (Sampling(max_new_tokens=12), Sampling(max_new_tokens=12, temperature=1.0, top_p=0.9)):
        ours = model.generate(conversations, sampling)
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "find_backbone", lambda model: None)
            theirs = model.generate(conversations, sampling)
            assert theirs == model.generate(conversations, sampling)
        assert sampling.temperature or ours == theirs


def test_the_cache_reads_a_shared_head_once_and_grows(folders, monkeypatch):  # noqa: F811
    monkeypatch.setattr(decoding, "min_growth", lambda device: 3)
    model = AutoModelForCausalLM.from_pretrained(folders["llama"]).eval()
    assert decode(model, PROMPTS, [40] * 6, frozenset([1]), TokenSampler(), slots=4) == by_generate(model, [1], 40)


class Captured:
    """A graph as a CPU can have one: replaying it runs the step again on the tensors as they are filled now."""

    def __init__(self, steps):
        self.steps, steps._states_B1H = steps, steps._run()

    def replay(self):
        self.steps._states_B1H = self.steps._run()


@pytest.mark.parametrize("slots", [2, 64])
def test_steps_over_all_slots_and_their_whole_width_give_the_same_answers(slots, load, monkeypatch):  # noqa: F811
    model = load("mistral").eval()  # its window is narrower than the cache
    expected = decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler(), slots=slots)
    monkeypatch.setattr(decoding._GraphStep, "_capture", lambda self: Captured(self))
    monkeypatch.setattr(decoding, "step_function", lambda *arguments: decoding._GraphStep(*arguments))
    monkeypatch.setattr(decoding, "min_growth", lambda device: 16)  # grows, and is captured anew, in mid-answer
    assert decode(model, PROMPTS, [36] * 6, frozenset([1]), TokenSampler(), slots=slots) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_of_equally_likely_tokens_the_first_is_chosen(dtype):
    logits_BV = torch.tensor([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]], dtype=dtype)
    assert greedy_tokens(logits_BV).tolist() == [1, 0]


def test_a_cache_is_laid_out_once_for_the_answers_that_are_expected():
    cache = decoding.KVCache(expected=3)
    read = {0: (torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4))}
    cache.add(read, [range(5)])
    keys, _ = cache._layers[0]
    cache.add(read, [range(3), range(4)])
    assert cache._layers[0][0] is keys
    assert torch.equal(keys[2, :, :4], read[0][0][0, :, :4])
    assert not keys[2, :, 4:].any(), "what nobody wrote is masked, and NaN would pass the mask"
    cache.add(read, [range(2)])
    grown, _ = cache._layers[0]
    assert torch.equal(grown[:3, :, : keys.shape[2]], keys)
    assert not grown[3, :, 2:].any()


def _refused(*_):
    raise RuntimeError("no graphs here")


def test_a_step_that_cannot_be_captured_runs_eagerly(load, monkeypatch, caplog):  # noqa: F811
    model = load("llama").eval()
    expected = decode(model, PROMPTS, [9] * 6, frozenset([1]), TokenSampler())
    monkeypatch.setattr(decoding, "step_function", lambda *arguments: decoding._GraphStep(*arguments))
    if torch.cuda.is_available():  # elsewhere torch refuses by itself
        monkeypatch.setattr(torch.cuda, "Stream", _refused)
    assert decode(model, PROMPTS, [9] * 6, frozenset([1]), TokenSampler()) == expected
    assert "run without a CUDA graph" in caplog.text
