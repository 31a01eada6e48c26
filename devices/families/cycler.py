"""The families of battery cyclers and of their channels: each channel is a device, all share one link."""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from devices.families.cycler_program import Program
from devices.flyer import Column, Flyer, FlyingDevice, Row
from devices.instrument import Cpt, Instrument
from devices.signals import Measured, Setting, Text
from ssblab.links import LinkClosed, LinkError, LinkTimeout

__all__ = ["RECORDS", "ChannelReading", "Cycler", "CyclerChannel"]

T = TypeVar("T")

RECORDS = {
    "voltage": Column("V", "Voltage of the cell"),
    "current": Column("A", "Positive charges the cell", precision=9),
    "capacity": Column("Ah", "Charge passed in this step, without sign", precision=9),
    "energy": Column("Wh", "Energy passed in this step, without sign", precision=9),
    "step": Column("1", "Number of the step in the program, from 1", precision=0),
    "cycle": Column("1", "Number of the cycle, from 1", precision=0),
    "kind": Column("", "charge, discharge or rest"),
}

_FRESH_S = 0.5  # a reading of all channels that is younger serves every channel


@dataclass(frozen=True)
class ChannelReading:
    """What a cycler tells of a channel now.

    Attributes
    ----------
    voltage_V, current_A : float
        At the cell; positive charges it.
    capacity_Ah, energy_Wh : float
        Passed in the present step, without sign.
    step, cycle : int
        Where the program is, from 1; 0 if none runs.
    state : str
        In the instrument's own word.
    running : bool
        Whether a program runs.
    problem : str
        Why the channel was stopped by its protections or a fault; empty if it was not.
    """

    voltage_V: float
    current_A: float
    capacity_Ah: float
    energy_Wh: float
    step: int
    cycle: int
    state: str
    running: bool
    problem: str = ""


class Cycler(Instrument):
    """A machine with many channels behind one link; it is asked for all its channels at once."""

    family = "cycler"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._channels: set[int] = set()
        self._readings: dict[int, ChannelReading] = {}
        self._read_at_s = -math.inf
        self.read_at = math.nan  #: when the channels were read last, s since 1970
        self._turn = threading.RLock()
        self._lost_at_s = -math.inf
        self._lost: LinkError | None = None  # of the last time that the link was lost

    def add_channel(self, channel: int) -> None:
        """Have a channel (from 1, as on the front panel) asked for from now on.

        Raises
        ------
        ValueError
            If it is in use already.
        """
        if channel in self._channels:
            raise ValueError(f"channel {channel} of {self.name} is used twice")
        self._channels.add(channel)

    def reading(self, channel: int, *, fresh: bool = False) -> ChannelReading:
        """Give what the cycler tells of a channel, not older than half a second; `fresh` asks anew.

        Raises
        ------
        LinkError
            If it does not answer.
        """

        def read() -> ChannelReading:
            old = not self.clock.monotonic() - self._read_at_s < _FRESH_S
            if fresh or old or channel not in self._readings:
                self._ask_all()
            if channel not in self._readings:
                raise self.refused(f"tells nothing of channel {channel}")
            return self._readings[channel]

        return self.in_turn(read)

    def in_turn(self, exchange: Callable[[], T]) -> T:
        """Do what a channel wants as its turn comes.

        A link that was lost while it waited is lost for it too: else the last of 64 channels would wait for
        64 timeouts, and its safe state behind it.
        """
        asked_s = self.clock.monotonic()
        with self._turn:
            if self._lost is not None and self._lost_at_s > asked_s:
                raise self._lost
            try:
                return exchange()
            except (LinkTimeout, LinkClosed) as error:
                self._lost, self._lost_at_s = error, self.clock.monotonic()
                raise

    def poll(self) -> None:
        """Read all channels that are in use."""
        self.in_turn(self._ask_all)
        self.record(quality="ok")

    def _ask_all(self) -> None:
        self._readings = self.read_channels(sorted(self._channels))
        self._read_at_s, self.read_at = self.clock.monotonic(), self.clock.now()

    def make_safe(self) -> None:
        """Nothing: its channels have safe states of their own."""

    @abstractmethod
    def read_channels(self, channels: Sequence[int]) -> dict[int, ChannelReading]:
        """Ask for the state of channels, all in as few exchanges as the protocol allows.

        A channel that the machine does not have is left out.
        """


