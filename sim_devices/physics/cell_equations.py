"""The equations of a battery cell: ordinary differential equations, and their limit for small signals.

In series there are

- ohmic: the separator layer, a third of the ionic resistance of each electrode layer, the negative
  electrode's contact, collectors;
- the electrolyte between its particles and the positive electrode's contact: a resistance with a capacitance
  beside it (100 kHz to 1 MHz where a contact was not bonded, GT-09);
- in a liquid, the concentration polarisation, likewise;
- each electrode: a double layer, beside it the charge transfer (Butler-Volmer, equal coefficients, an
  exchange current that follows the square root of x (1 - x) at the surface) and the diffusion into spherical
  particles of one size (mean content and eight exponential modes).

There is no distribution of the reaction over the thickness of a layer: this is a single-particle model with
double layers. Beside that run oxidation at the positive electrode, a film at the negative one that takes
lithium, growth of the charge-transfer resistances, deposition of lithium and a short through it, voids below
lithium metal, gas, cracks, and the heat.

Currents into the cell (charging) are positive, potentials are against Li/Li+.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from sim_devices.physics.cell_design import CellDesign, Electrode, LOADING_mAh_cm2
from sim_devices.physics.constants import (
    ROOM_TEMPERATURE_C,
    ZERO_CELSIUS_K,
    FARADAY_C_mol,
    GAS_CONSTANT_J_mol_K,
    arrhenius,
)
from sim_devices.physics.contact import POSITIVE_CONTACT, VOIDS

__all__ = ["CellEquations", "Rule", "Side", "Source", "State"]

_Array = NDArray[np.float64]
Side = Literal["cell", "positive", "negative"]

"""Faraday constant (CODATA 2018, exact)."""

# Content at the surface of a sphere per content that enters it, 1/s + sum of share / (s + rate), in units of
# the diffusion time (radius squared over diffusivity). The exact function is tanh(q) / (3 (q - tanh q)),
# q = sqrt(s) (T. Jacobsen, K. West, Electrochim. Acta 40 (1995) 255). The first rate is exact (tan a = a),
# the others and the shares are fitted to it: within 0.2 % up to 1e5 diffusion rates. Shares over rates sum up
# to 1/15, so that the content at constant current is exact.
MODE_RATES = np.array([20.1907, 74.1547, 279.4617, 1083.506, 4200.2286, 16269.7861, 65894.9145, 576399.819])
MODE_SHARES = np.array([0.67945, 1.15671, 2.38753, 4.73318, 9.30109, 18.39968, 40.76425, 311.85311])
MODE_SHARES *= 1.0 / (15.0 * float(np.sum(MODE_SHARES / MODE_RATES)))
_MODES = len(MODE_RATES)

_HF_F_cm2 = POSITIVE_CONTACT.capacitance_F_cm2  # beside the resistance between particles
_COLLECTORS_ohm_cm2 = 0.5  # placeholder, plausible 0.1 to 2
_HEAT_CAPACITY_J_K_cm2 = 0.75  # placeholder, plausible 0.3 to 1.5: a laminate and its share of the jig
_HEAT_LOSS_W_K_cm2 = 5e-3  # placeholder, plausible 2e-3 to 2e-2
_FASTEST_GAS_PER_S = 1e-4  # that all sites do not go at once far above; placeholder
_TEMPERATURE_DIGITS = 5  # to which rates follow the temperature: they change by less than a solver's error
_HOTTEST_C = 200.0  # beyond which a cell is destroyed: rates stay as they are there
_NUCLEATION_V = 1e-3  # below which lithium is deposited where none is yet; placeholder, plausible 0 to 0.03
_LATE_V = 2e-5  # by which a held voltage is left late: twice what a step of the solver may be wrong by
_LEAST_LEFT = 1e-3  # share of sites or contact that stays
_FREEZING_K = 1.5  # conductivity falls e-fold in it, below freezing; placeholder
_LARGEST_SHORT_S = 1.0
_OXIDATION_V = 4.55  # where the rate of oxidation is given
_FILM_BELOW_V = 1.0
_EMPTY_V = 3.55  # potential of the positive electrode of an empty full cell
_LEAST_FILLING = 2.5e-3  # of x (1 - x): the exchange current never vanishes
_STRAIGHT = 12.0  # the exponentials of overpotentials go on straight, or stay, beyond this argument


class State:
    """Where each state stands in the vector."""

    HF_V = 0
    CONCENTRATION_V = 1
    POSITIVE = 2  # potential, mean content, modes
    NEGATIVE = POSITIVE + 2 + _MODES
    POSITIVE_LOST = NEGATIVE + 2 + _MODES  # share of the sites
    NEGATIVE_LOST = POSITIVE_LOST + 1
    OXIDISED_C = NEGATIVE_LOST + 1
    FILM_C = OXIDISED_C + 1
    PLATED_C = FILM_C + 1
    DEAD_C = PLATED_C + 1
    SHORT_S = DEAD_C + 1
    POSITIVE_VOIDS = SHORT_S + 1  # share of the contact of a lithium metal
    NEGATIVE_VOIDS = POSITIVE_VOIDS + 1
    GAS = NEGATIVE_VOIDS + 1  # share of the sites cut off by it
    TEMPERATURE_C = GAS + 1
    CHARGE_C = TEMPERATURE_C + 1
    ENERGY_J = CHARGE_C + 1
    SIZE = ENERGY_J + 1


@dataclass(frozen=True)
class Source:
    """What drives a cell: a current between two voltages, or a voltage with no more than a current.

    Parameters
    ----------
    current_A : float or None
        Set current; None for a source of voltage.
    voltage_V : float
        Set voltage.
    low_V, high_V : float
        Voltages that a source of current holds rather than going beyond.
    limit_A : float
        Largest current of a source of voltage.
    """

    current_A: float | None = 0.0
    voltage_V: float = math.nan
    low_V: float = -math.inf
    high_V: float = math.inf
    limit_A: float = math.inf

    def rule(self, rest_V: float, ohm: float, short_S: float, held: Rule) -> Rule:
        """What it comes to at a cell that shows rest_V + ohm * current, with a short beside it.

        A voltage that is `held` is left a little late: a solver's errors would move it to and fro.
        """
        current_A, late_V = self.current_A, 0.0 if held.voltage_V is None else _LATE_V
        if current_A is None:
            wanted_A = (self.voltage_V - rest_V) / ohm + short_S * self.voltage_V
            if abs(wanted_A) <= self.limit_A + late_V / ohm:
                return Rule(voltage_V=self.voltage_V)
            return Rule(current_A=math.copysign(self.limit_A, wanted_A))
        voltage_V = (rest_V + current_A * ohm) / (1.0 + short_S * ohm)
        if current_A and voltage_V > self.high_V - late_V:
            return Rule(voltage_V=self.high_V)
        if current_A and voltage_V < self.low_V + late_V:
            return Rule(voltage_V=self.low_V)
        return Rule(current_A=current_A)


@dataclass(frozen=True)
class Rule:
    """A set current, or a set voltage: what of a source acts as long as it does not come to a limit."""

    current_A: float | None = None
    voltage_V: float | None = None

    def inner_current_A(self, rest_V: float, ohm: float, short_S: float) -> float:
        """Current through a cell that shows rest_V + ohm * current, with a short beside it."""
        if self.voltage_V is not None:
            return (self.voltage_V - rest_V) / ohm
        assert self.current_A is not None
        return self.current_A - short_S * (rest_V + self.current_A * ohm) / (1.0 + short_S * ohm)

    def slope_S(self, ohm: float, short_S: float) -> float:
        """Slope of that current with rest_V."""
        return -1.0 / ohm if self.voltage_V is not None else -short_S / (1.0 + short_S * ohm)


class _Half:
    """One electrode, sized: where its states stand and how it reacts.

    Parameters
    ----------
    design : Electrode
        Its kind.
    at : int
        Place of its potential in the state.
    lost, voids : int
        Places of the share of its sites that is lost, and of the voids below it.
    sites_C : float
        Charge of all its sites; infinite for a metal.
    area_cm2, loading : float
        Of the cell; in multiples of 2 mAh/cm2.
    """

    def __init__(
        self,
        design: Electrode,
        at: int,
        lost: int,
        voids: int,
        sites_C: float,
        area_cm2: float,
        loading: float,
    ) -> None:
        self.design, self.at, self.lost, self.voids, self.sites_C = design, at, lost, voids, sites_C
        self.is_metal = design.is_metal
        self.potential = design.open_circuit
        self.loading = loading
        self.thickness_cm = 1e-4 * design.thickness_um * loading
        self.double_layer_F = 1e-3 * design.double_layer_mF_cm2 * area_cm2 * loading
        per_V = FARADAY_C_mol / (2.0 * GAS_CONSTANT_J_mol_K * (ROOM_TEMPERATURE_C + ZERO_CELSIUS_K))
        self.exchange_A = area_cm2 * loading / (2.0 * per_V * design.transfer_ohm_cm2)
        self.diffusion_s = (1e-4 * design.radius_um) ** 2 / design.diffusivity_cm2_s

    def left_C(self, lost: float) -> float:
        """Charge of the sites that are left where a share of them is lost."""
        return self.sites_C * max(1.0 - lost, _LEAST_LEFT)

    def surface(self, z: list[float]) -> float:
        """Content at the surface of the particles."""
        return sum(z[self.at + 1 : self.at + 2 + _MODES])

    def filling(self, surface: float) -> float:
        """What the exchange current at this content is of that at half content."""
        if self.is_metal:
            return 1.0
        return 2.0 * math.sqrt(max(surface * (1.0 - surface), _LEAST_FILLING))


class _Warmth:
    """All rates at one temperature, and a cell's resistances there."""

    def __init__(self, cell: CellEquations, temperature_C: float) -> None:
        design, electrolyte, area_cm2 = cell.design, cell.design.electrolyte, cell.area_cm2
        rates = design.rates
        self.temperature_C = temperature_C
        kelvin = temperature_C + ZERO_CELSIUS_K
        self.per_V = FARADAY_C_mol / (2.0 * GAS_CONSTANT_J_mol_K * kelvin)
        ionic = arrhenius(electrolyte.activation_J_mol, temperature_C)
        if temperature_C < electrolyte.freezing_C:
            ionic *= math.exp((temperature_C - electrolyte.freezing_C) / _FREEZING_K)
        sigma_S_cm = electrolyte.conductivity_S_cm * ionic
        scale = cell.resistance_scale / area_cm2
        separator_cm = 1e-4 * electrolyte.separator_um
        self.separator_ohm = scale * separator_cm / (sigma_S_cm * electrolyte.separator_share**1.5)
        layers_ohm = []
        self.exchange_A, self.mode_per_s = [], []
        for half in cell.halves:
            kind = half.design
            third_cm = half.thickness_cm / 3.0
            layers_ohm.append(scale * third_cm / (sigma_S_cm * kind.electrolyte_share**1.5))
            self.exchange_A.append(
                half.exchange_A * arrhenius(kind.transfer_J_mol, temperature_C) / cell.resistance_scale
            )
            diffusion_s = half.diffusion_s / arrhenius(kind.diffusion_J_mol, temperature_C)
            self.mode_per_s.append((MODE_RATES / diffusion_s).tolist())
        positive_ohm, negative_ohm = (scale * ohm_cm2 / ionic for ohm_cm2 in cell.contacts_ohm_cm2)
        self.face_ohm = layers_ohm[1] + negative_ohm
        self.ohm = (
            sum(layers_ohm) + self.separator_ohm + negative_ohm + scale * _COLLECTORS_ohm_cm2 + cell.added_ohm
        )
        grain_ohm = scale * electrolyte.grain_ohm_cm2 / ionic
        self.hf_ohm = grain_ohm + positive_ohm
        self.hf_share = 0.5 * grain_ohm / self.hf_ohm  # of it, between reference and negative electrode
        ionic_ohm = self.separator_ohm + sum(layers_ohm)
        self.concentration_ohm = ionic_ohm * (1.0 / electrolyte.transference - 1.0)
        self.concentration_s = electrolyte.concentration_s / ionic
        oxidation = electrolyte.oxidation * rates.oxidation_per_day / 86400.0
        self.oxidation_per_s = oxidation * arrhenius(rates.oxidation_J_mol, temperature_C)
        self.film_per_s = rates.film_per_day / 86400.0 * arrhenius(rates.film_J_mol, temperature_C)
        gassing_per_s = rates.gas_per_day / 86400.0 / arrhenius(rates.gas_J_mol, electrolyte.gassing_C)
        self.gas_per_s = min(gassing_per_s * arrhenius(rates.gas_J_mol, temperature_C), _FASTEST_GAS_PER_S)
        self.plating_A = 1e-3 * rates.plating_mA_cm2 * area_cm2
        self.critical_A = 1e-3 * area_cm2 * electrolyte.critical_mA_cm2
        self.critical_A *= arrhenius(electrolyte.activation_J_mol, temperature_C)


