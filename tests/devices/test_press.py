"""The press on its simulated parts: drivers, wires, and one ram with one sample behind all of them."""

import math

import numpy as np
import pytest
from ophyd.utils import LimitError

from devices.and_indicator import AndIndicator
from devices.keyence_gt2 import KeyenceGt2
from devices.press import Press, PressFault
from devices.status import NotReached
from devices.zaber import Zaber
from sim_devices.instruments.and_indicator import SimulatedAndIndicator
from sim_devices.instruments.keyence_gt2 import SimulatedGt2
from sim_devices.instruments.zaber import SimulatedZaber
from sim_devices.physics.press import PressFrame
from ssblab.links import InstrumentError, LinkError

AREA_mm2 = 100.0
CONTACT_MM = 10.0
LIMIT_kN = 5.0


@pytest.fixture
def frame(clock):
    """Platens 2 mm off the sample."""
    return PressFrame(clock, np.random.default_rng(1), position_mm=8.0)


@pytest.fixture
def simulated(clock, frame):
    simulated = {
        "ram": SimulatedZaber(clock, frame),
        "cell": SimulatedAndIndicator(clock, frame),
        "gauge": SimulatedGt2(clock, frame),
    }
    simulated["ram"]._referenced = True  # homed in the morning
    simulated["ram"]._origin = 0
    return simulated


@pytest.fixture
def parts(clock, wires, simulated):
    addresses = {name: wires.listen(instrument) for name, instrument in simulated.items()}
    common = {"clock": clock}
    parts = {
        "ram": Zaber(
            name="ram",
            address=addresses["ram"],
            microstep_um=0.047625,
            limits={"target": (0.0, 20.0), "velocity": (0.0, 1.0)},
            **common,
        ),
        "cell": AndIndicator(
            name="cell", address=addresses["cell"], limits={"force_limit": (0.0, LIMIT_kN)}, **common
        ),
        "gauge": KeyenceGt2(name="gauge", address=addresses["gauge"], **common),
    }
    for part in parts.values():
        part.connect()
    yield parts
    for part in parts.values():
        part.link.close()


@pytest.fixture
def make(clock, parts):
    def make_(**options):
        press = Press(
            name="press",
            clock=clock,
            actuator=parts["ram"],
            load_cell=parts["cell"],
            gauge=parts["gauge"],
            **{"area_mm2": AREA_mm2, "contact_mm": CONTACT_MM, **options},
        )
        press.connect()
        return press

    return make_


@pytest.fixture
def press(make):
    return make()


def true_kN(frame):
    return frame.true_force_N() / 1000.0


def test_every_number_has_a_unit_and_a_time(press, clock):
    clock.sleep(5.0)
    before_s = clock.now()
    press.trigger().wait()
    readings = press.read()
    for name in ("press_force", "press_pressure", "press_ram_position", "press_thickness"):
        assert before_s <= readings[name]["timestamp"] <= clock.now(), name
    assert press.describe()["press_force"]["units"] == "kN"
    assert press.ram_position.get() == pytest.approx(8.0, abs=1e-4)
    assert press.thickness.get() == pytest.approx(3.0, abs=1e-3)
    assert press.mode.get() == "stopped"
    assert press.tripped == ""


def test_a_pressure_is_reached_and_held_within_2_percent_against_creep(press, frame, pass_time):
    press.set(20.0).wait()
    assert press.mode.get() == "constant force"
    for _ in range(10):
        pass_time(60.0)
        assert true_kN(frame) == pytest.approx(2.0, rel=0.02)
    press.trigger().wait()
    assert press.pressure.get() == pytest.approx(20.0, rel=0.02)
    assert 0.9 < press.thickness.get() < 1.0


@pytest.mark.parametrize("force_kN", [0.1, 1.0, 4.9])
def test_a_force_is_never_overshot_by_much_and_never_beyond_the_limit(press, frame, pass_time, force_kN):
    status = press.set_force(force_kN)
    highest_kN = 0.0
    while not status.done:
        pass_time(0.5)
        highest_kN = max(highest_kN, true_kN(frame))
    status.wait()
    assert highest_kN <= force_kN * 1.02 + 0.005
    assert true_kN(frame) == pytest.approx(force_kN, rel=0.02, abs=0.005)


def test_a_far_stiffer_sample_than_told_is_no_trouble(make, frame):
    press = make(stiffness_kN_mm=5.0)
    press.set_force(2.0).wait()
    assert true_kN(frame) == pytest.approx(2.0, rel=0.02)


def test_without_a_told_contact_it_closes_slowly_all_the_way(make, frame, clock, pass_time):
    press = make(contact_mm=-math.inf)
    press.set_force(1.0)
    pass_time(20.0)
    assert frame.position_mm() == pytest.approx(8.4, abs=0.1)
    press.make_safe()