class CyclerChannel(FlyingDevice):
    """One channel: a program of steps runs in the instrument, its records come back (flyer `records`).

    The safe state is the channel stopped, with no current. The channel's own protections are set to the
    program's limits before it starts.

    Parameters
    ----------
    cycler : Cycler
        The machine.
    channel : int
        From 1, as on its front panel.
    limits : mapping, optional
        Signal name -> (low, high): makes that setting's limits narrower.
    """

    family = "cycler channel"
    #: The program and its protections are in the machine, which also keeps the records: its computer may be
    #: started anew meanwhile.
    longest_link_loss_s = 600.0
    #: Whether it makes records when voltage or current have changed, not by time alone.
    records_changes: ClassVar[bool] = False
    #: Of current and voltage, as makers of 5 V channels state them: 0.1 % of the value and of the range.
    current_relative_accuracy: ClassVar[float] = 0.001
    voltage_resolution_V: ClassVar[float] = 1e-4
    voltage_accuracy_V: ClassVar[float] = 0.005

    voltage = Cpt(Measured, unit="V", precision=4, kind="hinted", doc="Voltage of the cell")
    current = Cpt(Measured, unit="A", precision=6, kind="hinted", doc="Positive charges the cell")
    capacity = Cpt(Measured, unit="Ah", precision=6, kind="normal", doc="Passed in this step, without sign")
    energy = Cpt(Measured, unit="Wh", precision=6, kind="normal", doc="Passed in this step, without sign")
    step = Cpt(
        Measured, unit="1", precision=0, kind="normal", doc="Step of the program, from 1; 0 if none runs"
    )
    cycle = Cpt(Measured, unit="1", precision=0, kind="normal", doc="Cycle, from 1; 0 if none runs")
    state = Cpt(Text, kind="normal", doc="State in the instrument's own word")
    quality = Cpt(Text, value="invalid", kind="normal", doc="Whether the reading is ok, invalid or saturated")
    applied_voltage = Cpt(
        Setting,
        unit="V",
        precision=4,
        limits=(-10.0, 10.0),
        kind="config",
        doc="Highest voltage of the program",
    )
    applied_current = Cpt(
        Setting,
        unit="A",
        precision=6,
        limits=(0.0, 100.0),
        kind="config",
        doc="Largest current of the program",
    )

    def __init__(
        self,
        *,
        cycler: Cycler,
        channel: int,
        limits: dict[str, tuple[float, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cycler = cycler
        self.channel = channel
        cycler.add_channel(channel)
        self.flyers = {"records": Flyer(self, "records", RECORDS)}
        for signal, (low, high) in (limits or {}).items():
            getattr(self, signal).narrow(low, high)

    @property
    def source(self) -> str:
        """Whose numbers these are."""
        return f"{self.cycler.identity or self.cycler.model}, channel {self.channel}"

    def connect(self) -> None:
        """Take the channel over as it is; a program that runs in it is nobody's, and is an error.

        Raises
        ------
        InstrumentError
            If the channel does not exist, or runs a program.
        """
        self.cycler.link.open()
        self.read_channel_limits()
        if self.read_now().running:
            raise self.refused(
                f"channel {self.channel} runs a program that this station did not start: end it on the cycler"
            )

    def flyer(self, task: Any) -> Flyer:
        """Give the flyer that runs a program."""
        if not isinstance(task, Program):
            raise TypeError(f"{self.name}: {task!r} is no program of a cycler")
        return self.flyers["records"]

    def check_task(self, task: Any) -> None:
        """Raise LimitError if a voltage or a current of the program leaves the channel's limits.

        Raises
        ------
        InstrumentError
            If a step has records by change, and the channel makes none.
        """
        steps = task.steps if isinstance(task, Program) else ()
        changes = (change for step in steps for change in (step.record_change_V, step.record_change_A))
        if not self.records_changes and any(change is not None for change in changes):
            raise self.refused("makes records by time, not by a change of voltage or current")
        limits = task.limits
        for voltage_V in (limits.voltage_min_V, limits.voltage_max_V):
            self.applied_voltage.check_value(voltage_V)
        for current_A in (limits.charge_A, limits.discharge_A):
            self.applied_current.check_value(current_A)

    def task_taken(self, task: Any) -> None:
        """Record the program's largest voltage and current."""
        self.record(
            applied_voltage=task.limits.voltage_max_V,
            applied_current=max(task.limits.charge_A, task.limits.discharge_A),
        )

    def read_at_rest(self) -> None:
        """Read the channel; raise InstrumentError if a program runs that was not started here."""
        if self.read_now().running and not self.measuring:
            raise self.refused("a program runs that was not started here")

    def read_running(self) -> None:
        """Read the channel while its program runs."""
        self.read_now()

    def read_now(self, *, fresh: bool = False) -> ChannelReading:
        """Read the channel and record what it tells, with the time at which the cycler told it."""
        reading = self.cycler.reading(self.channel, fresh=fresh)
        self.show(reading, self.cycler.read_at)
        return reading

    def show_row(self, row: Row) -> None:
        """Take over what the last record of a running program says."""
        for name in ("voltage", "current", "capacity", "energy", "step", "cycle"):
            getattr(self, name).record(row.values[name], row.time)

    def show(self, reading: ChannelReading, timestamp: float) -> None:
        """Record a reading of the channel."""
        values = {
            "voltage": reading.voltage_V,
            "current": reading.current_A,
            "capacity": reading.capacity_Ah,
            "energy": reading.energy_Wh,
            "step": reading.step,
            "cycle": reading.cycle,
            "state": reading.state,
            "quality": "ok" if math.isfinite(reading.voltage_V + reading.current_A) else "invalid",
        }
        for signal, value in values.items():
            getattr(self, signal).record(value, timestamp)

    @abstractmethod
    def read_channel_limits(self) -> None:
        """Ask what the channel can do and make the limits as narrow; InstrumentError if it is not there."""