class CellEquations:
    """A cell as a set of differential equations.

    Parameters
    ----------
    design : CellDesign
        Its kind.
    capacity_Ah : float
        Between empty and full, at rest, new.
    area_cm2 : float
        Of the electrodes.
    resistance_scale : float
        Factor of all its resistances but diffusion: lot spread.
    micro_short_S : float
        Conductance between the electrodes from the beginning.
    added_ohm : float
        In series with it: leads, a bad contact.

    Attributes
    ----------
    contacts_ohm_cm2 : tuple of float
        Of the positive and the negative electrode's face, at 25 degC; see `sim_devices.physics.contact`.
    pressure_MPa : float
        That holds it together.
    ambient_C : callable
        Temperature around it, by time.
    rule : Rule
        What drives it.
    """

    def __init__(
        self,
        design: CellDesign,
        *,
        capacity_Ah: float,
        area_cm2: float,
        resistance_scale: float = 1.0,
        micro_short_S: float = 0.0,
        added_ohm: float = 0.0,
    ) -> None:
        self.design, self.capacity_Ah, self.area_cm2 = design, capacity_Ah, area_cm2
        self.resistance_scale, self.micro_short_S, self.added_ohm = (
            resistance_scale,
            micro_short_S,
            added_ohm,
        )
        self.contacts_ohm_cm2 = (0.0, 0.0)
        self.pressure_MPa = design.constraint_MPa
        self.ambient_C: tuple[float, float, float] = (0.0, ROOM_TEMPERATURE_C, 0.0)
        self.rule = Rule(current_A=0.0)
        sites_C, self._empty, self._full = self._balance()
        loading = 1e3 * capacity_Ah / area_cm2 / LOADING_mAh_cm2
        self.positive = _Half(
            design.positive, State.POSITIVE, State.POSITIVE_LOST, State.POSITIVE_VOIDS, sites_C[0], area_cm2,
            loading,
        )  # fmt: skip
        self.negative = _Half(
            design.negative, State.NEGATIVE, State.NEGATIVE_LOST, State.NEGATIVE_VOIDS, sites_C[1], area_cm2,
            loading,
        )  # fmt: skip
        self.halves = (self.positive, self.negative)
        self._few_C = 3.6 * design.rates.dissolution_mAh_cm2 * area_cm2
        self._warmth: _Warmth | None = None

    def changed(self) -> None:
        """Forget what was worked out from attributes that have changed."""
        self._warmth = None

    def at_rest(self, state_of_charge: float, temperature_C: float) -> _Array:
        """State of the new cell at rest."""
        y = np.zeros(State.SIZE)
        for half, empty, full in zip(self.halves, self._empty, self._full, strict=True):
            content = 0.0 if half.is_metal else empty + state_of_charge * (full - empty)
            y[half.at + 1] = content
            y[half.at] = half.potential.potential_V(content)
        y[State.SHORT_S] = self.micro_short_S
        y[State.TEMPERATURE_C] = temperature_C
        return y

    def tolerances(self) -> _Array:
        """Absolute errors that a step may make in each state."""
        charge_C = 3600.0 * self.capacity_Ah
        tolerance = np.full(State.SIZE, 1e-6)  # shares
        tolerance[[State.HF_V, State.CONCENTRATION_V, State.POSITIVE, State.NEGATIVE]] = 1e-5
        tolerance[[State.OXIDISED_C, State.FILM_C, State.PLATED_C, State.DEAD_C]] = 1e-6 * charge_C
        tolerance[State.SHORT_S] = 1e-8
        tolerance[State.TEMPERATURE_C] = 1e-4
        tolerance[State.CHARGE_C] = 1e-6 * charge_C
        tolerance[State.ENERGY_J] = 4e-6 * charge_C
        return tolerance

    def derivative(self, time_s: float, y: _Array) -> Any:
        """Rate of change of each state."""
        z = y.tolist()
        warmth = self._at(z[State.TEMPERATURE_C])
        inner_A, voltage_V, current_A = self._currents(z, warmth)
        rates = [0.0] * State.SIZE
        rates[State.HF_V] = (inner_A - z[State.HF_V] / warmth.hf_ohm) / (_HF_F_cm2 * self.area_cm2)
        concentration_V = inner_A * warmth.concentration_ohm
        rates[State.CONCENTRATION_V] = (concentration_V - z[State.CONCENTRATION_V]) / warmth.concentration_s
        self._positive_rates(z, rates, inner_A, warmth)
        self._negative_rates(z, rates, inner_A, warmth)
        began_s, ambient_C, ambient_K_s = self.ambient_C
        ambient_C += ambient_K_s * (time_s - began_s)
        heat_W = inner_A * (voltage_V - self._rest_V(z)) + z[State.SHORT_S] * voltage_V**2
        heat_W -= _HEAT_LOSS_W_K_cm2 * self.area_cm2 * (z[State.TEMPERATURE_C] - ambient_C)
        rates[State.TEMPERATURE_C] = heat_W / (_HEAT_CAPACITY_J_K_cm2 * self.area_cm2)
        rates[State.CHARGE_C] = current_A
        rates[State.ENERGY_J] = current_A * voltage_V
        return rates

    def jacobian(self, time_s: float, y: _Array) -> _Array:
        """Slopes of the rates with the states, as far as they are fast: what an implicit solver needs."""
        z = y.tolist()
        warmth = self._at(z[State.TEMPERATURE_C])
        slopes = np.zeros((State.SIZE, State.SIZE))
        hf_per_s = 1.0 / (warmth.hf_ohm * _HF_F_cm2 * self.area_cm2)
        slopes[State.HF_V, State.HF_V] = -hf_per_s
        slopes[State.CONCENTRATION_V, State.CONCENTRATION_V] = -1.0 / warmth.concentration_s
        slopes[State.TEMPERATURE_C, State.TEMPERATURE_C] = -_HEAT_LOSS_W_K_cm2 / _HEAT_CAPACITY_J_K_cm2
        inner_A, voltage_V, _ = self._currents(z, warmth)
        for index, (half, stripping_A) in enumerate(zip(self.halves, (inner_A, -inner_A), strict=True)):
            transfer_S, by_content_A = self._slopes(half, z, warmth)
            if half.is_metal:
                slopes[half.at, half.at] = -transfer_S / half.double_layer_F
                slopes[half.voids, half.voids] = self._closing_per_s(half, stripping_A, warmth)
                continue
            end = half.at + 2 + _MODES
            per_C = np.full(2 + _MODES, 1.0 / (half.left_C(z[half.lost])))
            per_C[0] = 1.0 / half.double_layer_F
            per_C[2:] *= MODE_SHARES
            by_state = np.full(2 + _MODES, -by_content_A)
            by_state[0] = -transfer_S
            slopes[half.at : end, half.at : end] = np.outer(per_C, by_state)
            slopes.flat[(half.at + 2) * (State.SIZE + 1) : end * (State.SIZE + 1) : State.SIZE + 1] -= (
                warmth.mode_per_s[index]
            )
        if not self.positive.is_metal:
            slopes[State.POSITIVE, State.POSITIVE] -= (
                self._oxidation(z, warmth)[1] / self.positive.double_layer_F
            )
        per_A = np.array([
            hf_per_s * warmth.hf_ohm,
            warmth.concentration_ohm / warmth.concentration_s,
            1.0 / self.positive.double_layer_F,
            -1.0 / self.negative.double_layer_F,
        ])  # fmt: skip
        slope_S = self.rule.slope_S(warmth.ohm, z[State.SHORT_S])
        slopes[_AT_ONCE] += slope_S * np.outer(per_A, _AT_ONCE_SIGNS)
        if not self.negative.is_metal:
            by_voltages = _FACE - slope_S * warmth.face_ohm * _AT_ONCE_SIGNS
            self._plating_slopes(
                z, slopes, z[State.NEGATIVE] - inner_A * warmth.face_ohm, by_voltages, warmth
            )
        if self.rule.voltage_V is None:
            slopes[_AT_ONCE[0].ravel(), State.SHORT_S] = (
                -per_A * voltage_V / (1.0 + z[State.SHORT_S] * warmth.ohm)
            )
        return slopes

    def rule_of(self, source: Source, y: _Array) -> Rule:
        """What a source comes to in a state."""
        z = y.tolist()
        return source.rule(_at_once_V(z), self._at(z[State.TEMPERATURE_C]).ohm, z[State.SHORT_S], self.rule)

    def terminals(self, y: _Array) -> tuple[float, float]:
        """Voltage (V) and current (A) in a state."""
        z = y.tolist()
        _, voltage_V, current_A = self._currents(z, self._at(z[State.TEMPERATURE_C]))
        return voltage_V, current_A

    def negative_potential_V(self, y: _Array) -> float:
        """Potential of the negative electrode against Li/Li+ at a reference halfway in the separator."""
        z = y.tolist()
        warmth = self._at(z[State.TEMPERATURE_C])
        inner_A = self._currents(z, warmth)[0]
        potential_V = z[State.NEGATIVE] - inner_A * (warmth.face_ohm + 0.5 * warmth.separator_ohm)
        return potential_V - warmth.hf_share * z[State.HF_V] - 0.5 * z[State.CONCENTRATION_V]

    def ohmic_ohm(self, y: _Array) -> float:
        """Resistance that acts at once."""
        return self._at(float(y[State.TEMPERATURE_C])).ohm

    def rest_V(self, y: _Array) -> float:
        """Voltage to which it would come at rest, with the lithium where it is."""
        return self._rest_V(y.tolist())

    def capacity_now_Ah(self, y: _Array) -> float:
        """Charge between empty and full at rest, with the sites and the lithium that are left."""
        if self.positive.is_metal:
            return self.capacity_Ah
        charge_C = [half.left_C(float(y[half.lost])) for half in self.halves]
        x, other = float(y[State.POSITIVE + 1]), float(y[State.NEGATIVE + 1])

        def excess_V(passed_C: float, voltage_V: float) -> float:
            positive_V = self.positive.potential.potential_V(x - passed_C / charge_C[0])
            if self.negative.is_metal:
                return positive_V - self.negative.potential.potential_V(0.0) - voltage_V
            negative_V = self.negative.potential.potential_V(other + passed_C / charge_C[1])
            return positive_V - negative_V - voltage_V

        low_V, high_V = self.design.voltages_V
        reach_C = 1.5 * charge_C[0]
        ends_C = [brentq(excess_V, -reach_C, reach_C, (volts,)) for volts in (low_V, high_V)]
        return float(ends_C[1] - ends_C[0]) / 3600.0

    def layers_um(self, y: _Array) -> tuple[float, float, float]:
        """Thicknesses of positive electrode, separator and negative electrode without metal.

        Sites that are cut off stay swollen, half full on average.
        """
        layers_um = []
        for half in self.halves:
            lost = float(y[half.lost])
            filled = (1.0 - lost) * float(y[half.at + 1]) + 0.5 * lost
            layers_um.append(1e4 * half.thickness_cm * (1.0 + half.design.swelling * filled))
        return layers_um[0], self.design.electrolyte.separator_um, layers_um[1]

    def thickness_um(self, y: _Array) -> float:
        """Thickness of collectors (20 um together), electrodes, separator, and deposited lithium."""
        total_um = 20.0 + sum(self.layers_um(y))
        lithium_C = float(y[State.PLATED_C] + y[State.DEAD_C])
        if self.negative.design.material == "li":
            lithium_C += float(y[State.CHARGE_C])
        if self.positive.design.material == "li":
            lithium_C -= float(y[State.CHARGE_C])
        return total_um + _LITHIUM_um_cm2_C * lithium_C / self.area_cm2

    def impedance(self, y: _Array, frequency_Hz: _Array, side: Side) -> NDArray[np.complex128]:
        """Impedance (ohm) in a state for a signal so small that all is linear, of the frequencies' shape.

        Of the cell, or between one electrode and a reference halfway in the separator.
        """
        z = y.tolist()
        warmth = self._at(z[State.TEMPERATURE_C])
        s = np.asarray(2j * np.pi * frequency_Hz, dtype=np.complex128)
        hf = warmth.hf_ohm / (1.0 + s * warmth.hf_ohm * _HF_F_cm2 * self.area_cm2)
        concentration = warmth.concentration_ohm / (1.0 + s * warmth.concentration_s)
        negative_ohm = warmth.face_ohm + 0.5 * warmth.separator_ohm
        negative = negative_ohm + warmth.hf_share * hf + 0.5 * concentration
        negative = negative + self._interface(self.negative, z, s, warmth)
        positive = warmth.ohm - negative_ohm + (1.0 - warmth.hf_share) * hf + 0.5 * concentration
        positive = positive + self._interface(self.positive, z, s, warmth)
        if side == "positive":
            return np.asarray(positive)
        if side == "negative":
            return np.asarray(negative)
        return np.asarray(1.0 / (1.0 / (positive + negative) + z[State.SHORT_S]))

    def _balance(self) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
        """Charge of the sites (C) of both electrodes; their contents when the cell is empty, and full."""
        design, charge_C = self.design, 3600.0 * self.capacity_Ah
        positive, negative = design.positive.open_circuit, design.negative.open_circuit
        low_V, high_V = design.voltages_V
        if design.positive.is_metal:
            return (math.inf, math.inf), (0.0, 0.0), (0.0, 0.0)
        if design.negative.is_metal:
            metal_V = negative.potential_V(0.0)
            empty, full = positive.content(low_V + metal_V), positive.content(high_V + metal_V)
            return (charge_C / (empty - full), math.inf), (empty, 0.0), (full, 0.0)
        negative_full = design.negative_full
        full = positive.content(high_V + negative.potential_V(negative_full))
        empty = positive.content(_EMPTY_V)
        negative_empty = negative.content(_EMPTY_V - low_V)
        sites_C = charge_C / (empty - full), charge_C / (negative_full - negative_empty)
        return sites_C, (empty, negative_empty), (full, negative_full)

    def _at(self, temperature_C: float) -> _Warmth:
        temperature_C = round(min(temperature_C, _HOTTEST_C), _TEMPERATURE_DIGITS)
        if self._warmth is None or self._warmth.temperature_C != temperature_C:
            self._warmth = _Warmth(self, temperature_C)
        return self._warmth

    def _currents(self, z: list[float], warmth: _Warmth) -> tuple[float, float, float]:
        """Current through the electrodes, voltage, and current at the terminals."""
        at_rest_V = _at_once_V(z)
        inner_A = self.rule.inner_current_A(at_rest_V, warmth.ohm, z[State.SHORT_S])
        voltage_V = at_rest_V + inner_A * warmth.ohm
        return inner_A, voltage_V, inner_A + z[State.SHORT_S] * voltage_V

    def _rest_V(self, z: list[float]) -> float:
        positive_V, negative_V = (half.potential.potential_V(z[half.at + 1]) for half in self.halves)
        return positive_V - negative_V

    def _growth(self, half: _Half, z: list[float]) -> float:
        """Factor of the charge-transfer resistance."""
        aged = z[half.lost]
        if half is self.negative and not half.is_metal:
            aged += z[State.FILM_C] / half.sites_C
        return 1.0 + self.design.rates.growth_per_loss * aged

    def _transfer_A(self, half: _Half, z: list[float], warmth: _Warmth) -> float:
        """Current of the charge transfer; positive where lithium leaves the electrode."""
        surface = half.surface(z)
        argument = warmth.per_V * (z[half.at] - half.potential.potential_V(surface))
        exchange_A = warmth.exchange_A[0 if half is self.positive else 1]
        exchange_A *= half.filling(surface) * max(1.0 - z[half.voids], _LEAST_LEFT) / self._growth(half, z)
        return 2.0 * exchange_A * _sinh(argument)

    def _slopes(self, half: _Half, z: list[float], warmth: _Warmth) -> tuple[float, float]:
        """Slopes of the transfer current with the potential (S) and with the content at the surface (A)."""
        surface = half.surface(z)
        open_V, slope_V = half.potential.at(surface)
        argument = warmth.per_V * (z[half.at] - open_V)
        exchange_A = warmth.exchange_A[0 if half is self.positive else 1]
        exchange_A *= half.filling(surface) * max(1.0 - z[half.voids], _LEAST_LEFT) / self._growth(half, z)
        transfer_S = 2.0 * exchange_A * warmth.per_V * math.cosh(min(abs(argument), _STRAIGHT))
        by_content_A = -transfer_S * slope_V
        if not half.is_metal and surface * (1.0 - surface) > _LEAST_FILLING:
            by_content_A += 2.0 * exchange_A * _sinh(argument) * (0.5 - surface) / (surface * (1.0 - surface))
        return transfer_S, by_content_A

    def _fill(self, half: _Half, z: list[float], rates: list[float], out_A: float, warmth: _Warmth) -> None:
        """Let a current take lithium out of the particles."""
        content_per_s = -out_A / (half.left_C(z[half.lost]))
        rates[half.at + 1] = content_per_s
        first = half.at + 2
        mode_per_s = warmth.mode_per_s[0 if half is self.positive else 1]
        rates[first : first + _MODES] = [
            share * content_per_s - rate * mode
            for share, rate, mode in zip(_SHARES, mode_per_s, z[first : first + _MODES], strict=True)
        ]
        cracked_C = 0.5 * half.design.cracking_per_cycle * abs(out_A)
        left = 1.0 - z[half.lost]
        rates[half.lost] += cracked_C / (3600.0 * self.capacity_Ah) * left + rates[State.GAS] * left

    def _positive_rates(self, z: list[float], rates: list[float], inner_A: float, warmth: _Warmth) -> None:
        half, design = self.positive, self.design
        out_A = self._transfer_A(half, z, warmth)
        if half.is_metal:
            rates[half.at] = (inner_A - out_A) / half.double_layer_F
            self._metal_rates(half, z, rates, inner_A, warmth)
            return
        rates[State.GAS] = warmth.gas_per_s * (1.0 - z[State.GAS])
        lost_per_s, _ = self._oxidation(z, warmth)
        oxidation_A = lost_per_s * design.rates.oxidation_electrons * half.sites_C
        rates[half.at] = (inner_A - out_A - oxidation_A) / half.double_layer_F
        rates[State.OXIDISED_C] = oxidation_A
        rates[half.lost] = lost_per_s * (1.0 - z[half.lost])
        self._fill(half, z, rates, out_A, warmth)

    def _oxidation(self, z: list[float], warmth: _Warmth) -> tuple[float, float]:
        """Share of the sites that oxidation cuts off, 1/s; slope of its current with the potential, S."""
        half, aged = self.positive, self.design.rates
        per_V = 2.0 * aged.oxidation_transfer * warmth.per_V
        argument = per_V * (z[half.at] - _OXIDATION_V)
        lost_per_s = warmth.oxidation_per_s * math.exp(min(argument, _STRAIGHT))
        slope_S = (
            per_V * lost_per_s * aged.oxidation_electrons * half.sites_C if argument < _STRAIGHT else 0.0
        )
        return lost_per_s, slope_S

    def _negative_rates(self, z: list[float], rates: list[float], inner_A: float, warmth: _Warmth) -> None:
        half = self.negative
        out_A = self._transfer_A(half, z, warmth)
        side_A = 0.0
        if half.is_metal:
            self._metal_rates(half, z, rates, -inner_A, warmth)
        else:
            film_A = warmth.film_per_s * half.sites_C * min(max(2.0 * (_FILM_BELOW_V - z[half.at]), 0.0), 1.0)
            rates[State.FILM_C] = film_A
            side_A = film_A + self._plate(z, rates, z[half.at] - inner_A * warmth.face_ohm, warmth)
            self._fill(half, z, rates, out_A, warmth)
        rates[half.at] = (side_A - inner_A - out_A) / half.double_layer_F

    def _plate(self, z: list[float], rates: list[float], face_V: float, warmth: _Warmth) -> float:
        """Lithium deposition at a potential of the face of the negative electrode; its current."""
        dead_share = self.design.rates.dead_share
        current_A, *_ = self._plating(z, face_V, warmth)
        if face_V < 0.0:
            rates[State.PLATED_C] = (1.0 - dead_share) * current_A
            rates[State.DEAD_C] = dead_share * current_A
            self._grow_short(z, rates, current_A)
        else:
            rates[State.PLATED_C] = current_A
        return current_A

    def _plating(self, z: list[float], face_V: float, warmth: _Warmth) -> tuple[float, float, float]:
        """Current of the deposition; its slopes with the potential (S) and with what is deposited (1/s).

        On the share of the face that has lithium it begins at 0 V, elsewhere within a millivolt below.
        Dissolution comes to a limit.
        """
        about_C = abs(z[State.PLATED_C]) + self._few_C
        bare = 1.0 - z[State.PLATED_C] / about_C
        waits = math.exp(min(face_V / _NUCLEATION_V, 0.0))
        share = 1.0 - bare * waits
        argument = warmth.per_V * face_V
        if face_V < 0.0:
            driven, slope = _sinh(argument), math.cosh(max(argument, -_STRAIGHT))
        else:
            driven = math.tanh(argument)
            slope = 1.0 - driven**2
        whole_A = -2.0 * warmth.plating_A * driven
        slope_S = -2.0 * warmth.plating_A * warmth.per_V * slope * share
        if face_V < 0.0:
            slope_S -= whole_A * bare * waits / _NUCLEATION_V
        return whole_A * share, slope_S, whole_A * waits * self._few_C / about_C**2

    def _plating_slopes(
        self, z: list[float], slopes: _Array, face_V: float, by_voltages: _Array, warmth: _Warmth
    ) -> None:
        """Add the slopes of `_plate`, given those of the face's potential with the voltages in series."""
        _, slope_S, per_s = self._plating(z, face_V, warmth)
        aged, stays, row = self.design.rates, 1.0, _AT_ONCE[1].ravel()
        if face_V < 0.0:
            stays -= aged.dead_share
            left = max(1.0 - z[State.SHORT_S] / _LARGEST_SHORT_S, 0.0)
            slopes[State.SHORT_S, row] = aged.short_S_per_mAh / 3.6 * left * slope_S * by_voltages
        slopes[State.PLATED_C, row] = stays * slope_S * by_voltages
        slopes[State.PLATED_C, State.PLATED_C] = stays * per_s
        slopes[State.NEGATIVE, row] += slope_S / self.negative.double_layer_F * by_voltages
        slopes[State.NEGATIVE, State.PLATED_C] = per_s / self.negative.double_layer_F

    def _grow_short(self, z: list[float], rates: list[float], current_A: float) -> None:
        left = max(1.0 - z[State.SHORT_S] / _LARGEST_SHORT_S, 0.0)
        rates[State.SHORT_S] += self.design.rates.short_S_per_mAh * current_A / 3.6 * left

    def _metal_rates(
        self, half: _Half, z: list[float], rates: list[float], stripping_A: float, warmth: _Warmth
    ) -> None:
        """Voids below a lithium metal; growth through the electrolyte where it is deposited too fast."""
        if not self._has_voids(half):
            return
        voids = z[half.voids]
        rates[half.voids] = self._voids_per_s(voids, stripping_A, warmth)
        excess = -stripping_A / max(1.0 - voids, _LEAST_LEFT) / warmth.critical_A - 1.0
        if excess > 0.0:
            self._grow_short(z, rates, -stripping_A * min(excess, 1.0))

    def _has_voids(self, half: _Half) -> bool:
        return half.design.material == "li" and not self.design.electrolyte.is_liquid

    def _voids_per_s(self, voids: float, stripping_A: float, warmth: _Warmth) -> float:
        stripped_mA_cm2 = 1e3 * stripping_A / self.area_cm2
        return VOIDS.rate_per_s(voids, stripped_mA_cm2, self.pressure_MPa, warmth.temperature_C)

    def _closing_per_s(self, half: _Half, stripping_A: float, warmth: _Warmth) -> float:
        """Slope of the growth of voids with the voids there are; it is straight."""
        if not self._has_voids(half):
            return 0.0
        return self._voids_per_s(1.0, stripping_A, warmth) - self._voids_per_s(0.0, stripping_A, warmth)

    def _interface(
        self, half: _Half, z: list[float], s: NDArray[np.complex128], warmth: _Warmth
    ) -> NDArray[np.complex128]:
        """Impedance of double layer, charge transfer and diffusion of one electrode."""
        transfer_S, by_content_A = self._slopes(half, z, warmth)
        faradaic_S: NDArray[np.complex128] | float = transfer_S
        if not half.is_metal:
            mode_per_s = warmth.mode_per_s[0 if half is self.positive else 1]
            modes = MODE_SHARES / (s[..., None] + np.array(mode_per_s))
            content = (1.0 / s + modes.sum(axis=-1)) / (half.left_C(z[half.lost]))
            faradaic_S = transfer_S / (1.0 + by_content_A * content)
        return np.asarray(1.0 / (s * half.double_layer_F + faradaic_S))


_SHARES: list[float] = MODE_SHARES.tolist()
# Where the voltages stand that make up that of the cell, and their signs.
_AT_ONCE = np.ix_(*2 * [[State.HF_V, State.CONCENTRATION_V, State.POSITIVE, State.NEGATIVE]])
_AT_ONCE_SIGNS = np.array([1.0, 1.0, 1.0, -1.0])
_FACE = np.array([0.0, 0.0, 0.0, 1.0])  # of them, what is at the negative electrode's face
_LITHIUM_um_cm2_C = (
    1e4 * 6.94 / 0.534 / FARADAY_C_mol
)  # molar mass over density: thickness of deposited lithium


def _at_once_V(z: list[float]) -> float:
    """Voltage that it would have at once without a current."""
    return z[State.HF_V] + z[State.CONCENTRATION_V] + z[State.POSITIVE] - z[State.NEGATIVE]


def _sinh(argument: float) -> float:
    """Hyperbolic sine that goes on straight for large arguments."""
    if -_STRAIGHT < argument < _STRAIGHT:
        return math.sinh(argument)
    bound = math.copysign(_STRAIGHT, argument)
    return math.sinh(bound) + (argument - bound) * math.cosh(bound)
