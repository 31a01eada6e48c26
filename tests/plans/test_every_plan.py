"""What holds for every plan of cells and powders, whatever it measures."""

import asyncio
import contextlib

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted

from plans.catalogue import find_plans
from plans.pressure import open_press
from ssblab.quantities import BadInput
from ssblab.results import figures_of_merit
from ssblab.safety import Interlock, InterlockTripped

#: Each plan as short as it can be: sample and arguments.
CALLS = {
    "activation_energy": (
        "std-07",
        {
            "temperatures": "25 degC, 35 degC, 15 degC",
            "soak": "1 min",
            "rest": "1 min",
            "rates": "0.5C",
            "between_pulses": "1 min",
        },
    ),
    "bonding_campaign": (
        ["bond-a-01"],
        {
            "rate": "5C",
            "cycles": 1,
            "pulse_rates": "0.5C",
            "rest": "1 min",
            "frequency_to": "1 kHz",
            "charge_rates": "5C",
            "watch": "10 min",
        },
    ),
    "capacity_check": ("std-01", {"rate": "5C", "rest": "1 min", "log_every": "1 min"}),
    "capacity_vs_temperature": (
        "std-08",
        {"temperatures": "35 degC", "soak": "1 min", "rate": "5C", "rest": "1 min"},
    ),
    "conditioning": (
        "std-02",
        {"rate": "5C", "cycles": 1, "rest": "1 min", "watch": "1 h", "log_every": "5 min"},
    ),
    "critical_current_density": (
        "li-llz-li-02",
        {"currents": "0.1 mA/cm2, 0.2 mA/cm2", "charge": "0.02 mAh/cm2", "rest": "30 s", "log_every": "30 s"},
    ),
    "cycle": (
        "std-03",
        {"rate": "5C", "cycles": 2, "check_rate": "5C", "rest": "1 min", "log_every": "1 min"},
    ),
    "dc_resistance": (
        "std-04",
        {"rate": "5C", "counted_of": "nominal", "rest": "1 min", "between_pulses": "1 min", "rates": "0.5C"},
    ),
    "floating_test": ("std-09", {"potential": "4.1 V", "hold": "1 h", "rate": "5C", "rest": "1 min"}),
    "impedance_at": (
        "bond-b-01",
        {"rate": "5C", "counted_of": "nominal", "rest": "1 min", "frequency_to": "1 kHz"},
    ),
    "impedance_spectrum": ("bond-c-01", {"rest": "1 min", "frequency_to": "1 kHz"}),
    "lot_qualification": (
        ["std-b-01", "std-b-02"],
        {"rate": "5C", "rest": "1 min", "watch": "1 h", "log_every": "5 min"},
    ),
    "plating_stripping": (
        "li-llz-li-02",
        {"current": "0.1 mA/cm2", "charge": "0.02 mAh/cm2", "cycles": 2, "rest": "30 s", "log_every": "30 s"},
    ),
    "pressure_sweep_conductivity": (
        "argyrodite-powder-01",
        {"pressures": "20 MPa, 40 MPa", "dwell": "10 s", "lowest_frequency": "10 kHz"},
    ),
    "pressure_sweep_cycling": (
        "std-press-01",
        {
            "pressures": "8 MPa",
            "ways": "rising",
            "rate": "5C",
            "afterwards": "release",
            "rest": "30 s",
            "dwell": "10 s",
            "spectra": "no",
            "log_every": "30 s",
        },
    ),
    "rate_capability": (
        "std-05",
        {"rates": "2C, 5C", "slow_rate": "5C", "rest": "1 min", "log_every": "1 min"},
    ),
    "stability_window": ("se-steel-01", {"resolution": "10 mV", "widen_by": "1 V", "rest": "1 min"}),
    "thickness_cycling": (
        "std-press-01",
        {
            "pressure": "5 MPa",
            "cycles": 1,
            "rate": "5C",
            "afterwards": "release",
            "rest": "30 s",
            "dwell": "10 s",
            "log_every": "30 s",
        },
    ),
    "three_electrode_cycle": ("std-3e-01", {"rates": "5C", "rest": "1 min"}),
    "run_steps": (
        "std-10",
        {"steps": "Charge at 5C until 4.2 V; Rest for 1 min; Discharge at 5C until 2.5 V"},
    ),
}
#: Tested elsewhere (the moisture experiment at its own station), or without a run.
OTHERS = {"moisture_exposure", "open_press"}


