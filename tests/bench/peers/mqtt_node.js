// A small service on mqtt.js and onnxruntime-node: takes frames, publishes results, both MessagePack. At its barest it
// does no more than it must, with QoS 0; told a `decision` topic, it sends what our runtime has to send: a decision and
// a result for each frame, both with QoS 1. The first line on stdin is JSON.
"use strict";
const mqtt = require("mqtt");
const ort = require("onnxruntime-node");
const { decode, encode } = require("@msgpack/msgpack");

async function main(told) {
  const session = await ort.InferenceSession.create(told.model, {
    intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential",
  });
  const client = mqtt.connect(`mqtt+unix://${told.socket}`, {
    username: told.username, password: told.password, clientId: told.name, protocolVersion: 5, clean: true,
  });
  function send(topic, message, qos) {
    const bytes = encode(message);
    client.publish(topic, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), { qos });
  }
  client.on("message", async (_topic, payload) => {
    const frame = decode(payload);
    const image = new ort.Tensor("uint8", frame.data, [1, ...frame.shape]);
    const [ok, bad] = (await session.run({ image })).probabilities.data;
    const label = bad > ok ? "bad" : "ok";
    if (told.decision) {
      send(told.decision, { part_id: frame.part_id, verdict: label, trigger_ns: frame.trigger_ns }, 1);
    }
    send(told.result, { source_seq: frame.seq, outcome: "result", label, scores: { ok, bad } }, told.decision ? 1 : 0);
  });
  client.on("error", (error) => { console.error(error); process.exit(1); });
  client.on("connect", () => client.subscribe(told.frame, { qos: 0 }, () => console.log("ready")));
}

let text = "";
process.stdin.on("data", (data) => {
  text += data;
  if (text.endsWith("\n")) main(JSON.parse(text));
});
