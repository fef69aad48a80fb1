import faulthandler, signal, sys, threading, time
import grpc

# A script that hangs says where, before it is given up.
faulthandler.dump_traceback_later(12)

over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())

# The library would try again by itself, and so hide what Isobar loses.
OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]

def connect():
    if len(sys.argv) < 3:
        return grpc.insecure_channel(sys.argv[1], options=OPTIONS)
    with open(sys.argv[2], "rb") as authority:
        credentials = grpc.ssl_channel_credentials(authority.read())
    named = [("grpc.ssl_target_name_override", "a.test")]
    return grpc.secure_channel(sys.argv[1], credentials, options=OPTIONS + named)

channel = connect()

def unary(method="Unary"):
    return channel.unary_unary("/test.Calls/" + method)

def count(method="Count"):
    return channel.unary_stream("/test.Calls/" + method)

def total(method="Total"):
    return channel.stream_unary("/test.Calls/" + method)

def chat(method="Chat"):
    return channel.stream_stream("/test.Calls/" + method)

def fails(call):
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"no error, but {answer!r}")

def at(pairs):
    return {key: value for key, value in pairs}

def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"
