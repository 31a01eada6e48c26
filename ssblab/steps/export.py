"""A program for others: PyBaMM's experiment strings, and through aurora-unicycler the formats of makers.

What the other side cannot say is refused with the step's number, never left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from ssblab.quantities import BadInput
from ssblab.steps.model import (
    Condition,
    Current,
    Hold,
    Impedance,
    Log,
    Loop,
    Rest,
    Step,
    Sweep,
    While,
    numbered,
)
from ssblab.steps.resolve import Resolved

if TYPE_CHECKING:
    import aurora_unicycler  # type: ignore[import-untyped]


def to_pybamm(resolved: Resolved) -> list[str]:
    """Write a program as PyBaMM's experiment strings, loops written out.

    Parameters
    ----------
    resolved : Resolved
        Where a charge puts lithium into the working electrode (silicon), it becomes PyBaMM's "Discharge",
        whose current is the same.  Limits are not written: PyBaMM's model has its own.

    Returns
    -------
    list of str
        For `pybamm.Experiment`.

    Raises
    ------
    BadInput
        If a step cannot be said in PyBaMM's strings, with its number.
    """
    return list(_pybamm(resolved, resolved.program.steps, ""))


def _pybamm(resolved: Resolved, steps: tuple[Step, ...], prefix: str) -> Iterator[str]:
    for place, step in enumerate(steps, start=1):
        number = f"{prefix}{place}"
        refuse = _refusal("PyBaMM's strings", number, step)
        if isinstance(step, Loop):
            yield from list(_pybamm(resolved, step.steps, f"{number}.")) * step.cycles
        elif isinstance(step, Current):
            yield from _pybamm_current(resolved, step, refuse)
        elif isinstance(step, (Hold, Rest)):
            verb = f"Hold at {_exact(step.at.value)} V" if isinstance(step, Hold) else "Rest"
            yield verb + _pybamm_tail(step.until, step.for_s, step.log, refuse)
        else:
            refuse("it has no such step")


def _pybamm_current(resolved: Resolved, step: Current, refuse: _Refusal) -> Iterator[str]:
    upwards = resolved.raises_voltage(step.direction)
    verb = f"{'Charge' if upwards else 'Discharge'} at {_exact(step.at.value)} {step.at.unit}"
    if step.to is None:
        yield verb + _pybamm_tail(step.until, step.for_s, step.log, refuse)
        return
    if step.for_s is not None or any(condition.quantity != "current" for condition in step.until):
        refuse("its two parts would be two steps there, and only a current can end the second")
    side = ">" if upwards else "<"
    yield f"{verb} until {side}{_exact(step.to.value)} V{_pybamm_log(step.log, refuse)}"
    yield f"Hold at {_exact(step.to.value)} V{_pybamm_tail(step.until, None, step.log, refuse)}"


def _pybamm_tail(until: tuple[Condition, ...], for_s: float | None, log: Log | None, refuse: _Refusal) -> str:
    if len(until) > 1:
        refuse("it has one condition at most besides a time")
    ends = [] if for_s is None else [f"for {_exact(for_s)} s"]
    for condition in until:
        if condition.quantity == "current" and condition.comparison == ">":
            refuse("it ends a step when a current has fallen, not risen")
        if condition.quantity not in ("current", "voltage"):
            refuse("it ends a step at a voltage, a current or a time only")
        if condition.comparison is None:
            refuse("say '<' or '>' before the voltage")
        side = condition.comparison if condition.quantity == "voltage" else ""
        ends.append(f"until {side}{_exact(condition.amount.value)} {condition.amount.unit}")
    return f" {' or '.join(ends)}{_pybamm_log(log, refuse)}"


def _pybamm_log(log: Log | None, refuse: _Refusal) -> str:
    if log is None:
        return ""
    if log.dt_s is None or log.dV_V is not None or log.dI_A is not None:
        refuse("it logs by time only")
    return f" ({_exact(log.dt_s)} s period)"


def to_unicycler(resolved: Resolved, *, log: Log | None = None) -> aurora_unicycler.CyclingProtocol:
    """Write a program as a protocol of aurora-unicycler, which writes Neware's, BioLogic's and other formats.

    Parameters
    ----------
    resolved : Resolved
    log : Log, optional
        For steps without one of their own; a protocol has one interval of time for all its steps.

    Raises
    ------
    BadInput
        If a step or a limit cannot be said there, with its number; or aurora-unicycler is not installed.
    """
    try:
        import aurora_unicycler as unicycler
    except ImportError:
        raise BadInput("aurora-unicycler is not installed: pip install 'ssblab[unicycler]'") from None
    protocol: dict[str, Any] = {
        "sample": {"name": resolved.cell.name, "capacity_mAh": resolved.cell.capacity_mAh},
        "record": _unicycler_record(resolved, log),
        "safety": _unicycler_safety(resolved),
        "method": list(_unicycler_steps(resolved, resolved.program.steps, "")),
    }
    return unicycler.CyclingProtocol.from_dict(protocol)


def _unicycler_record(resolved: Resolved, log: Log | None) -> dict[str, float | None]:
    logs = {
        step.log or log
        for _, step, _ in numbered(resolved.program.steps)
        if isinstance(step, (Current, Hold, Rest, Sweep))
    } or {log}
    if len(logs) > 1:
        raise BadInput("aurora-unicycler has one interval of records for all steps: give all steps the same")
    (one,) = logs
    if one is None or one.dt_s is None:
        raise BadInput("aurora-unicycler needs an interval of time between records: give log=Log(dt_s=10)")
    return {
        "time_s": one.dt_s,
        "voltage_V": one.dV_V,
        "current_mA": None if one.dI_A is None else 1e3 * one.dI_A,
    }


def _unicycler_safety(resolved: Resolved) -> dict[str, float]:
    fields = {("voltage", ">"): "min_voltage_V", ("voltage", "<"): "max_voltage_V"}
    safety: dict[str, float] = {}
    for limit in resolved.program.limits:
        value = limit.amount.value
        if (limit.quantity, limit.comparison) == ("current", "<"):
            safety |= {"min_current_mA": -1e3 * value, "max_current_mA": 1e3 * value}
        elif (limit.quantity, limit.comparison) in fields:
            safety[fields[limit.quantity, limit.comparison]] = value  # type: ignore[index]
        else:
            raise BadInput(f"limit {limit.text()}: aurora-unicycler has limits of voltage and current only")
    return safety


def _unicycler_steps(resolved: Resolved, steps: tuple[Step, ...], prefix: str) -> Iterator[dict[str, Any]]:
    for place, step in enumerate(steps, start=1):
        number = f"{prefix}{place}"
        refuse = _refusal("aurora-unicycler", number, step)
        match step:
            case Current():
                yield from _unicycler_current(resolved, step, refuse)
            case Hold():
                yield _unicycler_hold(step.at.value, step.until, step.for_s, refuse)
            case Rest():
                if step.until or step.for_s is None:
                    refuse("a rest ends there by its time only")
                yield {"step": "open_circuit_voltage", "until_time_s": step.for_s}
            case Sweep():
                if step.start is None:
                    refuse("a sweep there has a start: write 'Sweep from ...'")
                yield {
                    "step": "voltage_scan",
                    "start_voltage_V": step.start.value,
                    "end_voltage_V": step.stop.value,
                    "scan_rate_mV_per_s": 1e3 * step.rate.value,
                }
            case Impedance():
                unit, times = ("V", 1.0) if step.amplitude.unit == "V" else ("mA", 1e3)
                yield {
                    "step": "impedance_spectroscopy",
                    f"amplitude_{unit}": times * step.amplitude.value,
                    "start_frequency_Hz": step.first_Hz,
                    "end_frequency_Hz": step.last_Hz,
                    "points_per_decade": step.points_per_decade,
                }
            case Loop():
                tag = f"step {number}"
                yield {"step": "tag", "tag": tag}
                yield from _unicycler_steps(resolved, step.steps, f"{number}.")
                yield {"step": "loop", "loop_to": tag, "cycle_count": step.cycles}
            case _:
                refuse("it has no such step")


def _unicycler_current(resolved: Resolved, step: Current, refuse: _Refusal) -> Iterator[dict[str, Any]]:
    if step.at.unit != "A":
        refuse("it has no steps of power or load")
    upwards = resolved.raises_voltage(step.direction)
    current = {"step": "constant_current", "current_mA": (1e3 if upwards else -1e3) * step.at.value}
    if step.to is None:
        until_V = None
        for condition in step.until:
            if (
                condition.quantity != "voltage"
                or until_V is not None
                or (condition.comparison == ">") != upwards
            ):
                refuse("a current ends there at one voltage or by its time only")
            until_V = condition.amount.value
        yield current | {"until_voltage_V": _not_zero(until_V, refuse), "until_time_s": step.for_s}
        return
    if step.for_s is not None:
        refuse("its two parts would be two steps there, and one time cannot end both")
    yield current | {"until_voltage_V": _not_zero(step.to.value, refuse)}
    yield _unicycler_hold(step.to.value, step.until, None, refuse)


def _unicycler_hold(
    voltage_V: float, until: tuple[Condition, ...], for_s: float | None, refuse: _Refusal
) -> dict[str, Any]:
    until_mA = None
    for condition in until:
        if condition.quantity != "current" or condition.comparison != "<" or until_mA is not None:
            refuse("a hold ends there at one current or by its time only")
        until_mA = 1e3 * condition.amount.value
    return {
        "step": "constant_voltage",
        "voltage_V": _not_zero(voltage_V, refuse),
        "until_current_mA": until_mA,
        "until_time_s": for_s,
    }


def _not_zero(voltage_V: float | None, refuse: _Refusal) -> float | None:
    """Refuse 0 V, which aurora-unicycler 0.4.6 takes for no voltage and leaves out for some makers."""
    if voltage_V == 0:
        refuse("it takes 0 V for no voltage")
    return voltage_V


_Refusal = Callable[[str], NoReturn]


def _refusal(where: str, number: str, step: Step) -> _Refusal:
    def refuse(why: str) -> NoReturn:
        text = step.heading() if isinstance(step, (Loop, While)) else step.text()
        raise BadInput(f"step {number} ({text}) cannot be said in {where}: {why}")

    return refuse


def _exact(value: float) -> str:
    return repr(value).removesuffix(".0")
