"""`bedside init` writes a config that loads, from options or from answers, and never guesses a harm level."""

import csv

import pytest

import bedside
from bedside.alignment import learning_rates, starting
from bedside.core.errors import ConfigError, DataError, ModelError
from bedside.core.gates import GateState

WORDS = ("keine", "low", "medium", "high")
MAP = {"keine": "0", "low": "1", "medium": "2", "high": "3"}


@pytest.fixture
def tickets(tmp_path):
    """300 prompts under odd names: 20 topics, a level word each, six rows without one."""
    file = tmp_path / "Tickets: export.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened, delimiter=";")
        writer.writerow(["Nr", 'What "they" ask', "Risk: level", "Topic"])
        for i in range(300):
            text = f"May person{i} take remedy{i * 7} while{i * 13} travelling{i * 17}?"
            writer.writerow([i, text, "" if i % 50 == 7 else WORDS[i % 4], f"topic{i % 100}"])
    return str(file)


def request(tickets, **more):
    columns = {"prompt": 'What "they" ask', "harm": "Risk: level"}
    return bedside.InitRequest(tickets, **({"model": "smollm2", "columns": columns, "label_map": MAP} | more))


def test_options_alone_give_a_config_that_loads_beside_the_folder(tickets, tmp_path, monkeypatch):
    (file,) = bedside.init(tmp_path / "run", request(tickets, judge="./other-model"))
    monkeypatch.chdir(tmp_path / "run")
    config = bedside.load(file)
    assert config.run == "Tickets--export"
    assert config.data.train.dataset.path == "../Tickets: export.csv"
    assert config.data.test.dataset.label_map == {"keine": 0, "low": 1, "medium": 2, "high": 3}
    assert config.data.test.dataset.unlabelled == "skip"
    assert (config.select.judge, config.align.judge) == ("external", "external")
    assert [(step.objective.kind, step.learning_rate) for step in config.align.train] == [("sft", 1e-3)]
    lines = starting.sizing(config)
    assert lines[1] == "6 rows are left out: no harm level"
    severe = next(line for line in lines if line.startswith("unsafe_accept@3"))
    assert severe.startswith("unsafe_accept@3 <= 0.05 needs 63 groups of harm 3 in test, if no answer fails; it has ")
    assert severe.endswith("such groups to the file, as test draws 40%")
    assert lines[-1].startswith("too few to decide on a release")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"columns": {}}, "give --column 'prompt=What \"they\" ask' --column 'harm=Risk: level', if that is right"),
        ({"label_map": {"low": "1"}}, "Give --label-map keine=LEVEL --label-map medium=2 --label-map high=3"),
        ({"label_map": MAP | {"low": "4"}}, r"--label-map low=4: a level is 0 (harmless), 1, 2 or 3 (severe)"),
        ({"label_map": MAP | {"mild": "1"}}, "--label-map mild: column Risk: level has keine, low, medium, high"),
        ({"columns": {"prompt": "Nr.", "harm": "Risk: level"}}, "no column 'Nr.'; the columns are Nr, What"),
        ({"columns": {"promt": "Nr"}}, "--column promt=Nr: nothing is read as promt; it is one of prompt, harm"),
        ({"columns": {"prompt": 'What "they" ask', "harm": "Topic"}}, "column Topic has more than 12 different values"),
        ({"model": None}, "give --model NAME"),
    ],
)
def test_what_is_open_is_one_error_with_the_option_to_give(tickets, tmp_path, more, said):
    with pytest.raises((ConfigError, DataError)) as caught:
        bedside.init(tmp_path / "run", request(tickets, **more))
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_in_a_terminal_the_same_is_asked_and_wrong_answers_are_refused(tickets, tmp_path):
    asked = []

    def ask(question):
        asked.append(question)
        given = {"Levels": "0", "Model": "our/model-8b"}
        return given.get(question.text.split()[0].strip(":"), question.default)

    (file,) = bedside.init(tmp_path / "run", bedside.InitRequest(tickets), ask)
    assert [question.default for question in asked] == [
        'What "they" ask', "Risk: level", "-", "", "1", "2", "3", "", ""
    ]  # fmt: skip
    levels = asked[3]
    assert levels.text.endswith("Risk: level = keine, 75 rows, is level")
    assert (levels.complaint("4"), levels.complaint("3")) == ("the levels are 0, 1, 2, 3", "")
    assert asked[0].complaint("Nummer").startswith("the columns are Nr, ")
    config = bedside.load(file)
    assert config.data.train.dataset.columns == {"prompt": 'What "they" ask', "harm": "Risk: level"}
    assert [(step.objective.kind, step.learning_rate) for step in config.align.train] == [("kto", 5e-6), ("dpo", 5e-6)]
    assert config.selecting_judge == "self"


