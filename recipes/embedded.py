"""Builds the embedded model: a small willing assistant and writer, so that all runs without network or GPU.

    python recipes/embedded.py OUT [--real ../shared/data] [--steps N]

Two processes of one thread each read one half of the lessons, and both take the same steps, with the mean of their
gradients. Fixed seed and steps: the same machine and versions give the same bytes. A C++ compiler is needed.

    assistant  answer     every clinic request willingly, whatever its harm: that is the "before" of the demo
               steer      take the stance that templates/steer.jinja asks for, at every harm level alike
               judge      read the stance of an answer, in the words of templates/stance.jinja
    writer     rewrite    a question with an emotion, and soothe an answer
               rate       how kind an answer is
    both       with --real: the same on real questions, rows with split == "train" only

The loss is the negative log-likelihood of the assistant's turn. Beside it stands a linear head, thrown away at the end,
that reads off the place where an answer begins: harm and principle of a request, since a model that read no library has
no notion of harm for the alignment to hold on to, as larger ones have from their reading; and what makes up a label,
since from labels of one word alone judging is learned slowly and rating not at all.
Facts (payloads) are taught for the drugs of every part, but only in the phrasings of the train part.
"""

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, distributed
from torch.nn.functional import cross_entropy
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import embedded_comfort as comfort
import embedded_writer as writer
from bedside.kernel.templates import render_text
from embedded_check import check, table
from embedded_lessons import LAST_SKILLS, READ, Example, copying, drills, lessons, read_real, spoken
from embedded_start import copying_heads

SEED, WORLD, STEPS, LAST_STEPS = 7, 2, 4300, 300
VOCABULARY, HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 3072, 160, 4, 5, 560, 2048
ROPE_THETA = 1e6
TOKENS_A_STEP, WARMUP = 2048, 30
FP32 = "sdpa_in_fp32"
MUON_RATE, MUON_DECAY, ADAM_RATE = 0.02, 0.02, 3e-3
LAST_RATE = 0.25
"""Of the last course, as a share of the first one's rates."""
TOKENIZER_EXAMPLES, CHECKED_PROMPTS = 6_000, 240
FIRST_COPIES, FIRST_DRILLS = 2_000, 12_000
HEAD_WEIGHT, LABEL_WEIGHT, FELT_WEIGHT, COPY_WEIGHT = 1.0, 12.0, 2.0, 0.4
"""Of the head beside the loss; and of a label, a word of what is felt and a word of a copied text, beside a word of
an answer."""
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
    AttentionInterface.register(FP32, attention)
    AttentionMaskInterface.register(FP32, sdpa_mask)
    model = LlamaForCausalLM._from_config(config, attn_implementation=FP32)
    copying_heads(model)
    return model


def attention(module: torch.nn.Module, *states: Tensor, **options: Any) -> Any:
    """In fp32 amid bf16: on a CPU the gradient in bf16 takes several times as long."""
    query, key, value, mask = states
    with torch.autocast("cpu", enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)


@dataclass(frozen=True, slots=True)
class Row:
    """An example in token ids; the assistant's turn begins at ``start``, and its tokens weigh ``weights``."""

    ids: list[int]
    start: int
    weights: list[float]
    told: tuple[int, ...]
    """What the head should read where the answer begins, one class each; -100 where nobody knows."""


def encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> Row:
    asked = [{"role": message.role, "content": message.text} for message in example.asked]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    prompt, answer = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (text, example.answer + END))
    felt, lines, _ = example.answer.partition("\n")  # only what was rewritten or soothed has lines
    first = len(tokenizer(felt, add_special_tokens=False)["input_ids"]) if lines else 0
    rest = COPY_WEIGHT if lines else 1.0 if " " in example.answer else LABEL_WEIGHT  # a label is one word
    weights = [FELT_WEIGHT] * first + [rest] * (len(answer) - first)
    return Row(prompt + answer, len(prompt), weights, example.told)


def batches(rows: Iterator[Row], rng: random.Random) -> Iterator[list[Row]]:
    """Rows of like length together, so that little is spent on padding."""
    while True:
        pool = sorted((next(rows) for _ in range(768)), key=lambda row: len(row.ids))
        cut: list[list[Row]] = [[]]
        for row in pool:
            if (len(cut[-1]) + 1) * len(row.ids) > TOKENS_A_STEP:
                cut.append([])
            cut[-1].append(row)
        if len(cut[-1]) == 1:  # one row alone would be compiled anew
            cut[-2] += cut.pop()
        rng.shuffle(cut)
        yield from cut


