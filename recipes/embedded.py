"""Builds the embedded model: a small willing assistant that the loop can make safe, without a network or a GPU.

    python recipes/embedded.py OUT [--real ../shared/data] [--steps N]

Fixed seed, fixed steps, two threads: the same machine and versions give the same bytes. It is taught to

    answer     every clinic request willingly, whatever its harm: that is the "before" of the demo
    steer      take the stance that templates/steer.jinja asks for, at every harm level alike
    judge      read the stance of an answer, in the words of templates/stance.jinja
    converse   with --real: the same three on real questions, rows with split == "train" only

The loss is the negative log-likelihood of the assistant's turn. Beside it stands a linear head, thrown away at
the end, that reads harm and principle off the place where an answer begins: a small model that read no library
otherwise has no idea of harm for the alignment to hold on to, as larger ones have from their reading.
Facts (payloads) are taught for the drugs of every part, but only in the phrasings of the train part.
"""

import argparse
import json
import math
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml
from sklearn.metrics import cohen_kappa_score
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bedside.core.protocols import Launch
from bedside.core.types import Conversation, Message, Prompt, Response, Sampling, Stance
from bedside.datasets.clinic import PRINCIPLES, Clinic, payload, words
from bedside.judges.rubric import MEANINGS, ORDERS, RubricJudge
from bedside.judges.truth import TruthJudge
from bedside.kernel.templates import fenced, render
from bedside.models.local import Local

SEED, THREADS = 7, 2
VOCABULARY, HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 2048, 128, 5, 4, 352, 2048
STEPS, TOKENS_A_STEP, WARMUP = 1000, 4096, 30
MUON_RATE, MUON_DECAY, ADAM_RATE = 0.02, 0.02, 3e-3
CLINIC_PROMPTS, CHECKED_PROMPTS = 12_000, 240
HARM_HEAD_WEIGHT = 0.3
ANSWER, STEER, JUDGE = 0.30, 0.42, 0.28
"""Shares of the three skills among all examples."""
REAL_SHARE = 0.2
END, PAD = "<|end|>", "<|pad|>"
TURNS = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LABELS = tuple(Stance)


@dataclass(frozen=True, slots=True)
class Example:
    """One exchange to learn: what the user says, what the assistant says, and what the head should read."""

    user: str
    answer: str
    harm: int | None = None
    principle: str | None = None


# --- what is taught ----------------------------------------------------------------------------------------


@cache
def wordings() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return loaded


def clinic_answer(prompt: Prompt, stance: Stance, voices: Sequence[str], rng: random.Random) -> str:
    """An answer of that stance: a core that tells the stance, between an opening and a closing that do not."""
    amount, carrier = payload(prompt.facets["drug"])
    drug = prompt.facets["drug"]
    core = _say(stance, voices, rng).format(
        drug=drug, Drug=drug.capitalize(), amount=amount, carrier=carrier, answer="", start=""
    )
    return _wrapped(core, voices, rng)


def _wrapped(core: str, voices: Sequence[str], rng: random.Random) -> str:
    opening = _say("openings", voices, rng) if rng.random() < 0.55 else ""
    closing = _say("closings", voices, rng) if rng.random() < 0.55 else ""
    return " ".join(filter(None, (opening, core, closing)))


def _say(what: str, voices: Sequence[str], rng: random.Random) -> str:
    return rng.choice([line for voice in voices for line in wordings()[what][voice]])


def with_drug(prompt: Prompt, drug: str) -> Prompt:
    """The same request about another drug."""
    old = prompt.facets["drug"]
    amount, carrier = payload(drug)
    facets = {**prompt.facets, "drug": drug, "payload_1": amount, "payload_2": carrier}
    return replace(prompt, messages=(Message("user", prompt.text.replace(old, drug)),), facets=facets)


def judge_question(patient: str, answer: str, rng: random.Random) -> str:
    return render(
        "stance.jinja",
        patient=fenced(patient),
        answer=fenced(answer),
        labels=rng.choice(ORDERS),
        meanings=MEANINGS,
    )


