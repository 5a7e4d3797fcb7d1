"""rosbag2, read and written without ROS: mcap and sqlite3, with this package's own messages registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.rosbag2.errors import ReaderError, WriterError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from mmsense_ros.errors import BagError
from mmsense_ros.share import shared_file

PACKAGE = "mmsense_ros"
MESSAGES = (
    "BeamPower", "BeamPrediction", "DetectedObject", "DetectedPerson", "ModalityState", "RadarCube", "SensingResult",
    "StageLatency", "TrafficCount",
)  # fmt: skip
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
BAG_VERSION = 9  # Jazzy and later; older ROS reads it too, save for latched topics


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """All message types of ROS 2 Jazzy and those of this package."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name in MESSAGES:
        types.update(get_types_from_msg(shared_file(f"msg/{name}.msg").read_text(), f"{PACKAGE}/msg/{name}"))
    store.register(types)
    return store


def message_class(type_name: str) -> type:
    """Class of e.g. `sensor_msgs/msg/Image`; it takes every field as a keyword. Raises BagError for an unknown type."""
    try:
        return typestore().types[type_name]
    except KeyError:
        raise BagError(f"unknown message type {type_name}; use one of ROS 2 Jazzy's or of mmsense_ros") from None


@dataclass(frozen=True, eq=False)
class BagMessage:
    """One recorded message: `data` is CDR, as it went over the wire; `log_time` [ns] is when the recorder got it."""

    topic: str
    type: str
    log_time: int
    data: bytes

    @cached_property
    def message(self) -> Any:
        """The message itself, its arrays views of `data`."""
        try:
            return typestore().deserialize_cdr(self.data, self.type)
        except Exception as error:  # rosbags raises whatever its generated code stumbles over
            fault = f"{self.topic}: a {self.type} at {self.log_time} ns is damaged ({error})"
            raise BagError(f"{fault}; record it again") from error


class BagReader:
    """A rosbag2 folder (or its single .mcap or .db3 file), messages in log-time order.

    Raises BagError, naming the file and the remedy, for what is missing, empty, truncated or in an unknown storage.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._reader = self._open()
        self._connections: list[Connection] = list(self._reader.connections)
        self.types: dict[str, str] = {c.topic: c.msgtype for c in self._connections}  #: topic -> message type
        self.count = self._reader.message_count
        if not self.count:
            self._reader.close()
            raise BagError(f"{self.path} holds no messages; record it again, or name another bag")
        self.start = self._reader.start_time  #: log time of the first message [ns]
        self.end = self._reader.end_time - 1  #: log time of the last message [ns]
        self._register_types()

    @property
    def topics(self) -> dict[str, int]:
        """Topic -> number of messages."""
        return {name: sum(c.msgcount for c in self._connections if c.topic == name) for name in self.types}

    @property
    def duration(self) -> float:
        """Time between the first message and the last [s]."""
        return (self.end - self.start) / 1e9

    def require(self, *topics: str) -> None:
        """Raise BagError unless every one of `topics` holds messages."""
        counts = self.topics
        missing = [topic for topic in topics if not counts.get(topic)]
        if missing:
            present = ", ".join(sorted(t for t, n in counts.items() if n))
            fault = f"{self.path} has no messages on {', '.join(missing)} (it has {present})"
            raise BagError(f"{fault}; record that topic, or name another bag")

    def messages(
        self, topics: Iterable[str] | None = None, start: int | None = None, stop: int | None = None
    ) -> Iterator[BagMessage]:
        """Messages of `topics` (default all) with start <= log time < stop [ns], in log-time order.

        A whole reading that yields fewer messages than the bag promises raises BagError at its end: the bag is truncated.
        """
        wanted = set(self.types if topics is None else topics)
        connections = [c for c in self._connections if c.topic in wanted]
        if not connections:
            return
        found = 0
        try:
            for connection, log_time, data in self._reader.messages(connections, start, stop):
                found += 1
                yield BagMessage(connection.topic, connection.msgtype, log_time, data)
        except Exception as error:  # a damaged file surfaces as whatever parser met it first: struct, sqlite3, zstd, ...
            raise self._truncated(str(error) or type(error).__name__) from error
        promised = sum(c.msgcount for c in connections)
        if start is None and stop is None and found < promised:
            raise self._truncated(f"{found} of {promised} messages are left")

    def close(self) -> None:
        """Close the files."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> Reader:
        if not self.path.exists():
            raise BagError(f"{self.path} does not exist; name a rosbag2, or make one with `mmsense simulate`")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            raise BagError(f"{self.path} is no rosbag2: it has no metadata.yaml; name a bag, or `ros2 bag reindex` it")
        for file in [self.path] if self.path.is_file() else sorted(self.path.iterdir()):
            if not file.stat().st_size:
                raise BagError(f"{file} is empty (0 bytes); record the bag again")
        try:
            reader = Reader(self.path)
            reader.open()
        except ReaderError as error:
            if "torage" in str(error) and ("not supported" in str(error) or "Unrecognized" in str(error)):
                remedy = f"convert it to {' or '.join(STORAGES)} with `ros2 bag convert`"
                raise BagError(f"{self.path}: {error}; {remedy}") from error
            raise self._truncated(str(error)) from error
        except Exception as error:  # the parsers below rosbags raise what they stumble over: struct.error, TypeError, ...
            raise self._truncated(str(error) or type(error).__name__) from error
        return reader

    def _truncated(self, reason: str) -> BagError:
        return BagError(f"{self.path} is truncated or damaged ({reason}); run `ros2 bag reindex` on it, or record it again")

    def _register_types(self) -> None:
        """Learn types this package does not know from the bag; refuse our own ones if they are of another version."""
        store = typestore()
        for connection in self._connections:
            name = connection.msgtype
            if name in store.types:
                own = name.startswith(f"{PACKAGE}/")
                if own and connection.digest and connection.digest != store.hash_rihs01(name):
                    self.close()
                    fault = f"{self.path}: {connection.topic} holds {name} of another version"
                    raise BagError(f"{fault}; record it again with this version of {PACKAGE}")
                continue
            form, text = connection.msgdef.format, connection.msgdef.data
            try:
                if form == MessageDefinitionFormat.MSG:
                    found = get_types_from_msg(text, name)
                elif form == MessageDefinitionFormat.IDL:
                    found = get_types_from_idl(text)
                else:
                    continue
                store.register({key: value for key, value in found.items() if key not in store.types})
            except (TypesysError, SyntaxError, ValueError):
                continue  # a foreign type that nobody may ask for; reading it says so


