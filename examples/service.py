#!/usr/bin/env python3
"""A service in another process, for programs that Gate runs: it keeps notes, and turns streams into upper case.

    pip install grpcio grpcio-tools grpcio-health-checking
    python3 examples/service.py unix:/tmp/notes.sock &
    gate run --service notes=grpc:unix:/tmp/notes.sock examples/notes.wat; echo $?

The first part serves the protocol, which is in crates/gate-service-grpc/proto, and can be used for other services. The
second part, `Notes`, is this service. Calls of programs:

    b"add TEXT"   keeps a note. The reply is how many there are: u64
    b"slow"       the same, but a few milliseconds later
    b"open"       opens a stream. The reply: error: i32 (0), id: i32
"""

import asyncio
import json
import signal
import struct
import sys
import traceback
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crates/gate-service-grpc/proto"))
pb, pb_grpc = grpc.protos_and_services("gate/service/v1/service.proto")

SERVICE = "gate.service.v1.Service"
WINDOW = 256 << 10
PIECE = 64 << 10


class Stream:
    """A stream to and from a program. What was received stays in `received` until it is consumed."""

    def __init__(self, session, id, received=b"", ended=False):
        self.session, self.id = session, id
        self.received, self.ended = bytearray(received), ended
        self.credit, self.closed = 0, False
        self.changed = asyncio.Event()
        self.granted = 0
        self.grant()

    def grant(self):
        more = WINDOW - len(self.received) - self.granted
        if not self.ended and more >= WINDOW // 2:
            self.granted += more
            self.session.send(flow=pb.Flow(stream=self.id, more=more))

    async def wait(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def readable(self):
        """Waits until something was received. False at the end."""
        await self.wait(lambda: self.received or self.ended)
        return bool(self.received)

    async def writable(self):
        """Waits until something can be written. False if nothing is wanted any more."""
        await self.wait(lambda: self.credit or self.closed)
        return not self.closed

    def consume(self, size):
        del self.received[:size]
        self.grant()

    def write(self, data):
        """Writes as much as is wanted. Returns how much that is."""
        size = min(len(data), self.credit, PIECE)
        self.credit -= size
        self.session.send(data=pb.Data(stream=self.id, bytes=bytes(data[:size])))
        return size

    def end(self):
        self.session.send(end=pb.End(stream=self.id))


class Session:
    """An instance of a program. Subclasses have `call`, `stream`, `save` and `restore`."""

    def __init__(self, start):
        self.streams, self.next_stream, self.opened = {}, start.next_stream, []
        self.outgoing, self.tasks = asyncio.Queue(), set()

    async def call(self, content):
        """Answers a call. What it does is to be done without a pause before it returns: else it could be done twice."""
        return b""

    async def stream(self, stream):
        """Serves a stream, from the beginning or from where it was. Bytes are to be taken and written without a pause between."""

    def save(self):
        """What is to be known of the instance besides its streams, for JSON."""

    def restore(self, saved):
        """Takes over what `save` has given, or someone malicious. Raises an exception if it makes no sense."""

    def send(self, **kind):
        self.outgoing.put_nowait(pb.ServiceMessage(**kind))

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def open_stream(self):
        """Opens a stream, of which the program is told by the reply."""
        id, self.next_stream = self.next_stream, self.next_stream + 1
        self.opened.append(id)
        return id

    def add_stream(self, id, *state):
        self.streams[id] = Stream(self, id, *state)
        self.spawn(self.serve_stream(self.streams[id]))

    async def serve_stream(self, stream):
        await self.stream(stream)
        self.send(close=pb.Close(stream=stream.id))
        self.streams.pop(stream.id, None)

    async def serve_call(self, call):
        try:
            content = await self.call(call.content)
        except Exception:
            traceback.print_exc()
            content = b""
        opened, self.opened = self.opened, []
        self.send(reply=pb.Reply(number=call.number, content=content, opens=opened))
        for id in opened:
            self.add_stream(id)

    def encode(self):
        streams = {str(id): [s.received.hex(), s.ended] for id, s in self.streams.items()}
        return json.dumps({"streams": streams, "own": self.save()}).encode()

    def decode(self, state, open_streams):
        saved = json.loads(state)
        self.restore(saved["own"])
        for id in open_streams:
            if str(id) in saved["streams"]:
                received, ended = saved["streams"][str(id)]
                self.add_stream(id, bytes.fromhex(received), bool(ended))
            else:
                # It was over, but for what Gate had not been told.
                self.send(end=pb.End(stream=id))
                self.send(close=pb.Close(stream=id))

    async def receive(self, messages):
        try:
            await self.receive_messages(messages)
        finally:
            self.outgoing.put_nowait(None)

    async def receive_messages(self, messages):
        async for message in messages:
            kind = message.WhichOneof("kind")
            if kind == "call":
                self.spawn(self.serve_call(message.call))
            elif kind == "suspend":
                for task in self.tasks:
                    task.cancel()
                state = self.encode()
                self.send(suspended=pb.Suspended(state_size=len(state)))
                for at in range(0, len(state), PIECE):
                    self.send(state=pb.State(bytes=state[at : at + PIECE]))
                break
            elif kind in ("data", "flow", "end", "close"):
                self.receive_stream(kind, getattr(message, kind))
        else:
            # The program has ended.
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=1)

    def receive_stream(self, kind, message):
        stream = self.streams.get(message.stream)
        if stream is None:
            return
        if kind == "data":
            stream.granted -= len(message.bytes)
            stream.received += message.bytes
        elif kind == "flow":
            stream.credit += message.more
        elif kind == "end":
            stream.ended = True
        else:
            stream.closed = True
        stream.changed.set()


