"""A battery cell behind its terminals, on the laboratory's clock.

Whoever drives it says so once; the state follows when somebody looks. Between two such events its equations
(`cell_equations`) are integrated by scipy's LSODA, whose steps are as long as nothing happens: the time that
a cell takes grows with what happens to it, not with the time that passes, and readings between two steps are
read off the solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import BDF, LSODA, DenseOutput, OdeSolver

from sim_devices.physics.cell_design import DESIGNS, CellDesign
from sim_devices.physics.cell_equations import CellEquations, Side, Source, State
from sim_devices.physics.constants import ROOM_TEMPERATURE_C
from sim_devices.physics.contact import Contact, bonding_study_contacts
from ssblab.clock import Clock

__all__ = ["Cell", "Surroundings"]

_Array = NDArray[np.float64]

_RELATIVE_TOLERANCE = 1e-5  # with those of `CellEquations.tolerances`: errors below 0.1 mV
_RESOLUTION_S = 1e-3  # to which the end of a step is found
_FIRST_STEP_S = 1e-8  # it begins with an explicit method, which needs a step as short as the fastest state
# Where next to nothing changes, LSODA may not find out that the equations are stiff, and stay with the short
# steps of its explicit method, all alike, which it leaves after some twenty otherwise.
_PATIENT_STEPS, _ALIKE = 50, 0.01
_FOREVER_S = 1e9
_SETTLED_K = 0.02  # by which the surroundings may be off the straight line that is followed
_CAPACITY_SIGMA, _LARGEST_DEVIATION = 0.01, 0.03  # of a lot (GT-18)
_RESISTANCE_SIGMA = 0.03  # of a lot; placeholder, plausible 0.01 to 0.1
_OXIDATION_SHOWS = 0.02  # share of the sites lost above which products of the oxidation are found


class Surroundings(Protocol):
    """What a cell stands in; it knows how its air went."""

    @property
    def air_C(self) -> float:
        """Temperature when it was moved last, degC."""

    def advance_to(self, time_s: float) -> None:
        """Bring `air_C` to a monotonic time of the clock."""

    def air_until(self, from_s: float, until_s: float) -> tuple[float, float]:
        """Bring `air_C` to the second time; when the piece ends that goes on at the first, and with what.

        The piece is straight, and ends at the second time at the latest.
        """


class Cell:
    """A cell that is open, or driven by a source of current or of voltage with its compliance.

    What instruments see is `read`, `impedance`, the potentials, thickness and temperature; all else is hidden
    truth. Charging currents are positive.

    Parameters
    ----------
    clock : Clock
        Its time moves the cell.
    generator : numpy.random.Generator, optional
        Of the scatter of its lot; without it the cell is exactly as designed. The cell has no noise, the
        instruments have.
    design : str or CellDesign
        Its kind; one of `DESIGNS`, or another.
    capacity_Ah : float
        Between empty and full at rest, as designed.
    capacity_share : float
        What it has of that besides the scatter of its lot; 0.92 makes it an outlier.
    area_cm2 : float, optional
        Of the electrodes; by default of the design's loading.
    state_of_charge : float
        At the beginning, at rest.
    temperature_C : float
        Around it, where it stands in no `surroundings`.
    surroundings : Surroundings, optional
        A chamber or oven.
    micro_short_S : float
        Conductance between the electrodes from the beginning.
    added_ohm : float
        In series: leads, a bad contact.

    Attributes
    ----------
    voltage_V, current_A : float
        At the terminals, when the cell was last brought up to the time.
    shorted_at_s : float
        Monotonic time when lithium was first seen to have grown through, NaN while it has not.
    """

    #: It is used again and again: what was done to it stays.
    lasting = True

    def __init__(
        self,
        clock: Clock,
        generator: np.random.Generator | None = None,
        *,
        design: str | CellDesign = "standard-2.1",
        capacity_Ah: float = 0.008,
        capacity_share: float = 1.0,
        area_cm2: float | None = None,
        state_of_charge: float = 0.5,
        temperature_C: float = ROOM_TEMPERATURE_C,
        surroundings: Surroundings | None = None,
        micro_short_S: float = 0.0,
        added_ohm: float = 0.0,
    ) -> None:
        self._clock = clock
        self.design = DESIGNS[design] if isinstance(design, str) else design
        deviation, resistance_scale = _lot_spread(generator) if generator else (0.0, 1.0)
        self.equations = CellEquations(
            self.design,
            capacity_Ah=capacity_Ah * capacity_share * (1.0 + deviation),
            area_cm2=area_cm2 or 1e3 * capacity_Ah / self.design.loading_mAh_cm2,
            resistance_scale=resistance_scale,
            micro_short_S=micro_short_S,
            added_ohm=added_ohm,
        )
        self._contacts = _contacts(self.design)
        self._micro_short_S = micro_short_S
        self._surroundings = surroundings
        self._source = Source()
        self._drivers: list[Callable[[], None]] = []
        self._now_s = clock.monotonic()
        self._steps_alike = 0
        self._ahead: OdeSolver | None = None  # has solved up to some time from now on
        self._solution: DenseOutput | None = None  # of its last step, once it was asked for
        self.shorted_at_s = math.nan
        if surroundings:
            surroundings.advance_to(self._now_s)
            temperature_C = surroundings.air_C
        self.equations.ambient_C = (self._now_s, temperature_C, 0.0)
        self._state = self.equations.at_rest(state_of_charge, temperature_C)
        self.press(self.design.constraint_MPa)

    # What instruments do

    def attach(self, catch_up: Callable[[], None]) -> None:
        """Have an instrument that drives the cell by a program brought up to now before the cell is read."""
        self._drivers.append(catch_up)

    def open(self, *, at_s: float | None = None) -> None:
        """Disconnect: no current flows from now on, or from a time that `advance` has reached."""
        self._drive(Source(), at_s)

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
        self._drive(Source(current_A=current_A, low_V=voltage_min_V, high_V=voltage_max_V), at_s)

    def source_voltage(
        self, voltage_V: float, current_limit_A: float = math.inf, *, at_s: float | None = None
    ) -> None:
        """Hold a voltage, with no more current than the limit, of either sign; since when, as above."""
        self._drive(Source(current_A=None, voltage_V=voltage_V, limit_A=current_limit_A), at_s)

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
        """Potential of the positive electrode against Li/Li+ at a reference halfway in the separator, now."""
        return self.read()[0] + self.equations.negative_potential_V(self._state)

    def negative_potential_V(self) -> float:
        """Potential of the negative electrode against Li/Li+ at a reference halfway in the separator, now."""
        self.read()
        return self.equations.negative_potential_V(self._state)

    def temperature_C(self) -> float:
        """Temperature of the cell now, degC."""
        self.read()
        return float(self._state[State.TEMPERATURE_C])

    def thickness_um(self) -> float:
        """Thickness of the stack of collectors, electrodes and separator now."""
        self.read()
        return self.equations.thickness_um(self._state)

    def layers_um(self) -> tuple[float, float, float]:
        """Thicknesses of positive electrode, separator and negative electrode now."""
        self.read()
        return self.equations.layers_um(self._state)

    def impedance(self, frequency_Hz: _Array, side: Side = "cell") -> NDArray[np.complex128]:
        """Impedance now, for a signal so small that all is linear.

        Parameters
        ----------
        frequency_Hz : array of float
            Frequencies.
        side : {"cell", "positive", "negative"}
            Between the terminals, or between one of them and a reference halfway in the separator.

        Returns
        -------
        array of complex
            Impedance in ohm, of the frequencies' shape.
        """
        self.read()
        return self.equations.impedance(self._state, frequency_Hz, side)

    def advance(
        self, until_s: float | None = None, ended: Callable[[float, float], bool] | None = None
    ) -> float:
        """Bring the cell up to a time of the clock, by default now.

        Parameters
        ----------
        until_s : float
            Monotonic time of the clock; one that is past changes nothing.
        ended : callable
            Given voltage (V) and current (A), says whether to stop; found to a millisecond. It may read the
            charge and the energy, which are those of the same time.

        Returns
        -------
        float
            Monotonic time that was reached.
        """
        until_s = self._clock.monotonic() if until_s is None else until_s
        straight_s = self._now_s
        while self._now_s < until_s:
            if self._now_s >= straight_s:
                straight_s = self._look_around(until_s)
            solver = self._solver()
            if solver.t <= self._now_s:
                self._step(solver)
            reached_s = min(straight_s, solver.t)
            state = self._solved(reached_s)
            ruled_otherwise = self._rules_otherwise(state)
            if ruled_otherwise:
                reached_s = self._first_s(self._rules_otherwise, reached_s)
                state = self._solved(reached_s)
            if ended and self._seen(ended, state):
                reached_s = self._first_s(lambda y: self._seen(ended, y), reached_s)
                self._place(reached_s, self._solved(reached_s))
                break
            self._place(reached_s, state)
            if ruled_otherwise:
                self._restart()
        return self._now_s

    def _seen(self, ended: Callable[[float, float], bool], state: _Array) -> bool:
        """Ask whether to stop at a state; what is read from the cell meanwhile is of that state."""
        before, self._state = self._state, state
        try:
            return ended(*self.equations.terminals(state))
        finally:
            self._state = before

    # What happens to it

    def press(self, pressure_MPa: float) -> None:
        """Hold it together with a pressure from now on; its contacts remember the largest."""
        self.advance()
        self.equations.pressure_MPa = pressure_MPa
        positive, negative = self._contacts
        self.equations.contacts_ohm_cm2 = (
            positive.contact_resistance_ohm_cm2(pressure_MPa),
            negative.contact_resistance_ohm_cm2(pressure_MPa),
        )
        self._restart()

    def stand_in(self, surroundings: Surroundings) -> None:
        """Be put into a chamber or an oven now."""
        self.advance()
        self._surroundings = surroundings
        surroundings.advance_to(self._now_s)
        self.equations.ambient_C = (self._now_s, surroundings.air_C, 0.0)
        self._restart()

    @classmethod
    def of_sample(
        cls, clock: Clock, generator: np.random.Generator, sample: Mapping[str, Any], **hidden: Any
    ) -> Self:
        """Make the cell of a sample record, which knows its capacity and area, and what nobody knows."""
        return cls(
            clock,
            generator,
            capacity_Ah=1e-3 * sample["capacity_mAh"],
            area_cm2=sample["area_cm2"],
            **hidden,
        )

    def heat(self, temperature_C: float) -> None:
        """Have it at a temperature from now on, all through."""
        self.advance()
        self.equations.ambient_C = (self._now_s, temperature_C, 0.0)
        self._state[State.TEMPERATURE_C] = temperature_C
        self._restart()

    # What it is

    @property
    def charge_Ah(self) -> float:
        """Charge that has passed in since the beginning, less what was taken out."""
        return float(self._state[State.CHARGE_C]) / 3600.0

    @property
    def energy_Wh(self) -> float:
        """Energy that has passed in since the beginning, less what was taken out."""
        return float(self._state[State.ENERGY_J]) / 3600.0

    @property
    def capacity_Ah(self) -> float:
        """Charge between empty and full at rest, as aged as it is."""
        return self.equations.capacity_now_Ah(self._state)

    @property
    def open_circuit_V(self) -> float:
        """Voltage to which it would come at rest, with the lithium where it is."""
        return self.equations.rest_V(self._state)

    @property
    def ohmic_ohm(self) -> float:
        """Resistance that acts at once, without that between particles."""
        return self.equations.ohmic_ohm(self._state)

    @property
    def shorted(self) -> bool:
        """Whether lithium has grown through to the positive electrode."""
        return float(self._state[State.SHORT_S]) > self._micro_short_S + 1e-6

    @property
    def void_fraction(self) -> float:
        """Share of the contact below a lithium metal that is lost to voids, of the worse electrode."""
        return float(max(self._state[State.POSITIVE_VOIDS], self._state[State.NEGATIVE_VOIDS]))

    @property
    def lost_sites(self) -> tuple[float, float]:
        """Share of the sites lost, of the positive and the negative electrode."""
        return float(self._state[State.POSITIVE_LOST]), float(self._state[State.NEGATIVE_LOST])

    @property
    def oxidation_products(self) -> bool:
        """Whether products of the oxidation (POx) would be found at the positive electrode."""
        electrons = self.design.rates.oxidation_electrons
        sites_C = self.equations.positive.sites_C
        return float(self._state[State.OXIDISED_C]) > _OXIDATION_SHOWS * electrons * sites_C

    @property
    def gassed(self) -> bool:
        """Whether its electrolyte has made so much gas that sites are cut off by it (more than 1 %)."""
        return float(self._state[State.GAS]) > 0.01

    def _drive(self, source: Source, at_s: float | None) -> None:
        self.advance(at_s)
        self._source = source
        self._restart()

    def _restart(self) -> None:
        """Forget what was worked out ahead: something has changed."""
        self._ahead = None
        self.equations.changed()
        self.equations.rule = self.equations.rule_of(self._source, self._state)
        self.voltage_V, self.current_A = self.equations.terminals(self._state)

    def _look_around(self, until_s: float) -> float:
        """Follow the surroundings along a straight line; when it ends.

        As long as the line of before leads there, it goes on, and what was solved ahead stays good.
        """
        if self._surroundings is None:
            return until_s
        end_s, end_C = self._surroundings.air_until(self._now_s, until_s)
        began_s, ambient_C, rate_K_s = self.equations.ambient_C
        if abs(ambient_C + rate_K_s * (end_s - began_s) - end_C) > _SETTLED_K:
            ambient_C += rate_K_s * (self._now_s - began_s)
            change_K = end_C - ambient_C
            rate_K_s = change_K / (end_s - self._now_s) if abs(change_K) > _SETTLED_K else 0.0
            self.equations.ambient_C = (self._now_s, ambient_C, rate_K_s)
            self._restart()
        return end_s

    def _solver(self) -> OdeSolver:
        if self._ahead is None:
            self._steps_alike = 0
            self._ahead = LSODA(
                self.equations.derivative,
                self._now_s,
                self._state,
                _FOREVER_S,
                rtol=_RELATIVE_TOLERANCE,
                atol=self.equations.tolerances(),
                jac=self.equations.jacobian,
                first_step=_FIRST_STEP_S,
            )
        elif self._steps_alike >= _PATIENT_STEPS and self._ahead.t <= self._now_s:
            self._steps_alike = 0
            self._ahead = BDF(  # type: ignore[call-overload]  # the stubs know no array as atol
                self.equations.derivative,
                self._now_s,
                self._state,
                _FOREVER_S,
                rtol=_RELATIVE_TOLERANCE,
                atol=self.equations.tolerances(),
                jac=self.equations.jacobian,
                first_step=_FIRST_STEP_S,
            )
        return self._ahead

    def _step(self, solver: OdeSolver) -> None:
        self._solution = None
        before_s, problem = solver.step_size or 0.0, None
        try:
            problem = solver.step()
        except UserWarning as warning:  # LSODA warns besides
            solver.status, problem = "failed", str(warning)
        if solver.status != "failed":
            longer_s = (solver.step_size or 0.0) - before_s
            alike = isinstance(solver, LSODA) and abs(longer_s) < _ALIKE * before_s
            self._steps_alike = self._steps_alike + 1 if alike else 0
        elif isinstance(solver, LSODA):
            self._steps_alike = _PATIENT_STEPS
        else:
            raise ArithmeticError(f"the cell's equations could not be solved at {solver.t} s: {problem}")

    def _rules_otherwise(self, state: _Array) -> bool:
        """Whether the source has come to a limit in a state, or left one."""
        return self.equations.rule_of(self._source, state) != self.equations.rule

    def _solved(self, time_s: float) -> _Array:
        """State at a time within the last step of the solver."""
        assert self._ahead is not None
        if time_s == self._ahead.t:
            return np.array(self._ahead.y)
        if self._solution is None:
            self._solution = self._ahead.dense_output()
        return np.asarray(self._solution(time_s))

    def _first_s(self, true_of: Callable[[_Array], bool], high_s: float) -> float:
        """First time after now at which something is true of the state, which is true at `high_s`."""
        low_s = self._now_s
        while high_s - low_s > _RESOLUTION_S:
            middle_s = 0.5 * (low_s + high_s)
            if true_of(self._solved(middle_s)):
                high_s = middle_s
            else:
                low_s = middle_s
        return high_s

    def _place(self, time_s: float, state: _Array) -> None:
        self._state, self._now_s = state, time_s
        self.voltage_V, self.current_A = self.equations.terminals(self._state)
        if math.isnan(self.shorted_at_s) and self.shorted:
            self.shorted_at_s = time_s


def _contacts(design: CellDesign) -> tuple[Contact, Contact]:
    """Contacts of both electrodes as they were made; a metal is only pressed on."""
    bonded = bonding_study_contacts(design.bond_level)
    contacts = []
    for electrode, memory in zip((design.positive, design.negative), bonded, strict=True):
        largest_MPa = 0.0 if electrode.is_metal else memory.largest_MPa
        contacts.append(Contact(electrode.contact, largest_MPa=largest_MPa))
    return contacts[0], contacts[1]


def _lot_spread(generator: np.random.Generator) -> tuple[float, float]:
    """Deviation of the capacity, and factor of the resistances, of one cell of a lot."""
    deviation = math.inf
    while abs(deviation) > _LARGEST_DEVIATION:
        deviation = float(generator.normal(0.0, _CAPACITY_SIGMA))
    return deviation, math.exp(float(generator.normal(0.0, _RESISTANCE_SIGMA)))