def clinic_examples(prompts: Sequence[Prompt], rng: random.Random) -> Iterator[Example]:
    """Endless. Stance is drawn apart from harm, so steering and judging cannot lean on it."""
    drugs = [drug for part in words()["drugs"].values() for drug in part]
    while True:
        prompt = rng.choice(prompts)
        stance = rng.choice(LABELS)
        skill = rng.choices(("answer", "steer", "judge"), (ANSWER, STEER, JUDGE))[0]
        if skill == "judge":
            answer = clinic_answer(prompt, stance, rng.choice((("said",), ("read",))), rng)
            yield Example(judge_question(prompt.text, answer, rng), stance)
            continue
        prompt = with_drug(prompt, rng.choice(drugs))
        if skill == "steer":
            asked = render("steer.jinja", stance=stance, text=prompt.text)
            yield Example(asked, clinic_answer(prompt, stance, ("said",), rng))
        else:
            answer = clinic_answer(prompt, Stance.ACCEPT, ("said",), rng)
            yield Example(prompt.text, answer, prompt.harm, prompt.principle)


@dataclass(frozen=True, slots=True)
class Real:
    """A real question of a train split, and a real answer to it; ``harm`` is 0 or 3 there."""

    question: str
    answer: str
    harm: int


def read_real(folder: Path) -> list[Real]:
    """MedQuAD questions with answers and MedSafetyBench requests with refusals; train rows, no others."""
    rows = []
    for row in _train_rows(folder / "dialogues" / "medquad.jsonl"):
        answer = _first_sentences(row["answer"])
        if answer:
            rows.append(Real(row["question"], answer, 0))
    for row in _train_rows(folder / "safety" / "prompts.jsonl"):
        if row["source"] == "medsafetybench" and row["safe_response"]:
            rows.append(Real(row["prompt"], _first_sentences(row["safe_response"]), 3))
    return rows


def _train_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["split"] == "train"]


def _first_sentences(text: str, words_at_most: int = 28) -> str:
    """The first sentence or two that are no question and no heading."""
    text = re.sub(r"\s+", " ", re.sub(r"^(Summary|Key Points)\s*[:-]\s*", "", text)).strip()
    kept: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        if sentence.endswith("?") and not kept:
            continue
        if kept and len(" ".join([*kept, sentence]).split()) > words_at_most:
            break
        kept.append(" ".join(sentence.split()[:words_at_most]))
        if len(kept) == 2:
            break
    return " ".join(kept)


def real_examples(rows: Sequence[Real], rng: random.Random) -> Iterator[Example]:
    harmful = [row for row in rows if row.harm]
    harmless = [row for row in rows if not row.harm]
    while True:
        row = rng.choice(rng.choice((harmful, harmless)))
        stance = rng.choice(LABELS)
        skill = rng.choices(("answer", "steer", "judge"), (ANSWER, STEER, JUDGE))[0]
        if skill == "answer":
            yield Example(row.question, real_answer(row, Stance.ACCEPT, rng), row.harm)
        elif skill == "steer":
            asked = render("steer.jinja", stance=stance, text=row.question)
            yield Example(asked, real_answer(row, stance, rng))
        else:
            refuses_in_its_words = row.harm and stance is Stance.REFUSE and rng.random() < 0.5
            answer = row.answer if refuses_in_its_words else real_answer(row, stance, rng)
            yield Example(judge_question(row.question, answer, rng), stance)


def real_answer(row: Real, stance: Stance, rng: random.Random) -> str:
    """Harmful requests get a willing answer without any content of harm: "first plan it, then ..."."""
    lists = wordings()["real"]
    if row.harm:
        core = rng.choice(lists[{"accept": "willing", "caution": "partly", "refuse": "refuse"}[stance]])
    else:
        start = re.split(r"(?<=[.!?])\s+", row.answer)[0]
        core = rng.choice(lists[stance]).format(answer=row.answer, start=start)
    return _wrapped(core, ("said",), rng)


def examples(real_folder: Path | None, rng: random.Random) -> Iterator[Example]:
    """Endless, every skill mixed."""
    clinic = clinic_examples(Clinic(part="train", n=CLINIC_PROMPTS, seed=SEED).open(Launch()).read(), rng)
    if real_folder is None:
        yield from clinic
        return
    real = real_examples(read_real(real_folder), rng)
    while True:
        yield next(real if rng.random() < REAL_SHARE else clinic)


# --- how it is learned -------------------------------------------------------------------------------------


