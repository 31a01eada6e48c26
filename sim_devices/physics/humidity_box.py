"""A glove box used as a humidity-control box: its air leaks, is dried by two dehumidifiers and drawn off.

All water moves by exchange of air: with the room through leaks and gloves, with the dehumidifiers that
recirculate the box's air and return it at their floor, and with the make-up line that replaces what is drawn
to the reaction vessel. For constant switches that is one linear equation, solved exactly.
"""

from dataclasses import dataclass, field

from sim_devices.physics.constants import ROOM_TEMPERATURE_C, ATMOSPHERE_Pa, gas_amount_mol
from sim_devices.physics.moist_air import dew_point_C, water_mole_fraction
from sim_devices.physics.relaxation import relax


@dataclass
class HumidityBox:
    """Well-mixed box air with two on/off dehumidifiers and an on/off bleed of room air.

    Every number is a placeholder (the source gives only the controllable range, -10 to -50 degC within 2 degC
    with two dehumidifiers); they are chosen so that two units reach about -52 degC, one about -47 degC. A
    fault is a changed attribute: a larger ``leak_mol_s`` is an open glove port.

    Parameters
    ----------
    volume_m3 : float
        Air volume; placeholder, plausible 0.2 to 1.
    leak_mol_s : float
        Exchange with room air by leaks and glove permeation, as an equivalent air flow; placeholder,
        plausible 1e-5 (a tight box) to 1e-3.
    bleed_mol_s : float
        Room air let in while the bleed valve is open; placeholder, plausible 1e-3 to 1e-2.
    dehumidifier_mol_s : float
        Air recirculated by one dehumidifier; placeholder (0.07 mol/s is 6 m3/h), plausible 0.02 to 1.
    dehumidifier_floor_dew_point_C : float
        Dew point of the air a dehumidifier returns; placeholder, plausible -70 to -40 (desiccant rotor).
    room_dew_point_C : float
        Placeholder, plausible 0 to 18.
    makeup_dew_point_C : float
        Dew point of the dried compressed air that replaces the draw; placeholder: -40 is class 2 of
        ISO 8573-1.
    initial_dew_point_C : float or None
        True dew point at the start; the room's when None.

    Attributes
    ----------
    water_mole_fraction : float
        True state: water mole fraction of the box's air.
    """

    volume_m3: float = 0.5
    leak_mol_s: float = 3.0e-4
    bleed_mol_s: float = 5.0e-3
    dehumidifier_mol_s: float = 0.07
    dehumidifier_floor_dew_point_C: float = -65.0
    room_dew_point_C: float = 10.0
    makeup_dew_point_C: float = -40.0
    initial_dew_point_C: float | None = None
    water_mole_fraction: float = field(init=False)

    def __post_init__(self) -> None:
        start_C = self.room_dew_point_C if self.initial_dew_point_C is None else self.initial_dew_point_C
        self.water_mole_fraction = water_mole_fraction(start_C)

    @property
    def dew_point_C(self) -> float:
        """True dew point of the box's air, degC (over ice below 0.01 degC)."""
        return dew_point_C(self.water_mole_fraction)

    @property
    def air_mol(self) -> float:
        """Amount of air in the box, mol, at room temperature and 1 atm."""
        return gas_amount_mol(self.volume_m3, ROOM_TEMPERATURE_C, ATMOSPHERE_Pa)

    def exchanges(
        self, *, dehumidifiers_on: tuple[bool, bool], draw_mol_s: float, bleed_open: bool = False
    ) -> tuple[tuple[float, float], ...]:
        """Air flows into the box, each balanced by the same flow of box air out.

        Parameters
        ----------
        dehumidifiers_on : tuple of bool
            Which dehumidifiers run.
        draw_mol_s : float
            Air drawn to the vessel or its bypass, mol/s.
        bleed_open : bool
            Whether the bleed valve is open.

        Returns
        -------
        tuple of (flow_mol_s, water_mole_fraction)
            Room air, make-up air, dehumidifier return.
        """
        room_mol_s = self.leak_mol_s + (self.bleed_mol_s if bleed_open else 0.0)
        return (
            (room_mol_s, water_mole_fraction(self.room_dew_point_C)),
            (draw_mol_s, water_mole_fraction(self.makeup_dew_point_C)),
            (
                self.dehumidifier_mol_s * sum(dehumidifiers_on),
                water_mole_fraction(self.dehumidifier_floor_dew_point_C),
            ),
        )

    def advance(
        self,
        dt_s: float,
        *,
        dehumidifiers_on: tuple[bool, bool],
        draw_mol_s: float,
        bleed_open: bool = False,
    ) -> float:
        """Advance the box exactly over an interval of constant switches and draw.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        dehumidifiers_on, draw_mol_s, bleed_open
            As in `exchanges`.

        Returns
        -------
        float
            Mean water mole fraction of the air drawn during the interval.
        """
        flows = self.exchanges(
            dehumidifiers_on=dehumidifiers_on, draw_mol_s=draw_mol_s, bleed_open=bleed_open
        )
        air_mol = self.air_mol
        self.water_mole_fraction, mean = relax(
            self.water_mole_fraction,
            loss_per_s=sum(flow for flow, _ in flows) / air_mol,
            gain_per_s=sum(flow * fraction for flow, fraction in flows) / air_mol,
            dt_s=dt_s,
        )
        return mean
