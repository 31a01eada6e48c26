import xml.etree.ElementTree as ET

import pytest

from ssblab.quantities import BadInput
from ssblab.steps import CellFacts, Log, parse, resolve, to_pybamm, to_unicycler

CELL = CellFacts("ncm-01", capacity_mAh=8, area_cm2=4, charge_means="delithiation")
SILICON = CellFacts("si-01", capacity_mAh=8, charge_means="lithiation")


def strings(text, cell=CELL):
    return to_pybamm(resolve(parse(text), cell))


EVERY_10_S = Log(10)


def protocol(text, cell=CELL, log=EVERY_10_S):
    return to_unicycler(resolve(parse(text), cell), log=log)


def test_pybamms_strings_with_loops_written_out():
    assert strings("""
        Repeat 2 times:
            Charge at 0.5C to 4.2 V and hold until 10 mA (1 min period)
            Rest for 1 h
        Discharge at 0.1 mA/cm2 for 10 h or until 2.5 V
    """) == [
        *[
            "Charge at 0.004 A until >4.2 V (60 s period)",
            "Hold at 4.2 V until 0.01 A (60 s period)",
            "Rest for 3600 s",
        ]
        * 2,
        "Discharge at 0.0004 A for 36000 s or until <2.5 V",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Rest for 1 h\nEIS from 1 MHz to 1 Hz at 10 mV", "step 2 .EIS"),
        ("Set pressure to 20 MPa", "no such step"),
        ("While H2S < 1 ppm, else stop: Rest for 1 h", "no such step"),
        ("Charge at 1C until 4.2 V or 5 mAh", "one condition"),
        ("Charge at 1C until 5 mAh", "a voltage, a current or a time only"),
        ("Rest until 3 V", "say '<' or '>'"),
        ("Charge at 1C to 4.2 V and hold for 1 h", "two steps"),
        ("Hold at 4 V until current > 1 mA", "risen"),
        ("Rest for 1 h (every 1 s, 5 mV)", "by time only"),
    ],
)
def test_what_pybamm_cannot_say_is_refused_with_the_step(text, says):
    with pytest.raises(BadInput, match=says):
        strings(text)


PROGRAM = """
    Limits: voltage > 2.4 V, voltage < 4.3 V, current < 20 mA
    Rest for 1 h
    Repeat 3 times:
        Charge at 0.1C to 4.2 V and hold until 0.08 mA
        Discharge at 0.1C for 12 h or until 2.5 V
        Repeat 2 times:
            Rest for 1 min
    Hold at 4 V for 1 h
"""


def test_a_protocol_of_unicycler():
    made = protocol(PROGRAM, log=Log(10, 0.005, 1e-5)).to_dict()
    assert made["record"] == {"time_s": 10, "voltage_V": 0.005, "current_mA": pytest.approx(0.01)}
    safety = {key: value for key, value in made["safety"].items() if value is not None}
    assert safety == {
        "min_voltage_V": 2.4,
        "max_voltage_V": 4.3,
        "min_current_mA": -20,
        "max_current_mA": 20,
    }
    kinds = [step["step"] for step in made["method"]]
    assert kinds == [
        "open_circuit_voltage",
        "tag",
        "constant_current",
        "constant_voltage",
        "constant_current",
        "tag",
        "open_circuit_voltage",
        "loop",
        "loop",
        "constant_voltage",
    ]
    charge, hold, discharge = made["method"][2:5]
    assert (charge["current_mA"], charge["until_voltage_V"]) == (pytest.approx(0.8), 4.2)
    assert (hold["voltage_V"], hold["until_current_mA"]) == (4.2, pytest.approx(0.08))
    assert (discharge["current_mA"], discharge["until_time_s"]) == (pytest.approx(-0.8), 43200)


def test_the_protocol_goes_on_to_newares_format():
    steps = ET.fromstring(protocol(PROGRAM).to_neware_xml()).iter()
    voltages = [float(element.get("Value")) for element in steps if element.tag == "Stop_Volt"]
    assert 25000 in voltages


def test_a_sweep_and_a_spectrum():
    sweep, spectrum = protocol("Sweep from 2 V to 3 V at 0.1 mV/s; EIS from 1 MHz to 1 Hz at 1 mA").method
    assert sweep.scan_rate_mV_per_s == pytest.approx(0.1)
    assert (spectrum.amplitude_mA, spectrum.start_frequency_Hz) == (1, 1e6)


def test_a_charge_that_lithiates_is_a_negative_current():
    (charge,) = protocol("Charge at 0.1C until 0.01 V", SILICON).method
    assert charge.current_mA == pytest.approx(-0.8)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Charge at 0.1C until 0 V", "0 V for no voltage"),
        ("Charge at 1 W for 1 h", "power"),
        ("Charge at 0.1C until 5 mAh", "one voltage"),
        ("Charge at 0.1C until voltage < 3 V or for 1 h", "one voltage"),
        ("Charge at 0.1C to 4.2 V and hold for 1 h", "two steps"),
        ("Hold at 4.2 V until 5 mAh", "one current"),
        ("Rest for 1 h or until voltage < 3 V", "by its time only"),
        ("Sweep to 3 V at 1 mV/s", "has a start"),
        ("Set pressure to 20 MPa", "no such step"),
        ("Limits: temperature < 60 degC\nRest for 1 h", "limits of voltage and current"),
        ("Rest for 1 h (1 s period); Rest for 1 h (2 s period)", "one interval"),
    ],
)
def test_what_unicycler_cannot_say_is_refused(text, says):
    with pytest.raises(BadInput, match=says):
        protocol(text)


def test_unicycler_needs_an_interval_of_records():
    with pytest.raises(BadInput, match="give log="):
        protocol("Rest for 1 h", log=None)
