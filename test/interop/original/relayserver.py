"""
RelayServer as seed-systems 2 describes it, on Twisted and Google's protobuf: `host` is a host process
that keeps `size` connections waiting and echoes what clients say, `relay` a relay. Its messages are
declared at run time, so that nothing of ours and no compiler is needed. Prints a line for all it sees.
"""
import struct
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from twisted.internet import protocol, reactor

OPTIONAL, REQUIRED = 1, 2
INT32, STRING, MESSAGE, ENUM = 5, 9, 11, 14


def messages():
    file = descriptor_pb2.FileDescriptorProto(name="relay.proto", package="relay", syntax="proto2")
    kinds = file.enum_type.add(name="Kind")
    kinds.value.add(name="CONNECTION_OPEN", number=0)
    kinds.value.add(name="CONNECTION_DROP", number=1)
    shapes = {
        "Hello": [("version", REQUIRED, INT32, "")],
        "HelloResponse": [
            ("session_id", REQUIRED, INT32, ""),
            ("relay_host", REQUIRED, STRING, ""),
            ("relay_port", REQUIRED, STRING, ""),
        ],
        "Open": [("assigned_to_session", REQUIRED, INT32, "")],
        "Drop": [("session_id", REQUIRED, INT32, "")],
        "Command": [
            ("version", REQUIRED, INT32, ""),
            ("message_type", REQUIRED, ENUM, ".relay.Kind"),
            ("open_properties", OPTIONAL, MESSAGE, ".relay.Open"),
            ("drop_properties", OPTIONAL, MESSAGE, ".relay.Drop"),
        ],
    }
    for name, fields in shapes.items():
        message = file.message_type.add(name=name)
        for number, (field, label, kind, type_name) in enumerate(fields, 1):
            message.field.add(name=field, number=number, label=label, type=kind, type_name=type_name or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {n: factory.GetPrototype(pool.FindMessageTypeByName(f"relay.{n}")) for n in shapes}


M = messages()


def framed(message):
    body = message.SerializeToString()
    return struct.pack(">I", len(body)) + body


def tell(*words):
    print(*words, flush=True)


class Framed(protocol.Protocol):
    """Cuts what it hears into messages, until `raw` is called."""

    buffer = b""
    is_raw = False

    def dataReceived(self, data):
        if self.is_raw:
            return self.bytes_came(data)
        self.buffer += data
        while not self.is_raw and len(self.buffer) >= 4:
            (size,) = struct.unpack(">I", self.buffer[:4])
            if len(self.buffer) < 4 + size:
                return
            body, self.buffer = self.buffer[4 : 4 + size], self.buffer[4 + size :]
            self.message_came(body)
        if self.is_raw and self.buffer:
            rest, self.buffer = self.buffer, b""
            self.bytes_came(rest)


# The host process.


class Waiting(Framed):
    def connectionMade(self):
        self.transport.write(framed(M["Hello"](version=1)))

    def message_came(self, body):
        response = M["HelloResponse"].FromString(body)
        self.session = response.session_id
        self.is_raw = True
        self.factory.resetDelay()
        tell("waiting", response.session_id, response.relay_host, response.relay_port)

    def bytes_came(self, data):
        self.transport.write(data)


class Told(Framed):
    def connectionMade(self):
        tell("listening")

    def message_came(self, body):
        command = M["Command"].FromString(body)
        if command.message_type == 0:
            tell("open", command.open_properties.assigned_to_session)
        else:
            tell("drop", command.drop_properties.session_id)


def again(protocol_class, host, port):
    factory = protocol.ReconnectingClientFactory()
    factory.protocol = protocol_class
    factory.initialDelay = 0.05
    factory.maxDelay = 0.2
    reactor.connectTCP(host, port, factory)


# The relay.


class Relay:
    waiting = []
    commands = []
    sessions = 0


class Offer(Framed):
    client = None

    def message_came(self, body):
        tell("hello", body.hex(), M["Hello"].FromString(body).version)
        self.session, Relay.sessions = Relay.sessions, Relay.sessions + 1
        response = M["HelloResponse"](
            session_id=self.session, relay_host="127.0.0.1", relay_port=str(ports[2].getHost().port)
        )
        self.transport.write(framed(response))
        self.is_raw = True
        Relay.waiting.append(self)

    def bytes_came(self, data):
        if self.client:
            self.client.transport.write(data)

    def connectionLost(self, reason):
        if self in Relay.waiting:
            Relay.waiting.remove(self)
        if self.client:
            self.client.transport.loseConnection()


class Commands(Framed):
    def connectionMade(self):
        Relay.commands.append(self)

    def message_came(self, body):
        pass

    def connectionLost(self, reason):
        Relay.commands.remove(self)


class Client(protocol.Protocol):
    offer = None

    def announce(self, kind, **properties):
        for each in Relay.commands:
            each.transport.write(framed(M["Command"](version=1, message_type=kind, **properties)))

    def connectionMade(self):
        if not Relay.commands or not Relay.waiting:
            return self.transport.loseConnection()
        self.offer = Relay.waiting.pop(0)
        self.offer.client = self
        self.announce(0, open_properties=M["Open"](assigned_to_session=self.offer.session))

    def dataReceived(self, data):
        self.offer.transport.write(data)

    def connectionLost(self, reason):
        if self.offer:
            self.announce(1, drop_properties=M["Drop"](session_id=self.offer.session))
            self.offer.client = None
            self.offer.transport.loseConnection()


role, *rest = sys.argv[1:]
if role == "host":
    data, command, size = map(int, rest)
    again(Told, "127.0.0.1", command)
    for _ in range(size):
        again(Waiting, "127.0.0.1", data)
else:
    ports = []
    for each in (Offer, Commands, Client):
        factory = protocol.Factory()
        factory.protocol = each
        ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
    tell("ports", *(port.getHost().port for port in ports))
reactor.run()
