"""The moisture laboratory: who sits where, and who feeds whom.

Everything moves when it is looked at: the state is brought up to the clock's time in steps that are as
long as valves, relays and heater leave things constant, and short only where something nonlinear goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim_devices.instruments.alicat import SimulatedAlicat
from sim_devices.instruments.eurotherm import SimulatedEurotherm3216
from sim_devices.instruments.midas import SimulatedMidas
from sim_devices.instruments.moxa import SimulatedMoxaE1214
from sim_devices.instruments.palmsens import SimulatedPalmSens
from sim_devices.instruments.pfeiffer_tpg import SimulatedPfeifferTpg
from sim_devices.instruments.spec_dgs import SimulatedSpecDgs
from sim_devices.instruments.vaisala import SimulatedVaisala
from sim_devices.physics.constants import (
    ROOM_TEMPERATURE_C,
    ATMOSPHERE_Pa,
    flow_mL_min_from_mol_s,
    flow_mol_s_from_mL_min,
)
from sim_devices.physics.dew_point_sensor import DewPointSensor
from sim_devices.physics.electrolyte import MATERIALS, Electrolyte, PelletGeometry
from sim_devices.physics.furnace import Furnace
from sim_devices.physics.gas_sensor import ElectrochemicalSensor
from sim_devices.physics.humidity_box import HumidityBox
from sim_devices.physics.mass_flow import MassFlowController
from sim_devices.physics.moist_air import saturation_pressure_liquid_Pa, water_mole_fraction
from sim_devices.physics.vacuum import VacuumChamber
from sim_devices.physics.vessel import ReactionVessel
from sim_devices.wire import SimulatedInstrument, Wires
from ssblab.clock import Clock

__all__ = ["MoistureLab", "MoistureRoom"]

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
    """The physics of the laboratory, coupled; knows no instrument.

    A box of conditioned air feeds a mass-flow controller; its gas goes through the reaction vessel or past
    it. Dry gas purges the vessel through a normally-open valve. The pellet sits in the vessel, which stands
    in a furnace and can be pumped. An H2S sensor sits in the vessel's outlet.

    Attributes
    ----------
    relays : list of bool
        Positions of the relays, in the order of `RELAYS`.
    heater_fraction : float
        Heater power, 0 to 1.
    flow_setpoint_mL_min : float
        Of the mass-flow controller.
    room_h2s_ppm : float
        H2S in the room's air, at the wall detector.
    """

    def __init__(self, seed: int, *, purge_flow_mL_min: float = 500.0) -> None:
        generators = [np.random.default_rng([seed, i]) for i in range(4)]
        self.box = HumidityBox()
        self.dew_point_sensor = DewPointSensor(generators[0], self.box.dew_point_C)
        self.h2s_sensor = ElectrochemicalSensor(generators[1])
        self.gauge_generator = generators[2]
        self.mass_flow = MassFlowController()
        self.vessel = ReactionVessel()
        self.vacuum = VacuumChamber()
        self.furnace = Furnace()
        self.electrolyte: Electrolyte | None = None
        self.relays = [False] * len(RELAYS)
        self.heater_fraction = 0.0
        self.flow_setpoint_mL_min = 0.0
        self.room_h2s_ppm = 0.0
        self._purge_mol_s = flow_mol_s_from_mL_min(purge_flow_mL_min)
        self._purge_water = water_mole_fraction(_PURGE_DEW_POINT_C)

    def advance(self, dt_s: float) -> None:
        """Move everything on by a time in which relays, heater and set points stay as they are."""
        remaining_s = dt_s
        while remaining_s > 0:
            step_s = min(remaining_s, _ACTIVE_STEP_S) if self._is_active() else remaining_s
            self._step(step_s)
            remaining_s -= step_s

    def _is_active(self) -> bool:
        hot = self.furnace.temperature_C > ROOM_TEMPERATURE_C + _WARM_K
        exposed = self.relays[RELAYS.index("vessel_valve")]
        return self.electrolyte is not None and (hot or exposed or self.vessel.h2s_mole_fraction > _NO_H2S)

    def _step(self, dt_s: float) -> None:
        dry_1, dry_2, bleed, through, purge_shut, pump = self.relays
        drawn_mol_s = self.mass_flow.advance(
            dt_s, setpoint_mol_s=flow_mol_s_from_mL_min(self.flow_setpoint_mL_min)
        )
        box_water = self.box.advance(
            dt_s, dehumidifiers_on=(dry_1, dry_2), draw_mol_s=drawn_mol_s, bleed_open=bleed
        )
        self.dew_point_sensor.advance(dt_s, dew_point_C=self.box.dew_point_C)
        self.furnace.advance(dt_s, power_fraction=self.heater_fraction)
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


class MoistureLab:
    """Simulated instruments in front of one room, on loopback wires.

    Parameters
    ----------
    clock : Clock
        Its time moves the room.
    seed : int
        Of all noise and calibration errors: the same seed gives the same data.
    materials : mapping
        Sample name -> material of `sim_devices.physics.electrolyte`; the hidden truth of each sample.
    base_port : int
        First TCP port; the others follow. 0 takes free ones.

    Attributes
    ----------
    addresses : dict
        VISA resource name by device name.
    instruments : dict
        Simulated instrument by device name, for faults.
    room : MoistureRoom
        The hidden truth.
    """

    def __init__(
        self, clock: Clock, *, seed: int, materials: Mapping[str, str] | None = None, base_port: int = 0
    ) -> None:
        self._clock = clock
        self._now = clock.monotonic()
        self._materials = dict(materials or {})
        self.room = MoistureRoom(seed)
        self._wires = Wires(clock)
        self.instruments = self._make_instruments(seed)
        self.addresses = {
            name: self._wires.listen(instrument, base_port + i if base_port else 0)
            for i, (name, instrument) in enumerate(self.instruments.items())
        }

    def mount(self, sample: Mapping[str, Any]) -> None:
        """Put a fresh pellet of a sample record into the vessel, as the operator does.

        Raises
        ------
        ValueError
            If the laboratory does not know what the sample is made of.
        """
        material = MATERIALS.get(self._materials.get(sample["name"], ""))
        if material is None:
            raise ValueError(
                f"the simulated laboratory has no sample {sample['name']!r}: "
                f"it has {', '.join(self._materials)}; add it to `materials` "
                "in the simulated section of the station file"
            )
        self.advance()
        geometry = PelletGeometry(
            thickness_cm=sample["thickness_mm"] / 10.0, area_cm2=np.pi * (sample["diameter_mm"] / 20.0) ** 2
        )
        self.room.electrolyte = Electrolyte(material, mass_g=sample["mass_g"], geometry=geometry)

    def advance(self) -> MoistureRoom:
        """Bring the room up to the clock's time."""
        controller = self._controller
        now = self._clock.monotonic()
        while self._now < now:
            step_s = min(now - self._now, _CONTROL_STEP_S) if controller.acts else now - self._now
            self.room.heater_fraction = controller.output_fraction
            self.room.advance(step_s)
            controller.advance(step_s, self.room.furnace.sensor_C)
            self._now += step_s
        return self.room

    def close(self) -> None:
        """Close all ports."""
        self._wires.close()

    def _make_instruments(self, seed: int) -> dict[str, SimulatedInstrument]:
        advance, clock = self.advance, self._clock
        room = self.room
        self._controller = SimulatedEurotherm3216(
            clock, SimpleNamespace(temperature_C=lambda: advance().furnace.sensor_C)
        )
        return {
            "dew_point": SimulatedVaisala(
                clock,
                SimpleNamespace(
                    dew_point_C=lambda: advance().dew_point_sensor.read_C(),
                    temperature_C=lambda: ROOM_TEMPERATURE_C,
                    pressure_kPa=lambda: ATMOSPHERE_Pa / 1000.0,
                ),
            ),
            "h2s": SimulatedSpecDgs(
                clock,
                SimpleNamespace(
                    concentration_ppb=lambda: 1000.0 * advance().h2s_sensor.read_ppm(),
                    temperature_C=lambda: ROOM_TEMPERATURE_C,
                    relative_humidity_percent=lambda: _relative_humidity_percent(
                        advance().vessel.water_mole_fraction
                    ),
                ),
            ),
            "mfc": SimulatedAlicat(clock, _GasLine(self)),
            "room_h2s": SimulatedMidas(clock, SimpleNamespace(concentration_ppm=lambda: room.room_h2s_ppm)),
            "relays": SimulatedMoxaE1214(clock, SimpleNamespace(switch=self._switch, input=lambda _: False)),
            "furnace": self._controller,
            "gauge": SimulatedPfeifferTpg(clock, SimpleNamespace(pressure_Pa=self._gauge_reading)),
            "potentiostat": SimulatedPalmSens(
                clock,
                SimpleNamespace(
                    potential_V=lambda: 0.0, impedance=lambda frequency_Hz: advance().impedance(frequency_Hz)
                ),
                seed=seed,
            ),
        }

    def _switch(self, channel: int, on: bool) -> None:
        self.advance()
        self.room.relays[channel] = on

    def _gauge_reading(self) -> float:
        noise = _GAUGE_NOISE * float(self.room.gauge_generator.standard_normal())
        return self.advance().vacuum.pressure_Pa * (1.0 + noise)


class _GasLine:
    """The line of the mass-flow controller."""

    def __init__(self, lab: MoistureLab) -> None:
        self._lab = lab

    @property
    def setpoint_mL_min(self) -> float:
        return self._lab.room.flow_setpoint_mL_min

    @setpoint_mL_min.setter
    def setpoint_mL_min(self, flow_mL_min: float) -> None:
        self._lab.advance().flow_setpoint_mL_min = flow_mL_min

    def flow_mL_min(self) -> float:
        return flow_mL_min_from_mol_s(self._lab.advance().mass_flow.flow_mol_s)

    def temperature_C(self) -> float:
        return ROOM_TEMPERATURE_C

    def pressure_kPa(self) -> float:
        return 150.0


def _relative_humidity_percent(water: float) -> float:
    return 100.0 * water * ATMOSPHERE_Pa / saturation_pressure_liquid_Pa(ROOM_TEMPERATURE_C)