def test_a_scale_of_other_numbers_is_no_harm_level(tmp_path):
    """1 to 4 looks like levels; 1 would be read as mild."""
    file = tmp_path / "p.csv"
    file.write_text(
        "prompt,harm\n" + "".join(f"What{i * 7} about{i * 11} remedy{i * 13}?,{1 + i % 4}\n" for i in range(40))
    )
    one = bedside.InitRequest(str(file), model="smollm2")
    with pytest.raises(ConfigError, match="what do the words of column harm mean"):
        bedside.init(tmp_path / "run", one)
    shifted = bedside.InitRequest(str(file), model="smollm2", label_map={str(i + 1): str(i) for i in range(4)})
    config = bedside.load(bedside.init(tmp_path / "run", shifted)[0], [f"data.path={file}"])
    from bedside.alignment import preflight

    assert sorted({prompt.harm for prompt in preflight.read_data(config).parts.train}) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("names", "given", "name", "said"),
    [
        (["llama-70b"], None, "llama-70b", ""),
        (["a", "b"], None, None, "has 2 models: a, b; give --judge-model NAME"),
        (ModelError("127.0.0.1:9: no answer"), None, None, "so its models are not known; give --judge-model NAME"),
        (ModelError("127.0.0.1:9: no answer"), "mine", "mine", ""),
    ],
)
def test_the_judges_name_is_read_from_its_endpoint_where_there_is_one(
    tickets, tmp_path, monkeypatch, names, given, name, said
):
    def served(url, key, key_name):
        assert (url, key, key_name) == ("http://127.0.0.1:9/v1", "secret", "JUDGE_KEY")
        if isinstance(names, ModelError):
            raise names
        return tuple(names)

    monkeypatch.setattr(starting, "served_models", served)
    monkeypatch.setenv("JUDGE_KEY", "secret")
    one = request(tickets, judge="http://127.0.0.1:9", judge_model=given, judge_key_env="JUDGE_KEY")
    if name is None:
        with pytest.raises(ConfigError, match=said):
            bedside.init(tmp_path / "run", one)
        return
    text = bedside.init(tmp_path / "run", one)[0].read_text()
    assert f'url: "http://127.0.0.1:9/v1", model: {name}, api_key_env: JUDGE_KEY' in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("target", "train", "state", "said"),
    [
        (
            "smollm2",
            "[{kind: kto}]",
            GateState.FAIL,
            "kto 5e-06 is 1/200 of the rate to begin with for 135",
        ),
        ("smollm2", "[{kind: sft, learning_rate: 1.0e-3}]", GateState.PASS, "sft 0.001: suits 135 million weights"),
        ("a/b-8B", "[{kind: dpo, learning_rate: 1.0e-3}]", GateState.FAIL, "dpo 0.001 is 200 times the rate"),
        ("a/b-8B", "[{kind: dpo}]", GateState.PASS, "suits 8 billion weights"),
        ("a/b-8B", "[{kind: dpo, learning_rate: 0}]", GateState.INCONCLUSIVE, "a control"),
        ("a/b", "[{kind: dpo}]", GateState.NOT_CHECKED, "is not known here"),
    ],
)
def test_a_rate_far_from_the_models_size_is_marked(target, train, state, said):
    data = {part: {"kind": "clinic", "part": part, "n": 4} for part in ("train", "valid", "test")}
    from bedside.config import yaml_source
    from bedside.config.schema import Config

    config = Config.model_validate({"target": target, "data": data, "align": {"train": yaml_source.parse(train, "")}})
    found = learning_rates.finding(config)
    assert (found.state, said in found.reason) == (state, True), found.reason


def test_rates_between_two_sizes_are_interpolated_in_logarithms():
    """Half way between 1e9 and 3e9, in logarithms, is sqrt(3) e9; half way between 2e-5 and 1e-5 is 1.41e-5."""
    assert learning_rates.first_rate("kto", 3**0.5 * 1e9) == 1.4e-5
    assert learning_rates.first_rate("kto", 7e10) == 5e-6
    assert learning_rates.first_rate("orpo", 1e9) is None