def test_force_follows_a_lower_set_point_and_a_rate(press, frame, clock):
    press.set_force(2.0).wait()
    before_s = clock.monotonic()
    press.set_force(1.0, rate_kN_s=0.05).wait()
    assert clock.monotonic() - before_s > 0.9 / 0.05
    assert true_kN(frame) == pytest.approx(1.0, rel=0.02)


def test_a_displacement_is_gone_to_and_the_gap_is_held(press, frame, pass_time):
    press.set_displacement(CONTACT_MM + 0.1).wait()
    assert press.mode.get() == "fixed gap"
    assert frame.position_mm() == pytest.approx(CONTACT_MM + 0.1, abs=2e-4)
    first_kN = true_kN(frame)
    assert first_kN > 1.0
    pass_time(600.0)
    assert true_kN(frame) < first_kN - 0.005  # it relaxes, and nothing follows
    assert frame.position_mm() == pytest.approx(CONTACT_MM + 0.1, abs=2e-4)


def test_hold_goes_from_one_mode_to_the_other(press, frame, pass_time):
    press.set_force(2.0).wait()
    press.hold("fixed gap").wait()
    gap_mm = frame.position_mm()
    pass_time(300.0)
    assert frame.position_mm() == gap_mm
    relaxed_kN = true_kN(frame)
    press.hold("constant force").wait()
    assert press.force_setpoint.get() == pytest.approx(relaxed_kN, abs=0.005)
    pass_time(300.0)
    assert true_kN(frame) == pytest.approx(relaxed_kN, rel=0.02)
    with pytest.raises(ValueError, match="no mode 'loose'; there are constant force, fixed gap"):
        press.hold("loose")


def test_what_is_outside_the_limits_is_refused_before_anything_moves(press, frame):
    with pytest.raises(LimitError, match=r"press_force_setpoint: 6 kN is not allowed.*0 to 4.9 kN"):
        press.set_force(6)
    with pytest.raises(LimitError, match=r"press_force_setpoint"):
        press.set_pressure(51.0)
    with pytest.raises(LimitError, match=r"ram_target: 21 mm"):
        press.set_displacement(21)
    with pytest.raises(LimitError, match=r"ram_velocity"):
        press.set_displacement(9.0, velocity_mm_s=3.0)
    with pytest.raises(ValueError, match="must be above 0"):
        press.set_force(1.0, tolerance_kN=0.0)
    assert frame.position_mm() == 8.0


def test_a_pressure_needs_an_area(make):
    press = make(area_mm2=math.nan)
    assert math.isnan(press.pressure.get())
    with pytest.raises(ValueError, match="tell the sample's area before a pressure"):
        press.set(10.0)
    press.set_pressure(10.0, area_mm2=50.0).wait()
    assert press.force.get() == pytest.approx(0.5, rel=0.02)
    assert press.pressure.get() == pytest.approx(10.0, rel=0.02)
    with pytest.raises(ValueError, match=r"area must be above 0 mm2, not 0\.0"):
        press.tell_area(0.0)


def test_a_load_cell_without_limit_is_refused(clock, parts):
    parts["cell"].force_limit._limits = (0.0, math.inf)
    with pytest.raises(ValueError, match="press: the load cell cell has no limit for force_limit"):
        Press(name="press", clock=clock, actuator=parts["ram"], load_cell=parts["cell"])


def test_a_displacement_that_would_break_the_limit_stops_short_of_it(press, frame, pass_time):
    status = press.set_displacement(CONTACT_MM + 1.0)
    highest_kN = 0.0
    while not status.done:
        pass_time(5.0)
        highest_kN = max(highest_kN, true_kN(frame))
    with pytest.raises(NotReached, match=r"press: position: .*the force has met 4.9 kN .*target 11"):
        status.wait()
    assert 4.8 < highest_kN < LIMIT_kN
    assert (press.mode.get(), press.tripped) == ("fixed gap", "")


def test_a_force_beyond_the_limit_from_outside_trips_in_a_fixed_gap(press, frame, pass_time):
    press.set_force(4.5).wait()
    press.hold("fixed gap").wait()
    frame.gap_mm -= 0.1  # the cell swells
    pass_time(1.0)
    assert press.tripped.startswith("the force (")
    assert press.tripped.endswith("is beyond the limit (5 kN)")
    assert press.mode.get() == press.tripped
    with pytest.raises(PressFault, match=r"press: the force .* beyond the limit"):
        press.trigger().wait()
    press.set_displacement(8.0).wait()  # taking load off is allowed
    assert press.tripped == ""
    assert true_kN(frame) == 0.0


@pytest.mark.parametrize("trouble", ["silent", "busy"])
def test_lost_readings_stop_the_actuator_and_trip(press, frame, simulated, clock, pass_time, trouble):
    status = press.set_displacement(19.0)
    pass_time(20.0)
    if trouble == "silent":
        simulated["cell"].break_wire("silent", times=None)
    else:
        simulated["cell"].break_down("busy")
    pass_time(1.0)
    stands_mm = frame.position_mm()
    pass_time(15.0)
    assert frame.position_mm() == stands_mm
    assert frame.arrives_s() is None
    assert press.tripped.startswith("no control for ")
    assert "cell at TCPIP" in press.tripped
    with pytest.raises(NotReached, match=r"press: position: no control for .*target 19"):
        status.wait()
    with pytest.raises(PressFault, match="press: no control for"):
        press.trigger().wait()
    simulated["cell"].mend()
    press.set_force(0.5).wait()
    assert press.tripped == ""
    press.trigger().wait()


