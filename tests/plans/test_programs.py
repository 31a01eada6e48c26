"""Programs on channel, chamber and press together: barriers, pauses, ends that only the plan can judge."""

import asyncio
from itertools import pairwise

import bluesky.preprocessors as bpp
import numpy as np
import pytest

from plans.programs import Beside, CellRig, prepare, run
from plans.steps import run_steps
from ssblab.quantities import BadInput


def mounted(session, name):
    session.laboratory.mount(session.samples[name].model_dump())
    return session.laboratory.things[session.station.simulated.samples[name].place].cell


def on_the_cycler(session, number):
    name = f"std-{number:02d}"
    mounted(session, name)
    return CellRig(session.samples[name], session.devices[f"ch_{number}"], session.devices["chamber"])


def in_the_press(session):
    mounted(session, "std-press-01")
    devices = session.devices
    return CellRig(session.samples["std-press-01"], devices["press_potentiostat"], press=devices["press"])


def with_reference(session, name="std-3e-01"):
    mounted(session, name)
    devices = session.devices
    return CellRig(session.samples[name], devices["potentiostat"], electrodes=devices["cell_3e"])


def done(session, rig, text, *, beside=None, **how):
    """Run a program in a run of its own; its result, and its steps."""
    program = prepare(rig, text, **how)
    result = session.run(bpp.run_wrapper(run(program, beside=beside), md={"sample": rig.sample.metadata()}))
    return result, session.run_data(result.uids[0]).streams


def test_what_the_channel_can_do_alone_is_uploaded_at_once(session):
    rig = on_the_cycler(session, 1)
    text = """
        Repeat 3 times:
            Charge at 1C for 1 min
            Rest for 1 min
            Discharge at 1C until 0.1 mAh
        Rest for 2 min
        Charge at 0.5C for 1 min
    """
    result, streams = done(session, rig, text, log_s=10.0)
    assert result.exit_status == "success", result.reason
    assert streams["steps"]["steps_number"].values.tolist() == ["1", "2"]
    first = streams["steps"]["steps_rows"].values[0]
    records = streams["primary"].isel(time=slice(0, first))
    assert sorted(set(records["ch_1_cycle"].values)) == [1.0, 2.0, 3.0]
    discharged = records["ch_1_capacity"].values[records["ch_1_step"].values == 3]
    assert 1e3 * discharged.max() == pytest.approx(0.1, abs=0.002)


def test_records_are_made_when_the_voltage_has_changed(session):
    rig = on_the_cycler(session, 7)
    result, streams = done(session, rig, "Charge at 1C for 10 min (every 10 min, 5 mV)")
    assert result.exit_status == "success", result.reason
    steps_V = np.abs(np.diff(streams["primary"]["ch_7_voltage"].values))
    assert len(steps_V) > 5
    assert np.all(steps_V[:-1] >= 0.0049)
    with pytest.raises(BadInput, match="press_potentiostat makes records by time"):
        prepare(in_the_press(session), "Charge at 0.1C for 1 h (every 5 mV)")


def test_a_rest_ends_when_the_voltage_has_come_to_rest(session):
    rig = on_the_cycler(session, 2)
    text = "Charge at 2C for 5 min\nRest until |dV/dt| < 2 mV/h or for 20 h (60 s period)"
    result, streams = done(session, rig, text, log_s=10.0)
    assert result.exit_status == "success", result.reason
    assert streams["steps"]["steps_ended_by"].values.tolist() == ["", "|dV/dt| < 2 mV/h"]
    rested = streams["steps"].isel(time=1)
    assert 600.0 < float(rested["steps_ended"] - rested["steps_began"]) < 20 * 3600


def test_while_a_condition_does_not_hold_the_step_and_its_clock_stand(session):
    """The charge is for 30 min below 30 degC; the chamber is warmed in between by somebody."""
    rig = on_the_cycler(session, 3)
    chamber = session.devices["chamber"]
    chamber.set(25.0).wait()
    text = "While temperature < 30 degC, else pause: Charge at 0.5C for 30 min (10 s period)"

    def warm():
        chamber.do("warm", lambda: chamber.write_climate(40.0, None))
        session.clock.call_later(3600.0, cool)

    def cool():
        chamber.do("cool", lambda: chamber.write_climate(25.0, None))

    session.clock.call_later(600.0, warm)
    result, streams = done(session, rig, text)
    assert result.exit_status == "success", result.reason
    steps = streams["steps"]
    assert len(steps["time"]) == 2
    assert steps["steps_ended_by"].values.tolist() == ["pause", ""]
    lasted_s = (steps["steps_ended"] - steps["steps_began"]).values
    assert lasted_s.sum() == pytest.approx(1800.0, abs=90.0)
    assert (steps["steps_began"].values[1] - steps["steps_ended"].values[0]) > 1800.0
    charged_mAh = 1e3 * sum(
        part["ch_3_capacity"].values.max() for part in _parts(streams["primary"], steps["steps_rows"].values)
    )
    assert charged_mAh == pytest.approx(2.0, rel=0.06)


def _parts(records, rows):
    edges = np.concatenate([[0], np.cumsum(rows)])
    return [records.isel(time=slice(first, end)) for first, end in pairwise(edges)]


