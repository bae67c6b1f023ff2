"""The same rows, the same adapter, the same loss and gradients as TRL 1.16: from text to tensors."""

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tests.support.prompts import ask
from transformers import AutoModelForCausalLM, AutoTokenizer

from bedside.config.plugins import find, open_plugin
from bedside.core.protocols import Launch
from bedside.core.types import Demonstration, PreferencePair, UnpairedPreference
from bedside.data import trl_format
from bedside.training import train
from bedside.training.chat_template import Renderer
from bedside.training.logprobs import logps
from bedside.training.train import kl_estimate, row_scores

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TEXTS = [  # 16 to 31 tokens: one length band, where our mismatches are TRL's, the neighbour's completion
    "Take two with water.",
    "I cannot help with that.",
    "See a doctor today.",
    "No. Not this one.",
    "Rest, and drink more water.",
    "Ask your doctor.",
]
ROWS = {
    "kto": [UnpairedPreference(ask(f"How much {i}?", group=f"g{i}"), text, i % 3 == 0) for i, text in enumerate(TEXTS)],
    "dpo": [PreferencePair(ask(f"How much {i}?", group=f"g{i}"), text, text[::-1]) for i, text in enumerate(TEXTS)],
    "sft": [Demonstration(ask(f"How much {i}?", group=f"g{i}"), text) for i, text in enumerate(TEXTS)],
}


class Oracle:
    """A model under a random adapter, so that policy and reference differ; read as a policy by our stages."""

    def __init__(self, folder, seed):
        torch.manual_seed(seed)
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
        for name, weight in self.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.3)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.renderer = Renderer(self.tokenizer, [self.tokenizer.eos_token_id])

    def gradients(self, loss):
        self.model.zero_grad()
        loss.backward()
        return {n: p.grad.clone() for n, p in self.model.named_parameters() if p.requires_grad}


def ours(oracle, kind, settings):
    objective = open_plugin(find("objective", kind)(**settings), Launch(), {}).for_data(ROWS[kind])
    encoded = train.encode(ROWS[kind], oracle)
    mismatched = train.mismatched_pairs(range(len(encoded)), encoded)
    planned = [train.PlannedBatch(tuple(range(len(encoded))), mismatched if objective.needs_mismatch else ())]
    texts = train.exchanges(encoded, planned)
    with torch.no_grad(), oracle.model.disable_adapter():
        references = [train.SequenceLogprob(float(x)) for x in logps(oracle.model, texts, oracle.renderer.pad_id)]
    (batch,) = train.batches(encoded, planned, references if objective.needs_reference else None)
    pad_id = oracle.renderer.pad_id
    z = kl_estimate(oracle.model, batch.mismatches, pad_id)
    tokens_mean = sum(len(row.completions[0]) for row in batch.rows) / len(batch.rows)
    return objective, objective.loss(row_scores(oracle.model, batch.rows, z, tokens_mean, pad_id)).mean(), float(z)


def theirs(oracle, kind, objective, tmp_path):
    make = {"kto": trl_format.unpaired_row, "dpo": trl_format.pair_row, "sft": _sft_row}[kind]
    keep = {"prompt", "completion", "label", "chosen", "rejected"}
    rows = [{k: v for k, v in make(row).items() if k in keep} for row in ROWS[kind]]
    config, trainer = {
        "kto": (trl.KTOConfig, trl.KTOTrainer),
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "sft": (trl.SFTConfig, trl.SFTTrainer),
    }[kind]
    more = {"beta": objective.beta} if kind != "sft" else {}
    if kind == "kto":
        more |= {
            "desirable_weight": objective.desirable_weight,
            "undesirable_weight": objective.undesirable_weight,
        }
    if kind == "dpo" and objective.rpo_alpha:
        more |= {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, objective.rpo_alpha]}
    args = config(
        output_dir=str(tmp_path),
        per_device_train_batch_size=len(rows),
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        train_sampling_strategy="sequential",
        **more,
    )
    trainer_under_test = trainer(
        oracle.model, args=args, train_dataset=Dataset.from_list(rows), processing_class=oracle.tokenizer
    )
    for name, weight in trainer_under_test.model.named_parameters():
        if "lora_B.ref." in name:  # TRL's reference is a copy of the adapter it was given; ours here is the base
            torch.nn.init.zeros_(weight)
    batch = next(iter(trainer_under_test.get_train_dataloader()))
    oracle.model.train()
    return trainer_under_test.compute_loss(trainer_under_test.model, batch)


def _sft_row(row):
    return trl_format.unpaired_row(UnpairedPreference(row.prompt, row.answer, True))


def compared(folder, kind, settings):
    """The first random adapter with z > 0: a mismatch term of zero would compare nothing."""
    for seed in range(30):
        oracle = Oracle(folder, seed)
        objective, loss, z = ours(oracle, kind, settings)
        if z > 0 or kind != "kto":
            return oracle, objective, loss
    raise AssertionError("no adapter has z > 0")


@pytest.mark.parametrize("shape", ["llama", "qwen", "mistral"])
@pytest.mark.parametrize(("kind", "settings"), [("kto", {}), ("dpo", {}), ("dpo", {"rpo_alpha": 0.7}), ("sft", {})])
def test_loss_to_1e_5_and_gradients_to_1e_4_of_trl(kind, settings, shape, tiny, tmp_path):
    oracle, objective, loss = compared(tiny[shape], kind, settings)
    grads = oracle.gradients(loss)
    expected = theirs(oracle, kind, objective, tmp_path)
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    for name, gradient in oracle.gradients(expected).items():
        error = (grads[name] - gradient).norm() / gradient.norm().clamp(min=1e-12)
        assert error < 1e-4, f"{name}: {error}"
