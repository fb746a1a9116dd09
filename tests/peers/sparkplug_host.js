// A Sparkplug host application on mqtt.js and sparkplug-payload: prints each message of a broker as a line of JSON.
// Usage: node sparkplug_host.js MODULES PORT HOST_ID
// Lines of stdin: `online MS`, `offline MS` (its STATE), `rebirth TOPIC` (an NCMD), `raw TOPIC TEXT`. Ends with stdin.
const [modules, port, hostId] = process.argv.slice(2);
const mqtt = require(modules + "/mqtt");
const sparkplug = require(modules + "/sparkplug-payload").get("spBv1.0");

const plain = (_, value) => (value && value.constructor && value.constructor.name === "Long" ? value.toNumber() : value);
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId: "host-" + process.pid, protocolVersion: 5, reconnectPeriod: 100 });

function decoded(topic, payload) {
    if (topic.startsWith("spBv1.0/STATE/")) return JSON.parse(payload);
    try { return sparkplug.decodePayload(payload); } catch (error) { return { undecoded: String(error) }; }
}

client.on("message", (topic, payload, packet) => {
    const line = { topic, qos: packet.qos, retain: packet.retain, bytes: payload.length, payload: decoded(topic, payload) };
    console.log(JSON.stringify(line, plain));
});

function obey(line) {
    const [word, first, ...rest] = line.split(" ");
    if (word === "online" || word === "offline") {
        const state = JSON.stringify({ online: word === "online", timestamp: Number(first) });
        client.publish(`spBv1.0/STATE/${hostId}`, state, { qos: 1, retain: true });
    } else if (word === "rebirth") {
        const metric = { name: "Node Control/Rebirth", type: "Boolean", value: true };
        client.publish(first, Buffer.from(sparkplug.encodePayload({ timestamp: Date.now(), metrics: [metric] })), { qos: 0 });
    } else if (word === "raw") {
        client.publish(first, rest.join(" "), { qos: 0 });
    }
}

client.on("connect", () => client.subscribe("spBv1.0/#", { qos: 1 }, () => console.log(JSON.stringify({ topic: "ready" }))));
require("readline").createInterface({ input: process.stdin }).on("line", obey).on("close", () => process.exit(0));
