"""
A ZeroMQ peer of Debian's libzmq: `worker` answers what it is asked with its name, `client` asks once
for each line of its input and prints the answer. Keys come by the environment.
"""
import os
import sys

import zmq

role, endpoint = sys.argv[1:3]
context = zmq.Context()
socket = context.socket(zmq.REP if role == "worker" else zmq.REQ)
socket.linger = 0
if role == "worker":
    socket.handshake_ivl = 0
    socket.curve_secretkey = os.environb[b"SERVER_SECRET"]
    socket.curve_publickey = os.environb[b"SERVER_PUBLIC"]
    socket.curve_server = True
else:
    socket.curve_serverkey = os.environb[b"SERVER_PUBLIC"]
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.rcvtimeo = 20_000
socket.connect(endpoint)
print("ready", flush=True)
if role == "worker":
    while True:
        socket.send_multipart([b"python", *socket.recv_multipart()])
for line in sys.stdin:
    socket.send_string(line.strip())
    print(b" ".join(socket.recv_multipart()).decode(), flush=True)
