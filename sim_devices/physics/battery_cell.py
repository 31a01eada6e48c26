"""A dummy cell: an equivalent circuit of known elements that any instrument can drive and be checked with.

Open-circuit voltage: the fit of M. Chen and G. A. Rincon-Mora, IEEE Trans. Energy Convers. 21 (2006) 504,
to a lithium-ion cell. In series with it an ohmic resistance and two resistors with a capacitor each, for
charge transfer and for diffusion; their values are placeholders of the size of a pressed 8 mAh sulfide cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssblab.clock import Clock

__all__ = ["BatteryCell"]

_LONGEST_STEP_S = 10.0
_FIRST_STEP_S = 1e-3
_GROWTH = 0.05  # a step is at most this share of the time since the drive changed
_RESOLUTION_S = 1e-3  # to which the end of a step is found


class BatteryCell:
    """A cell that is open, or driven by a source of current or of voltage with its compliance.

    Whoever drives it tells so once; the state follows when somebody looks. Charging currents are positive.

    Parameters
    ----------
    clock : Clock
        Its time moves the cell.
    generator : numpy.random.Generator
        Not used yet: the cell itself has no noise, the instruments have.
    capacity_Ah : float
        Between empty (0) and full (1).
    state_of_charge : float
        At the beginning.
    ohmic_ohm, transfer_ohm, diffusion_ohm : float
        Resistances.
    transfer_s, diffusion_s : float
        Time constants of the second and third.
    temperature_C : float
        Of the cell.

    Attributes
    ----------
    charge_Ah, energy_Wh : float
        Passed in since the beginning, less what was taken out.
    voltage_V, current_A : float
        At the terminals, when the cell was last brought up to the time.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        capacity_Ah: float = 0.008,
        state_of_charge: float = 0.5,
        ohmic_ohm: float = 10.0,
        transfer_ohm: float = 8.0,
        transfer_s: float = 0.01,
        diffusion_ohm: float = 6.0,
        diffusion_s: float = 60.0,
        temperature_C: float = 25.0,
    ) -> None:
        self._clock = clock
        self.capacity_Ah = capacity_Ah
        self.state_of_charge = state_of_charge
        self.ohmic_ohm = ohmic_ohm
        self._pairs = ((transfer_ohm, transfer_s), (diffusion_ohm, diffusion_s))
        self._overvoltages_V = [0.0, 0.0]
        self.temperature_C = temperature_C
        self.charge_Ah = 0.0
        self.energy_Wh = 0.0
        self._now_s = self._changed_s = clock.monotonic()
        self._drivers: list[Callable[[], None]] = []
        self._set_current_A: float | None = 0.0
        self._set_voltage_V = math.nan
        self._voltage_limits_V = (-math.inf, math.inf)
        self._current_limit_A = math.inf
        self.current_A = 0.0
        self.voltage_V = self.open_circuit_V()

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have an instrument that drives the cell by a program brought up to now before the cell is read."""
        self._drivers.append(catch_up)

    def open_circuit_V(self) -> float:
        """Voltage at rest, at the state of charge now (Chen and Rincon-Mora 2006, equation 2)."""
        soc = min(max(self.state_of_charge, -0.05), 1.2)
        return -1.031 * math.exp(-35.0 * soc) + 3.685 + 0.2156 * soc - 0.1178 * soc**2 + 0.3201 * soc**3

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect: no current flows from now on, or from a time that `advance` has reached."""
        self.source_current(0.0, at_s=at_s)

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current from now on, or from a time that `advance` has reached.

        At a limit of the voltage the source holds that voltage instead.
        """
        self.advance(at_s)
        self._set_current_A = current_A
        self._voltage_limits_V = (voltage_min_V, voltage_max_V)
        self._changed()

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage, with no more current than the limit, of either sign; since when, as above."""
        self.advance(at_s)
        self._set_current_A = None
        self._set_voltage_V = voltage_V
        self._current_limit_A = current_limit_A
        self._changed()

    def read(self) -> tuple[float, float]:
        """Voltage (V) and current (A) now, after all that drives the cell has been brought up to now."""
        for catch_up in self._drivers:
            catch_up()
        self.advance()
        return self.voltage_V, self.current_A

    def potential_V(self) -> float:
        """Voltage now, V."""
        return self.read()[0]

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring the cell up to a time of the clock, by default now.

        Parameters
        ----------
        until_s : float
            Monotonic time of the clock; one that is past changes nothing.
        ended : callable
            Given voltage (V) and current (A), says whether to stop; found to a millisecond.

        Returns
        -------
        float
            Monotonic time that was reached.
        """
        until_s = self._clock.monotonic() if until_s is None else until_s
        while self._now_s < until_s:
            longest_s = max(_FIRST_STEP_S, _GROWTH * (self._now_s - self._changed_s))
            step_s = min(longest_s, _LONGEST_STEP_S, until_s - self._now_s)
            if ended is None:
                self._step(step_s)
            elif self._step_until(step_s, ended):
                break
        return self._now_s

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance of the circuit, ohm; the slope of the open-circuit voltage acts as a capacitor."""
        self.read()
        omega = 2j * np.pi * np.asarray(frequency_Hz, dtype=float)
        total = self.ohmic_ohm + sum(ohm / (1.0 + omega * tau_s) for ohm, tau_s in self._pairs)
        return np.asarray(total + self._slope_V() / (3600.0 * self.capacity_Ah) / omega, dtype=complex)

    def _changed(self) -> None:
        self._changed_s = self._now_s
        self._step(0.0)

    def _step_until(self, step_s: float, ended: Callable[[float, float], bool]) -> bool:
        """Take a step; if it ends in it, go only as far as that."""
        before = self._state()
        self._step(step_s)
        if not ended(self.voltage_V, self.current_A):
            return False
        low_s, high_s = 0.0, step_s
        while high_s - low_s > _RESOLUTION_S:
            middle_s = 0.5 * (low_s + high_s)
            self._restore(before)
            self._step(middle_s)
            if ended(self.voltage_V, self.current_A):
                high_s = middle_s
            else:
                low_s = middle_s
        self._restore(before)
        self._step(high_s)
        return True

    def _step(self, dt_s: float) -> None:
        """Take one step; implicit, so that any length is stable."""
        decays = [math.exp(-dt_s / tau_s) for _, tau_s in self._pairs]
        at_rest_V = self.open_circuit_V() + sum(
            v * decay for v, decay in zip(self._overvoltages_V, decays, strict=True)
        )
        slope_ohm = self.ohmic_ohm + self._slope_V() * dt_s / (3600.0 * self.capacity_Ah)
        slope_ohm += sum(ohm * (1.0 - decay) for (ohm, _), decay in zip(self._pairs, decays, strict=True))
        current_A = self._current(at_rest_V, slope_ohm)
        for i, (ohm, _) in enumerate(self._pairs):
            self._overvoltages_V[i] = self._overvoltages_V[i] * decays[i] + current_A * ohm * (
                1.0 - decays[i]
            )
        charge_Ah = current_A * dt_s / 3600.0
        self.state_of_charge += charge_Ah / self.capacity_Ah
        voltage_V = self.open_circuit_V() + sum(self._overvoltages_V) + current_A * self.ohmic_ohm
        self.charge_Ah += charge_Ah
        self.energy_Wh += charge_Ah * 0.5 * (voltage_V + self.voltage_V)
        self.voltage_V, self.current_A = voltage_V, current_A
        self._now_s += dt_s

    def _current(self, at_rest_V: float, slope_ohm: float) -> float:
        """Current that the source drives through a cell that shows at_rest_V + slope_ohm * current."""
        if self._set_current_A is None:
            current_A = (self._set_voltage_V - at_rest_V) / slope_ohm
            return min(max(current_A, -self._current_limit_A), self._current_limit_A)
        if self._set_current_A == 0.0:
            return 0.0
        low_A, high_A = ((limit_V - at_rest_V) / slope_ohm for limit_V in self._voltage_limits_V)
        return min(max(self._set_current_A, low_A), high_A)

    def _slope_V(self) -> float:
        """Derivative of the open-circuit voltage with the state of charge."""
        soc = min(max(self.state_of_charge, -0.05), 1.2)
        return 36.085 * math.exp(-35.0 * soc) + 0.2156 - 0.2356 * soc + 0.9603 * soc**2

    def _state(self) -> tuple[float, ...]:
        return (
            self._now_s, self.state_of_charge, *self._overvoltages_V, self.charge_Ah, self.energy_Wh,
            self.voltage_V, self.current_A,
        )  # fmt: skip

    def _restore(self, state: tuple[float, ...]) -> None:
        self._now_s, self.state_of_charge = state[:2]
        self._overvoltages_V = list(state[2:4])
        self.charge_Ah, self.energy_Wh, self.voltage_V, self.current_A = state[4:]
