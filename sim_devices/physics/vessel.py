"""The reaction vessel: a well-mixed volume between the gas inlet, the sample and the gas outlet."""

from dataclasses import dataclass

from sim_devices.physics.constants import ROOM_TEMPERATURE_C, ATMOSPHERE_Pa, gas_amount_mol
from sim_devices.physics.relaxation import relax


@dataclass
class ReactionVessel:
    """Mixing of water and H2S in the vessel's free volume, at room temperature and 1 atm.

    Parameters
    ----------
    volume_m3 : float
        Free gas volume; placeholder 50 mL, plausible 10 to 200 mL.
    water_mole_fraction, h2s_mole_fraction : float
        True state: composition of the vessel's gas, which is also that of its outlet.
    h2s_out_mol : float
        True total of H2S carried out, mol.
    """

    volume_m3: float = 50e-6
    water_mole_fraction: float = 0.0
    h2s_mole_fraction: float = 0.0
    h2s_out_mol: float = 0.0

    @property
    def gas_mol(self) -> float:
        """Amount of gas in the vessel, mol."""
        return gas_amount_mol(self.volume_m3, ROOM_TEMPERATURE_C, ATMOSPHERE_Pa)

    def advance(
        self,
        dt_s: float,
        *,
        flow_mol_s: float,
        inlet_water_mole_fraction: float,
        water_uptake_mol_s: float = 0.0,
        h2s_release_mol_s: float = 0.0,
    ) -> float:
        """Advance exactly over an interval of constant flow, inlet composition and sample exchange.

        Parameters
        ----------
        dt_s : float
            Interval, s.
        flow_mol_s : float
            Gas flow through the vessel, mol/s; 0 when bypassed.
        inlet_water_mole_fraction : float
            Water mole fraction of the inlet gas; the inlet carries no H2S.
        water_uptake_mol_s, h2s_release_mol_s : float
            Exchange with the sample, mol/s: its means over the same interval. The uptake is a part of the
            water supplied, as `Electrolyte.advance` returns it.

        Returns
        -------
        float
            Mean H2S mole fraction of the outlet gas over the interval.
        """
        gas_mol = self.gas_mol
        renewal_per_s = flow_mol_s / gas_mol
        net_water_mol_s = flow_mol_s * inlet_water_mole_fraction - water_uptake_mol_s
        self.water_mole_fraction, _ = relax(
            self.water_mole_fraction,
            loss_per_s=renewal_per_s,
            gain_per_s=net_water_mol_s / gas_mol,
            dt_s=dt_s,
        )
        self.h2s_mole_fraction, mean = relax(
            self.h2s_mole_fraction,
            loss_per_s=renewal_per_s,
            gain_per_s=h2s_release_mol_s / gas_mol,
            dt_s=dt_s,
        )
        self.h2s_out_mol += flow_mol_s * mean * dt_s
        return mean