def test_a_short_loss_is_ridden_out(press, simulated, frame):
    status = press.set_force(1.0)
    simulated["cell"].break_wire("silent")
    status.wait()
    assert true_kN(frame) == pytest.approx(1.0, rel=0.02)


def test_a_loop_that_does_not_come_round_leaves_no_motion_behind(press, frame, pass_time):
    press.set_displacement(19.0)
    pass_time(5.0)
    assert frame.arrives_s() is not None
    press._loop.cancel()  # as if the program had died
    pass_time(1.0)
    assert frame.arrives_s() is None


def test_a_load_cell_beyond_its_range_trips_at_once(press, simulated, frame, pass_time):
    press.set_displacement(19.0)
    pass_time(5.0)
    simulated["cell"].break_down("over_range")
    pass_time(1.0)
    assert press.tripped == "the load cell is beyond its range"
    assert frame.arrives_s() is None


def test_a_tared_load_cell_is_not_pressed_with(press, parts):
    parts["cell"].tare().wait()
    with pytest.raises(PressFault, match="its force is not the whole force"):
        press.set_force(1.0).wait()


@pytest.mark.parametrize("when", ["before", "under way"])
def test_a_lost_reference_of_the_actuator_is_not_gone_on_with(press, simulated, pass_time, when):
    if when == "under way":
        press.set_force(1.0).wait()
    simulated["ram"].power_cycle()
    if when == "under way":
        pass_time(10.0)
        assert press.tripped == "the actuator has no reference position; home it first"
    else:
        with pytest.raises(PressFault, match="home it first"):
            press.set_force(1.0).wait()


def test_the_safe_state_stands_still_with_the_load_on(press, frame, pass_time):
    press.set_force(2.0).wait()
    for _ in range(3):
        press.make_safe()
        assert press.mode.get() == "stopped"
    assert frame.arrives_s() is None
    here_mm = frame.position_mm()
    pass_time(60.0)
    assert frame.position_mm() == here_mm
    assert true_kN(frame) > 1.9
    press.stop()


def test_an_actuator_that_does_not_stop_is_stopped_as_soon_as_it_answers(press, simulated, frame, pass_time):
    press.set_displacement(19.0)
    pass_time(5.0)
    simulated["ram"].break_down("busy")
    with pytest.raises(InstrumentError, match="AGAIN"):
        press.make_safe()
    assert press.tripped.startswith("not stopped: ram at")
    simulated["ram"].mend()
    pass_time(2.0)
    assert frame.arrives_s() is None
    press.make_safe()
    assert press.mode.get() == "stopped"


def test_an_approach_ends_when_the_press_is_stopped_or_told_anew(press):
    first = press.set_force(1.0)
    second = press.set_force(2.0)
    with pytest.raises(NotReached):
        first.wait()
    third = press.set_displacement(9.0)
    with pytest.raises(NotReached, match="was told to go elsewhere"):
        second.wait()
    press.make_safe()
    with pytest.raises(NotReached, match="safe state"):
        third.wait()


def test_a_part_that_is_not_there_is_told_on_connect(make, simulated):
    simulated["gauge"].break_wire("silent", times=None)
    with pytest.raises(LinkError, match="gauge at TCPIP"):
        make()


def test_all_that_is_asked_of_a_part_is_done_by_its_own_worker(press, parts, clock, monkeypatch):
    worker, astray = [], []
    submit = clock.submit

    def noting(name, work):
        def noted():
            worker.append(name)
            try:
                work()
            finally:
                worker.pop()

        return submit(name, noted)

    monkeypatch.setattr(clock, "submit", noting)
    for name, part in parts.items():
        send = part.link.send

        def sending(command, name=name, send=send):
            if worker[-1:] != [name]:
                astray.append((name, list(worker), command))
            send(command)

        monkeypatch.setattr(part.link, "send", sending)
    press.trigger().wait()
    press.set_force(1.0).wait()
    press.set_displacement(9.9).wait()
    press.hold("constant force").wait()
    press.stop()
    assert astray == []


def test_a_motion_that_its_worker_comes_to_late_is_not_begun(press, frame, clock, pass_time, monkeypatch):
    press.set_displacement(19.0)
    pass_time(5.0)
    submit = clock.submit

    def busy(name, work):
        if name == "ram":
            clock.sleep(10.0)  # as if it had other things to do
        return submit(name, work)

    monkeypatch.setattr(clock, "submit", busy)
    pass_time(30.0)
    stood_mm = frame.position_mm()
    pass_time(60.0)
    assert frame.position_mm() == stood_mm
