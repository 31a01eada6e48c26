"""What the drivers of Keithley source-measure units have in common."""

import pytest

from devices.families.techniques import ConstantCurrent, LinearSweep

CHARGE = ConstantCurrent(1e-3, 60.0, 0.5, 2.5, 4.2)


def start(smu, task):
    flyer = smu.flyer(task)
    flyer.prepare(task).wait()
    flyer.kickoff().wait()
    return flyer


@pytest.mark.parametrize("name", ["smu_2450", "smu_2400"])
def test_an_error_of_earlier_in_the_queue_does_not_keep_the_output_on(put_on_shelf, pass_time, name):
    lab, devices = put_on_shelf(name)
    smu, simulated = devices[name], lab.instruments[name]
    start(smu, CHARGE)
    pass_time(5.2)
    simulated.put_error(-113)  # of a key at the front panel, or another program
    assert simulated.stage.output
    smu.make_safe()
    assert not simulated.stage.output


@pytest.mark.parametrize("name", ["smu_2450", "smu_2400"])
def test_the_readings_of_a_slow_sweep_have_their_times(put_on_shelf, clock, name):
    _, devices = put_on_shelf(name)
    task = LinearSweep(3.7, 3.72, 0.01, 0.001, 50e-3)  # 10 s a step, read at its end
    flyer = start(devices[name], task)
    begun = clock.now()
    flyer.complete().wait()
    times = [row.time - begun for row in flyer.take_rows()]
    assert times == pytest.approx([10.0, 20.0, 30.0], abs=1.0)