def test_a_limit_that_does_not_hold_breaks_the_program_off(session):
    rig = on_the_cycler(session, 4)
    chamber = session.devices["chamber"]
    chamber.set(25.0).wait()
    session.clock.call_later(900.0, lambda: chamber.do("warm", lambda: chamber.write_climate(40.0, None)))
    result, streams = done(
        session, rig, "Limits: temperature < 30 degC\nCharge at 0.1C for 5 h (60 s period)"
    )
    assert result.exit_status == "fail"
    assert "limit temperature < 30 degC does not hold: it is 30" in result.reason
    assert not session.devices["ch_4"].read_now(fresh=True).running
    assert streams["steps"]["steps_ended_by"].values[0].startswith("failed: limit")
    chamber.set(25.0).wait()


def test_pressure_is_held_and_then_the_cell_is_charged(session):
    rig = in_the_press(session)
    session.devices["press_ram"].home().wait()
    text = """
        Hold 10 MPa within 2 % for 2 min, at most 1 h
        Charge at 0.5C for 2 min (10 s period)
        EIS from 100 kHz to 10 Hz at 10 mV, 5 points per decade
    """
    result, streams = done(session, rig, text)
    assert result.exit_status == "success", result.reason
    assert rig.press.pressure.get() == pytest.approx(10.0, rel=0.05)
    assert streams["spectra"]["spectra_verdict"].values.tolist() == ["accept"]
    assert streams["spectra"]["spectra_pressure"].values[0] == pytest.approx(10.0, rel=0.05)


def test_electrodes_are_recorded_beside_and_one_of_them_ends_the_charge(session):
    rig = with_reference(session)
    cell = session.laboratory.things["bench"].cell
    text = """
        Limits: positive potential < 4.3 V
        Charge at 2C until 4.2 V or negative potential < 0.1 V
        Rest for 1 min
    """
    result, streams = done(
        session, rig, text, log_s=10.0, beside=Beside((rig.electrodes,), "potentials", 5.0)
    )
    assert result.exit_status == "success", result.reason
    assert streams["steps"]["steps_ended_by"].values.tolist() == ["negative potential < 0.1 V", ""]
    beside = streams["potentials"]
    negative_V = beside["cell_3e_negative_potential"].values
    charging = beside["time"].values < streams["steps"]["steps_ended"].values[0]
    assert negative_V[charging][-1] < 0.1 < negative_V[charging][:-1].min()
    assert np.median(np.diff(beside["time"].values[charging])) == pytest.approx(5.0, abs=1.0)
    assert (~charging).sum() >= 5
    assert cell.negative_potential_V() == pytest.approx(negative_V[-1], abs=0.01)


def test_what_is_waited_for_in_vain_ends_the_program(session):
    rig = on_the_cycler(session, 5)
    text = "Wait until temperature > 60 degC, at most 10 min\nRest for 1 min"
    result, _ = done(session, rig, text)
    assert result.exit_status == "fail"
    assert "wait temperature > 60 degC does not hold: it is 25" in result.reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("EIS from 1 MHz to 1 Hz at 10 mV", "it needs a potentiostat"),
        ("Hold 20 MPa within 2 %, at most 1 h", "the sample is in no press"),
        ("Wait until H2S < 1 ppm, at most 1 h", "nothing of the sample's devices measures H2S"),
        ("Charge at 1C until negative potential < 0 V", "sample's devices measures negative potential"),
        ("Charge at 1 W for 1 h", "ch_6 does currents, no power and no load"),
        ("Hold 150 degC within 1 K for 1 h, at most 9 h", "150 degC is above temperature <"),
    ],
)
def test_what_the_rig_cannot_do_is_refused(session, text, said):
    with pytest.raises(BadInput) as raised:
        prepare(on_the_cycler(session, 6), text)
    assert said in str(raised.value)


def test_a_written_program_is_a_plan_of_its_own(session):
    text = "Charge at 1C for 5 min; Rest for 1 min; Discharge at 1C for 5 min"
    result = session.run(run_steps(session.samples["std-08"], steps=text))
    assert result.exit_status == "success", result.reason
    assert result.results["coulombic_efficiency"].value == pytest.approx(1.0, abs=0.01)
    start = session.run_data(result.uids[0]).start
    assert start["programs"] == [{"section": "program", "text": text}]
    assert start["devices"] == {"channel": "ch_8", "chamber": "chamber"}


def test_a_pause_in_the_middle_costs_no_record_and_starts_nothing_twice(session):
    """The channel goes on while the plan stands still: what it measured meanwhile is fetched afterwards."""
    rig = on_the_cycler(session, 9)
    text = "Charge at 1C for 10 min; Rest for 5 min"
    RE = session.RE
    session.clock.call_later(
        250.0, lambda: asyncio.run_coroutine_threadsafe(RE._request_pause_coro(), RE.loop)
    )
    program = prepare(rig, text, log_s=30.0)
    paused = session.run(bpp.run_wrapper(run(program), md={"sample": rig.sample.metadata()}))
    assert paused.exit_status == "paused"
    session.clock.sleep(120.0)
    RE.resume()
    streams = session.run_data(paused.uids[0]).streams
    records = streams["primary"]
    assert streams["steps"]["steps_rows"].values.tolist() == [len(records["time"])]
    moments = set(zip(records["time"].values.tolist(), records["ch_9_step"].values.tolist(), strict=True))
    assert len(moments) == len(records["time"])
    assert np.diff(records["time"].values).max() < 31.0
    charged = records["ch_9_capacity"].values[records["ch_9_step"].values == 1]
    assert 1e3 * charged.max() == pytest.approx(8.0 / 6, rel=0.01)
    assert records["ch_9_step"].values[-1] == 2
