import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssblab.quantities import BadInput
from ssblab.steps import (
    Amount,
    Condition,
    Current,
    Hold,
    Impedance,
    Log,
    Loop,
    Program,
    Rest,
    SetPoint,
    Sweep,
    Wait,
    While,
    parse,
    parse_conditions,
    parse_step,
)
from ssblab.steps.model import CAPACITY_UNITS, CURRENT_UNITS, QUANTITIES, SET_POINTS
from ssblab.steps.units import UNITS, converted, written

positive = st.floats(1e-12, 1e12)
optional = st.none() | positive
potentials = st.builds(Amount, st.floats(-10, 10), st.just("V"), st.sampled_from([None, "Li/Li+", "In-Li"]))


def amounts(*units, numbers=positive):
    return st.builds(Amount, numbers, st.sampled_from(units))


def compared(quantity):
    units = QUANTITIES[quantity]
    numbers = st.floats(1e-9, 100)
    if quantity in ("temperature", "dew point", "dV/dt"):
        numbers = st.floats(-100, 100)
    amount = potentials if quantity == "voltage" else amounts(*units, numbers=numbers)
    return st.builds(Condition, st.just(quantity), st.sampled_from("<>"), amount)


conditions = st.sampled_from(sorted(QUANTITIES)).flatmap(compared)
some_conditions = st.lists(conditions, min_size=1, max_size=3).map(tuple)
ends = st.one_of(
    conditions.filter(lambda condition: condition.quantity != "time"),
    st.builds(Condition, st.just("voltage"), st.none(), potentials),
)
logs = st.none() | st.tuples(optional, optional, optional).filter(any).map(lambda given: Log(*given))
ended = st.one_of(
    st.tuples(st.lists(ends, min_size=1, max_size=3, unique=True).map(tuple), optional, logs),
    st.tuples(st.just(()), positive, logs),
)
rates = amounts(*CURRENT_UNITS, "W", "Ohm")
directions = st.sampled_from(["charge", "discharge"])
set_points = st.sampled_from(sorted(SET_POINTS)).flatmap(
    lambda quantity: st.one_of(
        st.builds(SetPoint, st.just(quantity), amounts(*QUANTITIES[quantity], numbers=st.floats(0, 100))),
        st.builds(
            SetPoint,
            st.just(quantity),
            amounts(*QUANTITIES[quantity], numbers=st.floats(0, 100)),
            amounts(*SET_POINTS[quantity], numbers=st.floats(1e-9, 100)),
            optional,
            st.none() | st.just(1e12),
        ),
    )
)
single_steps = st.one_of(
    st.builds(
        lambda way, at, to, end: Current(way, at, to, *end), directions, rates, st.none() | potentials, ended
    ),
    st.builds(lambda way, at, time: Current(way, at, for_s=time, pulse=True), directions, rates, positive),
    st.builds(lambda at, end: Hold(at, *end), potentials, ended),
    st.builds(lambda end: Rest(*end), ended),
    st.builds(Sweep, st.none() | st.just(Amount(-11.0, "V")), potentials, amounts("V/s"), logs),
    st.builds(Impedance, positive, positive, amounts("V", "A"), st.integers(1, 100)),
    set_points,
    st.builds(Wait, some_conditions, optional, st.none() | st.just(1e12)),
)
steps = st.recursive(
    single_steps,
    lambda inner: st.one_of(
        st.builds(Loop, st.integers(1, 999), st.lists(inner, min_size=1, max_size=2).map(tuple)),
        st.builds(
            While,
            some_conditions,
            st.lists(inner, min_size=1, max_size=3).map(tuple),
            st.sampled_from(["pause", "stop"]),
        ),
    ),
    max_leaves=3,
)


# Drawing a program takes long on a busy machine.
patiently = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@patiently
@given(steps)
def test_a_step_is_read_back_from_its_text(step):
    assert parse_step(step.text()) == step


@patiently
@given(st.lists(steps, min_size=1, max_size=3).map(tuple), st.just(()) | some_conditions)
def test_a_program_is_read_back_from_its_text(steps, limits):
    program = Program(steps, limits)
    assert parse(program.text()) == program


@given(st.floats(-1e15, 1e15), st.sampled_from(sorted(UNITS)))
def test_a_number_is_written_as_it_is_kept(value, unit):
    kept = UNITS[unit][0]
    number, _, name = written(value, kept).partition(" ")
    if name:
        assert converted(float(number), name) == value


@given(st.text(alphabet="chargedisRest at until for 0.1CVm/<>%,:;()\n +-|µ²", max_size=60))
def test_any_text_is_a_program_or_bad_input(text):
    try:
        parse(text)
    except BadInput:
        pass


@patiently
@given(steps, st.data())
def test_a_damaged_step_is_a_program_or_bad_input(step, data):
    text = step.text()
    at = data.draw(st.integers(0, len(text)))
    try:
        parse(
            text[:at]
            + data.draw(st.sampled_from(["", "-", "4", " V", "or ", "1e999", "\n"]))
            + text[at + 1 :]
        )
    except BadInput:
        pass


