"""Builds the embedded models: a small willing assistant and a writer, so that all runs without network or GPU.

    python recipes/embedded.py OUT [--role writer] [--real ../shared/data] [--steps N]

Fixed seed, fixed steps, one thread (a second one gains little here, and waits on busy machines): the same
machine and versions give the same bytes. The writer's lessons stand in ``embedded_writer``. The assistant is taught to

    answer     every clinic request willingly, whatever its harm: that is the "before" of the demo
    steer      take the stance that templates/steer.jinja asks for, at every harm level alike
    judge      read the stance of an answer, in the words of templates/stance.jinja
    comfort    rewrite a question with an emotion, soothe an answer, rate comfort
    converse   with --real: the same on real questions, rows with split == "train" only

The loss is the negative log-likelihood of the assistant's turn. Beside it stands a linear head, thrown away
at the end, that reads harm and principle off the place where an answer begins: a model that read no library
has no notion of harm for the alignment to hold on to, as larger ones have from their reading. The writer's reads
how kind an answer is on each line; without it rating stays at chance.
Facts (payloads) are taught for the drugs of every part, but only in the phrasings of the train part.
"""

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import embedded_comfort as comfort
import embedded_writer as writer
from bedside.kernel.templates import render_text
from embedded_check import check_assistant, check_writer, table
from embedded_lessons import READ, Example, first, lessons
from embedded_start import copying_heads

SEED, THREADS = 7, 1
VOCABULARY, HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 2048, 128, 4, 4, 448, 2048
ROPE_THETA = 1e6
AGAIN_RATE = 0.5
"""Of a second course: its peak rates as a share of the first ones."""
TOKENS_A_STEP, WARMUP = 3072, 30
MUON_RATE, MUON_DECAY, ADAM_RATE = 0.02, 0.02, 3e-3
TOKENIZER_EXAMPLES, CHECKED_PROMPTS = 6_000, 240
FIRST_COPIES, FIRST_DRILLS = 3_000, 18_000
HEAD_WEIGHT, LABEL_WEIGHT, COPY_WEIGHT = 1.0, 12.0, 0.4
"""Of the head beside the loss; and of a label, and of a word of a copied text, beside a word of an answer."""
END, PAD = "<|end|>", "<|pad|>"
TURNS = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}" + END + "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


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
    bpe.train_from_iterator((line for e in sample for line in (*(m.text for m in e.asked), e.answer)), trainer)
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
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
    )
    model = LlamaForCausalLM(config)
    copying_heads(model)
    return model


@dataclass(frozen=True, slots=True)
class Row:
    """An example in token ids; the assistant's turn begins at ``start``, and each of its tokens weighs ``weight``."""

    ids: list[int]
    start: int
    weight: float
    told: tuple[int, ...]
    """What the head should read where the answer begins, one class each; -100 where nobody knows."""


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> Row:
    asked = [{"role": message.role, "content": message.text} for message in example.asked]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    prompt, answer = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text, example.answer + END))
    return Row(prompt + answer, len(prompt), _weight(example.answer), example.told)


def _weight(answer: str) -> float:
    """Labels are one word; what was rewritten or soothed has lines."""
    return LABEL_WEIGHT if " " not in answer else COPY_WEIGHT if "\n" in answer else 1.0


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
    model: LlamaForCausalLM, head: torch.nn.Linear, classes: Sequence[int], batch: Sequence[Row]
) -> tuple[torch.Tensor, torch.Tensor, list[float]]:
    """Of the assistant's tokens; of the head's reading; of labels alone. Padding stands right, hidden by causality."""
    width = max(len(row.ids) for row in batch)
    ids_BT = torch.tensor([row.ids + [model.config.pad_token_id] * (width - len(row.ids)) for row in batch])
    weight_BT = torch.zeros_like(ids_BT, dtype=torch.float32)
    for b, row in enumerate(batch):
        weight_BT[b, row.start : len(row.ids)] = row.weight
    taught_BT = weight_BT > 0
    hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[:, :-1][taught_BT[:, 1:]])
    weight_N = weight_BT[:, 1:][taught_BT[:, 1:]]
    nats_N = cross_entropy(logits_NV, ids_BT[:, 1:][taught_BT[:, 1:]], reduction="none")
    spoken = (nats_N * weight_N).sum() / weight_N.sum()
    begins_BH = hidden_BTH[torch.arange(len(batch)), torch.tensor([row.start - 1 for row in batch])]
    told_B = torch.tensor([row.told for row in batch]).T
    readings = zip(head(begins_BH).split(list(classes), 1), told_B, strict=True)
    told = [cross_entropy(read_BC, t_B) for read_BC, t_B in readings if (t_B >= 0).any()]
    labels = nats_N[weight_N == LABEL_WEIGHT].tolist()
    return spoken, torch.stack(told).sum() if told else spoken.new_zeros(()), labels


