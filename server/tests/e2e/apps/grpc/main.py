"""A test app that speaks gRPC: bytes in, bytes out, without generated code."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        def fail(_, context):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

        handlers = {
            "/test.Echo/One": lambda: grpc.unary_unary_rpc_method_handler(lambda sent, _: sent),
            "/test.Echo/Many": lambda: grpc.stream_stream_rpc_method_handler(lambda sent, _: sent),
            "/test.Echo/Fail": lambda: grpc.unary_unary_rpc_method_handler(fail),
        }
        found = handlers.get(handler_call_details.method)
        return found() if found else None


def main() -> None:
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"0.0.0.0:{os.environ.get('PORT', '8080')}")
    server.start()
    print("serving", flush=True)
    told.wait()
    server.stop(5).wait()


main()
