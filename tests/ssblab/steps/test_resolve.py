import pytest

from ssblab.quantities import BadInput
from ssblab.steps import Amount, CellFacts, parse, parse_step, resolve

NCM = CellFacts(
    "ncm-01",
    capacity_mAh=8,
    area_cm2=4,
    charge_means="delithiation",
    reference="In-Li",
    reference_V_vs_Li=0.62,
)
FULL = CellFacts("full-01", capacity_mAh=8, area_cm2=4, charge_means="delithiation")
SILICON = CellFacts("si-01", 8, 4, "lithiation", "InLi", 0.62)


def resolved(text, cell=NCM):
    (step,) = resolve(parse(text), cell).program.steps
    return step


@pytest.mark.parametrize(
    ("rate", "current_A"), [("0.1C", 0.0008), ("C/4", 0.002), ("0.1 mA/cm2", 0.0004), ("3 mA", 0.003)]
)
def test_rates_are_amperes_of_this_cell(rate, current_A):
    step = resolved(f"Charge at {rate} until {rate} or 4 V")
    assert step.at.unit == "A"
    assert step.at.value == pytest.approx(current_A)
    assert step.until[0].amount == step.at


@pytest.mark.parametrize(("charge", "mAh"), [("50 % of capacity", 4), ("1 mAh/cm2", 4), ("3 mAh", 3)])
def test_charges_are_mAh_of_this_cell(charge, mAh):
    assert resolved(f"Discharge at 1C until {charge}").until[0].amount == Amount(mAh, "mAh")


@pytest.mark.parametrize(
    ("potential", "terminal_V"),
    [("4.25 V vs Li/Li+", 3.63), ("4.25 V vs. Li", 3.63), ("3.63 V vs In-Li", 3.63), ("3.63 V", 3.63)],
)
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("Hold at {} for 5 d", lambda step: step.at),
        ("Charge at 1C to {} and hold until C/50", lambda step: step.to),
        ("Charge at 1C until {}", lambda step: step.until[0].amount),
        ("Rest until voltage < {} or for 1 h", lambda step: step.until[0].amount),
        ("Sweep from {} to 2 V at 1 mV/s", lambda step: step.start),
        ("Sweep to {} at 1 mV/s", lambda step: step.stop),
        ("Repeat 2 times: Hold at {} for 1 h", lambda step: step.steps[0].at),
        ("While voltage > {}, else stop: Rest for 1 h", lambda step: step.conditions[0].amount),
    ],
)
def test_a_potential_is_a_terminal_voltage_of_this_cell(potential, terminal_V, text, where):
    amount = where(resolved(text.format(potential)))
    assert amount.vs is None
    assert amount.value == pytest.approx(terminal_V, abs=1e-12)


def test_limits_are_resolved_too():
    program = resolve(parse("Limits: voltage < 4.25 V vs Li/Li+, current < 1C\nRest for 1 h"), NCM).program
    assert [limit.amount.value for limit in program.limits] == pytest.approx([3.63, 0.008])


@pytest.mark.parametrize(
    ("cell", "charge", "discharge"), [(NCM, ">", "<"), (FULL, ">", "<"), (SILICON, "<", ">")]
)
def test_which_way_a_charge_moves_the_voltage_is_a_fact_of_the_cell(cell, charge, discharge):
    assert resolved("Charge at 0.1C until 0 V", cell).until[0].comparison == charge
    assert resolved("Discharge at 0.1C until 1 V", cell).until[0].comparison == discharge
    assert resolved("Discharge at 0.1C until voltage < 1 V", cell).until[0].comparison == "<"
    assert resolve(parse("Rest for 1 h"), cell).raises_voltage("charge") == (charge == ">")


def test_a_voltage_that_ends_a_rest_has_no_side():
    assert resolved("Rest for 1 h or until 4 V").until[0].comparison is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Charge at 1 mA until 4 V", "charge_means"),
        ("Rest until 1 mAh/cm2", "area_cm2"),
        ("Hold at 4 V until 0.1 mA/cm2", "area_cm2"),
        ("Hold at 4 V until C/50", "capacity_mAh"),
        ("Hold at 4 V until 50 % of capacity", "capacity_mAh"),
        ("Hold at 4 V vs Li/Li+ for 1 h", "reference"),
        ("Limits: current < 2C\nRest for 1 h", "limits has 2C"),
    ],
)
def test_what_the_record_lacks_is_asked_for(text, says):
    with pytest.raises(BadInput, match=says) as raised:
        resolve(parse(text), CellFacts("new-01"))
    assert "new-01" in str(raised.value)


def test_all_that_is_missing_is_said_at_once_with_the_steps():
    with pytest.raises(BadInput) as raised:
        resolve(
            parse("Rest for 1 h\nRepeat 2 times:\n  Charge at 1C until 0.1 mA/cm2 or 4 V"), CellFacts("x")
        )
    message = str(raised.value)
    assert message.count("\n") == 3
    assert "step 2.1 has 1C" in message


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (FULL, "full cell"),
        (CellFacts("a", reference="In-Li"), "reference_V_vs_Li"),
        (CellFacts("a", reference="Li/Li+"), "against Li/Li\\+"),
    ],
)
def test_no_potential_is_guessed(cell, says):
    text = (
        "Hold at 4.25 V vs In-Li for 1 h"
        if cell.reference == "Li/Li+"
        else "Hold at 4.25 V vs Li/Li+ for 1 h"
    )
    with pytest.raises(BadInput, match=says):
        resolve(parse(text), cell)


@pytest.mark.parametrize(
    "facts",
    [{"capacity_mAh": 0}, {"area_cm2": -1}, {"charge_means": "up"}, {"reference_V_vs_Li": float("nan")}],
)
def test_an_impossible_record_is_refused(facts):
    with pytest.raises(BadInput, match=next(iter(facts))):
        CellFacts("a", **facts)


def test_steps_of_the_surroundings_stay_as_they_are():
    for text in ("Set pressure to 20 MPa", "EIS from 1 MHz to 1 Hz at 10 mV", "Wait until H2S < 1 ppm"):
        assert resolved(text, CellFacts("a")) == parse_step(text)
