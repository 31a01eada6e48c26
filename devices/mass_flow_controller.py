"""The family of mass-flow controllers."""

from __future__ import annotations

from abc import abstractmethod

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Text
from devices.status import Approach, Status

__all__ = ["MassFlowController"]

_SETTLE_S = 5.0
_POLL_S = 1.0
_TIMEOUT_S = 60.0  # valves settle in seconds; a minute means that there is no gas


class MassFlowController(Instrument):
    """Holds a gas flow. Flow is standard flow: the volume that the gas would have at 25 degC, 101.325 kPa."""

    family = "mass-flow controller"

    flow = Cpt(Measured, unit="mL/min", precision=2, kind="hinted", doc="Standard flow, at 25 degC, 1 atm")
    flow_setpoint = Cpt(
        Setting, unit="mL/min", precision=2, limits=(0.0, 1e6), kind="normal", doc="Standard flow asked for"
    )
    gas_temperature = Cpt(Measured, unit="degC", precision=2, kind="normal", doc="Temperature of the gas")
    gas_pressure = Cpt(Measured, unit="kPa", precision=2, kind="normal", doc="Absolute pressure of the gas")
    gas = Cpt(Text, kind="config", doc="Gas that the controller is calibrated for")
    state = Cpt(Text, kind="omitted", doc="Status codes as the instrument prints them; empty if all is well")

    #: Flow counts as reached within the smaller of these shares of the largest flow allowed and of itself.
    tolerance_of_range = 0.01
    tolerance_of_flow = 0.05

    def set(self, flow_mL_min: float) -> Status:
        """Go to a standard flow; done when it has stayed within tolerance for 5 s.

        Raises
        ------
        LimitError
            If the flow is outside the limits; nothing was sent then.
        """
        self.flow_setpoint.check_value(flow_mL_min)
        return Approach(
            self.clock,
            self.name,
            f"{self.name}: flow",
            "mL/min",
            start=lambda: self.write_setpoint(flow_mL_min),
            read=self._read_flow,
            target=flow_mL_min,
            tolerance=self.tolerance_mL_min(flow_mL_min),
            settle_s=_SETTLE_S,
            timeout_s=_TIMEOUT_S,
            poll_s=_POLL_S,
        ).status

    def tolerance_mL_min(self, flow_mL_min: float) -> float:
        """How near a flow must be to count as reached; a small flow is not reached by none at all."""
        of_range = self.tolerance_of_range * self.flow_setpoint.limits[1]
        return min(of_range, self.tolerance_of_flow * flow_mL_min) if flow_mL_min > 0 else of_range

    def make_safe(self) -> None:
        """Stop the flow."""
        self.write_setpoint(0.0)

    @abstractmethod
    def write_setpoint(self, flow_mL_min: float) -> None:
        """Tell the instrument the flow, read it back, record it; on the worker.

        Raises
        ------
        InstrumentError
            If it holds another set point than it was told.
        """

    def _read_flow(self) -> float:
        self.poll()
        return float(self.flow.get())
