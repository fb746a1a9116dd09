// Many independent OPC UA clients in one program, to be killed: each has a connection, a secure channel, a session and
// a subscription of its own. Usage: node opcua_crowd.js '{"endpoint": ..., "clients": 40, "nodes": [...], ...}'
// Prints one JSON line once all watch, then stays until it is killed.
"use strict";
const fs = require("fs");
const opcua = require("node-opcua-client");
const ask = JSON.parse(process.argv[2]);

async function enter() {
  const client = opcua.OPCUAClient.create({
    applicationName: "PlantEdgeTest",
    applicationUri: ask.uri,
    securityPolicy: opcua.SecurityPolicy.Basic256Sha256,
    securityMode: opcua.MessageSecurityMode.SignAndEncrypt,
    certificateFile: ask.certificate,
    privateKeyFile: ask.key,
    endpointMustExist: false,
    requestedSessionTimeout: ask.timeoutMs,
    connectionStrategy: { maxRetry: 0, initialDelay: 100 },
  });
  await client.connect(ask.endpoint);
  const text = fs.readFileSync(ask.userCertificate, "utf8").replace(/-----[^-]+-----/g, "").replace(/\s/g, "");
  const session = await client.createSession({
    type: opcua.UserTokenType.Certificate,
    certificateData: Buffer.from(text, "base64"),
    privateKey: fs.readFileSync(ask.userKey, "utf8"),
  });
  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 100,
    requestedLifetimeCount: 10000,
    requestedMaxKeepAliveCount: 20,
    publishingEnabled: true,
  });
  const response = await session.createMonitoredItems(
    new opcua.CreateMonitoredItemsRequest({
      subscriptionId: subscription.subscriptionId,
      timestampsToReturn: opcua.TimestampsToReturn.Both,
      itemsToCreate: ask.nodes.map((nodeId, number) => ({
        itemToMonitor: { nodeId, attributeId: opcua.AttributeIds.Value },
        monitoringMode: opcua.MonitoringMode.Reporting,
        requestedParameters: { clientHandle: number, samplingInterval: 0, queueSize: 10, discardOldest: true },
      })),
    }),
  );
  return response.results.filter((one) => one.statusCode.isGood()).length;
}

async function main() {
  let items = 0;
  for (let number = 0; number < ask.clients; number += 8) {
    const some = Array.from({ length: Math.min(8, ask.clients - number) }, enter);
    for (const made of await Promise.all(some)) items += made;
  }
  process.stdout.write(JSON.stringify({ items }) + "\n");
  setInterval(() => {}, 1000);
}

main().catch((error) => {
  process.stderr.write(`${error.stack || error}\n`);
  process.exit(1);
});
