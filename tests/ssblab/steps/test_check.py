import pytest

from ssblab.quantities import BadInput
from ssblab.steps import Bounds, CellFacts, check, parse, parse_conditions

CELL = CellFacts("ncm-01", capacity_mAh=8, area_cm2=4, charge_means="delithiation")
SILICON = CellFacts("si-01", capacity_mAh=8, charge_means="lithiation")
SAMPLE = Bounds("sample ncm-01", parse_conditions("voltage > 2.5 V, voltage < 4.3 V, current < 6C"))
STATION = Bounds(
    "the station", parse_conditions("temperature < 80 degC, pressure < 30 MPa, pressure > 1 MPa")
)


def errors(text, cell=CELL, *bounds):
    return [finding for finding in check(parse(text), cell, *bounds).findings if finding.severity == "error"]


@pytest.mark.parametrize(
    "text",
    [
        "Charge at 0.1C until 4.2 V",
        "Charge at 0.1C to 4.2 V and hold until 0.01C or for 20 h",
        "Charge at 4 W until current < 1 mA or 4.2 V",
        "Discharge at 0.1C for 5 h or until 2.5 V",
        "Hold at 4.25 V for 5 d",
        "Hold at 4.25 V until current > 1 mA or for 1 h",
        "Rest until |dV/dt| < 1 mV/h or for 10 h",
        "Rest until voltage < 3 V or for 10 h",
        "Charge at 1C until 4.2 V or voltage < 3 V or dV/dt < 0 V/s",
        "Hold pressure at 20 MPa within 2 % for 10 min, at most 1 h",
        "While temperature < 60 degC, else pause: Charge at 0.1C until 4.2 V",
        "Discharge pulse at 0.5C for 10 s (0.1 s period)",
        "Sweep from 2.5 V to 4.3 V at 0.1 mV/s",
        "EIS from 1 MHz to 10 mHz at 10 mV",
    ],
)
def test_what_is_right_is_not_found(text):
    assert check(parse(text), CELL, SAMPLE, STATION).findings == ()


HALF = CellFacts("half", 8, 4, "delithiation", "In-Li", 0.62)


