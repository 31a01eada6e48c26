"""The family of mass-flow controllers."""

from __future__ import annotations

from abc import abstractmethod

from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Text
from devices.status import Status

__all__ = ["MassFlowController"]

_SETTLE_S = 5.0
_POLL_S = 1.0
_TIMEOUT_S = 60.0  # valves settle in seconds; a minute means that there is no gas
_STOPPED_WITHIN_S = 15.0
_STOP_LOOK_S = 0.5


class MassFlowController(Instrument):
    """Holds a gas flow. Flow is standard flow: the volume that the gas would have at 25 degC, 101.325 kPa.

    Attributes
    ----------
    relative_accuracy : float
        The maker's accuracy of the flow as a share of the reading, as a limit of error.
    """

    family = "mass-flow controller"
    relative_accuracy: float

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

        The approach to another flow that is still under way fails.

        Raises
        ------
        LimitError
            If the flow is outside the limits; nothing was sent then.
        """
        self.flow_setpoint.check_value(flow_mL_min)
        return self.approach(
            "flow",
            "mL/min",
            start=lambda: self.write_setpoint(flow_mL_min),
            read=self._read_flow,
            target=flow_mL_min,
            tolerance=self.tolerance_mL_min(flow_mL_min),
            settle_s=_SETTLE_S,
            timeout_s=_TIMEOUT_S,
            poll_s=_POLL_S,
        )

    def tolerance_mL_min(self, flow_mL_min: float) -> float:
        """How near a flow must be to count as reached; a small flow is not reached by none at all."""
        of_range = self.tolerance_of_range * self.flow_setpoint.limits[1]
        return min(of_range, self.tolerance_of_flow * flow_mL_min) if flow_mL_min > 0 else of_range

    def make_safe(self) -> None:
        """Stop the flow, also where the valve is held from the front panel, and see that it has stopped.

        Raises
        ------
        InstrumentError
            If gas still flows after 15 s, or the instrument can't tell.
        """
        self.insist(self._close)
        deadline_s = self.clock.monotonic() + _STOPPED_WITHIN_S
        while not abs(flow := self.flow_despite_faults()) <= self.tolerance_mL_min(0.0):
            if self.clock.monotonic() > deadline_s:
                raise self.refused(
                    f"still {flow:g} mL/min {_STOPPED_WITHIN_S:g} s after it was told 0 mL/min"
                )
            self.clock.sleep(_STOP_LOOK_S)

    def _close(self) -> None:
        self.write_setpoint(0.0)
        self.release_valve()

    def release_valve(self) -> None:
        """End a hold that keeps the valve from following its set point; on the worker."""

    def flow_despite_faults(self) -> float:
        """Read the flow now; NaN if a fault that the instrument reports makes it doubtful; on the worker."""
        return self._read_flow()

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
