import os, sys, threading, time
from concurrent import futures
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

name = sys.argv[1]

lock = threading.Lock()

def say(*words):
    # As a whole, whoever else speaks.
    with lock:
        print(*words, flush=True)

def begins(method, context):
    say("called", method)
    context.send_initial_metadata((("began", name),))
    context.set_trailing_metadata((("who", name), ("who-bin", b"\x00\xff")))

def may_fail(request, context):
    # What a message asks for: "fail CODE", or "fail CODE NAME" of the server with that name; "fail CODE NAME PUSHBACK" has it
    # say when the call may be sent again.
    words = request[:40].decode(errors="replace").split()
    if words[:1] == ["fail"] and words[2:3] in ([], [name]):
        say("failed")
        pushback = [("grpc-retry-pushback-ms", ms) for ms in words[3:]]
        context.set_trailing_metadata([("who", name), *pushback])
        context.abort(grpc.StatusCode[words[1]], "100 % failed: na\u00efve")

def unary(request, context):
    may_fail(request, context)
    begins("Unary", context)
    return request

def late(request, context):
    # A message that fails after its answer has begun.
    begins("Late", context)
    may_fail(request, context)
    return request

def count(request, context):
    # "N PAUSE": so many messages, so many seconds apart.
    begins("Count", context)
    number, pause = request.split()
    for index in range(int(number)):
        if index:
            time.sleep(float(pause))
        yield str(index).encode()

def big(request, context):
    for _ in range(int(request)):
        yield bytes(1 << 20)

def total(requests, context):
    begins("Total", context)
    return str(sum(len(request) for request in requests)).encode()

def chat(requests, context):
    begins("Chat", context)
    for request in requests:
        may_fail(request, context)
        yield request

def hang(request, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    say("called Hang")
    gone.wait(30)
    say("cancelled Hang")
    return request

def die(request, context):
    begins("Die", context)
    yield b"last words"
    while not os.path.exists(request.decode()):
        time.sleep(0.01)
    os._exit(3)

def left(request, context):
    remaining = context.time_remaining()
    return b"none" if remaining is None or remaining > 1e9 else str(remaining).encode()

shapes = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Late": grpc.unary_unary_rpc_method_handler(late),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Left": grpc.unary_unary_rpc_method_handler(left),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Big": grpc.unary_stream_rpc_method_handler(big),
    "Die": grpc.unary_stream_rpc_method_handler(die),
    "Total": grpc.stream_unary_rpc_method_handler(total),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
# Connections are to leave (GOAWAY) after so many milliseconds, where that is said, and may finish their calls.
aging = [("grpc.max_connection_age_ms", int(age)) for age in sys.argv[2:]]
server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=aging)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", shapes),))
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
services = (health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
reflection.enable_server_reflection(services, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
say("port", port)
server.wait_for_termination()
