// As `wscat -c ADDRESS`: sends each line of its input, prints what it hears, leaves after COUNT messages.
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [address, count] = process.argv.slice(2);
const socket = new WebSocket(address);
let heard = 0;

socket.on("open", () => {
  for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) socket.send(line);
});
socket.on("message", (text) => {
  process.stdout.write(`${text}\n`);
  heard += 1;
  if (heard === Number(count)) socket.close();
});
socket.on("unexpected-response", (request, { statusCode }) => {
  process.stdout.write(`${statusCode}\n`);
  request.destroy();
  process.exit();
});
