"""What PyBaMM's own parser makes of a string is what it means here.  PyBaMM runs in a process of its own."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssblab.quantities import BadInput
from ssblab.steps import CellFacts, Current, Hold, Rest, parse, parse_step, resolve, to_pybamm

JUDGE = """
import json, sys
import pybamm
for line in sys.stdin:
    try:
        step = pybamm.step.string(json.loads(line))
        answer = {
            "kind": type(step).__name__,
            "value": step.value,
            "direction": step.direction,
            "for_s": None if step.uses_default_duration else step.duration,
            "period_s": step.period,
            "until": [[type(end).__name__, end.operator, end.value] for end in step.termination],
        }
    except Exception as error:
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
"""

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pybamm") is None, reason="needs pybamm")


@pytest.fixture(scope="module")
def pybamm():
    """Ask PyBaMM what a string means; None if it raises."""
    environment = {**os.environ, "PYBAMM_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-W", "ignore", "-c", JUDGE]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def ask(text):
            process.stdin.write(json.dumps(text) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return None if "error" in answer else answer

        yield ask
        process.stdin.close()


KINDS = {"A": "Current", "C": "CRate", "W": "Power", "Ohm": "Resistance"}


def as_pybamm(step):
    """What PyBaMM would have to say of a step, where an end without '<' or '>' is written without."""
    if isinstance(step, Current):
        sign = 1 if step.direction == "discharge" else -1
        said = {"kind": KINDS[step.at.unit], "value": sign * step.at.value, "direction": step.direction}
    elif isinstance(step, Hold):
        said = {"kind": "Voltage", "value": step.at.value, "direction": None}
    else:
        assert isinstance(step, Rest)
        said = {"kind": "Rest", "value": 0, "direction": "rest"}
    ends = {"V": "VoltageTermination", "A": "CurrentTermination", "C": "CRateTermination"}
    return said | {
        "for_s": step.for_s,
        "period_s": step.log.dt_s if step.log else None,
        "until": [
            [ends[end.amount.unit], end.comparison if end.amount.unit == "V" else None, end.amount.value]
            for end in step.until
        ],
    }


def without_needless_sign(answer):
    """In a discharge, whose current is positive, '< 1 A' means what '1 A' does; '< C/50' always 'C/50'."""
    needless = (answer["direction"] == "discharge", True)
    until = [
        [
            kind,
            None if kind != "VoltageTermination" and needless[kind == "CRateTermination"] else operator,
            value,
        ]
        for kind, operator, value in answer["until"]
    ]
    return answer | {"until": until}


numbers = st.one_of(
    st.integers(1, 9999).map(str),
    st.floats(1e-9, 1e9).map(repr),
    st.sampled_from(["0.1", ".5", "2.", "1e-3", "1E3"]),
)
signed = st.one_of(numbers, numbers.map("-{}".format), st.just("0"))
space = st.sampled_from(["", " "])


def quantity(number, units):
    return st.builds("{}{}{}".format, number, space, st.sampled_from(units))


def rate(number):
    fraction = st.builds("C/{}".format, number)
    return st.one_of(fraction, quantity(number, ["A", "mA", "C", "mC", "W", "mW", "Ohm", "mOhm"]))


voltage = quantity(signed, ["V", "mV"])
time = quantity(
    numbers, ["s", "sec", "second", "seconds", "m", "min", "minute", "minutes", "h", "hr", "hour", "hours"]
)
falling = st.one_of(numbers.map("C/{}".format), quantity(numbers, ["A", "mA", "C"]))
voltage_end = st.builds("{}{}{}".format, st.sampled_from(["", "<", ">"]), space, voltage)
ends = st.one_of(
    time.map(" for {}".format),
    st.builds(" until {}".format, voltage_end | falling),
    st.builds(" for {}{} until {}".format, time, st.sampled_from([" or", ""]), voltage_end | falling),
)
period = st.one_of(st.just(""), time.map(" ({} period)".format))
documented = st.builds(
    "{}{}{}".format,
    st.one_of(
        st.builds("{} at {}".format, st.sampled_from(["Charge", "Discharge"]), rate(numbers)),
        voltage.map("Hold at {}".format),
        st.just("Rest"),
    ),
    ends,
    period,
)


@settings(max_examples=400, deadline=None)
@given(text=documented)
def test_what_pybamm_documents_means_the_same_here(pybamm, text):
    answer = pybamm(text)
    assert answer is not None
    assert as_pybamm(parse_step(text)) == answer


@st.composite
def accidents(draw):
    """Strings with whatever sign, unit and comparison, and whether they are refused here on purpose."""
    verb = draw(st.sampled_from(["Charge", "Discharge", "Hold"]))
    what = draw(rate(signed) | voltage)
    sign, end = draw(st.sampled_from(["", "<", ">"])), draw(rate(signed) | voltage)
    given_time = draw(quantity(signed, ["s", "h"]))

    def number(text):
        return float(text.removeprefix("C/").rstrip(" mACVWOhs"))

    a_voltage = what.endswith("V")
    a_current_ends = not end.endswith("V")
    in_c = end.startswith("C") or end.endswith("C")
    refused = (
        a_voltage != (verb == "Hold")
        or (not a_voltage and number(what) <= 0)
        or (a_current_ends and number(end) <= 0)
        or number(given_time) <= 0
        or (a_current_ends and (sign == ">" or (sign == "<" and not in_c and verb != "Discharge")))
    )
    return f"{verb} at {what} for {given_time} or until {sign}{end}", refused


@settings(max_examples=400, deadline=None)
@given(accident=accidents())
def test_what_pybamm_reads_against_its_words_is_refused_here_and_nothing_else(pybamm, accident):
    text, refused = accident
    answer = pybamm(text)
    try:
        step = parse_step(text)
    except BadInput:
        assert refused or answer is None
        return
    assert not refused
    assert answer is not None
    assert as_pybamm(step) == without_needless_sign(answer)


@pytest.mark.parametrize(
    "text", ["Charge at -1C for 10 s", "Discharge at -1 A for 1 h", "Charge at C/-2 for 1 h"]
)
def test_pybamm_takes_a_negative_rate_and_ssblab_refuses_it(pybamm, text):
    assert pybamm(text) is not None
    with pytest.raises(BadInput, match="no sign"):
        parse(text)


CELL = CellFacts("full", capacity_mAh=8, charge_means="delithiation")
SILICON = CellFacts("si", capacity_mAh=8, charge_means="lithiation")


@settings(max_examples=200, deadline=None)
@given(text=documented)
def test_what_is_exported_means_the_same_to_pybamm(pybamm, text):
    resolved = resolve(parse(text), CELL)
    try:
        strings = to_pybamm(resolved)
    except BadInput:  # a voltage that ends a rest or a hold, without a side
        assert re.search(r"(Rest|Hold).*until [^<>]*V", text)
        return
    (step,) = resolved.program.steps
    assert pybamm(strings[0]) == as_pybamm(step)


def test_a_charge_that_lithiates_is_pybamms_discharge(pybamm):
    program = parse(
        "Charge at 0.1C to 0.05 V and hold until 0.01C; Rest for 1 h; Discharge at 0.1C until 1 V"
    )
    strings = to_pybamm(resolve(program, SILICON))
    assert [pybamm(text)["direction"] for text in strings] == ["discharge", None, "rest", "charge"]