V, A, C = (lambda value, unit=unit: Amount(value, unit) for unit in ("V", "A", "C"))
UNTIL_42 = Condition("voltage", None, Amount(4.2, "V"))


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("Charge at 0.1C until 4.2 V", Current("charge", C(0.1), until=(UNTIL_42,))),
        ("charge at C/10 until 4.2V", Current("charge", C(0.1), until=(UNTIL_42,))),
        ("CC charge at 50 mA for 1 h or until 4.2 V", Current("charge", A(0.05), None, (UNTIL_42,), 3600)),
        ("Charge at 50 mA until 4.2 V or for 1 h", Current("charge", A(0.05), None, (UNTIL_42,), 3600)),
        (
            "CCCV charge at 0.1C to 0 V until 0.01C",
            Current("charge", C(0.1), V(0), (Condition("current", "<", C(0.01)),)),
        ),
        (
            "Discharge at 0.1 mA/cm² until 1 mAh/cm2 or 50 % of capacity",
            Current(
                "discharge",
                Amount(0.1, "mA/cm2"),
                until=(
                    Condition("capacity", ">", Amount(1, "mAh/cm2")),
                    Condition("capacity", ">", Amount(50, "% of capacity")),
                ),
            ),
        ),
        (
            "Pulse discharge at 0.5C for 10 s (100 ms period)",
            Current("discharge", C(0.5), for_s=10, log=Log(0.1), pulse=True),
        ),
        ("CV 4.25 V vs Li/Li+ for 5 days", Hold(Amount(4.25, "V", "Li/Li+"), for_s=432000)),
        (
            "Hold at 4.25 V until C/50 (every 10 s, 5 mV, 1 uA)",
            Hold(V(4.25), (Condition("current", "<", C(0.02)),), log=Log(10, 0.005, 1e-6)),
        ),
        (
            "OCV until |dV/dt| < 1 mV/h or for 10 h",
            Rest((Condition("|dV/dt|", "<", Amount(1 / 3.6e6, "V/s")),), 36000),
        ),
        (
            "Rest for 1 h or until temperature above 60 °C",
            Rest((Condition("temperature", ">", Amount(60, "degC")),), 3600),
        ),
        (
            "Charge at 2C until 4.2 V or negative potential below 10 mV",
            Current("charge", C(2), until=(UNTIL_42, Condition("negative potential", "<", V(0.01)))),
        ),
        ("Sweep from 2.5 V to 5 V at 0.1 mV/s", Sweep(V(2.5), V(5), Amount(1e-4, "V/s"))),
        ("EIS from 1 MHz to 10 mHz at 10 mV", Impedance(1e6, 0.01, V(0.01))),
        (
            "EIS from 1 MHz to 10 mHz at 1 uA, 7 points per decade",
            Impedance(1e6, 0.01, A(1e-6), points_per_decade=7),
        ),
        (
            "hold 20 MPa within 2 % for 10 min",
            SetPoint("pressure", Amount(20, "MPa"), Amount(2, "%"), 600),
        ),
        (
            "Hold dew point at −45 ℃ within 2 K for 10 min, at most 2 h",
            SetPoint("dew point", Amount(-45, "degC"), Amount(2, "K"), 600, 7200),
        ),
        ("Set to 25 degC", SetPoint("temperature", Amount(25, "degC"))),
        (
            "Wait until H2S < 1 ppm and humidity < 5 %RH for 5 min",
            Wait(
                (Condition("H2S", "<", Amount(1, "ppm")), Condition("humidity", "<", Amount(5, "%RH"))), 300
            ),
        ),
        (
            "while dew point below -40 degC, else pause: Rest for 1 h; Rest for 2 h",
            While((Condition("dew point", "<", Amount(-40, "degC")),), (Rest(for_s=3600), Rest(for_s=7200))),
        ),
        ("Repeat 3 times:\n  Rest for 1 h\n  Rest for 2 h", Loop(3, (Rest(for_s=3600), Rest(for_s=7200)))),
    ],
)
def test_what_a_step_says(text, step):
    assert parse_step(text) == step


