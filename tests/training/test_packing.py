"""Packed log-probabilities against padded ones: the same numbers, gradients and trained weights, less work."""

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tests.support.tiny_models import make_tiny
from transformers import AutoConfig, AutoModelForCausalLM

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Message
from bedside.training import backbone, logprobs, packing
from bedside.training.backbone import LmHead, _logsumexp
from bedside.training.logprobs import TokenizedExchange, logps
from bedside.training.packing import AttentionArguments, PackedAttention, pack, split

SHAPES = ["llama", "qwen", "mistral", "gemma", "phi"]
LONG = tuple(range(10, 40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    return {shape: make_tiny(root / shape, shape) for shape in SHAPES}


@pytest.fixture
def load(folders):
    """A model of a shape under a random adapter; windows are short, so that they are felt."""

    def adapted(shape, window=12, seed=0):
        base = AutoModelForCausalLM.from_pretrained(folders[shape], attn_implementation="eager", dtype=torch.float32)
        if getattr(base.config, "sliding_window", None):
            base.config.sliding_window = window
            for layer in base.model.layers:
                if getattr(layer.self_attn, "sliding_window", None):
                    layer.self_attn.sliding_window = window
        base.requires_grad_(False)
        torch.manual_seed(seed)
        model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=0.1)
        return model

    return adapted


def rows_of(K, seed=0):
    """Two prompts, one long enough to be shared, with K completions of uneven lengths each."""
    draw = torch.Generator().manual_seed(seed)
    prompts = [tuple(torch.randint(5, 250, (n,), generator=draw).tolist()) for n in (31, 3)]
    lengths = [(7 * k + 3 * p) % 17 + 1 for p in range(2) for k in range(K)]
    texts = [tuple(torch.randint(5, 250, (n,), generator=draw).tolist()) for n in lengths]
    return [TokenizedExchange(prompts[i // K], text) for i, text in enumerate(texts)]


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def close(actual, expected, relative):
    assert all(
        float((actual[n] - expected[n]).norm() / expected[n].norm().clamp(min=1e-9)) < relative for n in expected
    )


@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_packed_is_padded_to_1e_5_and_its_gradients_to_1e_4(shape, K, load):
    model, rows = load(shape), rows_of(K)
    assert backbone.find_backbone(model) is not None, "packed, not fallen back"
    weights = torch.linspace(-1, 1, len(rows), dtype=torch.float64) + 0.1
    packed, slow = logps(model, rows, 0), logprobs._padded_logps(model, rows, 0)
    tokens = torch.tensor([len(r.completion) for r in rows])
    assert float(((packed - slow).detach() / tokens).abs().max()) < 1e-5, "nats a token"
    assert packed.dtype == torch.float64
    close(gradients(model, (packed * weights).sum()), gradients(model, (slow * weights).sum()), 1e-4)


@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral", "gemma"])
def test_adapters_trained_packed_and_padded_are_the_same_weights(shape, load):
    ends = []
    for way in (logps, logprobs._padded_logps):
        model = load(shape)
        chosen = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(chosen, lr=1e-3, eps=1e-4)
        for step in range(5):
            optimizer.zero_grad()
            margin = way(model, rows_of(2, seed=step), 0).view(-1, 2).diff(dim=1)
            torch.nn.functional.softplus(0.1 * margin).mean().backward()
            optimizer.step()
        ends.append({n: p.detach() for n, p in model.named_parameters() if p.requires_grad})
    close(ends[0], ends[1], 1e-4)


def test_several_packs_are_one_and_the_order_is_kept(load, monkeypatch):
    model, rows = load("llama"), rows_of(5)[::-1]
    whole = logps(model, rows, 0)
    monkeypatch.setattr(logprobs, "pack_tokens", lambda device: 40)
    torch.testing.assert_close(logps(model, rows, 0), whole, atol=1e-5, rtol=0)


def test_two_completions_cost_one_prompt():
    layout = pack([(*LONG, 1, 2), (*LONG, 3)])
    assert len(layout.ids) == 30 + 2 + 1
    assert layout.positions[-1] == 30
    assert layout.segments[1].offset == 30


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40), min_size=1, max_size=8), st.integers(1, 60))
def test_a_layout_holds_every_token_of_every_sequence_at_its_position(sequences, budget):
    layout = pack(sequences)
    for sequence, indices in zip(sequences, layout.token_indices, strict=True):
        assert [layout.ids[i] for i in indices] == sequence
        assert [layout.positions[i] for i in indices] == list(range(len(sequence)))
    assert sum(segment.length for segment in layout.segments) == len(layout.ids) <= sum(map(len, sequences))
    for segment in layout.segments:
        assert segment.offset == layout.positions[segment.start]
    runs = list(split(sequences, budget))
    assert [i for run in runs for i in run] == list(range(len(sequences)))
    assert all(len(pack([sequences[i] for i in run]).ids) <= budget or len(run) == 1 for run in runs)


@pytest.mark.parametrize(
    "rules",
    [
        AttentionArguments(0.3),
        AttentionArguments(0.3, window=7),
        AttentionArguments(0.3, softcap=2.0),
        AttentionArguments(0.3, 5, 2.0),
    ],
)
def test_block_mask_and_varlen_compute_what_segments_do(rules):
    torch.manual_seed(0)
    layout = pack([(*LONG, 1, 2, 3), (*LONG, 4, 5), (*LONG[:20], 6), (7, 8)])
    T = len(layout.ids)
    q, k, v = torch.randn(1, 4, T, 8), torch.randn(1, 2, T, 8), torch.randn(1, 2, T, 8)
    packed = PackedAttention(layout)
    by_segment = packed.attend(0, q, k, v, rules)
    torch.testing.assert_close(packed.attend_by_block_mask(q, k, v, rules), by_segment, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(packed._attend_by_varlen(slow_varlen, q, k, v, rules), by_segment, atol=1e-6, rtol=1e-5)


def slow_varlen(q, k, v, cu_q, cu_k, max_q, max_k, rules):
    """What varlen attention on a GPU computes: causal from the lower right corner of each segment."""
    out = []
    for a, b, c, d in zip(cu_q[:-1], cu_q[1:], cu_k[:-1], cu_k[1:], strict=True):
        queries, keys, values = (
            x.repeat_interleave(q.shape[1] // x.shape[1], 1).transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d])
        )
        n, m = int(b - a), int(d - c)
        assert n <= max_q
        assert m <= max_k
        sees = torch.ones(n, m, dtype=torch.bool).tril(m - n)
        if rules.window is not None:
            sees = sees.triu(m - n - rules.window + 1)
        mask = torch.zeros(n, m).masked_fill(~sees, -math.inf)
        out.append(packing.attention(queries[None], keys[None], values[None], mask, rules)[0].transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_head_s_own_gradient_is_autograd_s(softcap, monkeypatch):
    monkeypatch.setattr("bedside.training.backbone.chunk_rows", lambda device, V: 3)
    torch.manual_seed(0)
    head, targets = LmHead(torch.randn(50, 8), softcap), torch.randint(0, 50, (7,))
    hidden, weights = torch.randn(7, 8, requires_grad=True), torch.randn(7)
    (ours,) = torch.autograd.grad((head.token_logprobs(hidden, targets) * weights).sum(), hidden)
    slow = torch.log_softmax(head.logits(hidden), -1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(head.token_logprobs(hidden, targets), slow)
    torch.testing.assert_close(ours, torch.autograd.grad((slow * weights).sum(), hidden)[0])


def test_the_heads_logsumexp_is_torchs_to_the_bit():
    torch.manual_seed(0)
    logits = 30 * torch.randn(9, 4096)
    room = torch.full_like(logits, math.nan)
    assert torch.equal(_logsumexp(logits, room), logits.logsumexp(-1, keepdim=True))
    expected = logits.logsumexp(-1, keepdim=True)
    assert torch.equal(_logsumexp(logits, logits), expected), "in place, where no gradient needs the logits"


def test_an_unknown_head_runs_padded_and_says_so_once(folders, caplog):
    base = AutoModelForCausalLM.from_pretrained(folders["qwen"])
    base.lm_head.bias = torch.nn.Parameter(torch.randn(base.config.vocab_size))
    rows = rows_of(2)
    torch.testing.assert_close(logps(base, rows, 0), logprobs._padded_logps(base, rows, 0))
    logps(base, rows, 0)
    assert [r.message.split(" runs padded")[0] for r in caplog.records] == ["Qwen2ForCausalLM"]


def test_logits_scaled_behind_our_back_are_noticed(folders):
    base = AutoModelForCausalLM.from_pretrained(folders["llama"])
    forward = base.forward
    base.forward = lambda **kwargs: SimpleNamespace(logits=forward(**kwargs).logits * 2)
    assert backbone.find_backbone(base) is None


def test_a_window_that_never_reaches_attention_is_noticed(folders):
    base = AutoModelForCausalLM.from_pretrained(folders["llama"])
    base.config.sliding_window = 64
    assert backbone.find_backbone(base) is None


@pytest.mark.parametrize("kind", ["nemotron", "doge", "deepseek_v3"])
def test_a_model_that_does_not_fit_runs_padded(kind):
    """Its keyword arguments reach no attention; its mask comes by name; its heads have no one size."""
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 4, "intermediate_size": 48, "head_dim": 8, "pad_token_id": 0}
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))
    assert backbone.find_backbone(base.eval()) is None


@pytest.mark.parametrize(
    ("broken", "raised"), [(lambda *_: None, TypeError), (lambda pieces, *_: pieces[0], RuntimeError)]
)
def test_a_bug_of_ours_is_not_taken_for_a_model_that_does_not_fit(broken, raised, folders, monkeypatch):
    monkeypatch.setattr("bedside.training.packing._with_prefix", broken)
    with pytest.raises(raised):
        backbone.find_backbone(AutoModelForCausalLM.from_pretrained(folders["llama"]))


@pytest.mark.parametrize("shape", SHAPES)
def test_labels_weigh_the_same_packed_and_padded(shape, folders, monkeypatch):
    model = open_plugin(find("model", "local")(model=str(folders[shape])), Launch(), {})
    labels = ("accept", "caution", "refuse")
    body = "A patient asks, the assistant answers, and now somebody has to say what became of it. "
    conversations = [
        (Message("user", body + "word " * n + end),) for n in (1, 30, 7) for end in ("a b c", "b c a", "c a b")
    ]
    packed = model.score(conversations, labels)
    monkeypatch.setattr(logprobs, "find_backbone", lambda model: None)
    for one, other in zip(packed, model.score(conversations, labels), strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.mass == pytest.approx(other.mass, abs=1e-5)
        assert max(range(3), key=one.logprobs.__getitem__) == max(range(3), key=other.logprobs.__getitem__)
    sizes = [len(model.renderer.prompt_ids(c)) for c in conversations]
    shared = pack([model.renderer.prompt_ids(c) for c in conversations])
    assert len(shared.ids) < 0.6 * sum(sizes), "three orders of one question cost little more than one"


def test_a_head_that_is_trained_gets_its_gradient(folders):
    base = AutoModelForCausalLM.from_pretrained(folders["qwen"])
    assert backbone.find_backbone(base) is None
    logps(base, rows_of(2), 0).sum().backward()
    assert base.lm_head.weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert backbone.find_backbone(base) is not None


def test_what_a_microbatch_takes_is_what_autograd_keeps(load):
    model, rows = load("llama").train(), rows_of(5)
    logps(model, rows[:1], 0)
    tokens = len(pack([r.ids for r in rows]).ids)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        values = logps(model, rows, 0)
    measured = sum(size for where, size in kept.items() if where not in weights)
    V = model.config.vocab_size
    rows = min(tokens, backbone.chunk_rows(model.device, V))
    estimate = backbone.microbatch_bytes(model, tokens) - 3 * 4 * V * rows
    assert values.requires_grad
    assert 0.5 < measured / estimate < 1.5
