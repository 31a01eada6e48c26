"""A cell of electrolyte alone, which decomposes at its working electrode: what voltammetry of a window sees.

A large counter electrode of indium and lithium keeps its potential; the working electrode is steel, or carbon
in a composite with electrolyte, which touches far more of it. At the working electrode an electrolyte is
oxidised above one potential and reduced below another, the faster the further (Tafel), until the layer that
it touches is used up; the products stay. In series stands its ohmic resistance, in parallel the double layer.
That a steel electrode shows a wide window and a composite a narrow one (F. Han et al., Adv. Energy Mater. 6
(2016) 1501590; G. F. Dewald et al., Chem. Mater. 31 (2019) 8328) follows from the contact alone.

Not modelled: deposition of lithium (below 0 V against Li/Li+, which is out of range), products that react
back, temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sim_devices.physics.constants import (
    ROOM_TEMPERATURE_C,
    ZERO_CELSIUS_K,
    FARADAY_C_mol,
    GAS_CONSTANT_J_mol_K,
)
from ssblab.clock import Clock

__all__ = ["ElectrolyteCell"]

IN_LI_V = 0.62
"""Potential of the counter electrode against Li/Li+ (A. L. Santhosha et al., Batteries & Supercaps 2 (2019)
524)."""

_PER_V = FARADAY_C_mol / (GAS_CONSTANT_J_mol_K * (ROOM_TEMPERATURE_C + ZERO_CELSIUS_K))
_LARGEST_STEP_V = 2e-3
_LARGEST_SHARE = 0.01  # of a reserve that a step may use up
_RESOLUTION_S = 1e-3  # to which the end of a step is found
_LARGEST_EXPONENT = 40.0


@dataclass(frozen=True)
class _State:
    """Potential of the working electrode against Li/Li+, and charges since the beginning."""

    working_V: float
    oxidised_C: float = 0.0
    reduced_C: float = 0.0
    charge_C: float = 0.0
    energy_J: float = 0.0


class ElectrolyteCell:
    """A cell that is open, or driven by a source of current or of voltage with its compliance.

    Positive currents oxidise at the working electrode, which is at the positive terminal.

    Parameters
    ----------
    clock : Clock
        Its time moves the cell.
    generator : numpy.random.Generator, optional
        Not used: the cell has no noise, the instruments have.
    area_cm2 : float
        Of the cell.
    oxidation_V, reduction_V : float
        Potentials against Li/Li+ at which the rate is `exchange_A_cm2`. Li6PS5Cl: calculated 2.01 and 1.71 V
        (Y. Zhu, X. He, Y. Mo, ACS Appl. Mater. Interfaces 7 (2015) 23685, as quoted by others).
    contact_share : float
        Area on which working electrode and electrolyte touch, over that of the cell: steel 0.5 to 1, carbon
        in a composite 50 to 1000; placeholders.
    exchange_A_cm2 : float
        Rate at these potentials, on the area that touches; placeholder, plausible 1e-10 to 1e-7.
    transfer : float
        Coefficient of both Tafel laws; placeholder, plausible 0.2 to 0.6.
    reserve_C_cm2 : float
        What the layer that touches can give, and take; placeholder, plausible 7e-4 to 7e-2: 1 to 100 nm of
        Li6PS5Cl with 965 mAh/g (D. H. S. Tan et al., ACS Energy Lett. 4 (2019) 2418).
    double_layer_F_cm2 : float
        On the area that touches; placeholder, plausible 5e-6 to 5e-5.
    ohm_cm2 : float
        Of electrolyte and counter electrode; placeholder, plausible 10 to 100 (550 um of 3 mS/cm: 18).

    Attributes
    ----------
    voltage_V, current_A : float
        At the terminals, when the cell was last brought up to the time.
    """

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        area_cm2: float = 0.785,
        oxidation_V: float = 2.01,
        reduction_V: float = 1.71,
        contact_share: float = 1.0,
        exchange_A_cm2: float = 1e-9,
        transfer: float = 0.3,
        reserve_C_cm2: float = 6.5e-3,
        double_layer_F_cm2: float = 2e-5,
        ohm_cm2: float = 25.0,
    ) -> None:
        self._clock = clock
        self.area_cm2 = area_cm2
        self.oxidation_V, self.reduction_V = oxidation_V, reduction_V
        touched_cm2 = contact_share * area_cm2
        self._exchange_A = exchange_A_cm2 * touched_cm2
        self._per_V = transfer * _PER_V
        self._reserve_C = reserve_C_cm2 * touched_cm2
        self.double_layer_F = double_layer_F_cm2 * touched_cm2
        self.ohmic_ohm = ohm_cm2 / area_cm2
        self._drivers: list[Callable[[], None]] = []
        self._now_s = clock.monotonic()
        self._state = _State(working_V=0.5 * (oxidation_V + reduction_V))  # where both rates are alike
        self.open()

    @classmethod
    def of_sample(
        cls, clock: Clock, generator: np.random.Generator, sample: Mapping[str, Any], **hidden: Any
    ) -> Self:
        """Make the cell of a sample record, which knows its area, and what nobody knows."""
        return cls(clock, generator, area_cm2=sample["area_cm2"], **hidden)

    # What instruments do

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have an instrument that drives the cell by a program brought up to now before the cell is read."""
        self._drivers.append(catch_up)

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect: no current flows from now on, or from a time that `advance` has reached."""
        self._drive(lambda working_V: (0.0, 0.0), at_s)

    def source_current(
        self,
        current_A: float,
        voltage_min_V: float = -math.inf,
        voltage_max_V: float = math.inf,
        *,
        at_s: float | None = None,
    ) -> None:
        """Drive a current between two voltages, from now on, or from a time that `advance` has reached."""

        def current(working_V: float) -> tuple[float, float]:
            low_A, high_A = (
                (limit_V + IN_LI_V - working_V) / self.ohmic_ohm for limit_V in (voltage_min_V, voltage_max_V)
            )
            held_A = min(max(current_A, low_A), high_A)
            return held_A, 0.0 if held_A == current_A else -1.0 / self.ohmic_ohm

        self._drive(current if current_A else lambda working_V: (0.0, 0.0), at_s)

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage, with no more current than the limit, of either sign; since when, as above."""

        def current(working_V: float) -> tuple[float, float]:
            wanted_A = (voltage_V + IN_LI_V - working_V) / self.ohmic_ohm
            if abs(wanted_A) > current_limit_A:
                return math.copysign(current_limit_A, wanted_A), 0.0
            return wanted_A, -1.0 / self.ohmic_ohm

        self._drive(current, at_s)

    def read(self) -> tuple[float, float]:
        """Voltage (V) and current (A) now, after all that drives the cell has been brought up to now."""
        for catch_up in self._drivers:
            catch_up()
        self.advance()
        return self.voltage_V, self.current_A

    def potential_V(self) -> float:
        """Voltage now, V."""
        return self.read()[0]

    def positive_potential_V(self) -> float:
        """Potential of the working electrode against Li/Li+, with the ohmic drop of the electrolyte, now."""
        return self.potential_V() + IN_LI_V

    def negative_potential_V(self) -> float:
        """Potential of the counter electrode against Li/Li+."""
        return IN_LI_V

    def temperature_C(self) -> float:
        """Temperature of the cell, degC."""
        return ROOM_TEMPERATURE_C

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance now, for a signal so small that all is linear, ohm."""
        self.read()
        omega = 2j * np.pi * np.asarray(frequency_Hz, dtype=np.float64)
        slope_S = self._per_V * sum(self._rates_A(self._state))
        return np.asarray(self.ohmic_ohm + 1.0 / (slope_S + omega * self.double_layer_F), dtype=np.complex128)

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring the cell up to a time, or to where `ended`, as `Cell.advance`."""
        until_s = self._clock.monotonic() if until_s is None else until_s
        while self._now_s < until_s:
            began_s, before = self._now_s, self._state
            longest_s = self._longest_step_s()
            step_s = min(longest_s, until_s - began_s)
            self._place(began_s + step_s, self._after(before, step_s))
            if step_s < longest_s:
                self._now_s = until_s  # exactly
            if ended and ended(self.voltage_V, self.current_A):
                self._back_to_the_end(began_s, before, step_s, ended)
                break
        return self._now_s

    # What it is

    @property
    def charge_Ah(self) -> float:
        """Charge that has passed in since the beginning, less what was taken out."""
        return self._state.charge_C / 3600.0

    @property
    def energy_Wh(self) -> float:
        """Energy that has passed in since the beginning, less what was taken out."""
        return self._state.energy_J / 3600.0

    @property
    def decomposed_C(self) -> tuple[float, float]:
        """Charges with which electrolyte was oxidised and reduced so far."""
        return self._state.oxidised_C, self._state.reduced_C

    def onset_V(self, threshold_A_cm2: float) -> tuple[float, float]:
        """Potentials against Li/Li+ at which fresh electrolyte is reduced, and oxidised, at a rate.

        Without double layer and ohmic drop: what a slow voltammogram finds at that threshold.
        """
        away_V = math.log(threshold_A_cm2 * self.area_cm2 / self._exchange_A) / self._per_V
        return self.reduction_V - away_V, self.oxidation_V + away_V

    def _drive(self, current: Callable[[float], tuple[float, float]], at_s: float | None) -> None:
        """Have a source from now on that gives a current, and its slope (S), at a potential."""
        self.advance(at_s)
        self._current = current
        self._place(self._now_s, self._state)

    def _place(self, time_s: float, state: _State) -> None:
        self._now_s, self._state = time_s, state
        self.current_A, _ = self._current(state.working_V)
        self.voltage_V = state.working_V - IN_LI_V + self.current_A * self.ohmic_ohm

    def _rates_A(self, state: _State) -> tuple[float, float]:
        """Currents of oxidation and of reduction, both above 0."""
        away = (state.working_V - self.oxidation_V, self.reduction_V - state.working_V)
        used = (state.oxidised_C, state.reduced_C)
        oxidation_A, reduction_A = (
            self._exchange_A
            * math.exp(min(self._per_V * away_V, _LARGEST_EXPONENT))
            * max(0.0, 1.0 - used_C / self._reserve_C)
            for away_V, used_C in zip(away, used, strict=True)
        )
        return oxidation_A, reduction_A

    def _longest_step_s(self) -> float:
        """Step in which neither potential nor reserves change by much; at steady state, a long one."""
        rates_A = self._rates_A(self._state)
        current_A, slope_S = self._current(self._state.working_V)
        rate_V_s = abs(current_A - rates_A[0] + rates_A[1]) / self.double_layer_F
        loss_per_s = (self._per_V * sum(rates_A) - slope_S) / self.double_layer_F
        longest_s = _LARGEST_SHARE * self._reserve_C / max(*rates_A, 1e-30)
        # The potential comes to rest by rate / loss: a step that goes less far than allowed has no bound.
        if rate_V_s > _LARGEST_STEP_V * loss_per_s:
            reached = _LARGEST_STEP_V * loss_per_s / rate_V_s
            share = -math.log1p(-reached) / reached if reached > 1e-9 else 1.0
            longest_s = min(longest_s, share * _LARGEST_STEP_V / rate_V_s)
        return longest_s

    def _after(self, state: _State, step_s: float) -> _State:
        """State after a step, whose rates are taken as linear in the potential, and solved exactly."""
        oxidation_A, reduction_A = self._rates_A(state)
        current_A, slope_S = self._current(state.working_V)
        loss_per_s = (self._per_V * (oxidation_A + reduction_A) - slope_S) / self.double_layer_F
        rate_V_s = (current_A - oxidation_A + reduction_A) / self.double_layer_F
        decay = loss_per_s * step_s
        change_V = rate_V_s * (-math.expm1(-decay) / loss_per_s if decay > 1e-12 else step_s)
        # Mean of the change over the step, with which the rates' means go.
        mean_V = (rate_V_s - change_V / step_s) / loss_per_s if decay > 1e-6 else 0.5 * change_V
        oxidised_C = oxidation_A * (1.0 + self._per_V * mean_V) * step_s
        reduced_C = reduction_A * (1.0 - self._per_V * mean_V) * step_s
        passed_C = self.double_layer_F * change_V + oxidised_C - reduced_C
        mean_voltage_V = state.working_V + mean_V - IN_LI_V + passed_C / step_s * self.ohmic_ohm
        return replace(
            state,
            working_V=state.working_V + change_V,
            oxidised_C=min(state.oxidised_C + max(oxidised_C, 0.0), self._reserve_C),
            reduced_C=min(state.reduced_C + max(reduced_C, 0.0), self._reserve_C),
            charge_C=state.charge_C + passed_C,
            energy_J=state.energy_J + passed_C * mean_voltage_V,
        )

    def _back_to_the_end(
        self, began_s: float, before: _State, step_s: float, ended: Callable[[float, float], bool]
    ) -> None:
        """Go back to where a step that has just been taken ended."""
        low_s, high_s = 0.0, step_s
        while high_s - low_s > _RESOLUTION_S:
            middle_s = 0.5 * (low_s + high_s)
            self._place(began_s + middle_s, self._after(before, middle_s))
            if ended(self.voltage_V, self.current_A):
                high_s = middle_s
            else:
                low_s = middle_s
        self._place(began_s + high_s, self._after(before, high_s))