def test_a_program_of_three_instruments_with_comments_and_limits():
    program = parse("""
        # formation
        Limits: voltage > 2.5 V, temperature < 60 degC
        Hold 20 MPa within 2 % for 10 min, then charge at 0.1C until 4.2 V
        Repeat 2 times:          # as agreed
            Repeat 3 times:
                Rest for 1 h
            Rest for 2 h
        Rest for 3 h
    """)
    assert [limit.quantity for limit in program.limits] == ["voltage", "temperature"]
    assert [type(step) for step in program.steps] == [SetPoint, Current, Loop, Rest]
    assert [type(step) for step in program.steps[2].steps] == [Loop, Rest]


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("Charge at -1C for 10 s", 11, "a rate above 0"),
        ("Charge at 0 A for 10 s", 11, "a rate above 0"),
        ("Charge at 1 X until 4.2 V", 13, "mA/cm2"),
        ("Charge at 1C until 4.2 V or until -1 A", 35, "above 0"),
        ("Charge at 4.2 V for 1 h", 11, "Hold at 4.2 V"),
        ("Hold at 1C for 10 s", 9, "a current charges or discharges"),
        ("Hold 20 MPa for 10 min", 13, "'within'"),
        ("Hold 20 MPa within 2 K", 20, "MPa"),
        ("Rest", 5, "'for' and a time"),
        ("Rest for 1 h for 2 h", 14, "the end of the step"),
        ("Rest for 1 h or for 2 h", 21, "one time only"),
        ("Rest for 0 s", 10, "above 0"),
        ("Rest for 1 h (1 fortnight period)", 17, "min, h"),
        ("Charge at 1C until 60 degC", 20, "'<' or '>'"),
        ("Charge at 1C until < 1 A", 20, "current < 1 A"),
        ("Discharge at 1C until > C/50", 23, "current > C/50"),
        ("Charge at 1C to 4.2 V", 22, "and hold"),
        ("Charge at C/0 for 1 s", 11, "other than 0"),
        ("Rest until 3 ppm", 12, "H2S"),
        ("Repeat 1.5 times: Rest for 1 h", 8, "whole number"),
        ("Repeat 1e999 times: Rest for 1 h", 8, "whole number"),
        ("Repeat 3 times:", 16, "indented"),
        ("While dew point < 3 degC: Rest for 1 h", 25, "'else'"),
        ("Simmer at 20 degC", 1, "Charge, Discharge, Hold"),
        ("Rest for 1e999 s", 1, "finite"),
        ("Set to -300 degC", 1, "does not exist"),
        ("Wait until pressure > 1 MPa for 2 h, at most 1 h", 1, "must be longer"),
        ("Charge at 1C until positive potential 4 V", 20, "'<' or '>'"),
        ("Rest until negative potential > 0 V vs In-Li", 1, "leave out 'vs'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place_and_an_example(text, column, says):
    with pytest.raises(BadInput) as raised:
        parse(f"Rest for 1 h\n{text}")
    message = str(raised.value)
    assert f"line 2, column {column}:" in message
    assert says in message
    assert text in message


def test_a_wrong_indentation_is_refused():
    with pytest.raises(BadInput, match="line 2, column 3: expected a line as far to the left"):
        parse("Rest for 1 h\n  Rest for 2 h")


def test_very_deep_loops_are_refused():
    with pytest.raises(BadInput, match="nested"):
        parse("Repeat 2 times: " * 5000 + "Rest for 1 h")


def test_one_step_and_one_line_of_conditions_are_asked_for():
    with pytest.raises(BadInput, match="not one step but 2"):
        parse_step("Rest for 1 h; Rest for 2 h")
    with pytest.raises(BadInput, match="one line"):
        parse_conditions("voltage < 4 V\nRest for 1 h")
    assert parse_conditions("> 1 MPa") == (Condition("pressure", ">", Amount(1, "MPa")),)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Rest(), "no end"),
        (lambda: Current("charge", Amount(-1, "C"), for_s=1), "no sign"),
        (lambda: Current("up", Amount(1, "C"), for_s=1), "charges or discharges"),
        (lambda: Current("charge", Amount(1, "V"), for_s=1), "is in A"),
        (lambda: Current("charge", Amount(1, "C"), until=(UNTIL_42,), pulse=True), "a pulse has a time"),
        (lambda: Rest(for_s=-1), "above 0"),
        (lambda: Rest((UNTIL_42, UNTIL_42)), "twice"),
        (lambda: Rest((Condition("time", ">", Amount(1, "s")),)), "for_s"),
        (lambda: Sweep(V(1), V(1), Amount(1, "V/s")), "the same"),
        (lambda: Impedance(1, 1e3, Amount(0.01, "V", "In-Li")), "not against an electrode"),
        (lambda: Impedance(1, 1e3, V(0.01), 0), "whole number"),
        (lambda: SetPoint("voltage", V(1)), "cannot be set"),
        (lambda: SetPoint("pressure", Amount(1, "MPa"), for_s=1), "within what"),
        (lambda: Wait(()), "needs a condition"),
        (lambda: Wait((UNTIL_42,)), "say '<' or '>'"),
        (lambda: While((), (Rest(for_s=1),)), "needs a condition"),
        (lambda: While(parse_conditions("> 1 MPa"), (Rest(for_s=1),), "hope"), "'pause' or 'stop'"),
        (lambda: Loop(2, ()), "no step"),
        (lambda: Program(()), "no step"),
        (lambda: Log(), "interval"),
        (lambda: Amount(float("nan"), "V"), "not finite"),
        (lambda: Amount(True, "V"), "not a number"),
        (lambda: Amount(1, "mA"), "not one of"),
        (lambda: Amount(1, "A", "In-Li"), "only a potential"),
        (lambda: Condition("colour", "<", V(1)), "not one of"),
        (lambda: Condition("current", "<", V(1)), "write it in A"),
        (lambda: Condition("current", None, A(1)), "say '<' or '>'"),
        (lambda: Condition("capacity", ">", Amount(-1, CAPACITY_UNITS[0])), "no sign"),
    ],
)
def test_impossible_data_are_refused(make, says):
    with pytest.raises(BadInput, match=says):
        make()