class BagWriter:
    """Writes a new rosbag2 that `ros2 bag` understands. The same calls give the same bytes.

    A context manager; leaving it by an exception leaves no readable bag behind. Raises BagError if `path` exists.
    """

    def __init__(self, path: str | Path, storage: str = "mcap", compress: bool = False) -> None:
        self.path = Path(path)
        if storage not in STORAGES:
            raise BagError(f"{self.path}: unknown storage {storage!r}; use {' or '.join(STORAGES)}")
        try:
            self._writer = Writer(self.path, version=BAG_VERSION, storage_plugin=STORAGES[storage])
            if compress:
                mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
                self._writer.set_compression(mode, CompressionFormat.ZSTD)
            self._writer.open()
        except WriterError as error:
            raise BagError(f"{self.path} cannot be written ({error}); remove it or choose another name") from error
        except OSError as error:
            raise BagError(f"{self.path} cannot be written ({error.strerror}); choose a folder you may write to") from error
        self._connections: dict[str, Connection] = {}

    def add_topic(self, topic: str, type_name: str, latched: bool = False) -> None:
        """Announce a topic. `latched` offers transient_local durability."""
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, typestore=typestore(), offered_qos_profiles=[_qos(latched)]
        )

    def write(self, topic: str, message: Any, log_time: int) -> None:
        """Append a message (a rosbags class, see `message_class`) received at `log_time` [ns]."""
        type_name = message.__msgtype__
        self.write_cdr(topic, type_name, typestore().serialize_cdr(message, type_name), log_time)

    def write_cdr(self, topic: str, type_name: str, data: bytes | memoryview, log_time: int) -> None:
        """Append a message that is serialized already."""
        if topic not in self._connections:
            self.add_topic(topic, type_name, latched=latched(topic))
        self._writer.write(self._connections[topic], log_time, data)

    def close(self) -> None:
        """Write the index and metadata.yaml."""
        self._writer.close()

    def abort(self) -> None:
        """Close the files without an index: no readable bag is left behind."""
        self._writer.abort()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def latched(topic: str) -> bool:
    """Whether the last message on it is for those, too, who come later (transient_local)."""
    return topic.rpartition("/")[2] in ("tf_static", "instruction")


def _qos(latched: bool) -> Qos:
    unlimited = QosTime(9223372036, 854775807)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=unlimited,
        lifespan=unlimited,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=unlimited,
        avoid_ros_namespace_conventions=False,
    )
