// Reads and writes items of an S7 server with nodes7, as an independent client:
// node s7_client.js PORT '{"read": {"NAME": "DB1,REAL0"}, "write": {"NAME": ["DB2,REAL10", 300]}}'
// prints what it read after the writes as one line of JSON.
"use strict";
const Client = require("nodes7");

const [port, told] = [Number(process.argv[2]), JSON.parse(process.argv[3])];
const client = new Client({ silent: true });
const writes = Object.entries(told.write || {});
const addresses = { ...told.read };
for (const [name, [address]] of writes) addresses[name] = address;

function end(status, said) {
  process.stdout.write(said + "\n", () => process.exit(status));
}

client.initiateConnection({ host: "127.0.0.1", port, rack: 0, slot: 1, timeout: 5000 }, (problem) => {
  if (problem) return end(1, String(problem));
  client.setTranslationCB((name) => addresses[name]);
  client.addItems(Object.keys(addresses));
  const read = () => client.readAllItems((bad, values) => end(bad ? 1 : 0, JSON.stringify(values)));
  if (!writes.length) return read();
  client.writeItems(writes.map(([name]) => name), writes.map(([, [, value]]) => value), (bad) => {
    if (bad) return end(1, "refused");
    read();
  });
});
setTimeout(() => end(1, "no answer in 15 s"), 15000);
