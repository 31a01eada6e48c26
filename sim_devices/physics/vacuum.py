"""A vacuum chamber: pump, vent valve, leak and outgassing; pump-down in closed form."""

from dataclasses import dataclass

from sim_devices.physics.constants import ATMOSPHERE_Pa
from sim_devices.physics.relaxation import relax


@dataclass
class VacuumChamber:
    """Chamber pressure under a pump of constant speed.

    Faults are changed attributes: a ``leak_conductance_m3_s`` of 1e-6 or more keeps the chamber above 100 Pa
    for ever.

    Parameters
    ----------
    volume_m3 : float
        Placeholder, plausible 0.01 to 0.1 (a small vacuum oven).
    pumping_speed_m3_s : float
        Effective speed at the chamber; placeholder (1e-3 is 3.6 m3/h), plausible 5e-4 to 5e-3.
    ultimate_pressure_Pa : float
        Lowest pressure of the pump itself; placeholder, plausible 0.1 to 10 (rotary or scroll pump).
    leak_conductance_m3_s : float
        Leak from the room as a conductance; placeholder, plausible 1e-10 to 1e-8.
    outgassing_Pa_m3_s : float
        Constant gas load of the walls; placeholder, plausible 1e-5 to 1e-2.
    vent_time_constant_s : float
        Time constant of filling to room pressure through the vent; placeholder, plausible 5 to 60.
    pressure_Pa : float
        True state: chamber pressure at the start.
    """

    volume_m3: float = 0.02
    pumping_speed_m3_s: float = 1.0e-3
    ultimate_pressure_Pa: float = 1.0
    leak_conductance_m3_s: float = 1.0e-9
    outgassing_Pa_m3_s: float = 1.0e-3
    vent_time_constant_s: float = 15.0
    pressure_Pa: float = ATMOSPHERE_Pa

    def advance(self, dt_s: float, *, pump_on: bool, vent_open: bool = False) -> float:
        """Advance exactly over an interval of constant pump and vent state.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        pump_on, vent_open : bool
            Whether the pump draws on the chamber, and whether the vent valve is open to the room.

        Returns
        -------
        float
            Mean pressure over the interval, Pa.
        """
        pump_per_s = self.pumping_speed_m3_s / self.volume_m3 if pump_on else 0.0
        vent_per_s = 1.0 / self.vent_time_constant_s if vent_open else 0.0
        leak_per_s = self.leak_conductance_m3_s / self.volume_m3
        # Outgassing ends at room pressure like every inflow: a sealed chamber cannot exceed it.
        outgassing_per_s = self.outgassing_Pa_m3_s / self.volume_m3 / ATMOSPHERE_Pa
        inward_per_s = leak_per_s + vent_per_s + outgassing_per_s
        self.pressure_Pa, mean_Pa = relax(
            self.pressure_Pa,
            loss_per_s=pump_per_s + inward_per_s,
            gain_per_s=pump_per_s * self.ultimate_pressure_Pa + inward_per_s * ATMOSPHERE_Pa,
            dt_s=dt_s,
        )
        return mean_Pa