class Servicer(pb_grpc.ServiceServicer):
    """Serves instances by sessions of a class."""

    def __init__(self, session, revision):
        self.session, self.revision = session, revision
        self.sessions, self.leaving = set(), False

    async def Describe(self, request, context):
        return pb.DescribeReply(revision=self.revision)

    async def Serve(self, messages, context):
        if self.leaving:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is about to end")
        start = (await anext(messages)).start
        session = self.session(start)
        if start.HasField("state_size"):
            state = b""
            while len(state) < start.state_size:
                state += (await anext(messages)).state.bytes
            try:
                session.decode(state, start.streams)
            except (ValueError, KeyError, TypeError, AttributeError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the state makes no sense")
        yield pb.ServiceMessage(ready=pb.Ready())
        self.sessions.add(session)
        receiver = asyncio.create_task(session.receive(messages))
        try:
            while (message := await session.outgoing.get()) is not None:
                yield message
        finally:
            self.sessions.discard(session)
            for task in [receiver, *session.tasks]:
                task.cancel()


async def serve(address, session, revision="0"):
    """Serves until it is told to end, and hands the instances back then, so that they can go on with the next server."""
    server, servicer, checks = grpc.aio.server(), Servicer(session, revision), health.aio.HealthServicer()
    pb_grpc.add_ServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    if not server.add_insecure_port(address):
        sys.exit(f"cannot listen on {address}")
    await server.start()
    print("serving", address, flush=True)
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    servicer.leaving = True
    await checks.set(SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)
    for running in servicer.sessions:
        running.send(leave=pb.Leave())
    for _ in range(500):
        if not servicer.sessions:
            break
        await asyncio.sleep(0.01)
    await server.stop(grace=1)


class Notes(Session):
    """Notes of an instance, and streams that come back in upper case."""

    def __init__(self, start):
        super().__init__(start)
        self.notes = []

    async def call(self, content):
        command, _, text = content.partition(b" ")
        if command == b"open":
            return struct.pack("<ii", 0, self.open_stream())
        if command == b"slow":
            await asyncio.sleep(0.005)
        elif command != b"add":
            return b""
        self.notes.append(text.decode(errors="replace"))
        return struct.pack("<Q", len(self.notes))

    async def stream(self, stream):
        while await stream.readable() and await stream.writable():
            stream.consume(stream.write(stream.received.upper()))
        stream.end()

    def save(self):
        return self.notes

    def restore(self, saved):
        self.notes = [str(note) for note in saved]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(serve(sys.argv[1], Notes, "1"))
