"""rosbag2 in both storages: what is written comes back, the same calls give the same bytes, bad bags say what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.data.rosbag import MESSAGES, STORAGES, BagReader, BagWriter, message_class, typestore
from mmsense_ros.errors import BagError
from mmsense_ros.share import shared_file

POWER, WORDS = "/truth/beam_power", "/instruction"


def header(stamp: int = 5, frame: str = "antenna_array"):
    time = message_class("builtin_interfaces/msg/Time")(sec=stamp // 10**9, nanosec=stamp % 10**9)
    return message_class("std_msgs/msg/Header")(stamp=time, frame_id=frame)


def beam_power(stamp: int, count: int = 64):
    power = np.arange(count, dtype=np.float32) + stamp
    return message_class("mmsense_ros/msg/BeamPower")(header=header(stamp), codebook="ula16x64", terminal="v", power=power)


def write(path: Path, storage: str = "mcap", messages: int = 20, count: int = 64, **options) -> Path:
    with BagWriter(path, storage, **options) as bag:
        for k in range(messages):
            bag.write(POWER, beam_power(k, count), 10 * k)
            if k % 5 == 0:
                bag.write(WORDS, message_class("std_msgs/msg/String")(data=f"serve {k}"), 10 * k + 5)
    return path


def storage_file(bag: Path) -> Path:
    return next(p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_round_trip(tmp_path, storage, compress):
    with BagReader(write(tmp_path / "bag", storage, compress=compress)) as bag:
        assert bag.topics == {POWER: 20, WORDS: 4}
        assert (bag.start, bag.end, bag.count) == (0, 190, 24)
        messages = list(bag.messages())
        assert [m.log_time for m in messages] == sorted(m.log_time for m in messages)
        third = [m for m in messages if m.topic == POWER][3]
        np.testing.assert_array_equal(third.message.power, np.arange(64, dtype=np.float32) + 3)
        assert third.message.header.frame_id == "antenna_array"
        assert [m.message.data for m in bag.messages([WORDS])] == ["serve 0", "serve 5", "serve 10", "serve 15"]
        assert [m.log_time for m in bag.messages([POWER], start=30, stop=60)] == [30, 40, 50]


@pytest.mark.parametrize("storage", STORAGES)
def test_log_time_order_whatever_the_write_order(tmp_path, storage):
    with BagWriter(tmp_path / "bag", storage) as bag:
        for k in (5, 1, 3, 2, 4):
            bag.write(POWER, beam_power(k), k)
    with BagReader(tmp_path / "bag") as bag:
        assert [m.log_time for m in bag.messages()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", MESSAGES)
def test_every_own_message_has_a_class_with_the_fields_of_its_file(name):
    fields = message_class(f"mmsense_ros/msg/{name}").__dataclass_fields__
    lines = shared_file(f"msg/{name}.msg").read_text().splitlines()
    declared = [line.split("#")[0].split() for line in lines]
    names = [words[1] for words in declared if len(words) == 2 and "=" not in words[1]]
    assert [field for field in fields if field in names] == names


def test_messages_lists_every_file():
    assert set(MESSAGES) == {p.stem for p in shared_file("msg").glob("*.msg")}


def test_same_calls_same_bytes(tmp_path):
    one, two = write(tmp_path / "a" / "bag"), write(tmp_path / "b" / "bag")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes()


def test_latched_topics_offer_transient_local(tmp_path):
    write(tmp_path / "bag")
    text = (tmp_path / "bag" / "metadata.yaml").read_text()
    entry = text[text.index("name: /instruction") - 400 : text.index("name: /instruction") + 600]
    assert "transient_local" in entry


def test_single_file_is_read_too(tmp_path):
    with BagReader(storage_file(write(tmp_path / "bag"))) as bag:
        assert len(list(bag.messages())) == 24


def test_missing_topic_is_named_with_what_is_there(tmp_path):
    fault = "bag has no messages on /radar/points.*it has /instruction"
    with BagReader(write(tmp_path / "bag")) as bag, pytest.raises(BagError, match=fault):
        bag.require(POWER, "/radar/points")


def test_missing_bag(tmp_path):
    with pytest.raises(BagError, match="nowhere does not exist.*mmsense simulate"):
        BagReader(tmp_path / "nowhere")


def test_folder_that_is_no_bag(tmp_path):
    with pytest.raises(BagError, match="no metadata.yaml.*reindex"):
        BagReader(tmp_path)


def test_file_of_another_kind(tmp_path):
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0")
    with pytest.raises(BagError, match="old.bag.*ros2 bag convert"):
        BagReader(tmp_path / "old.bag")


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_without_messages(tmp_path, storage):
    with BagWriter(tmp_path / "bag", storage) as bag:
        bag.add_topic(POWER, "mmsense_ros/msg/BeamPower")
    with pytest.raises(BagError, match="bag holds no messages; record it again"):
        BagReader(tmp_path / "bag")


@pytest.mark.parametrize("storage", STORAGES)
def test_empty_file(tmp_path, storage):
    bag = write(tmp_path / "bag", storage)
    storage_file(bag).write_bytes(b"")
    with pytest.raises(BagError, match="is empty"):
        BagReader(bag)


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("storage", STORAGES)
def test_truncated_file(tmp_path, storage, kept):
    bag = write(tmp_path / "bag", storage, messages=300, count=2000)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    for path in (bag, file):
        with pytest.raises(BagError, match="bag.*truncated or damaged.*reindex"), BagReader(path) as reader:
            list(reader.messages())


@pytest.mark.parametrize("storage", STORAGES)
def test_bytes_overwritten_inside(tmp_path, storage):
    bag = write(tmp_path / "bag", storage, messages=300, count=2000, compress=storage == "mcap")
    file = storage_file(bag)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle - 3000 : middle + 3000] = b"\xff" * 6000
    file.write_bytes(data)
    with pytest.raises(BagError, match="damaged"), BagReader(bag) as reader:
        for message in reader.messages():
            assert len(message.message.data if message.topic == WORDS else message.message.power)


def test_own_message_of_another_version(tmp_path):
    bag = write(tmp_path / "bag", "sqlite3")
    digest = typestore().hash_rihs01("mmsense_ros/msg/BeamPower")
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace(digest, digest[:-4] + "0000"))
    file = storage_file(bag)
    file.write_bytes(file.read_bytes().replace(digest.encode(), digest[:-4].encode() + b"0000"))
    with pytest.raises(BagError, match=f"{POWER} holds mmsense_ros/msg/BeamPower of another version"):
        BagReader(bag)


def test_foreign_types_are_learnt_from_the_bag(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg("float32 warmth\n", "lab/msg/Warmth"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connection = bag.add_connection("/warmth", "lab/msg/Warmth", typestore=store)
        bag.write(connection, 1, store.serialize_cdr(store.types["lab/msg/Warmth"](warmth=2.5), "lab/msg/Warmth"))
    with BagReader(tmp_path / "bag") as bag:
        assert next(bag.messages()).message.warmth == 2.5


def test_damaged_message(tmp_path):
    with BagReader(write(tmp_path / "bag")) as bag:
        message = next(bag.messages([POWER]))
    short = type(message)(message.topic, message.type, message.log_time, bytes(message.data)[:40])
    with pytest.raises(BagError, match=f"{POWER}: a mmsense_ros/msg/BeamPower at 0 ns is damaged"):
        _ = short.message


def test_writer_refuses_to_overwrite_and_unknown_storage(tmp_path):
    write(tmp_path / "bag")
    with pytest.raises(BagError, match="exists already.*choose another name"):
        BagWriter(tmp_path / "bag")
    with pytest.raises(BagError, match="unknown storage 'parquet'; use mcap or sqlite3"):
        BagWriter(tmp_path / "other", "parquet")


def test_interrupted_writing_leaves_no_readable_bag(tmp_path):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag") as bag:
        bag.write(POWER, beam_power(1), 1)
        raise RuntimeError("interrupted")
    with pytest.raises(BagError):
        BagReader(tmp_path / "bag")


def test_unknown_message_class():
    with pytest.raises(BagError, match="unknown message type lab/msg/Nothing"):
        message_class("lab/msg/Nothing")
