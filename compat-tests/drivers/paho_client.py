"""Keeps Eclipse Paho clients (1.6 or 2.x) for the tests: commands come and events go as JSON lines, each with its client's number."""
import base64
import json
import sys
import threading

import paho.mqtt.client as mqtt

OUTPUT = threading.Lock()


def emit(number, event, **fields):
    line = json.dumps({"client": number, "event": event, **fields})
    with OUTPUT:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Client:
    def __init__(self, number):
        self.number = number
        self.client = None
        # Tickets by message identifier; an answer may come before the call that asked has returned its identifier.
        self.lock = threading.Lock()
        self.tickets = {}
        self.early = {}

    def emit(self, event, **fields):
        emit(self.number, event, **fields)

    def connect(self, host, port, transport, path, authority, client_id, clean_session, keep_alive_s, will, user_name, password):
        options = {
            "client_id": client_id,
            "clean_session": clean_session,
            "protocol": mqtt.MQTTv311,
            "transport": "websockets" if transport in ("ws", "wss") else "tcp",
            "reconnect_on_failure": False,
        }
        if hasattr(mqtt, "CallbackAPIVersion"):
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
        self.client = client = mqtt.Client(**options)
        client.on_connect = self.on_connect
        client.on_disconnect = self.on_disconnect
        client.on_message = self.on_message
        client.on_publish = lambda _client, _data, mid, *rest: self.answered(mid, "published")
        client.on_unsubscribe = lambda _client, _data, mid, *rest: self.answered(mid, "unsubscribed")
        client.on_subscribe = self.on_subscribe
        if transport in ("tls", "wss"):
            client.tls_set(ca_certs=authority)
        if transport in ("ws", "wss"):
            client.ws_set_options(path=path)
        if will:
            client.will_set(will["topic"], base64.b64decode(will["payload"]), will["qos"], will["retain"])
        if user_name is not None:
            client.username_pw_set(user_name, password)
        client.connect(host, port, keep_alive_s)
        client.loop_start()

    def resume(self):
        self.client.loop_stop()
        self.client.reconnect()
        self.client.loop_start()

    def subscribe(self, ticket, filters):
        result, mid = self.client.subscribe([(topic, qos) for topic, qos in filters])
        self.asked(result, mid, ticket)

    def unsubscribe(self, ticket, filters):
        result, mid = self.client.unsubscribe(filters)
        self.asked(result, mid, ticket)

    def publish(self, ticket, topic, payload, qos, retain):
        info = self.client.publish(topic, base64.b64decode(payload), qos, retain)
        self.asked(info.rc, info.mid, ticket)

    def disconnect(self):
        self.client.disconnect()

    def drop(self):
        # Its own thread notices the end, as that of any connection.
        self.client.socket().shutdown(2)

    def forget(self):
        if self.client:
            self.client.on_disconnect = None
            self.client.disconnect()
            self.client.loop_stop()

    def asked(self, result, mid, ticket):
        if result not in (mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN):
            raise RuntimeError(mqtt.error_string(result))
        with self.lock:
            if mid in self.early:
                event, fields = self.early.pop(mid)
            else:
                self.tickets[mid] = ticket
                return
        self.emit(event, ticket=ticket, **fields)

    def answered(self, mid, event, **fields):
        with self.lock:
            if mid not in self.tickets:
                self.early[mid] = (event, fields)
                return
            ticket = self.tickets.pop(mid)
        self.emit(event, ticket=ticket, **fields)

    def on_connect(self, _client, _data, flags, code, *_rest):
        present = flags["session present"] if isinstance(flags, dict) else flags.session_present
        if code == 0:
            self.emit("connected", session_present=bool(present))
        else:
            self.emit("refused", why=f"CONNACK {code}")

    def on_disconnect(self, _client, _data, *rest):
        # 1.6 gives a code; 2.x gives flags, a reason and properties.
        self.emit("closed", why=str(rest[0] if len(rest) == 1 else rest[1]))

    def on_subscribe(self, _client, _data, mid, codes, *_rest):
        self.answered(mid, "subscribed", codes=[code if isinstance(code, int) else code.value for code in codes])

    def on_message(self, _client, _data, message):
        payload = base64.b64encode(message.payload).decode()
        self.emit("message", topic=message.topic, payload=payload, qos=message.qos, retain=bool(message.retain), dup=bool(message.dup))


def main():
    clients = {}
    for line in sys.stdin:
        command = json.loads(line)
        number, name = command.pop("client"), command.pop("do")
        client = clients.setdefault(number, Client(number))
        if name == "forget":
            del clients[number]
        # A connect waits for the server, so each command has a thread; the commands of one client come one after another
        # or concern different things.
        def run(client=client, name=name, command=command):
            try:
                getattr(client, name)(**command)
            except Exception as error:
                client.emit("closed" if name in ("connect", "resume") else "error", why=f"{type(error).__name__}: {error}")
        if name in ("connect", "resume", "forget"):
            threading.Thread(target=run, daemon=True).start()
        else:
            run()


main()