def called(session, name):
    """The plan, on its sample or samples."""
    names, how = CALLS[name]
    if isinstance(names, str):
        return find_plans()[name](session.samples[names], **how)
    return find_plans()[name]([session.samples[one] for one in names], **how)


def test_every_plan_is_here():
    assert set(find_plans()) == CALLS.keys() | OTHERS


def paused_at_each_stream(session, plan):
    """Run a plan, with a pause at the first event of each of its streams; give its runs, and the pauses."""
    RE, uids, named, pauses, requests = session.RE, [], {}, [], []

    def watch(kind, doc):
        if kind == "start":
            uids.append(doc["uid"])
        elif kind == "descriptor" and doc["name"] not in ("environment", "baseline", "timing"):
            named[doc["uid"]] = doc["name"]
        elif kind in ("event", "event_page") and doc["descriptor"] in named:
            pauses.append(named.pop(doc["descriptor"]))
            requests.append(asyncio.ensure_future(RE._request_pause_coro(), loop=RE.loop))

    token = RE.subscribe(watch)
    try:
        session.run(plan)
        while RE.state == "paused":
            session.clock.sleep(20.0)
            with contextlib.suppress(RunEngineInterrupted):  # by the next pause
                RE.resume()
    finally:
        RE.unsubscribe(token)
        if RE.state == "paused":
            RE.abort()
    return [session.run_data(uid) for uid in uids], pauses


def counted(told, marks, stream):
    """Rows of a stream that the plan has counted."""
    rows = told[f"{marks}_rows"].values
    return rows.sum() if marks == "spectra" else rows[told["steps_stream"].values == stream].sum()


@pytest.mark.parametrize("name", CALLS)
def test_a_pause_loses_nothing_and_has_nothing_recorded_twice(session, name):
    runs, pauses = paused_at_each_stream(session, called(session, name))
    assert pauses
    for run in runs:
        assert (run.stop["exit_status"], run.stop.get("reason", "")) == ("success", "")
        assert run.streams["baseline"].sizes["time"] == 2
        for marks, stream in (("steps", "primary"), ("spectra", "impedance")):
            if marks in run.streams:
                assert counted(run.streams[marks], marks, stream) == len(run.streams[stream]["time"])
        for stream, data in run.streams.items():
            assert np.all(np.diff(data["time"].values) >= 0.0), stream
    whole = figures_of_merit(runs[0], session.run_data)
    assert whole
    assert not [device.name for device in session.devices.values() if getattr(device, "measuring", False)]


class Tripped(Interlock):
    """An interlock that was tripped before a plan began."""

    def check(self):
        raise InterlockTripped("H2S in the room: 12 ppm")


@pytest.mark.parametrize("name", [*CALLS, "open_press"])
def test_nothing_is_told_while_an_interlock_is_tripped(session, name, monkeypatch):
    told = []
    monkeypatch.setattr(session._guard, "_interlocks", [Tripped(session.clock, None, 5.0)])
    monkeypatch.setattr(session.RE, "msg_hook", lambda msg: told.append(msg.command))
    result = session.run(called(session, name) if name in CALLS else open_press())
    assert (result.exit_status, result.reason) == ("fail", "H2S in the room: 12 ppm")
    assert "check_interlocks" in told
    assert not {"set", "prepare", "kickoff", "trigger", "stage"} & set(told)


@pytest.mark.parametrize(
    ("name", "sample", "how", "said"),
    [
        (
            "capacity_vs_temperature",
            "std-press-01",
            {},
            "needs a climate chamber, and the sample is at press",
        ),
        ("pressure_sweep_cycling", "std-01", {}, "needs a press, and the sample is at ch_1, chamber only"),
        ("impedance_spectrum", "std-01", {}, "needs a potentiostat, and the sample is at ch_1, chamber only"),
    ],
)
def test_what_the_sample_is_not_at_is_left_alone(session, name, sample, how, said):
    before = session._filing.position()
    with pytest.raises(BadInput) as raised:
        session.run(find_plans()[name](session.samples[sample], **how))
    assert said in str(raised.value)
    assert session._filing.position() == before
