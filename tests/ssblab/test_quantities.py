import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssblab.quantities import BadInput, Value, format_quantity, parse

UNITS = ["degC", "K", "s", "mL/min", "g", "MPa", "K/min", "mA/cm2", "", "%", "S/cm", "mAh"]


@pytest.mark.parametrize(
    ("text", "unit", "number"),
    [
        ("-20degC", "degC", -20),
        ("-20 degC", "degC", -20),
        ("\N{MINUS SIGN}20 \N{DEGREE CELSIUS}", "degC", -20),
        ("\N{FULLWIDTH DIGIT TWO}0 °C", "degC", 20),
        ("253.15 K", "degC", -20),
        ("14 degF", "degC", -10),
        ("5 K", "K", 5),
        ("5 delta_degC", "K", 5),
        ("5 K/min", "K/min", 5),
        ("3 degC/min", "K/min", 3),
        ("18 degF/h", "K/h", 10),
        ("2 h", "s", 7200),
        ("30 min", "s", 1800),
        ("5 d", "h", 120),
        ("500 mL/min", "mL/min", 500),
        ("500 sccm", "mL/min", 500),
        ("0.5 SLPM", "mL/min", 500),
        ("1 slpm", "sccm", 1000),
        ("0.2 g", "mg", 200),
        ("20 MPa", "MPa", 20),
        ("7 Pa", "kPa", 0.007),
        ("1e-3 S/cm", "S/m", 0.1),
        ("3 mA/cm2", "A/m^2", 30),
        ("3 mA cm-2", "mA/cm2", 3),
        ("10 mAh", "coulomb", 36),
        ("50 %", "", 0.5),
        ("300 ppb", "ppm", 0.3),
        ("0.25", "", 0.25),
        (0.25, "", 0.25),
        (np.float32(0.25), "", 0.25),
        ("2 µm", "mm", 0.002),
        (".5 m", "m", 0.5),
        ("5. m", "m", 5),
    ],
)
def test_a_quantity_reads_as_a_number_in_the_unit_asked_for(text, unit, number):
    assert parse(text, unit, name="x") == pytest.approx(number, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "unit", "says"),
    [
        (20, "s", "has no unit"),
        ("20", "s", "has no unit"),
        (0.1, "%", "has no unit"),
        ("20 MPa", "s", "not a unit of the quantity wanted"),
        ("20 degC", "K", "this is a temperature"),
        ("20 degF", "K", "this is a temperature"),
        ("25 C", "degC", "a temperature is in degC"),
        ("0.1C", "A", "'0.1C'"),
        ("3 mC", "mAh", "coulomb"),
        ("5 cycles", "", "a number of cycles is a plain number"),
        ("5 cycle", "", "a number of cycles is a plain number"),
        ("1 h 30 min", "s", "is not a unit"),
        ("2**3 s", "s", "is not a unit"),
        ("1;2 s", "s", "is not a unit"),
        ("1 s/", "s", "is not a unit"),
        ("/s", "Hz", "does not begin with a number"),
        ("nan s", "s", "does not begin with a number"),
        ("inf s", "s", "does not begin with a number"),
        ("1e999 s", "s", "not a finite number"),
        (math.nan, "", "not a finite number"),
        (math.inf, "", "not a finite number"),
        (10**400, "", "not a finite number"),
        ("5 blorp", "s", "no unit 'blorp'"),
        ("-300 degC", "degC", "below absolute zero"),
        ("", "s", "does not begin with a number"),
        (True, "", "is a bool"),
        (None, "s", "is a NoneType"),
    ],
)
def test_what_is_not_the_quantity_is_refused_and_named(text, unit, says):
    with pytest.raises(BadInput, match="dose_x=") as caught:
        parse(text, unit, name="dose_x")
    assert says in str(caught.value)
    assert "write a" in str(caught.value)


def test_bounds_are_inclusive_and_in_the_message():
    def dew_point(text):
        return parse(text, "degC", name="dew_point", lower=-50, upper=-10)

    assert dew_point("-50 degC") == -50
    assert dew_point("-10 degC") == -10
    with pytest.raises(BadInput) as caught:
        dew_point("-60 degC")
    message = str(caught.value)
    for part in ("dew_point", "'-60 degC'", "not allowed", "at least -50 degC", "at most -10 degC", "write"):
        assert part in message
    with pytest.raises(BadInput, match="at least 0 g"):
        parse("-1 g", "g", name="mass", lower=0)


@given(st.text(), st.sampled_from(UNITS))
def test_arbitrary_text_is_a_finite_number_or_bad_input(text, unit):
    try:
        assert math.isfinite(parse(text, unit, name="x"))
    except BadInput:
        pass


WORDS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{0,4}\.?[0-9]{0,3}([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["m", "s", "K", "degC", "degF", "C", "%", "/", "*", "**", "^", "2", "-1", "dB", "pH"]),
    st.sampled_from(["inf", "nan", "e", "pi", "_", "delta", "delta_degC", "mol", "in", "is", "if", "°", "Δ"]),
    st.text(max_size=3),
)


@settings(max_examples=500)
@given(st.lists(WORDS, max_size=6), st.sampled_from(["", " "]), st.sampled_from(UNITS))
def test_text_that_looks_like_a_quantity_is_a_finite_number_or_bad_input(words, glue, unit):
    text = "1" + glue + glue.join(words)
    try:
        assert math.isfinite(parse(text, unit, name="x"))
    except BadInput:
        pass


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["s", "mL/min", "g", "mA/cm2", ""]))
def test_what_is_written_reads_back_as_the_same_number(value, unit):
    assert parse(format_quantity(value, unit), unit, name="x") == value


def test_whole_numbers_are_written_without_a_point():
    assert format_quantity(500, "mL/min") == "500 mL/min"
    assert format_quantity(-0.5, "degC") == "-0.5 degC"
    assert format_quantity(3, "") == "3"


def test_a_value_goes_into_json_without_nan():
    value = Value("recovery", 0.5, "1", 0.01, "a ratio")
    assert value.as_json() == {"value": 0.5, "unit": "1", "uncertainty": 0.01, "definition": "a ratio"}
    missing = Value("recovery", math.nan, "1", math.nan, "no rise").as_json()
    assert (missing["value"], missing["uncertainty"]) == (None, None)
    json.dumps(missing, allow_nan=False)
    assert Value("count", 3, "1", None, "exact").as_json()["uncertainty"] is None


def test_importing_the_module_does_not_import_pint():
    code = "import sys, ssblab.quantities; sys.exit('pint' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
