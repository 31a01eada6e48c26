import pytest

from sim_devices.physics.constants import flow_mol_s_from_mL_min
from sim_devices.physics.humidity_box import HumidityBox
from sim_devices.physics.moist_air import dew_point_C
from sim_devices.physics.relaxation import relax

DRAW_mol_s = flow_mol_s_from_mL_min(500.0)
BOTH = (True, True)
NONE = (False, False)
RELAY_PERIOD_s = 10.0
METER_LAG_s = 15.0


def relay_controlled_errors_K(
    box: HumidityBox, *, setpoint_C: float, units: int, hours: float, draw_mol_s: float = DRAW_mol_s
) -> list[float]:
    """True control error at each relay period of a plain two-stage thermostat behind a lagging meter."""
    metered = box.water_mole_fraction
    first_on = bleeding = False
    errors_K = []
    for _ in range(int(hours * 3600.0 / RELAY_PERIOD_s)):
        error_K = dew_point_C(metered) - setpoint_C
        bleeding = error_K < (-0.3 if bleeding else -1.5)
        first_on = not bleeding and error_K > (-0.3 if first_on else 0.3)
        second_on = units == 2 and error_K > (1.0 if setpoint_C < -45.0 else 3.0)
        drawn = box.advance(
            RELAY_PERIOD_s,
            dehumidifiers_on=(first_on, second_on),
            draw_mol_s=draw_mol_s,
            bleed_open=bleeding,
        )
        metered, _ = relax(
            metered, loss_per_s=1.0 / METER_LAG_s, gain_per_s=drawn / METER_LAG_s, dt_s=RELAY_PERIOD_s
        )
        errors_K.append(box.dew_point_C - setpoint_C)
    return errors_K


@pytest.mark.ground_truth
@pytest.mark.parametrize("draw_mL_min", [0.0, 200.0, 1000.0])
@pytest.mark.parametrize("start_C", [10.0, -50.0])
@pytest.mark.parametrize("setpoint_C", [-10.0, -20.0, -30.0, -40.0, -50.0])
def test_gt01_two_dehumidifiers_hold_any_dew_point_within_2(
    setpoint_C: float, start_C: float, draw_mL_min: float
) -> None:
    errors_K = relay_controlled_errors_K(
        HumidityBox(initial_dew_point_C=start_C),
        setpoint_C=setpoint_C,
        units=2,
        hours=3.0,
        draw_mol_s=flow_mol_s_from_mL_min(draw_mL_min),
    )
    after_half_an_hour = errors_K[int(1800.0 / RELAY_PERIOD_s) :]
    assert max(abs(error) for error in after_half_an_hour) < 2.0


@pytest.mark.ground_truth
def test_gt01_one_dehumidifier_fails_at_the_dry_end_only() -> None:
    dry = relay_controlled_errors_K(HumidityBox(), setpoint_C=-50.0, units=1, hours=4.0)
    assert min(dry) > 2.0
    middle = relay_controlled_errors_K(HumidityBox(), setpoint_C=-40.0, units=1, hours=4.0)
    assert max(abs(error) for error in middle[-360:]) < 2.0


def test_semigroup() -> None:
    whole, parts = HumidityBox(), HumidityBox()
    mean = whole.advance(100.0, dehumidifiers_on=BOTH, draw_mol_s=DRAW_mol_s)
    first = parts.advance(37.0, dehumidifiers_on=BOTH, draw_mol_s=DRAW_mol_s)
    second = parts.advance(63.0, dehumidifiers_on=BOTH, draw_mol_s=DRAW_mol_s)
    assert parts.water_mole_fraction == pytest.approx(whole.water_mole_fraction, rel=1e-12)
    assert 0.37 * first + 0.63 * second == pytest.approx(mean, rel=1e-12)


def test_water_balance() -> None:
    box = HumidityBox()
    before_mol = box.water_mole_fraction * box.air_mol
    switches = {"dehumidifiers_on": (True, False), "draw_mol_s": DRAW_mol_s, "bleed_open": True}
    mean = box.advance(600.0, **switches)
    exchanged_mol = 600.0 * sum(flow * (fraction - mean) for flow, fraction in box.exchanges(**switches))
    assert box.water_mole_fraction * box.air_mol - before_mol == pytest.approx(exchanged_mol, rel=1e-9)


def test_left_alone_it_returns_to_the_room() -> None:
    box = HumidityBox(initial_dew_point_C=-50.0)
    box.advance(1e7, dehumidifiers_on=NONE, draw_mol_s=0.0)
    assert box.dew_point_C == pytest.approx(10.0, abs=1e-6)


def test_more_drying_is_drier_and_a_leak_is_wetter() -> None:
    def settled_C(box: HumidityBox, on: tuple[bool, bool]) -> float:
        box.advance(1e6, dehumidifiers_on=on, draw_mol_s=DRAW_mol_s)
        return box.dew_point_C

    both_C = settled_C(HumidityBox(), BOTH)
    one_C = settled_C(HumidityBox(), (True, False))
    assert both_C < -51.5
    assert both_C < one_C < -45.0
    assert settled_C(HumidityBox(leak_mol_s=3e-3), BOTH) > -48.0
