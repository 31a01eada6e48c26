"""Step files of Neware's BTS 8: a program as the XML that `start` takes.

Sources: the writer aurora-unicycler 0.4.6, whose files run on BTS 8.0.0 (layout, types of steps, protections,
record conditions, loops); step files in use with BTS Client 8.0 (type 7, charge at constant current, then
voltage; `Cap` as the end of a step, in mAs; a protection at a negative voltage; a step with conditions of its
own, in the order Record, Limit, Protect: public template "LB6" of a file of BTS Client 8.0.1.492, 2025);
public writers and readers for Neware (type 20, the same for discharge).

Not verified: that a step's own condition replaces that of the whole file (in that template both are the
same; if the machine obeyed both, there would be more records, never fewer), and what happens to the cell
between two steps that hold the same voltage. What a step of type 7 does with a cell above its voltage is not
known either; that there are types for both ways of a constant voltage, 3 and 19, says that the current of
each flows one way.

Voltages are in 0.1 mV, currents in mA (at scale 1), times in ms, charges in mAs.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from uuid import UUID

from devices.families.cycler_program import Program, Step

__all__ = ["encode_program"]

_CC_CHARGE, _CC_DISCHARGE, _REST, _CYCLE, _END, _CCCV_CHARGE, _CCCV_DISCHARGE = (
    "1",
    "2",
    "4",
    "5",
    "6",
    "7",
    "20",
)
_TYPES = {
    ("charge", False): _CC_CHARGE,
    ("charge", True): _CCCV_CHARGE,
    ("discharge", False): _CC_DISCHARGE,
    ("discharge", True): _CCCV_DISCHARGE,
    ("rest", False): _REST,
}
_MA_PER_A, _TENTH_MV_PER_V, _MS_PER_S, _MAS_PER_AH = 1e3, 1e4, 1e3, 3.6e6
_VERSION = {"version": "17", "client_version": "BTS Client 8.0.0.478(2024.06.24)(R3)"}


def encode_program(program: Program, *, remark: str, date: str, guid: UUID) -> bytes:
    """Step file of a program.

    The cell's limits become the protections of the whole file: at the limit the channel switches off. The
    machine compares them with what it measures, so a limit must be wider than what the steps ask for by more
    than its accuracy. Steps have the numbers that they have in the program.

    Parameters
    ----------
    remark : str
        Shown in the BTS Client.
    date : str
        When it was written, YYYYMMDDHHMMSS.
    guid : UUID
        Of the file.

    Raises
    ------
    ValueError
        If a number is too small for the file's resolution.
    """
    root = ET.Element("root")
    config = ET.SubElement(root, "config", {"type": "Step File", **_VERSION, "date": date, "Guid": str(guid)})
    head = ET.SubElement(config, "Head_Info")
    ET.SubElement(head, "Operate", Value="66")
    ET.SubElement(head, "Scale", Value="1")
    ET.SubElement(head, "Start_Step", Value="1", Hide_Ctrl_Step="0")
    ET.SubElement(head, "Creator", Value="ssblab")
    ET.SubElement(head, "Remark", Value=remark)
    ET.SubElement(head, "RateType", Value="103")  # currents are given, not rates
    whole = ET.SubElement(config, "Whole_Prt")
    _add_protections(whole, program)
    _add_record(whole, program.record_interval_s)
    _add_steps(config, program)
    smbus = ET.SubElement(config, "SMBUS")
    ET.SubElement(smbus, "SMBUS_Info", Num="0", AdjacentInterval="0")
    ET.indent(root)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


def _add_protections(whole: ET.Element, program: Program) -> None:
    limits = program.limits
    main = ET.SubElement(ET.SubElement(whole, "Protect"), "Main")
    voltage = ET.SubElement(main, "Volt")
    _add(voltage, "Upper", limits.voltage_max_V, _TENTH_MV_PER_V)
    _add(voltage, "Lower", limits.voltage_min_V, _TENTH_MV_PER_V)
    current = ET.SubElement(main, "Curr")
    _add(current, "Upper", limits.charge_A, _MA_PER_A)
    _add(current, "Lower", -limits.discharge_A, _MA_PER_A)


def _add_record(parent: ET.Element, interval_s: float, step: Step | None = None) -> None:
    """Write when a record is made: each interval, and by the changes that a step names."""
    main = ET.SubElement(ET.SubElement(parent, "Record"), "Main")
    _add(main, "Time", interval_s, _MS_PER_S)
    if step is not None and step.record_change_V is not None:
        _add(main, "Volt", step.record_change_V, _TENTH_MV_PER_V)
    if step is not None and step.record_change_A is not None:
        _add(main, "Curr", step.record_change_A, _MA_PER_A)


def _add_steps(config: ET.Element, program: Program) -> None:
    count = len(program.steps)
    repeated = program.cycles > 1
    info = ET.SubElement(config, "Step_Info", Num=str(count + 1 + repeated))
    for number, step in enumerate(program.steps, start=1):
        element = _new_step(info, number, _TYPES[step.kind, step.hold_V is not None])
        if (step.record_interval_s, step.record_change_V, step.record_change_A) != (None, None, None):
            _add_record(element, program.interval_s(step), step)
        _add_limits(element, step)
    if repeated:
        element = _new_step(info, count + 1, _CYCLE)
        other = ET.SubElement(ET.SubElement(element, "Limit"), "Other")
        ET.SubElement(other, "Start_Step", Value="1")
        ET.SubElement(other, "Cycle_Count", Value=str(program.cycles))
    _new_step(info, count + 1 + repeated, _END)


def _new_step(info: ET.Element, number: int, kind: str) -> ET.Element:
    return ET.SubElement(info, f"Step{number}", Step_ID=str(number), Step_Type=kind)


def _add_limits(element: ET.Element, step: Step) -> None:
    main = ET.SubElement(ET.SubElement(element, "Limit"), "Main")
    for name, value, factor in (
        ("Curr", step.current_A or None, _MA_PER_A),
        ("Volt", step.hold_V, _TENTH_MV_PER_V),
        ("Time", step.end_time_s, _MS_PER_S),
        ("Stop_Volt", step.end_voltage_V, _TENTH_MV_PER_V),
        ("Stop_Curr", step.end_current_A, _MA_PER_A),
        ("Cap", step.end_capacity_Ah, _MAS_PER_AH),
    ):
        if value is not None:
            _add(main, name, value, factor)


def _add(parent: ET.Element, name: str, value: float, factor: float) -> None:
    text = f"{value * factor:f}"
    if value and not float(text):
        raise ValueError(f"{name} = {value:g} is too small for a step file")
    ET.SubElement(parent, name, Value=text)