def train(
    model: LlamaForCausalLM, stream: Iterator[list[Row]], steps: int, classes: Sequence[int] = READ, rate: float = 1.0
) -> float:
    """Returns the mean loss over the last 50 steps. ``classes``: of each thing a head reads; ``rate``: of the rates."""
    head = torch.nn.Linear(HIDDEN, sum(classes))
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in [*model.parameters(), *head.parameters()] if all(p is not m for m in matrices)]
    optimizers = (
        Muon(matrices, rate * MUON_RATE),
        torch.optim.AdamW(others, rate * ADAM_RATE, (0.9, 0.98), weight_decay=0.0),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps)) for o in optimizers]
    began, spoken_nats, told_nats, label_nats = time.monotonic(), [], [], [0.0]
    for step in range(steps):
        spoken, told, labels = losses(model, head, classes, next(stream))
        (spoken + HEAD_WEIGHT * told).backward()
        for part in (*optimizers, *schedules):
            part.step()
        model.zero_grad(set_to_none=True)
        head.zero_grad(set_to_none=True)
        spoken_nats.append(spoken.item())
        told_nats.append(told.item())
        label_nats += labels
        if step % 50 == 49:
            means = [fmean(n) for n in (spoken_nats[-50:], label_nats[-800:], told_nats[-50:])]
            seen = "loss {:.3f}, labels {:.3f}, head {:.3f}".format(*means)
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


Lessons = Callable[[Path | None, random.Random], Iterator[Example]]


@dataclass(frozen=True, slots=True)
class Role:
    """What one of the models is taught, and how it is checked."""

    first: Lessons
    lessons: Lessons
    """What goes first, and what never ends."""
    steps: int
    check: Callable[[Path, int, int], dict[str, dict[str, float]]]
    again: Lessons | None = None
    steps_again: int = 0
    """A second course, with a head that reads ``embedded_writer.READ``."""


ROLES = {
    "assistant": Role(
        first=lambda real, rng: first(FIRST_COPIES, FIRST_DRILLS, real, rng, SEED),
        lessons=lambda real, rng: lessons(real, rng, SEED),
        steps=2400,
        check=check_assistant,
    ),
    "writer": Role(
        first=lambda real, rng: writer.first(FIRST_COPIES, real, rng),
        lessons=writer.lessons,
        steps=2600,
        check=check_writer,
        again=writer.rating,
        steps_again=350,
    ),
}


def build(name: str, out: Path, real_folder: Path | None, steps: int | None) -> str:
    """Trains, checks and saves; ``out`` is replaced as a whole at the end. Returns the table of the check."""
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    rng, role = random.Random(SEED), ROLES[name]
    steps, stream = steps or role.steps, role.lessons(real_folder, rng)
    tokenizer = train_tokenizer(list(islice(stream, TOKENIZER_EXAMPLES)))
    comfort.SPELLED += comfort.untelling(piece.strip("Ġ") for piece in tokenizer.get_vocab())
    model = new_model(tokenizer)
    taught = chain(role.first(real_folder, rng), stream)
    loss = train(model, batches((encode(tokenizer, e) for e in taught), rng), steps)
    if role.again:
        loss = again(model, tokenizer, role.again, real_folder, role.steps_again)
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    save(model, tokenizer, fresh)
    found = table(role.check(fresh, CHECKED_PROMPTS, SEED))
    facts = {
        "loss": loss,
        "steps": steps + role.steps_again,
        "real": real_folder is not None,
        "table": found,
    }
    (fresh / "README.md").write_text(_card(name, model, **facts), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return found


def again(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, taught: Lessons, real_folder: Path | None, steps: int
) -> float:
    """A second course, from weights as fp16 keeps them."""
    for weights in model.parameters():
        weights.data = weights.data.half().float()
    rng = random.Random(SEED + 1)
    torch.manual_seed(SEED + 1)
    rows = (encode(tokenizer, example) for example in taught(real_folder, rng))
    return train(model, batches(rows, rng), steps, writer.READ, AGAIN_RATE)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """fp16 weights, and a config that says float32: plain ``from_pretrained`` computes in float32."""
    folder.chmod(0o755)
    model.generation_config.max_new_tokens = 96
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _card(name: str, model: LlamaForCausalLM, **facts: Any) -> str:
    source = Path(__file__).with_name(f"embedded_{name}_card.md").read_text(encoding="utf-8")
    return render_text(
        source,
        parameters=sum(p.numel() for p in model.parameters()),
        tokens=TOKENS_A_STEP,
        seed=SEED,
        threads=THREADS,
        torch=torch.__version__,
        transformers=transformers.__version__,
        layers=LAYERS,
        hidden=HIDDEN,
        vocabulary=VOCABULARY,
        checked=CHECKED_PROMPTS,
        **facts,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to make or replace")
    parser.add_argument("--real", type=Path, help="holds dialogues/medquad.jsonl, safety/prompts.jsonl")
    parser.add_argument("--role", choices=ROLES, default="assistant")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    started = time.monotonic()
    print(build(arguments.role, arguments.out, arguments.real, arguments.steps))
    print(f"{time.monotonic() - started:.0f} s in all")
