"""Records of simulated cells, as a cycler would make them, and what is hidden in the cells."""

import dataclasses

import numpy as np

from ssblab.analysis.cycling import StepRecord


@dataclasses.dataclass
class Channel:
    """Drives a simulated cell without an instrument in between, and records it."""

    cell: object
    section: str = ""
    cycle: int = 1
    number: int = 0

    def __post_init__(self):
        self.now_s = self.cell.advance(0.0)

    def current(self, kind, current_A, *, limit_V=None, at_s=None, every_s=60.0, longest_s=1e6):
        """Constant current until a voltage, or with records at given times after its beginning."""
        self.cell.source_current(current_A, at_s=self.now_s)
        ended = None
        if limit_V is not None:
            sign = 1 if current_A > 0 else -1
            ended = lambda volts, amperes: sign * volts >= sign * limit_V  # noqa: E731
        return self._record(kind, at_s, every_s, longest_s, ended)

    def voltage(self, kind, voltage_V, *, at_s, limit_A=np.inf):
        """Constant voltage, with records at given times after its beginning."""
        self.cell.source_voltage(voltage_V, limit_A, at_s=self.now_s)
        return self._record(kind, at_s, 60.0, 0.0, None)

    def rest(self, *, at_s):
        self.cell.open(at_s=self.now_s)
        return self._record("rest", at_s, 60.0, 0.0, None)

    def _record(self, kind, at_s, every_s, longest_s, ended):
        self.number += 1
        began_s, began_Ah = self.now_s, self.cell.charge_Ah
        times = np.asarray(np.arange(0.0, longest_s, every_s) if at_s is None else at_s)
        rows = []
        for time_s in times:
            reached_s = self.cell.advance(began_s + time_s, ended)
            passed_mAh = 1e3 * abs(self.cell.charge_Ah - began_Ah)
            rows.append((reached_s, self.cell.voltage_V, self.cell.current_A, passed_mAh))
            if reached_s < began_s + time_s:
                break
        self.now_s = rows[-1][0]
        time, voltage, current, charge = np.transpose(rows)
        return StepRecord(
            self.section, str(self.number), self.cycle, kind, time, voltage, current, charge, unrecorded_s=0.0
        )


def step(
    time_s, voltage_V, current_A, *, kind="discharge", charge_mAh=None, cycle=1, number="1", unrecorded_s=0.0
):
    """A step made up by hand."""
    time, voltage, current = np.broadcast_arrays(
        *(np.asarray(one, dtype=float) for one in (time_s, voltage_V, current_A))
    )
    if charge_mAh is None:
        steps = np.diff(time) * (np.abs(current[1:]) + np.abs(current[:-1])) / 2
        charge_mAh = np.append(0.0, np.cumsum(steps)) / 3.6
    return StepRecord("", number, cycle, kind, time, voltage, current, np.asarray(charge_mAh), unrecorded_s)
