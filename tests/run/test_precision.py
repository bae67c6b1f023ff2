"""The dtype of a run: chosen once, written into its config.yaml, read by whoever goes on. Rates are given here."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

import yaml
from tests.support.tiny_models import make_tiny
from tests.training.test_ranks import side_by_side

from bedside.config.plugins import Plugin
from bedside.config.schema import Config
from bedside.core.distributed import SingleRank
from bedside.core.errors import ConfigError
from bedside.core.protocols import Launch, SilentProgress
from bedside.core.types import GenerationRequest, Message, Prompt
from bedside.run import environment, precision
from bedside.run.context import open_run
from bedside.run.environment import numerics
from bedside.run.folder import write_config
from bedside.run.stage_cache import StageCache


class Lines(SilentProgress):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


class Measured:
    """Says that bfloat16 is ``speedup`` times as fast, and keeps what it was asked."""

    def __init__(self, speedup):
        self.speedup, self.asked = speedup, []

    def __call__(self, shapes):
        self.asked.append(tuple(shapes))
        return self.speedup


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model that is wide enough to be measured."""
    return make_tiny(tmp_path_factory.mktemp("wide") / "llama", "llama", hidden=256, intermediate_size=288)


@pytest.fixture
def config(wide, tmp_path):
    def make(dtype="auto", model=wide):
        data = {part: {"kind": "clinic", "part": part, "n": 10} for part in ("train", "valid", "test")}
        target = {"model": str(model), "dtype": dtype}
        return Config.model_validate({"runs": str(tmp_path), "target": target, "data": data, "device": "cpu"})

    return make


def answered(config, speedup):
    """A run that was opened, written down, and has answered: dtype, stage keys, what was measured."""
    measure = Measured(speedup)
    run = open_run(config, SilentProgress(), measure=measure)
    write_config(run.cache, run.config)
    requests = [GenerationRequest(Prompt((Message("user", "How much?"),), harm=0))]
    run.stages.answers(requests, run.target.checkpoint, "trial", 2).all()
    stages = {path.name for path in (run.folder / "store" / "generate").iterdir()}
    return str(run.target.module().dtype).removeprefix("torch."), stages, measure.asked


def folder(config):
    return Path(config.runs) / config.run


def as_written_before(config):
    """An earlier version left ``auto`` in config.yaml."""
    file = folder(config()) / "config.yaml"
    file.write_text(file.read_text().replace("dtype: float32", "dtype: auto"))
    StageCache(folder(config())).record(file)


def recorded(config):
    return yaml.safe_load((folder(config) / "config.yaml").read_text())["target"]["dtype"]


@pytest.mark.parametrize(("speedup", "dtype"), [(1.49, "float32"), (1.5, "bfloat16")])
def test_bf16_is_taken_from_1_5_times_on_and_a_resumed_run_reads_it_elsewhere(speedup, dtype, config):
    computed, stages, asked = answered(config(), speedup)
    assert (computed, recorded(config())) == (dtype, dtype)
    assert asked == [((256, 256), (256, 288), (288, 256))], "the products of this model, once"
    again, same_stages, asked = answered(config(), 3.0 - speedup + 1e-3)
    assert (again, same_stages, asked) == (dtype, stages, []), "another machine would have chosen the other"


def test_a_dtype_that_the_config_names_is_not_measured_and_another_one_is_another_run(config):
    assert answered(config("bfloat16"), 1.0)[::2] == ("bfloat16", [])
    with pytest.raises(ConfigError, match=r'target\.dtype was \'bfloat16\' and is \'float32\'.*target\.dtype="bfl'):
        answered(config("float32"), 9.0)


def test_a_run_that_began_before_dtypes_were_written_stays_in_fp32_and_keeps_its_results(config):
    _, stages, _ = answered(config("float32"), 1.0)
    as_written_before(config)
    assert answered(config(), 9.0) == ("float32", stages, [])
    assert recorded(config()) == "auto", "a card would still compute it in bfloat16, as before"


def test_a_run_that_began_before_dtypes_were_written_is_not_continued_in_one_that_is_named(config):
    answered(config("float32"), 1.0)
    as_written_before(config)
    with pytest.raises(ConfigError, match=r"target\.dtype was 'auto' and is 'bfloat16'"):
        answered(config("bfloat16"), 1.0)


@pytest.mark.parametrize("speedup", [1.4, 1.6])
def test_a_verb_that_writes_no_config_measures_once_too(speedup, config):
    one = open_run(config(), SilentProgress(), measure=Measured(speedup))
    assert not (folder(config()) / "config.yaml").exists()
    other = open_run(config(), SilentProgress(), measure=(again := Measured(3.0 - speedup)))
    assert (other.config.target.dtype, other.cache.numerics) == (one.config.target.dtype, one.cache.numerics)
    assert not again.asked


def test_the_config_that_a_report_names_continues_the_run_as_it_was(config):
    _, stages, _ = answered(config(), 2.0)
    written = Config.model_validate(yaml.safe_load((folder(config()) / "config.yaml").read_text()))
    assert answered(written, 1.0) == ("bfloat16", stages, [])


