// A page by hand: does what lines of its input say, and tells what it hears, both as JSON.
// ["connect", url, options], ["emit", event, ...args], ["ask", event, ...args], ["disconnect"]
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const tell = (...what) => process.stdout.write(JSON.stringify(what) + "\n");
let socket;

function connect(url, options) {
  socket = io(url, { ...options, reconnectionDelay: 100, randomizationFactor: 0 });
  socket.on("connect", () => tell("connected", socket.id, socket.io.engine.transport.name));
  socket.on("connect_error", (error) => tell("refused", error.message));
  socket.on("disconnect", (reason) => tell("disconnected", reason));
  socket.io.engine.on("open", () => tell("opened", socket.io.engine.transport.name));
  socket.io.engine.on("upgrade", (transport) => tell("upgraded", transport.name));
  socket.onAny((event, ...args) => tell("heard", event, ...args));
}

const actions = {
  connect,
  emit: (event, ...args) => socket.emit(event, ...args),
  ask: (event, ...args) => socket.emit(event, ...args, (...answer) => tell("answered", ...answer)),
  disconnect: () => socket.disconnect(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const [action, ...args] = JSON.parse(line);
  actions[action](...args);
}
process.exit();
