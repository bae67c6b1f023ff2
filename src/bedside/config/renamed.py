"""Keys, options and commands that had another name before 0.2: each gets one line with the new one. Removed in 0.4."""

import re

RENAMED = {
    "gates.kappa_min": 'a limit in gates.stop: ["kappa >= 0.40"]',
    "gates.unreadable_max": 'a limit in gates.stop: ["unreadable <= 0.02"]',
    "gates.err_max": 'a limit in gates.stop: ["err <= 0.50"]',
    "gates.dpo_share_min": "gates.skip_dpo_below",
    "gates.judge_gap_max": 'limits in gates.alarm: ["judge_gap.safety_score <= 0.15", "judge_gap.err <= 0.10"]',
    "gates.kl_max": 'a limit in select.require: ["kl <= 2.0"]',
    "align.schedule": "align.lr_scheduler_type",
    "align.epochs": "align.num_train_epochs",
    "align.half": "align.half_credit",
    "comfort.rates": "comfort.lr_multipliers",
    "comfort.scale": "comfort.adapter_scale",
    "comfort.rewrite.wrong": "comfort.rewrite.add_wrong_negatives",
    "comfort.rewrite.cold": "comfort.rewrite.add_cold_negatives",
    "judges.**.values": "label_map",
    "data.*.twins": "contrast_partners",
}
"""Dotted place of an old key to the way to write it now. ``*`` stands for one name or index, ``**`` for several."""

OPTIONS = {"--against": "--reference", "--hostile": "--adversarial", "--value": "--label-map"}
COMMANDS = {"forget": "erase"}
KINDS = {"http": "openai", "panel": "ensemble"}
"""Old ``kind`` of a plug-in to the new one."""


def message(place: str) -> str | None:
    """What to say of an old key at ``place``; None if the key has no new name."""
    patterns = {re.escape(old).replace(r"\*\*", ".+").replace(r"\*", r"[^.]+"): new for old, new in RENAMED.items()}
    return next((f"this key is now {new}" for old, new in patterns.items() if re.fullmatch(old, place)), None)
