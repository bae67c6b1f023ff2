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
from typing import Any

import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, distributed
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
from bedside.config.rendering import render_text
from embedded_check import check, table
from embedded_example import READ, Example
from embedded_lessons import LAST_SKILLS, drills, lessons
from embedded_real import copying, read_real
from embedded_rows import END, TOKENS_A_STEP, batches, encode
from embedded_start import copying_heads
from embedded_training import WORLD, train
from embedded_wordings import spoken

SEED, STEPS, LAST_STEPS = 7, 4300, 300
VOCABULARY, HIDDEN, LAYERS, HEADS, INNER, CONTEXT = 3072, 160, 4, 5, 560, 2048
ROPE_THETA = 1e6
FP32 = "sdpa_in_fp32"
LAST_RATE = 0.25
"""Of the last course, as a share of the first one's rates."""
TOKENIZER_EXAMPLES, CHECKED_PROMPTS = 6_000, 240
FIRST_COPIES, FIRST_DRILLS = 2_000, 12_000
PAD = "<|pad|>"
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
    train_result = chain(begun(task.real, rng)[rank], mixed(task.real, rng)[rank])
    rows = (encode(task.tokenizer, example) for example in train_result)
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