def test_results_of_one_dtype_are_not_taken_for_those_of_another(config):
    stages = [answered(config(dtype).model_copy(update={"run": dtype}), 1.0)[1] for dtype in ("float32", "bfloat16")]
    assert not stages[0] & stages[1]


@pytest.mark.parametrize(
    ("device", "own", "target", "judge"),
    [
        ("cpu", "float32", "bfloat16", "bfloat16"),
        ("cpu", "float32", "float16", "float32"),
        ("cuda", "bfloat16", "float32", "bfloat16"),
        ("cuda", "bfloat16", "auto", "bfloat16"),
    ],
)
def test_other_models_follow_a_target_in_bf16_on_a_cpu_only(device, own, target, judge, config):
    launch = Launch(device=device, dtype=own)
    assert precision.of_others(config(target), launch).dtype == judge
    assert precision.of_target(config(target), launch).dtype == (own if target == "auto" else target)


def test_without_units_for_bf16_the_results_are_kept_under_the_names_they_had(config):
    run = open_run(config(), SilentProgress(), measure=Measured(0.1))
    assert run.cache.numerics == numerics(environment.launch("cpu", 0))
    assert run.launch.dtype == "float32"


def test_a_choice_of_bf16_is_said_with_its_gain_and_how_to_do_without(config):
    precision.settle(config(), Launch(), SingleRank(), progress := Lines(), Measured(3.21))
    assert progress.lines == [
        "matrix products are 3.2 times as fast in bfloat16 as in float32 here: this run computes in bfloat16; "
        "--set target.dtype=float32 keeps it in float32"
    ]
    again = config().model_copy(update={"run": "again"})
    precision.settle(again, Launch(), SingleRank(), progress := Lines(), Measured(1.2))
    assert not progress.lines


def test_a_card_is_not_measured_and_goes_on_in_the_dtype_of_its_run(config):
    card, measure = Launch(device="cuda", dtype="bfloat16"), Measured(1.0)
    settled = precision.settle(config(), card, SingleRank(), SilentProgress(), measure)
    assert (settled.target.dtype, measure.asked) == ("bfloat16", [])
    answered(config(), 1.0)
    settled = precision.settle(config(), card, SingleRank(), progress := Lines(), measure)
    assert settled.target.dtype == "float32"
    assert progress.lines == [
        "this run began in float32 and continues in it; for bfloat16 begin another: --set target.dtype=bfloat16 "
        "--set run=NAME"
    ]


def test_a_run_that_began_in_bf16_says_so_on_a_cpu_that_may_be_slow_in_it(config):
    answered(config(), 2.0)
    precision.settle(config(), Launch(), SingleRank(), progress := Lines(), Measured(0.1))
    assert progress.lines == [
        "this run began in bfloat16 and continues in it; for float32 begin another: --set target.dtype=float32 "
        "--set run=NAME"
    ]


@pytest.mark.parametrize("changed", [{"hidden_size": 160}, {"intermediate_size": None}])
def test_a_narrow_or_unknown_model_is_not_measured(changed, config, tmp_path):
    (tmp_path / "model").mkdir()
    table = {"hidden_size": 4096, "intermediate_size": 8192} | changed
    (tmp_path / "model" / "config.json").write_text(json.dumps(table))
    settled = precision.settle(
        config(model=tmp_path / "model"), Launch(), SingleRank(), SilentProgress(), Measured(9.0)
    )
    assert settled.target.dtype == "float32"


def test_the_packaged_model_is_not_measured(config):
    settled = precision.settle(config(model="embedded"), Launch(), SingleRank(), SilentProgress(), Measured(9.0))
    assert settled.target.dtype == "float32", "the figures of the demo are those of float32 on every CPU"


def test_rank_0_alone_measures_and_all_take_its_choice(config):
    measures = [Measured(2.0), Measured(1.0)]

    def settled(ranks):
        return precision.settle(config(), Launch(), ranks, SilentProgress(), measures[ranks.rank]).target.dtype

    assert side_by_side(2, settled) == ["bfloat16", "bfloat16"]
    assert [len(measure.asked) for measure in measures] == [1, 0]


def test_what_stops_one_rank_before_a_dtype_is_chosen_is_raised_on_all(config):
    def opened(ranks):
        missing = {"report_to": "wandb"} if ranks.rank else {}
        return open_run(config().model_copy(update=missing), SilentProgress(), ranks=ranks, measure=Measured(1.0))

    first, second = side_by_side(2, opened)
    assert str(first).startswith("process 1: report_to: wandb, but wandb is not installed")
    assert isinstance(second, ConfigError)


def test_a_target_of_a_plugin_with_a_dtype_of_its_own_stays_as_it_is(config):
    class Theirs(Plugin):
        kind: str = "theirs"
        dtype: str = "auto"

        def open(self, launch, **opened): ...

    theirs = config().model_copy(update={"target": Theirs()})
    settled = precision.settle(theirs, Launch(), SingleRank(), SilentProgress(), Measured(9.0))
    assert settled == theirs