REST = "Rest until |dV/dt| < 1 mV/h or for 10 h"
EXPERIMENTS = {
    "capacity": (CELL, "Charge at 0.1C until 4.2 V", "Rest for 1 h", "Discharge at 0.1C until 2.5 V"),
    "fast charge": (
        CELL,
        "Charge at 6C to 4.2 V and hold for 10 min or until temperature > 60 degC or dV/dt < 0 V/s",
    ),
    "silicon": (SILICON, "CCCV charge at 0.1C to 0 V until 0.01C", "Discharge at 0.1C until 1 V"),
    "floating": (
        HALF,
        "Charge at 0.1C until 4.25 V vs Li/Li+",
        "CV 4.25 V vs Li/Li+ for 5 d",
        REST,
        "Discharge at 0.1C until 2.5 V vs Li/Li+",
    ),
    "pulses": (
        CELL,
        "Discharge at 0.2C until 50 % of capacity",
        REST,
        "Repeat 5 times: Discharge pulse at 0.5C for 10 s (0.1 s period); Rest for 40 s",
    ),
    "impedance": (CELL, "EIS from 7 MHz to 10 mHz at 10 mV, 10 points per decade"),
    "window": (
        HALF,
        "Sweep from 2.5 V vs Li/Li+ to 5 V vs Li/Li+ at 0.1 mV/s",
        "Sweep to 2.5 V vs Li/Li+ at 0.1 mV/s",
    ),
    "plating": (
        CELL,
        "Hold 5 MPa within 2 % for 10 min, at most 1 h",
        "Charge at 0.5 mA/cm2 until 0.5 mAh/cm2 or voltage < -0.1 V",
        "Discharge at 0.5 mA/cm2 until 0.5 mAh/cm2 or voltage > 0.1 V",
    ),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_experiments_of_the_source_documents_can_be_said(experiment):
    cell, *lines = EXPERIMENTS[experiment]
    assert check(parse("\n".join(lines)), cell).findings == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Charge at 7C until 4.2 V", "0.056 A is above current < 0.048 A of sample ncm-01"),
        (
            "Charge at 1C until 4.4 V",
            "never ends at voltage > 4.4 V: 4.4 V is above voltage < 4.3 V of sample",
        ),
        ("Discharge at 1C until 2.4 V", "breaks the program off before"),
        ("Charge at 1C until voltage < 2.4 V", "breaks the program off before"),
        ("Charge at 1C until 2.4 V", "voltage > 2.5 V of sample ncm-01 makes it true always"),
        ("Hold at 4 V until 50 mA", "current < 0.048 A of sample ncm-01 makes it true always"),
        ("Hold at 4 V until capacity < 1 mAh or for 1 h", "no charge has passed"),
        ("Discharge at 1C until voltage > 3 V", "lowers the voltage"),
        ("Hold at 4.4 V for 1 h", "4.4 V is above"),
        ("Charge at 1C to 4.4 V and hold until C/50", "4.4 V is above"),
        ("Sweep from 2 V to 4 V at 1 mV/s", "2 V is below voltage > 2.5 V"),
        ("Sweep to 5 V at 1 mV/s", "5 V is above"),
        ("EIS from 1 MHz to 1 Hz at 1 A", "1 A is above current"),
        ("Set pressure to 40 MPa", "40 MPa is above pressure < 30 MPa of the station"),
        ("Hold pressure at 0 MPa within 1 MPa, at most 1 h", "below pressure > 1 MPa"),
        ("Set to 90 degC", "90 degC is above temperature < 80 degC"),
        ("Charge at 1C until C/50", "the current stays 8 mA"),
        ("Charge at 1C until 2C or 4.2 V", "ends at once"),
        ("Charge at 1C until 1C or 4.2 V", "ends at once"),
        ("Charge at 1C until current > 2C or 4.2 V", "never ends"),
        ("Charge at 1C until current > C/2 or 4.2 V", "ends at once"),
        ("Charge at 1C to 4.2 V and hold until 2C", "ends at once"),
        ("Charge at 1C to 4.2 V and hold until 4.25 V or C/50", "held at 4.2 V"),
        ("Charge at 1C until 4.2 V or voltage > 3 V or voltage < 3.5 V", "holds always"),
        ("Rest until C/50", "a rest passes no current"),
        ("Rest until 1 mAh or for 1 h", "a rest passes no current"),
        ("Rest until 4 V", "needs '<' or '>'"),
        ("Hold at 4 V until 3 V or for 1 h", "needs '<' or '>'"),
        ("Hold at 4 V until |dV/dt| < 1 mV/h or for 1 h", "the voltage is held"),
        ("Charge at 1C until 4.4 V", "no end that can come"),
        ("Limits: time < 24 h\nRest for 48 h", "is above time < 86400 s of the program's limits"),
        ("Limits: capacity < 9 mAh\nCharge at 1C until 10 mAh", "breaks the program off before"),
        ("Limits: temperature > 90 degC\nRest for 1 h", "cannot both hold"),
        ("Wait until temperature > 90 degC for 1 h, at most 2 h", "cannot hold within the limits"),
        (
            "Limits: negative potential > 0 V\nCharge at 1C until negative potential < -5 mV",
            "-0.005 V is below negative potential > 0 V of the program's limits",
        ),
        ("While pressure < 0.5 MPa, else stop: Rest for 1 h", "cannot hold within the limits"),
    ],
)
def test_what_cannot_be_right_is_found(text, says):
    found = errors(text, CELL, SAMPLE, STATION)
    assert any(says in str(finding) for finding in found), "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Discharge pulse at 0.5C for 10 s", "add '(1 s period)'"),
        ("Discharge pulse at 0.5C for 10 s (5 s period)", "add '(1 s period)'"),
        ("Wait until H2S < 1 ppm", "for ever"),
        ("Hold pressure at 20 MPa within 2 %", "for ever"),
    ],
)
def test_a_warning_does_not_forbid_the_start(text, says):
    report = check(parse(text), CELL)
    assert report.ok
    assert [finding.severity for finding in report.findings] == ["warning"]
    assert says in report.findings[0].message


def test_the_charge_of_a_silicon_half_cell_goes_down():
    window = Bounds("sample si-01", parse_conditions("voltage > -0.01 V, voltage < 1.5 V"))
    cycle = "Charge at 0.1C to 0 V and hold until 0.01C; Discharge at 0.1C until 1 V"
    assert not errors(cycle, SILICON, window)
    assert errors("Charge at 0.1C until voltage > 1 V", SILICON, window)
    assert errors("Charge at 0.1C until -0.1 V", SILICON, window)