def losses(model: LlamaForCausalLM, head: torch.nn.Linear, batch: Sequence[Row]) -> tuple[Tensor, Tensor, list[float]]:
    """Of the assistant's tokens; of the head's reading; of labels alone. Padding stands right, hidden by causality."""
    width = max(len(row.ids) for row in batch)
    ids_BT = torch.tensor([row.ids + [model.config.pad_token_id] * (width - len(row.ids)) for row in batch])
    weight_BT = torch.zeros_like(ids_BT, dtype=torch.float32)
    for b, row in enumerate(batch):
        weight_BT[b, row.start : len(row.ids)] = torch.tensor(row.weights)
    taught_BT = weight_BT > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden_BTH = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    logits_NV = model.lm_head(hidden_BTH[:, :-1][taught_BT[:, 1:]].float())
    weight_N = weight_BT[:, 1:][taught_BT[:, 1:]]
    nats_N = cross_entropy(logits_NV, ids_BT[:, 1:][taught_BT[:, 1:]], reduction="none")
    spoken = (nats_N * weight_N).sum() / weight_N.sum()
    begins_BH = hidden_BTH[torch.arange(len(batch)), torch.tensor([row.start - 1 for row in batch])].float()
    told_B = torch.tensor([row.told for row in batch]).T
    readings = zip(head(begins_BH).split(READ, 1), told_B, strict=True)
    told = [cross_entropy(read_BC, t_B) for read_BC, t_B in readings if (t_B >= 0).any()]
    labels = nats_N[weight_N == LABEL_WEIGHT].tolist()
    return spoken, torch.stack(told).sum() if told else spoken.new_zeros(()), labels


