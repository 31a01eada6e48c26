"""The room of the moisture experiment: what feeds what between the box, the vessel and the sample.

Everything moves when it is looked at: the state is brought up to the clock's time in steps that are as
long as valves, relays and heater leave things constant, and short only where something nonlinear goes on.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from sim_devices.physics.constants import (
    ROOM_TEMPERATURE_C,
    ATMOSPHERE_Pa,
    flow_mL_min_from_mol_s,
    flow_mol_s_from_mL_min,
)
from sim_devices.physics.dew_point_sensor import DewPointSensor
from sim_devices.physics.electrolyte import Electrolyte
from sim_devices.physics.furnace import Furnace
from sim_devices.physics.gas_sensor import ElectrochemicalSensor
from sim_devices.physics.humidity_box import HumidityBox
from sim_devices.physics.mass_flow import MassFlowController
from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa, water_mole_fraction
from sim_devices.physics.oven import Heater
from sim_devices.physics.vacuum import VacuumChamber
from sim_devices.physics.vessel import ReactionVessel
from ssblab.clock import Clock

__all__ = ["MoistureRoom"]

_PURGE_DEW_POINT_C = -70.0  # bottled dry gas
_CONTROL_STEP_S = 1.0  # of the furnace controller
_ACTIVE_STEP_S = 10.0  # while the sample reacts or is hot
_WARM_K = 5.0
_GAUGE_NOISE = 0.01
_NO_FLOW_mol_s = 1e-12  # a flow that dies away exponentially never ends; less than this is none
_NO_H2S = 1e-12  # mole fraction in the vessel below which the sample counts as at rest

#: What each relay of the board switches, by channel; a purge valve at rest is open.
RELAYS = (
    "dehumidifier_1",
    "dehumidifier_2",
    "bleed_valve",
    "vessel_valve",
    "purge_valve_shut",
    "vacuum_pump",
)


class MoistureRoom:
    """All that moves in the moisture experiment, coupled; it moves itself to the clock's time when looked at.

    A box of conditioned air feeds a mass-flow controller; its gas goes through the reaction vessel or past
    it. Dry gas purges the vessel through a normally-open valve. The pellet sits in the vessel, which stands
    in a furnace and can be pumped. An H2S sensor sits in the vessel's outlet.

    Instruments are connected to its parts `transmitter`, `outlet`, `gas_line`, `wall`, `relay_board`, `oven`,
    `flange` and `leads`.

    Parameters
    ----------
    clock : Clock
        Its time moves the room.
    generator : numpy.random.Generator
        Of all noise and calibration errors.
    purge_flow_mL_min : float
        Of the dry gas.

    Attributes
    ----------
    relays : list of bool
        Positions of the relays, in the order of `RELAYS`.
    flow_setpoint_mL_min : float
        Of the mass-flow controller.
    room_h2s_ppm : float
        H2S in the room's air, at the wall detector.
    electrolyte : Electrolyte or None
        The sample in the vessel.
    """

    def __init__(
        self, clock: Clock, generator: np.random.Generator, *, purge_flow_mL_min: float = 500.0
    ) -> None:
        self._clock = clock
        self._now_s = clock.monotonic()
        generators = generator.spawn(3)
        self.box = HumidityBox()
        self.dew_point_sensor = DewPointSensor(generators[0], self.box.dew_point_C)
        self.h2s_sensor = ElectrochemicalSensor(generators[1])
        self._gauge_generator = generators[2]
        self.mass_flow = MassFlowController()
        self.vessel = ReactionVessel()
        self.vacuum = VacuumChamber()
        self.furnace = Furnace()
        self.electrolyte: Electrolyte | None = None
        self.relays = [False] * len(RELAYS)
        self.flow_setpoint_mL_min = 0.0
        self.room_h2s_ppm = 0.0
        self._heater: Heater | None = None
        self._purge_mol_s = flow_mol_s_from_mL_min(purge_flow_mL_min)
        self._purge_water = water_mole_fraction(_PURGE_DEW_POINT_C)
        self.transmitter = SimpleNamespace(
            dew_point_C=lambda: self.advance().dew_point_sensor.read_C(),
            temperature_C=lambda: ROOM_TEMPERATURE_C,
            pressure_kPa=lambda: ATMOSPHERE_Pa / 1000.0,
        )
        self.outlet = SimpleNamespace(
            concentration_ppb=lambda: 1000.0 * self.advance().h2s_sensor.read_ppm(),
            temperature_C=lambda: ROOM_TEMPERATURE_C,
            relative_humidity_percent=self._outlet_humidity_percent,
        )
        self.gas_line = GasLine(self)
        self.wall = SimpleNamespace(concentration_ppm=lambda: self.room_h2s_ppm)
        self.relay_board = SimpleNamespace(switch=self.switch, input=lambda _: False)
        self.oven = SimpleNamespace(
            temperature_C=lambda: self.advance().furnace.sensor_C, attach=self._attach_heater
        )
        self.flange = SimpleNamespace(pressure_Pa=self.gauge_Pa)
        self.leads = SimpleNamespace(
            potential_V=lambda: 0.0, impedance=lambda frequency_Hz: self.advance().impedance(frequency_Hz)
        )

    def mount(self, electrolyte: Electrolyte) -> None:
        """Put a fresh pellet into the vessel, as the operator does."""
        self.advance().electrolyte = electrolyte

    def switch(self, channel: int, on: bool) -> None:
        """Switch a relay of the board."""
        self.advance().relays[channel] = on

    def gauge_Pa(self) -> float:
        """Pressure in the vessel as its gauge reads it."""
        noise = _GAUGE_NOISE * float(self._gauge_generator.standard_normal())
        return self.advance().vacuum.pressure_Pa * (1.0 + noise)

    def advance(self) -> MoistureRoom:
        """Bring the room up to the clock's time."""
        now_s = self._clock.monotonic()
        while self._now_s < now_s:
            left_s = now_s - self._now_s
            heater = self._heater
            step_s = min(left_s, _CONTROL_STEP_S) if heater and heater.acts else left_s
            self._move(step_s, heater.output_fraction if heater else 0.0)
            if heater:
                heater.advance(step_s, self.furnace.sensor_C)
            self._now_s += step_s
        return self

    def _attach_heater(self, heater: Heater) -> None:
        self._heater = heater

    def _outlet_humidity_percent(self) -> float:
        vapour_Pa = self.advance().vessel.water_mole_fraction * ATMOSPHERE_Pa
        return 100.0 * vapour_Pa / saturation_pressure_liquid_Pa(ROOM_TEMPERATURE_C)

    def _move(self, dt_s: float, heater_fraction: float) -> None:
        """Move everything on by a time in which relays, heater and set points stay as they are."""
        remaining_s = dt_s
        while remaining_s > 0:
            step_s = min(remaining_s, _ACTIVE_STEP_S) if self._is_active() else remaining_s
            self._step(step_s, heater_fraction)
            remaining_s -= step_s

    def _is_active(self) -> bool:
        hot = self.furnace.temperature_C > ROOM_TEMPERATURE_C + _WARM_K
        exposed = self.relays[RELAYS.index("vessel_valve")]
        return self.electrolyte is not None and (hot or exposed or self.vessel.h2s_mole_fraction > _NO_H2S)

    def _step(self, dt_s: float, heater_fraction: float) -> None:
        dry_1, dry_2, bleed, through, purge_shut, pump = self.relays
        drawn_mol_s = self.mass_flow.advance(
            dt_s, setpoint_mol_s=flow_mol_s_from_mL_min(self.flow_setpoint_mL_min)
        )
        box_water = self.box.advance(
            dt_s, dehumidifiers_on=(dry_1, dry_2), draw_mol_s=drawn_mol_s, bleed_open=bleed
        )
        self.dew_point_sensor.advance(dt_s, dew_point_C=self.box.dew_point_C)
        self.furnace.advance(dt_s, power_fraction=heater_fraction)
        pressure_Pa = self.vacuum.advance(dt_s, pump_on=pump, vent_open=not purge_shut)
        air_mol_s = drawn_mol_s if through else 0.0
        purge_mol_s = 0.0 if purge_shut else self._purge_mol_s
        flow_mol_s = air_mol_s + purge_mol_s
        if flow_mol_s < _NO_FLOW_mol_s:
            flow_mol_s = 0.0
        water = (air_mol_s * box_water + purge_mol_s * self._purge_water) / flow_mol_s if flow_mol_s else 0.0
        self._react(dt_s, flow_mol_s, water, pressure_Pa)

    def _react(self, dt_s: float, flow_mol_s: float, water: float, pressure_Pa: float) -> None:
        uptake_mol_s = release_mol_s = 0.0
        if self.electrolyte is not None:
            exchange = self.electrolyte.advance(
                dt_s,
                flow_mol_s=flow_mol_s,
                water_mole_fraction=water,
                temperature_C=self.furnace.temperature_C,
                pressure_Pa=pressure_Pa,
            )
            uptake_mol_s, release_mol_s = exchange.water_uptake_mol / dt_s, exchange.h2s_release_mol / dt_s
        outlet_h2s = self.vessel.advance(
            dt_s,
            flow_mol_s=flow_mol_s,
            inlet_water_mole_fraction=water,
            water_uptake_mol_s=uptake_mol_s,
            h2s_release_mol_s=release_mol_s,
        )
        self.h2s_sensor.advance(
            dt_s, h2s_mole_fraction=outlet_h2s, water_mole_fraction=self.vessel.water_mole_fraction
        )

    def impedance(self, frequency_Hz: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Impedance of the pellet in its cell now, ohm; of an empty cell without a sample."""
        if self.electrolyte is None:
            return np.asarray(1.0 / (2j * np.pi * frequency_Hz * _EMPTY_CELL_F), dtype=complex)
        return self.electrolyte.impedance(frequency_Hz, self.furnace.temperature_C)


_EMPTY_CELL_F = 2e-12


class GasLine:
    """The line of the room's mass-flow controller."""

    def __init__(self, room: MoistureRoom) -> None:
        self._room = room

    @property
    def setpoint_mL_min(self) -> float:
        """Flow that was asked for."""
        return self._room.flow_setpoint_mL_min

    @setpoint_mL_min.setter
    def setpoint_mL_min(self, flow_mL_min: float) -> None:
        self._room.advance().flow_setpoint_mL_min = flow_mL_min

    def flow_mL_min(self) -> float:
        """Flow now, standard mL/min."""
        return flow_mL_min_from_mol_s(self._room.advance().mass_flow.flow_mol_s)

    def temperature_C(self) -> float:
        """Temperature of the gas."""
        return ROOM_TEMPERATURE_C

    def pressure_kPa(self) -> float:
        """Pressure in the line, absolute."""
        return 150.0
