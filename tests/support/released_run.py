"""A finished run that released an adapter, without a training: random weights in the place of learned ones."""

import json
from dataclasses import replace
from pathlib import Path

import yaml

from bedside.config import loader
from bedside.config.schema import Config
from bedside.data.io import write_json
from bedside.report.card import complete_release
from bedside.run import summary_file
from bedside.run.events import EventLog
from tests.support.finished_run import small_run


def released_run(root: Path, model: Path) -> Path:
    """The run in the folder ``root``, whose adapter has ``model`` as its base."""
    run = small_run(root)
    write_json(run / "summary.json", replace(summary_file.read(run), released="cycle-1/kto"))
    (run / "config.yaml").write_text(yaml.safe_dump(loader.tables(_config(model)), sort_keys=False))
    _write_adapter(run / "release", model)
    EventLog(run).record(run / "summary.json", run / "config.yaml")
    complete_release(run)
    EventLog(run).record(run / "release")
    return run


def _config(model: Path) -> Config:
    data = {part: {"kind": "clinic", "part": part, "n": 1} for part in ("train", "valid", "test")}
    return loader.load(Config, None, (), {"run": "clinic", "target": str(model), "data": data}).config


def _write_adapter(folder: Path, model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora).save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(model)}))
    (folder / "README.md").unlink()  # peft's own card
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    GenerationConfig.from_pretrained(model).save_pretrained(folder)
