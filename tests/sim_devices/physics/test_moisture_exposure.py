"""The rooms of the exposure system together: box, flow, sample, vessel, sensor, then oven and vacuum."""

import numpy as np
import pytest

from sim_devices.physics.constants import ROOM_TEMPERATURE_C, ATMOSPHERE_Pa, flow_mol_s_from_mL_min
from sim_devices.physics.electrolyte import MATERIALS, Electrolyte
from sim_devices.physics.furnace import Furnace
from sim_devices.physics.gas_sensor import ElectrochemicalSensor
from sim_devices.physics.moist_air import water_mole_fraction
from sim_devices.physics.vacuum import VacuumChamber
from sim_devices.physics.vessel import ReactionVessel

FLOW_mol_s = flow_mol_s_from_mL_min(500.0)


class ExposureRig:
    def __init__(self, sample: Electrolyte) -> None:
        self.sample = sample
        self.vessel = ReactionVessel()
        self.sensor = ElectrochemicalSensor(np.random.default_rng(5), drift_sd_ppm_day=0.0)

    def advance(self, dt_s: float, *, flow_mol_s: float, dew_point_C: float) -> None:
        water = water_mole_fraction(dew_point_C)
        exchange = self.sample.advance(
            dt_s,
            flow_mol_s=flow_mol_s,
            water_mole_fraction=water,
            temperature_C=ROOM_TEMPERATURE_C,
            pressure_Pa=ATMOSPHERE_Pa,
        )
        outlet = self.vessel.advance(
            dt_s,
            flow_mol_s=flow_mol_s,
            inlet_water_mole_fraction=water,
            water_uptake_mol_s=exchange.water_uptake_mol / dt_s,
            h2s_release_mol_s=exchange.h2s_release_mol / dt_s,
        )
        self.sensor.advance(
            dt_s,
            h2s_mole_fraction=0.0 if flow_mol_s == 0.0 else outlet,
            water_mole_fraction=water,
        )


@pytest.mark.ground_truth
def test_gt02_h2s_from_concentration_times_flow() -> None:
    rig = ExposureRig(Electrolyte(MATERIALS["argyrodite"]))
    for _ in range(120):
        rig.advance(5.0, flow_mol_s=0.0, dew_point_C=-20.0)  # past the vessel
    rig.sensor.zero()
    metered_mol = 0.0
    for dew_point_C, count in [(-20.0, 1440), (-80.0, 120)]:  # two hours of exposure, ten minutes of purge
        for _ in range(count):
            rig.advance(5.0, flow_mol_s=FLOW_mol_s, dew_point_C=dew_point_C)
            metered_mol += rig.sensor.read_ppm() * 1e-6 * FLOW_mol_s * 5.0
    released_mol = rig.sample.h2s_released_mol
    assert rig.vessel.h2s_out_mol == pytest.approx(released_mol, rel=1e-3)
    assert metered_mol == pytest.approx(released_mol, rel=0.03)
    # After the purge the meter is back at its zero, to noise and the water it no longer sees.
    assert abs(rig.sensor.read_ppm()) < 0.08


@pytest.mark.ground_truth
@pytest.mark.parametrize(("name", "recovery"), [("argyrodite", 0.52), ("li3ps4-lii", 0.80)])
def test_gt03_gt04_recovery_through_the_oven(name: str, recovery: float) -> None:
    material = MATERIALS[name]
    sample = Electrolyte(material)
    r0 = sample.total_resistance_ohm()
    sample.advance(
        3600.0,
        flow_mol_s=FLOW_mol_s,
        water_mole_fraction=water_mole_fraction(-20.0),
        temperature_C=ROOM_TEMPERATURE_C,
        pressure_Pa=ATMOSPHERE_Pa,
    )
    r1 = sample.total_resistance_ohm()
    oven, chamber = Furnace(), VacuumChamber()
    hold_fraction = (material.removal_temperature_C - oven.ambient_C) * oven.loss_W_K / oven.heater_power_W
    # An hour and a half at the power that holds the temperature, then cooling under vacuum, in steps of 30 s.
    for power_fraction, hours in [(hold_fraction, 2.5), (0.0, 2.0)]:
        for _ in range(int(hours * 120)):
            oven.advance(30.0, power_fraction=power_fraction)
            pressure_Pa = chamber.advance(30.0, pump_on=True)
            sample.advance(
                30.0,
                flow_mol_s=0.0,
                water_mole_fraction=0.0,
                temperature_C=oven.temperature_C,
                pressure_Pa=pressure_Pa,
            )
    r2 = sample.total_resistance_ohm()
    assert (r1 - r2) / (r1 - r0) == pytest.approx(recovery, abs=0.005)


def test_a_leaking_oven_does_not_recover_the_sample() -> None:
    sample, chamber = Electrolyte(MATERIALS["argyrodite"]), VacuumChamber(leak_conductance_m3_s=2e-5)
    r0 = sample.total_resistance_ohm()
    sample.advance(
        3600.0,
        flow_mol_s=FLOW_mol_s,
        water_mole_fraction=water_mole_fraction(-20.0),
        temperature_C=ROOM_TEMPERATURE_C,
        pressure_Pa=ATMOSPHERE_Pa,
    )
    r1 = sample.total_resistance_ohm()
    chamber.advance(600.0, pump_on=True)
    sample.advance(
        3600.0,
        flow_mol_s=0.0,
        water_mole_fraction=0.0,
        temperature_C=170.0,
        pressure_Pa=chamber.pressure_Pa,
    )
    assert (r1 - sample.total_resistance_ohm()) / (r1 - r0) < 0.05