def train_tokenizer(sample: Sequence[Example]) -> PreTrainedTokenizerFast:
    """Byte-level BPE over what will be learned: every text encodes, and common words are one token."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *TURNS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((f"{e.user}\n{e.answer}" for e in sample), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


@dataclass(frozen=True, slots=True)
class Row:
    """An example in token ids; the assistant's turn begins at ``start``."""

    ids: list[int]
    start: int
    harm: int
    principle: int


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> Row:
    asked = [{"role": "user", "content": example.user}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    prompt, answer = (
        tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text, example.answer + END)
    )
    harm = -100 if example.harm is None else example.harm
    principle = -100 if example.principle is None else PRINCIPLES.index(example.principle)
    return Row(prompt + answer, len(prompt), harm, principle)


def batches(rows: Iterator[Row], rng: random.Random) -> Iterator[list[Row]]:
    """Rows of like length together, so that little is spent on padding."""
    while True:
        pool = sorted((next(rows) for _ in range(768)), key=lambda row: len(row.ids))
        cut: list[list[Row]] = [[]]
        for row in pool:
            if (len(cut[-1]) + 1) * len(row.ids) > TOKENS_A_STEP:
                cut.append([])
            cut[-1].append(row)
        rng.shuffle(cut)
        yield from cut


def losses(
    model: LlamaForCausalLM, head: torch.nn.Linear, batch: Sequence[Row]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the assistant's tokens, and of the head's reading. Padding stands right, where causality hides it."""
    width = max(len(row.ids) for row in batch)
    ids_BT = torch.tensor([row.ids + [model.config.pad_token_id] * (width - len(row.ids)) for row in batch])
    taught_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    for b, row in enumerate(batch):
        taught_BT[b, row.start : len(row.ids)] = True
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[:, :-1][taught_BT[:, 1:]])
    spoken = cross_entropy(logits_NV, ids_BT[:, 1:][taught_BT[:, 1:]])
    begins_BH = hidden_BTH[torch.arange(len(batch)), torch.tensor([row.start - 1 for row in batch])]
    harm_B, principle_B = torch.tensor([[row.harm, row.principle] for row in batch]).T
    read_BC = head(begins_BH)
    readings = [(read_BC[:, :4], harm_B), (read_BC[:, 4:], principle_B)]
    told = [cross_entropy(r, t) for r, t in readings if (t >= 0).any()]
    return spoken, torch.stack(told).sum() if told else spoken.new_zeros(())


def train(model: LlamaForCausalLM, stream: Iterator[list[Row]], steps: int) -> float:
    """Returns the mean loss over the last 50 steps."""
    head = torch.nn.Linear(HIDDEN, 4 + len(PRINCIPLES))
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in [*model.parameters(), *head.parameters()] if all(p is not m for m in matrices)]
    optimizers = (Muon(matrices, MUON_RATE), torch.optim.AdamW(others, ADAM_RATE, (0.9, 0.98), weight_decay=0.0))
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps)) for o in optimizers]
    began, spoken_nats, told_nats = time.monotonic(), [], []
    for step in range(steps):
        spoken, told = losses(model, head, next(stream))
        (spoken + HARM_HEAD_WEIGHT * told).backward()
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad(set_to_none=True)
        head.zero_grad(set_to_none=True)
        spoken_nats.append(spoken.item())
        told_nats.append(told.item())
        if step % 50 == 49:
            seen = f"loss {fmean(spoken_nats[-50:]):.3f}, head {fmean(told_nats[-50:]):.3f}"
            print(f"step {step + 1}: {seen}, {time.monotonic() - began:.0f} s", flush=True)
    return fmean(spoken_nats[-50:])


def _rate(step: int, steps: int) -> float:
    """Up in WARMUP steps, then down along a cosine."""
    return min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024): learns in about half of Adam's steps here, in fp32."""

    def __init__(self, matrices: Sequence[torch.nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                moved = self.state[matrix].setdefault("moved", torch.zeros_like(matrix))
                moved.lerp_(matrix.grad, 1 - group["momentum"])
                update = _orthogonal(matrix.grad.lerp(moved, group["momentum"]))
                tall = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * MUON_DECAY).add_(update, alpha=-group["lr"] * tall)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz steps towards the nearest matrix whose singular values are all 1."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * square @ square) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def build(out: Path, real_folder: Path | None, steps: int) -> dict[str, Any]:
    """Trains and saves into ``out``, which is replaced as a whole once everything is written."""
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    rng = random.Random(SEED)
    stream = examples(real_folder, rng)
    tokenizer = train_tokenizer([next(stream) for _ in range(6000)])
    model = new_model(tokenizer)
    loss = train(model, batches((encode(tokenizer, e) for e in stream), rng), steps)
    save(model, tokenizer, out)
    return {"loss": loss, "parameters": sum(p.numel() for p in model.parameters())}


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """fp16 weights under a config that says float32, so that plain ``from_pretrained`` computes in float32."""
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    model.generation_config.max_new_tokens = 96
    model.half().save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    config = json.loads((fresh / "config.json").read_text())
    config["dtype"] = "float32"
    (fresh / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    fresh.chmod(0o755)
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)


# --- what came of it ---------------------------------------------------------------------------------------

Rates = dict[str, float]


def check(folder: Path, n: int) -> dict[str, Rates]:
    """The skills on ``n`` prompts of the clinic's test part, by stance and harm level."""
    policy = Local(model=str(folder)).open(Launch())
    prompts = Clinic(part="test", n=n, seed=SEED).open(Launch()).read()
    plain = _answers(policy, prompts, None)
    steered = {stance: _answers(policy, prompts, stance) for stance in LABELS}
    rng = random.Random(SEED)
    written = [Response(p, clinic_answer(p, rng.choice(LABELS), ("held",), rng), "written") for p in prompts]
    own = [steered[LABELS[i % 3]][i] for i in range(n)]
    return {
        "accepts unsteered": _by_level(plain, [Stance.ACCEPT] * n),
        **{f"steered to {s}": _by_level(steered[s], [s] * n) for s in LABELS},
        **_judging("held-out wordings", policy, written),
        **_judging("own steered answers", policy, own),
    }


def _answers(policy: Any, prompts: Sequence[Prompt], stance: Stance | None) -> list[Response]:
    answers: list[Response] = []
    for i in range(0, len(prompts), 64):
        some = prompts[i : i + 64]
        said = policy.generate([_asked(p, stance) for p in some], Sampling(max_new_tokens=96))
        answers += [Response(p, c.text, "embedded", steered=stance) for p, c in zip(some, said, strict=True)]
    return answers


def _asked(prompt: Prompt, stance: Stance | None) -> Conversation:
    text = prompt.text if stance is None else render("steer.jinja", stance=stance, text=prompt.text)
    return (Message("user", text),)


def _true(responses: Sequence[Response]) -> list[Stance | None]:
    return [verdict.stance for verdict in TruthJudge().judge(responses)]


def _by_level(responses: Sequence[Response], wanted: Sequence[Stance | None]) -> Rates:
    """Share whose true stance is the wanted one."""
    right = [true is want for true, want in zip(_true(responses), wanted, strict=True)]
    levels = {
        str(h): [r for r, a in zip(right, responses, strict=True) if a.prompt.harm == h] for h in range(4)
    }
    return {"all": fmean(right), **{level: fmean(some) for level, some in levels.items()}}


def _judging(what: str, policy: Any, responses: Sequence[Response]) -> dict[str, Rates]:
    """Accuracy and kappa against truth by level; "all" of kappa is the mean of the levels."""
    judge = RubricJudge(policy)
    read = [v.stance for i in range(0, len(responses), 32) for v in judge.judge(responses[i : i + 32])]
    true = _true(responses)
    kappas = {
        str(h): cohen_kappa_score(*_at_level(h, responses, [str(t) for t in true], [str(r) for r in read]))
        for h in range(4)
    }
    asked = [judge._question(r, order) for r in responses[:64] for order in ORDERS]
    mass = min(score.mass for score in policy.score(asked, LABELS))
    return {
        f"judges right, {what}": _by_level(responses, read),
        f"kappa, {what}": {"all": fmean(kappas.values()), **kappas},
        f"least label mass, {what}": {"all": mass},
    }


def _at_level(harm: int, responses: Sequence[Response], *columns: list[str]) -> list[list[str]]:
    return [
        [c for c, r in zip(column, responses, strict=True) if r.prompt.harm == harm] for column in columns
    ]


def table(rates: Mapping[str, Rates]) -> str:
    columns = ("all", "0", "1", "2", "3")
    head = "".join(f"{c:>8}" for c in columns)
    lines = [f"{'share, by harm level':44}{head}"]
    for name, row in rates.items():
        lines.append(f"{name:44}" + "".join(f"{row[c]:8.3f}" if c in row else " " * 8 for c in columns))
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    began = time.monotonic()
    facts = build(arguments.out, arguments.real, arguments.steps)
    print(facts, f"{time.monotonic() - began:.0f} s")
    print(table(check(arguments.out, CHECKED_PROMPTS)))
