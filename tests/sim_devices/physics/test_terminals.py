import statistics

import numpy as np
import pytest

from sim_devices.physics.terminals import WiredTerminals


def test_an_input_loads_a_source_with_resistance(clock):
    terminals = WiredTerminals(clock, channels={101: {"voltage_V": 3.0, "source_ohm": 10e6}})
    assert terminals.voltage_V(101, 10e6) == pytest.approx(1.5)
    assert terminals.voltage_V(101, 10e9) == pytest.approx(3.0, rel=2e-3)


def test_a_thermocouple_is_a_voltage_against_the_terminals(clock):
    channels = {101: {"temperature_C": 125.0, "thermocouple": "K"}}
    terminals = WiredTerminals(clock, channels=channels, cold_junction_C=25.0)
    assert terminals.temperature_C(101, "K") == pytest.approx(125.0)
    assert terminals.voltage_V(101, 10e6) == pytest.approx(4.05e-3)  # NIST: 4.096 mV from 0 to 100 degC
    assert terminals.temperature_C(101, "J") == pytest.approx(
        103.3, abs=0.1
    )  # the wrong type tells a wrong one


def test_a_thermocouple_and_its_cold_junction_may_be_off(clock):
    channels = {101: {"temperature_C": 60.0, "offset_K": 1.5}, 102: {"temperature_C": 60.0}, 103: {}}
    terminals = WiredTerminals(clock, channels=channels, cold_junction_error_K=-0.4)
    assert terminals.temperature_C(101, "K") == pytest.approx(61.1)
    assert terminals.temperature_C(102, "K") == pytest.approx(59.6)
    assert terminals.temperature_C(103, "K") == pytest.approx(24.6)
    assert terminals.voltage_V(102, 10e6) == pytest.approx(
        35 * 40.5e-6
    )  # the voltage knows nothing of the error


def test_a_voltage_is_far_from_any_temperature(clock):
    terminals = WiredTerminals(clock, channels={101: {"voltage_V": 3.7}})
    assert terminals.temperature_C(101, "K") > 10_000


def test_what_is_not_connected_is_open(clock):
    terminals = WiredTerminals(clock, channels={101: {"voltage_V": 3.7, "open": True}, 102: {}})
    for channel in (101, 102, 103):
        assert terminals.is_open(channel)
        assert terminals.voltage_V(channel, 10e6) == 0.0
        assert terminals.voltage_V(channel, 10e9) == 0.35
        assert terminals.temperature_C(channel, "K") == 25.0
    terminals.wires[101].open = False
    assert not terminals.is_open(101)


def test_a_source_may_move(clock):
    terminals = WiredTerminals(clock, channels={101: {"voltage_V": clock.monotonic}})
    clock.sleep(2.0)
    assert terminals.voltage_V(101, 10e9) == 2.0


def test_noise_comes_from_the_generator_alone(clock):
    def readings(seed):
        terminals = WiredTerminals(
            clock,
            np.random.default_rng(seed),
            channels={"101": {"voltage_V": 1.0}, "102": {"temperature_C": 60.0}},
            noise_V=1e-3,
            noise_K=0.1,
        )
        return (
            [terminals.voltage_V(101, 10e9) for _ in range(500)],
            [terminals.temperature_C(102, "K") for _ in range(500)],
        )

    voltages, temperatures = readings(1)
    assert statistics.stdev(voltages) == pytest.approx(1e-3, rel=0.2)
    assert statistics.stdev(temperatures) == pytest.approx(0.1, rel=0.2)
    assert readings(1) == (voltages, temperatures)
    assert readings(2) != (voltages, temperatures)


def test_channels_lead_to_what_is_connected(clock):
    class Cell:
        def positive_potential_V(self):
            return 4.0

        def temperature_C(self):
            return 60.0

    channels = {
        101: {"voltage_V": "cell.positive_potential_V"},
        103: {"temperature_C": "cell.temperature_C", "thermocouple": "T"},
    }
    terminals = WiredTerminals(clock, channels=channels, cell=Cell())
    assert terminals.voltage_V(101, 10e6) == 4.0
    assert terminals.temperature_C(103, "T") == pytest.approx(60.0)
