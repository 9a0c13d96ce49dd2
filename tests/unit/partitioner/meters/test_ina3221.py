from __future__ import annotations

import pytest

from partitioner.meters import MeterError, ina3221
from tests.recorded_boards import board, put

ORIN = "/sys/bus/i2c/devices/1-0040/hwmon/hwmon3"
NANO = "/sys/bus/i2c/devices/1-0040/hwmon/hwmon1"


def test_millivolts_times_milliamperes_are_microwatts_and_the_input_rail_is_the_whole(tmp_path):
    meter = ina3221.find(board("orin-nano", tmp_path))
    assert meter.info.source == "rail VDD_IN"
    assert meter.info.scope == "board"
    reading = meter.read()
    assert reading.power_w == pytest.approx(4.968 * 0.992)
    assert reading.counter_j is None
    assert reading.begin_s <= reading.at_s <= reading.end_s


def test_without_an_input_rail_all_chips_are_summed_less_what_another_rail_feeds(tmp_path):
    meter = ina3221.find(board("agx-orin", tmp_path))
    assert meter.info.source == "rails VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert meter.read().power_w == pytest.approx(12.008 * 0.280 + 12.008 * 0.040 + 4.968 * 0.980)


def test_shunt_sums_and_rails_that_are_not_connected_are_no_rails(tmp_path):
    root = board("agx-orin", tmp_path)
    before_w = ina3221.find(root).read().power_w
    put(root, f"{ORIN}/in7_input", 999999)
    put(root, f"{ORIN}/curr4_input", 999999)
    put(root, f"{ORIN}/curr7_input", 999999)
    for name in ("NC", "nc", "NC2", ""):
        put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/in3_label", name)
        put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/in3_enable", 1)
        put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/in3_input", 5000)
        put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/curr3_input", 5000)
        assert ina3221.find(root).read().power_w == before_w


def test_a_channel_that_is_switched_off_is_left_out_and_not_read(tmp_path):
    root = board("agx-orin", tmp_path)
    put(root, f"{ORIN}/in2_enable", 0)
    (root / ORIN.lstrip("/") / "in2_input").unlink()
    meter = ina3221.find(root)
    assert meter.info.source == "rails VDD_GPU_SOC + VIN_SYS_5V0"
    assert meter.read().power_w == pytest.approx(12.008 * 0.280 + 4.968 * 0.980)


def test_the_older_driver_tells_milliwatts(tmp_path):
    meter = ina3221.find(board("nano-jetpack4", tmp_path))
    assert meter.info.source == "rail POM_5V_IN"
    assert meter.read().power_w == pytest.approx(2.003)


def test_the_older_driver_with_two_chips_and_no_input_rail_is_summed(tmp_path):
    meter = ina3221.find(board("agx-xavier", tmp_path))
    assert meter.info.source == "rails GPU + CPU + SOC + CV + VDDRQ + SYS5V"
    assert meter.read().power_w == pytest.approx(0.311 + 0.933 + 0.155 + 1.342)


def test_a_thor_is_measured_at_its_input_by_the_chip_beside(tmp_path):
    meter = ina3221.find(board("agx-thor", tmp_path))
    assert meter.info.source == "rail VIN"
    assert meter.read().power_w == pytest.approx(23.423)


def test_one_rail_below_zero_is_noise_and_counts_as_it_is(tmp_path):
    root = board("agx-thor", tmp_path)
    for path in (root / "sys/bus/i2c/devices/2-0044/hwmon/hwmon6").iterdir():
        path.unlink()
    meter = ina3221.find(root)
    assert meter.info.source == "rails VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0"
    assert meter.read().power_w == pytest.approx(12.040 * (-0.032 + 0.960) + 5.088 * 1.740)


@pytest.mark.parametrize("amperes", [0, -8])
def test_a_board_that_draws_nothing_or_less_is_refused_not_zero(tmp_path, amperes):
    root = board("orin-nano", tmp_path)
    meter = ina3221.find(root)
    put(root, f"{NANO}/curr1_input", amperes)
    with pytest.raises(MeterError, match="of a board that runs: rail VDD_IN"):
        meter.read()
    with pytest.raises(MeterError, match="of a board that runs"):
        ina3221.find(root)


def test_a_voltage_below_zero_is_refused_even_where_the_current_is_too(tmp_path):
    root = board("orin-nano", tmp_path)
    put(root, f"{NANO}/in1_input", -4968)
    put(root, f"{NANO}/curr1_input", -992)
    with pytest.raises(MeterError, match=r"in1_input tells -4968 mV"):
        ina3221.find(root)


