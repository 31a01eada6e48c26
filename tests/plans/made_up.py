"""Recorded runs that are made up, for figures of merit whose whole plan would take too long."""

import numpy as np
import xarray

from ssblab.catalog import RunData

CELL = {
    "kind": "cell", "name": "made-up", "capacity_mAh": 10.0, "area_cm2": 1.0, "voltage_min_V": 2.5,
    "voltage_max_V": 4.3, "current_max_mA": 100.0, "charge_means": "delithiation",
}  # fmt: skip


def stream(time_s, **columns):
    """A stream of events."""
    return xarray.Dataset(
        {name: ("time", np.asarray(column)) for name, column in columns.items()},
        {"time": np.asarray(time_s, dtype=float)},
    )


def step(section, number, duration_s, current_A=0.0, voltage_V=3.7, *, ended_by="", every_s=1.0):
    """What a potentiostat records in a step; current and voltage may be functions of the time in it."""
    time_s = np.arange(every_s, duration_s + every_s / 2, every_s)
    current, voltage = (
        course(time_s) if callable(course) else np.full(len(time_s), course)
        for course in (current_A, voltage_V)
    )
    return section, number, time_s, voltage, current, ended_by


def spectrum(section, frequency_Hz, z_ohm, *, verdict="accept", reasons=""):
    """A spectrum and how it was judged."""
    return section, np.asarray(frequency_Hz), np.asarray(z_ohm), verdict, reasons


def made_up(steps=(), spectra=(), streams=None, *, exit_status="success", **start):
    """A run on a potentiostat of these steps, one after the other, and these spectra."""
    recorded = dict(streams or {})
    if steps:
        begins_s = np.cumsum([0.0, *(one[2][-1] for one in steps)])
        recorded["primary"] = stream(
            np.concatenate([begin_s + one[2] for begin_s, one in zip(begins_s, steps, strict=False)]),
            ch_potential=np.concatenate([one[3] for one in steps]),
            ch_current=np.concatenate([one[4] for one in steps]),
        )
        recorded["steps"] = stream(
            begins_s[1:],
            steps_section=[one[0] for one in steps],
            steps_number=[one[1] for one in steps],
            steps_stream=["primary"] * len(steps),
            steps_rows=[len(one[2]) for one in steps],
            steps_ended_by=[one[5] for one in steps],
        )
    if spectra:
        z_ohm = np.concatenate([one[2] for one in spectra])
        recorded["impedance"] = stream(
            np.arange(len(z_ohm)),
            ch_frequency=np.concatenate([one[1] for one in spectra]),
            ch_z_real=z_ohm.real,
            ch_z_imag=z_ohm.imag,
            ch_status=["ok"] * len(z_ohm),
        )
        unknown = np.full(len(spectra), np.nan)
        recorded["spectra"] = stream(
            np.arange(len(spectra)),
            spectra_section=[one[0] for one in spectra],
            spectra_verdict=[one[3] for one in spectra],
            spectra_reasons=[one[4] for one in spectra],
            spectra_rows=[len(one[1]) for one in spectra],
            spectra_potential=np.full(len(spectra), 3.7),
            spectra_temperature=unknown,
            spectra_pressure=unknown,
            spectra_residual=np.full(len(spectra), 1e-3),
        )
    document = {
        "uid": "0",
        "time": 0.0,
        "sample": CELL,
        "current_relative_accuracy": 0.001,
        "voltage_accuracy_V": 1e-3,
        "voltage_resolution_V": 1e-6,
        "devices": {"channel": "ch", "press": "press"},
        "programs": [],
        **start,
    }
    return RunData(document, {"exit_status": exit_status}, recorded)
