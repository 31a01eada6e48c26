"""A mass-flow controller: a valve that follows its set point as far as the gas before it carries."""

from dataclasses import dataclass

from sim_devices.physics.constants import ATMOSPHERE_Pa, flow_mol_s_from_mL_min
from sim_devices.physics.relaxation import relax


@dataclass
class MassFlowController:
    """Actual flow that follows the setpoint with one time constant, as far as the source pressure carries it.

    Parameters
    ----------
    full_scale_mol_s : float
        Largest controllable flow; default 1000 standard mL/min (placeholder, plausible 200 to 2000).
    time_constant_s : float
        Placeholder, plausible 0.3 to 2 (thermal controllers).
    required_source_pressure_Pa : float
        Absolute inlet pressure at which full scale is reached; below it the reachable flow falls in
        proportion to the overpressure. Placeholder, plausible 1.1e5 to 2.5e5 at atmospheric outlet.
    flow_mol_s : float
        True state: flow at the start.
    """

    full_scale_mol_s: float = flow_mol_s_from_mL_min(1000.0)
    time_constant_s: float = 1.0
    required_source_pressure_Pa: float = 1.3e5
    flow_mol_s: float = 0.0

    def reachable_mol_s(self, setpoint_mol_s: float, source_pressure_Pa: float) -> float:
        """Flow (mol/s) the valve settles at for a setpoint (mol/s) and an absolute inlet pressure (Pa)."""
        needed_Pa = self.required_source_pressure_Pa - ATMOSPHERE_Pa
        overpressure = (source_pressure_Pa - ATMOSPHERE_Pa) / needed_Pa
        limit_mol_s = self.full_scale_mol_s * min(max(overpressure, 0.0), 1.0)
        return min(max(setpoint_mol_s, 0.0), limit_mol_s)

    def advance(self, dt_s: float, *, setpoint_mol_s: float, source_pressure_Pa: float = 1.5e5) -> float:
        """Advance exactly over an interval of constant setpoint and source pressure.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        setpoint_mol_s : float
            Wanted flow, mol/s; held within 0 and full scale.
        source_pressure_Pa : float
            Absolute pressure before the valve (the pump's or the cylinder's), Pa.

        Returns
        -------
        float
            Mean flow over the interval, mol/s.
        """
        rate_per_s = 1.0 / self.time_constant_s
        level_mol_s = self.reachable_mol_s(setpoint_mol_s, source_pressure_Pa)
        self.flow_mol_s, mean_mol_s = relax(
            self.flow_mol_s, loss_per_s=rate_per_s, gain_per_s=rate_per_s * level_mol_s, dt_s=dt_s
        )
        return mean_mol_s
