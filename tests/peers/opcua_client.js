// An independent OPC UA client. Usage: node opcua_client.js '{"endpoint": ..., "root": ..., "read": [...]}'
// Prints one JSON line: endpoints, values with status and source time, what a subscription saw, or the error.
"use strict";
const opcua = require("node-opcua-client");
const ask = JSON.parse(process.argv[2]);
const policy = ask.policy || "Basic256Sha256";
const mode = ask.mode || "SignAndEncrypt";

function nameOf(status) {
  return status.name;
}

async function main() {
  const answer = {};
  const client = opcua.OPCUAClient.create({
    applicationName: "PlantEdgeTest",
    securityPolicy: opcua.SecurityPolicy[policy],
    securityMode: opcua.MessageSecurityMode[mode],
    endpointMustExist: false,
    connectionStrategy: { maxRetry: 1, initialDelay: 100 },
  });
  await client.connect(ask.endpoint);
  answer.endpoints = (await client.getEndpoints()).length;
  try {
    const identity = ask.user
      ? { type: opcua.UserTokenType.UserName, userName: ask.user, password: ask.password }
      : { type: opcua.UserTokenType.Anonymous };
    const session = await client.createSession(identity);
    const ns = (await session.readNamespaceArray()).indexOf("urn:plantedge:device");
    const id = (path) => `ns=${ns};s=${ask.root}/${path}`;
    answer.security = policy;
    if (ask.read) await read(session, id, answer);
    if (ask.write) {
      const status = await session.write({
        nodeId: id(ask.write),
        attributeId: opcua.AttributeIds.Value,
        value: { value: { dataType: opcua.DataType.Float, value: 1.0 } },
      });
      answer.write = nameOf(status);
    }
    if (ask.writes) await writeAll(session, id, answer);
    if (ask.watch) await watch(session, id, answer);
    await session.close();
  } catch (error) {
    answer.error = String(error.message || error);
  }
  await client.disconnect();
  return answer;
}

async function read(session, id, answer) {
  answer.values = {};
  answer.properties = {};
  for (const path of ask.read) {
    const data = await session.read({ nodeId: id(path), attributeId: opcua.AttributeIds.Value });
    let value = data.value ? data.value.value : null;
    if (Array.isArray(value) && value.length === 2) value = value[0] * 4294967296 + value[1]; // 64-bit integers
    answer.values[path] = {
      value,
      status: nameOf(data.statusCode),
      sourceTimestampMs: data.sourceTimestamp ? data.sourceTimestamp.getTime() : null,
    };
    const properties = {};
    for (const name of ["EURange", "EngineeringUnits"]) {
      const found = await session.read({ nodeId: id(`${path}/${name}`), attributeId: opcua.AttributeIds.Value });
      if (!found.statusCode.isGood()) continue;
      const content = found.value.value;
      properties[name] = name === "EURange" ? [content.low, content.high] : content.displayName.text;
    }
    if (Object.keys(properties).length) answer.properties[path] = properties;
  }
}

// Each of `writes` is {path, type, value}; all in one request if `together`. The value read at once after each.
async function writeAll(session, id, answer) {
  const nodes = ask.writes.map((one) => ({
    nodeId: id(one.path),
    attributeId: opcua.AttributeIds[one.attribute || "Value"],
    value: { value: { dataType: opcua.DataType[one.type], value: one.value } },
  }));
  answer.writes = [];
  answer.held = [];
  if (ask.together) {
    answer.writes = (await session.write(nodes)).map(nameOf);
    return;
  }
  for (const node of nodes) {
    answer.writes.push(nameOf(await session.write(node)));
    const data = await session.read({ nodeId: node.nodeId, attributeId: opcua.AttributeIds.Value });
    answer.held.push(data.value ? data.value.value : null);
  }
}

async function watch(session, id, answer) {
  answer.statuses = [];
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 100,
    requestedLifetimeCount: 1000,
    requestedMaxKeepAliveCount: 10,
    publishingEnabled: true,
  });
  const item = await subscription.monitor(
    { nodeId: id(ask.watch), attributeId: opcua.AttributeIds.Value },
    { samplingInterval: 50, queueSize: 20, discardOldest: true },
    opcua.TimestampsToReturn.Both,
  );
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, ask.timeout_ms || 10000);
    item.on("changed", (data) => {
      answer.statuses.push(nameOf(data.statusCode));
      require("fs").writeFileSync(ask.subscribed, ""); // tells the test that the first value has come
      if (nameOf(data.statusCode) === ask.until) {
        clearTimeout(timer);
        resolve();
      }
    });
  });
  await subscription.terminate();
}

main()
  .then((answer) => {
    console.log(JSON.stringify(answer));
    process.exit(0);
  })
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
