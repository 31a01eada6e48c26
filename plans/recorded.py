"""A recorded run, seen by the roles of its devices and its spectra instead of the keys of the devices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssblab.catalog import RunData
from ssblab.quantities import BadInput

__all__ = ["RecordedRun", "Spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """One attempt at a spectrum.

    Attributes
    ----------
    section : str
        Part of the experiment.
    verdict : {"accept", "repeat", "flag"}
    reasons : str
        Why it was not accepted.
    potential_V, temperature_C, pressure_MPa : float
        At the beginning; NaN where nothing measured it.
    residual : float
        Of its Kramers-Kronig test, relative; NaN where there was none.
    frequency_Hz, z_ohm : ndarray, shape (n,)
        The points that the instrument calls sound.
    """

    section: str
    verdict: str
    reasons: str
    potential_V: float
    temperature_C: float
    pressure_MPa: float
    residual: float
    frequency_Hz: NDArray[np.float64]
    z_ohm: NDArray[np.complex128]


class RecordedRun:
    """A run of a plan that measures with a channel.

    Parameters
    ----------
    run : RunData
        Whole or broken off.
    """

    def __init__(self, run: RunData) -> None:
        self.run = run
        self.start = run.start
        self._channel = run.start["devices"]["channel"]

    def column(self, stream: str, role: str, signal: str) -> NDArray[Any]:
        """Readings of a device's signal in a stream, by the device's role in the plan."""
        return np.asarray(self.run.streams[stream][f"{self.start['devices'][role]}_{signal}"])

    @cached_property
    def spectra(self) -> list[Spectrum]:
        """All attempts at spectra, in order."""
        if "spectra" not in self.run.streams:
            return []
        marks, rows = (
            self.run.streams["spectra"],
            itertools.accumulate(np.asarray(self.run.streams["spectra"]["spectra_rows"]).tolist(), initial=0),
        )
        return [self._spectrum(marks, i, *pair) for i, pair in enumerate(itertools.pairwise(rows))]

    def spectrum(self, section: str) -> Spectrum:
        """The last spectrum of a section.

        Raises
        ------
        BadInput
            If there is none.
        """
        found = [spectrum for spectrum in self.spectra if spectrum.section == section]
        if not found:
            raise BadInput(f"there is no spectrum of {section}")
        return found[-1]

    def _spectrum(self, marks: Any, i: int, first: int, after: int) -> Spectrum:
        stream = self.run.streams["impedance"]
        rows = {
            signal: np.asarray(stream[f"{self._channel}_{signal}"])[first:after]
            for signal in ("frequency", "z_real", "z_imag", "status")
        }
        sound = rows["status"] == "ok"
        told = {key: marks[f"spectra_{key}"].values[i] for key in ("section", "verdict", "reasons")}
        numbers = {
            key: float(marks[f"spectra_{key}"].values[i])
            for key in ("potential", "temperature", "pressure", "residual")
        }
        return Spectrum(
            **{key: str(value) for key, value in told.items()},
            potential_V=numbers["potential"],
            temperature_C=numbers["temperature"],
            pressure_MPa=numbers["pressure"],
            residual=numbers["residual"],
            frequency_Hz=rows["frequency"][sound].astype(float),
            z_ohm=(rows["z_real"] + 1j * rows["z_imag"])[sound],
        )