def test_a_finding_names_the_step_as_it_was_written():
    (finding,) = errors(
        "Rest for 1 h\nRepeat 3 times:\n  Rest for 1 h\n  Charge at 7C until 4.2 V", CELL, SAMPLE
    )
    assert (finding.number, finding.step) == ("2.2", "Charge at 7C until 4.2 V")
    assert str(finding).startswith("error: step 2.2 (Charge at 7C until 4.2 V): 0.056 A")


@pytest.mark.parametrize(
    ("text", "longest_s", "charge_mAh"),
    [
        ("Rest for 1 h", 3600, 0),
        ("Repeat 3 times: Repeat 2 times: Rest for 1 h; Charge at 1C for 30 min or until 4.2 V", 32400, 24),
        ("Charge at 0.1C until 4 mAh", 18000, 4),
        ("Discharge at 0.1C until 50 % of capacity or for 1 h", 3600, 0.8),
        ("Limits: capacity < 12 mAh\nCharge at 0.1C until 4.2 V", 54000, 12),
        ("Limits: time < 2 h\nCharge at 0.1C until 4.2 V", 7200, 1.6),
        ("Limits: current < 1 mA\nHold at 4 V for 5 h", 18000, 5),
        ("Limits: voltage > 2 V, voltage < 5 V, current < 1 mA\nSweep to 3 V at 1 mV/s", 2000, 1 / 1.8),
        ("Sweep from 2 V to 3 V at 1 mV/s", 1000, None),
        ("Hold at 4 V for 5 h", 18000, None),
        ("Charge at 4 W for 1 h", 3600, None),
        ("Charge at 1C until 4.2 V", None, None),
        ("Charge at 1C to 4.2 V and hold until 4 mAh", None, 4),
        ("Wait until H2S < 1 ppm for 1 h, at most 2 h", 7200, 0),
        ("Hold to 20 MPa within 2 % for 10 min, at most 1 h; Set to 60 degC", 3600, 0),
        ("While temperature < 60 degC, else pause: Rest for 2 h", 7200, 0),
    ],
)
def test_the_longest_time_and_the_most_charge(text, longest_s, charge_mAh):
    report = check(parse(text), CELL)
    assert report.longest_s == (None if longest_s is None else pytest.approx(longest_s))
    assert report.charge_at_most_mAh == (None if charge_mAh is None else pytest.approx(charge_mAh))
    assert bool(report.unbounded) == (longest_s is None)


def test_a_spectrum_takes_ten_periods_and_a_second_a_point():
    report = check(parse("EIS from 1 Hz to 0.1 Hz at 10 mV, 1 points per decade"), CELL)
    assert report.longest_s == pytest.approx(10 * (10 + 1) + 2)


def test_steps_without_a_bound_of_time_are_named():
    report = check(parse("Rest for 1 h\nRepeat 2 times:\n  Charge at 1C until 4.2 V\n  Rest for 1 h"), CELL)
    assert report.unbounded == ("2.1",)


def test_bounds_that_the_record_cannot_serve_are_refused():
    with pytest.raises(BadInput, match="the jig cannot be used with sample 'a'"):
        check(parse("Rest for 1 h"), CellFacts("a"), Bounds("the jig", parse_conditions("current < 1C")))


@pytest.mark.parametrize(
    ("text", "shortest_s"),
    [
        ("Rest for 1 h", 3600.0),
        ("Rest until |dV/dt| < 1 mV/h or for 1 h", 0.0),
        ("Charge at 8 mA until 4 mAh", 1800.0),
        ("Charge at 8 mA until 4 mAh or for 10 min", 600.0),
        ("Charge at 8 mA until 4.2 V or 4 mAh", 0.0),
        ("Repeat 3 times: Discharge pulse at 1C for 10 s (1 s period); Rest for 50 s", 180.0),
        ("Sweep from 2.5 V to 4.3 V at 1 mV/s", 1800.0),
        ("EIS from 1 MHz to 10 mHz at 10 mV", 100.0),
        (
            "Hold temperature at 25 degC within 0.5 K for 30 min, at most 4 h; Wait until pressure > 2 MPa",
            1800.0,
        ),
    ],
)
def test_the_shortest_time(text, shortest_s):
    assert check(parse(text), CELL).shortest_s == pytest.approx(shortest_s)
