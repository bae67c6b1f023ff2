"""Products in two dtypes are timed in rounds that alternate, and medians are compared."""

import pytest

torch = pytest.importorskip("torch")

from bedside.training import matmul_speed


class Clock:
    """Time passes only while a side runs: its next duration, the last one for ever."""

    def __init__(self, **seconds):
        self.now, self.order, self.seconds = 0.0, [], seconds

    def side(self, name):
        def run():
            self.order.append(name)
            times = self.seconds[name]
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return run

    def medians(self):
        return matmul_speed.median_seconds({name: self.side(name) for name in self.seconds}, lambda: self.now)


def test_the_first_call_and_one_disturbed_round_decide_nothing():
    clock = Clock(float32=[9.0, 0.03], bfloat16=[9.0, 0.01, 5.0, 0.01])
    assert clock.medians() == pytest.approx({"float32": 0.03, "bfloat16": 0.01})


def test_rounds_alternate_until_the_time_is_over():
    clock = Clock(a=[0.004], b=[0.001])
    clock.medians()
    assert clock.order[:6] == ["a", "b", "a", "b", "b", "a"], "unmeasured, then a first, then b first"
    assert clock.now == pytest.approx(0.030), "25 ms, and the unmeasured calls"


def test_slow_products_are_timed_three_times():
    clock = Clock(a=[1.0], b=[1.0])
    clock.medians()
    assert len(clock.order) == 2 * (1 + matmul_speed.MIN_ROUNDS)


def test_a_measurement_draws_no_random_number_and_gives_a_ratio(monkeypatch):
    monkeypatch.setattr(matmul_speed, "SECONDS", 0.0)
    before = torch.get_rng_state()
    assert matmul_speed.bf16_speedup([(16, 48), (48, 16)]) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_processor_that_emulates_bf16_is_spared_the_large_trial(monkeypatch):
    tried = []

    def seconds(sides):
        tried.append(len(tried))
        return {"float32": 1.0, "bfloat16": 2.5}

    monkeypatch.setattr(matmul_speed, "median_seconds", seconds)
    assert matmul_speed.bf16_speedup([(16, 48)]) == 0.4
    assert tried == [0]