@pytest.mark.parametrize(
    ("interval_ms", "samples", "period_s"),
    [
        (7, 1, 7e-3),  # 3 channels x 2.2 ms, rounded by the driver
        (422, 64, 0.422),  # the driver counts the samples in
        (54, 64, 0.054),  # the quickest that 64 samples can be
        (7, 64, 0.448),  # too short to hold them: the time of one
        (1, 1, 1e-3),
        (0, 1, 3 * 280e-6),  # under half a millisecond, rounded away
        (None, 1, ina3221.LONGEST_PERIOD_S),
        (7, None, 7e-3),
        (7, 0, 7e-3),
        (-7, 1, ina3221.LONGEST_PERIOD_S),
        (10**18, 1, ina3221.LONGEST_PERIOD_S),
        (10_000, 1, 10.0),
    ],
)
def test_the_period_is_the_chips_whole_conversion(tmp_path, interval_ms, samples, period_s):
    root = board("orin-nano", tmp_path)
    for name, value in (("update_interval", interval_ms), ("samples", samples)):
        if value is None:
            (root / NANO.lstrip("/") / name).unlink()
        else:
            put(root, f"{NANO}/{name}", value)
    assert ina3221.find(root).info.period_s == pytest.approx(period_s)


@pytest.mark.parametrize("interval_ms", [-7, 0, 10**18])
def test_a_chip_beside_that_tells_no_interval_has_the_longest(tmp_path, interval_ms):
    root = board("agx-thor", tmp_path)
    (power,) = root.rglob("power1_input")
    put(root, f"{power.parent.relative_to(root)}/update_interval", interval_ms)
    assert ina3221.find(root).info.period_s == ina3221.LONGEST_PERIOD_S


def test_the_slowest_chip_sets_the_period(tmp_path):
    root = board("agx-orin", tmp_path)
    put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/in2_label", "VDD_OTHER")
    put(root, "/sys/bus/i2c/devices/1-0041/hwmon/hwmon4/update_interval", 35)
    assert ina3221.find(root).info.period_s == pytest.approx(35e-3)


def test_the_older_drivers_period_is_in_the_device_tree(tmp_path):
    root = board("nano-jetpack4", tmp_path)
    assert ina3221.find(root).info.period_s == pytest.approx(3 * 64 * 280e-6)
    put(root, "/sys/bus/i2c/devices/6-0040/of_node/ti,continuous-config", "hex:00007127")
    assert ina3221.find(root).info.period_s == pytest.approx(3 * 2.2e-3)
    put(root, "/sys/bus/i2c/devices/6-0040/of_node/ti,continuous-config", "hex:00000000")
    assert ina3221.find(root).info.period_s == ina3221.LONGEST_PERIOD_S


def test_a_step_is_forty_microvolts_over_the_shunt_at_the_voltage_of_now(tmp_path):
    assert ina3221.find(board("orin-nano", tmp_path / "nano")).info.step_w == pytest.approx(8e-3 * 4.968)
    orin = ina3221.find(board("agx-orin", tmp_path / "orin"))
    assert orin.info.step_w == pytest.approx(20e-3 * (12.008 + 12.008 + 4.968))
    assert ina3221.find(board("nano-jetpack4", tmp_path / "old")).info.step_w == 0


def test_what_changes_in_the_files_is_seen_at_once(tmp_path):
    root = board("orin-nano", tmp_path)
    meter = ina3221.find(root)
    for amperes_ma in (1000, 3008, 992):
        put(root, f"{NANO}/curr1_input", amperes_ma)
        assert meter.read().power_w == pytest.approx(4.968 * amperes_ma * 1e-3)


@pytest.mark.parametrize("content", ["", "none", "4968.5", "4,968", "0x1368", "4968 W", "4968 mA 3", "9" * 30])
def test_what_is_no_number_of_the_unit_names_its_file(tmp_path, content):
    root = board("orin-nano", tmp_path)
    meter = ina3221.find(root)
    put(root, f"{NANO}/in1_input", content)
    with pytest.raises(MeterError, match=r"in1_input: holds .* not a whole number of mV"):
        meter.read()


def test_a_unit_that_stands_behind_is_read_if_it_is_the_right_one(tmp_path):
    root = board("nano-jetpack4", tmp_path)
    put(root, "/sys/bus/i2c/devices/6-0040/iio:device0/in_power0_input", "2100 mw")
    assert ina3221.find(root).read().power_w == pytest.approx(2.1)


def test_a_file_that_vanishes_between_reads_is_an_error_not_a_smaller_sum(tmp_path):
    root = board("agx-orin", tmp_path)
    meter = ina3221.find(root)
    (root / ORIN.lstrip("/") / "curr2_input").unlink()
    with pytest.raises(MeterError, match=r"curr2_input: No such file"):
        meter.read()


@pytest.mark.parametrize("name", ["x86-server", "laptop"])
def test_no_chip_is_a_reason(tmp_path, name):
    with pytest.raises(MeterError, match=r"no INA3221 under .* no Jetson"):
        ina3221.find(board(name, tmp_path))


def test_a_chip_without_a_driver_is_none(tmp_path):
    put(tmp_path, "/sys/bus/i2c/devices/1-0040/name", "ina3221")
    with pytest.raises(MeterError, match="no INA3221"):
        ina3221.find(tmp_path)