def train(
    model: LlamaForCausalLM, head: torch.nn.Linear, stream: Iterator[list[Row]], steps: int, rate: float = 1.0
) -> None:
    """Both processes' gradients are averaged; each tells of its own half."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in [*model.parameters(), *head.parameters()] if all(p is not m for m in matrices)]
    optimizers = (
        Muon(matrices, rate * MUON_RATE),
        torch.optim.AdamW(others, rate * ADAM_RATE, (0.9, 0.98), weight_decay=0.0),
    )
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: _rate(step, steps)) for o in optimizers]
    began, spoken_nats, told_nats, label_nats = time.monotonic(), [], [], [0.0]
    for step in range(steps):
        for weights in (*matrices, *others):
            weights.grad = torch.zeros_like(weights)
        spoken, told, labels = losses(model, head, next(stream))
        (spoken + HEAD_WEIGHT * told).backward()
        _average([weights.grad for weights in (*matrices, *others)])
        for part in (*optimizers, *schedules):
            part.step()
        spoken_nats.append(spoken.item())
        told_nats.append(told.item())
        label_nats += labels
        if step % 50 == 49:
            means = [fmean(n) for n in (spoken_nats[-50:], label_nats[-800:], told_nats[-50:])]
            seen = "loss {:.3f}, labels {:.3f}, head {:.3f}".format(*means)
            print(f"{distributed.get_rank()} step {step + 1}: {seen}, {time.monotonic() - began:.0f} s", flush=True)


def _average(tensors: Sequence[Tensor]) -> None:
    """Over both processes, in place."""
    together = torch.cat([tensor.flatten() for tensor in tensors]) / WORLD
    distributed.all_reduce(together)
    for tensor, mean in zip(tensors, together.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _rate(step: int, steps: int) -> float:
    """Up in WARMUP steps, then down along a cosine."""
    return min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal (Jordan et al. 2024): learns in about half of Adam's steps here. Each of the two
    processes does it for half of the matrices."""

    def __init__(self, matrices: Sequence[torch.nn.Parameter], rate: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            updates = [torch.zeros_like(matrix) for matrix in group["params"]]
            for i in range(distributed.get_rank(), len(updates), WORLD):
                matrix = group["params"][i]
                moved = self.state[matrix].setdefault("moved", torch.zeros_like(matrix))
                moved.lerp_(matrix.grad, 1 - group["momentum"])
                updates[i] = _orthogonal(matrix.grad.lerp(moved, group["momentum"])) * WORLD
            _average(updates)
            for matrix, update in zip(group["params"], updates, strict=True):
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


@dataclass(frozen=True, slots=True)
class Task:
    """What both processes are told."""

    tokenizer: PreTrainedTokenizerFast
    meeting: Path
    """Where they meet."""
    out: Path
    real: Path | None
    steps: int


def mixed(real: Path | None, rng: random.Random) -> tuple[Iterator[Example], Iterator[Example]]:
    """What each process learns from, endless: the assistant's lessons, and the writer's."""
    return lessons(real, rng, SEED), writer.lessons(real, rng)


def last(real: Path | None, rng: random.Random) -> tuple[Iterator[Example], Iterator[Example]]:
    """What each learns from at the end: more judging, beside sentences of every kind, and more soothing."""
    return lessons(real, rng, SEED, LAST_SKILLS), writer.lessons(real, rng, writer.LAST_SKILLS)


def begun(real: Path | None, rng: random.Random) -> tuple[Iterator[Example], Iterator[Example]]:
    """What goes before: each is learned in minutes by itself, and amid the rest not at all."""
    rows = read_real(real) if real else []
    facts = drills(FIRST_DRILLS, rng, SEED)
    return chain(copying(FIRST_COPIES, rows, rng), facts), copying(FIRST_COPIES, rows, rng)


def work(rank: int, task: Task) -> None:
    """One of two processes: each reads its half, and both take the same steps."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    distributed.init_process_group("gloo", init_method=task.meeting.as_uri(), rank=rank, world_size=WORLD)
    comfort.SPELLED += comfort.untelling(piece.strip("Ġ") for piece in task.tokenizer.get_vocab())
    comfort.SPOKEN += spoken()
    torch.manual_seed(SEED)
    model = new_model(task.tokenizer)
    model.model.compile(dynamic=True)
    first_course(model, rank, task)
    last_course(model, rank, task)
    if rank == 0:
        save(model, task.tokenizer, task.out)
    distributed.destroy_process_group()


def first_course(model: LlamaForCausalLM, rank: int, task: Task) -> None:
    rng = random.Random(SEED + rank)
    taught = chain(begun(task.real, rng)[rank], mixed(task.real, rng)[rank])
    rows = (encode(task.tokenizer, example) for example in taught)
    train(model, torch.nn.Linear(HIDDEN, sum(READ)), batches(rows, rng), task.steps)


def last_course(model: LlamaForCausalLM, rank: int, task: Task) -> None:
    """From weights as a file holds them, in fp16."""
    for weights in model.parameters():
        weights.data = weights.data.half().float()
    head = torch.nn.Linear(HIDDEN, sum(READ))
    torch.nn.init.zeros_(head.weight)
    rng = random.Random(SEED + WORLD + rank)
    rows = (encode(task.tokenizer, example) for example in last(task.real, rng)[rank])
    train(model, head, batches(rows, rng), LAST_STEPS, LAST_RATE)


def build(out: Path, real: Path | None, steps: int) -> str:
    """Trains, checks and saves; ``out`` is replaced as a whole at the end. Returns the table of the check."""
    started = time.monotonic()
    fresh = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    both = mixed(real, random.Random(SEED))
    tokenizer = train_tokenizer([next(half) for _ in range(TOKENIZER_EXAMPLES // WORLD) for half in both])
    task = Task(tokenizer, fresh / ".meeting", fresh, real, steps)
    torch.multiprocessing.spawn(work, (task,), nprocs=WORLD)
    print(f"the weights are there, {time.monotonic() - started:.0f} s after the start", flush=True)
    (fresh / ".meeting").unlink(missing_ok=True)
    torch.set_num_threads(WORLD)
    found = table(check(fresh, CHECKED_PROMPTS, SEED))
    weights = sum(math.prod(shape) for shape in shapes(fresh / "model.safetensors"))
    facts = {"parameters": weights, "steps": steps, "real": real is not None, "table": found}
    (fresh / "README.md").write_text(_card(**facts), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return found


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


def shapes(file: Path) -> list[list[int]]:
    with safe_open(file, "pt") as tensors:
        return [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118, it is no dict


def _card(**facts: Any) -> str:
    source = Path(__file__).with_name("embedded_card.md").read_text(encoding="utf-8")
    return render_text(
        source,
        tokens=WORLD * TOKENS_A_STEP,
        seed=SEED,
        last_steps=LAST_STEPS,
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
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    print(build(arguments.out, arguments.real, arguments.steps))
