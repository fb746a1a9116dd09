// An independent OPC UA client that a test drives: one JSON request a line on stdin, one JSON answer a line on stdout.
// Requests are {"do": NAME, ...}; see `can` below. The first answer says that it is there.
"use strict";
const readline = require("readline");
const opcua = require("node-opcua-client");

const clients = {};
const sessions = {};
const subscriptions = {};
const pulses = {};
const later = {};

function plain(variant) {
  if (!variant || variant.value === undefined || variant.value === null) return null;
  const number = variant.dataType === opcua.DataType.Int64 || variant.dataType === opcua.DataType.UInt64;
  const value = variant.value;
  if (number) return variant.arrayType ? value.map((one) => one[0] * 2 ** 32 + one[1]) : value[0] * 2 ** 32 + value[1];
  if (ArrayBuffer.isView(value)) return Array.from(value);
  if (value && value.low !== undefined) return [value.low, value.high];
  if (value && value.unitId !== undefined)
    return { unitId: value.unitId, namespaceUri: value.namespaceUri, text: value.displayName.text };
  if (value && value.text !== undefined) return value.text;
  return value && value.toString && typeof value === "object" && !Array.isArray(value) ? value.toString() : value;
}

// A Variant with all that is in it, as JSON can say it: structures are their fields, times are in ms.
function deep(variant) {
  if (!variant || variant.value === undefined || variant.value === null) return null;
  const value = variant.value;
  if (variant.arrayType === opcua.VariantArrayType.Array) return Array.from(value).map(deepValue);
  return deepValue(value);
}

function deepValue(value) {
  if (value instanceof opcua.Variant) return deep(value);
  if (value instanceof Date) return value.getTime();
  if (value instanceof opcua.NodeId || value instanceof opcua.QualifiedName) return value.toString();
  if (value instanceof opcua.LocalizedText) return value.text;
  if (Array.isArray(value)) return value.map(deepValue);
  if (value === null || typeof value !== "object") return value;
  const fields = value.schema ? Object.keys(value).filter((name) => name !== "schema") : Object.keys(value);
  return Object.fromEntries(fields.map((name) => [name, deepValue(value[name])]));
}

function shown(data) {
  return {
    value: plain(data.value),
    type: data.value ? opcua.DataType[data.value.dataType] : null,
    status: data.statusCode.name,
    code: data.statusCode.value,
    sourceMs: data.sourceTimestamp ? data.sourceTimestamp.getTime() : null,
    serverMs: data.serverTimestamp ? data.serverTimestamp.getTime() : null,
  };
}

const can = {
  // {client, endpoint, policy, mode, certificate, key, uri}: a secure channel; its endpoints
  async connect(ask) {
    const options = {
      applicationName: "PlantEdgeTest",
      securityPolicy: opcua.SecurityPolicy[ask.policy || "Basic256Sha256"],
      securityMode: opcua.MessageSecurityMode[ask.mode || "SignAndEncrypt"],
      endpointMustExist: false,
      requestedSessionTimeout: ask.timeoutMs || 60000,
      transportTimeout: 20000,
      connectionStrategy: { maxRetry: 0, initialDelay: 100 },
    };
    if (ask.certificate) Object.assign(options, { certificateFile: ask.certificate, privateKeyFile: ask.key });
    if (ask.uri) options.applicationUri = ask.uri;
    const client = opcua.OPCUAClient.create(options);
    client.on("connection_lost", () => (client.lost = true));
    await client.connect(ask.endpoint);
    clients[ask.client] = client;
    return {};
  },
  async endpoints(ask) {
    const found = await clients[ask.client].getEndpoints();
    return found.map((one) => ({
      policy: one.securityPolicyUri.split("#")[1],
      mode: opcua.MessageSecurityMode[one.securityMode],
      tokens: one.userIdentityTokens.map((token) => opcua.UserTokenType[token.tokenType]),
    }));
  },
  async lost(ask) {
    return Boolean(clients[ask.client].lost);
  },
  async reset() {
    await Promise.allSettled(Object.values(clients).map((client) => client.disconnect()));
    for (const held of [clients, sessions, subscriptions]) for (const name of Object.keys(held)) delete held[name];
    return {};
  },
  async disconnect(ask) {
    await clients[ask.client].disconnect();
    delete clients[ask.client];
    return {};
  },
  // {client, session, user, password} or {certificate, key} (files) or neither: anonymous
  async session(ask) {
    const identity = { type: opcua.UserTokenType.Anonymous };
    if (ask.user)
      Object.assign(identity, { type: opcua.UserTokenType.UserName, userName: ask.user, password: ask.password });
    if (ask.certificate)
      Object.assign(identity, {
        type: opcua.UserTokenType.Certificate,
        certificateData: opcua.readCertificate ? opcua.readCertificate(ask.certificate) : pem(ask.certificate),
        privateKey: require("fs").readFileSync(ask.key, "utf8"),
      });
    const session = await clients[ask.client].createSession(identity);
    sessions[ask.session] = session;
    return { namespaces: await session.readNamespaceArray() };
  },
  // {client, session, user, password}: the same session, somebody else's
  async become(ask) {
    const identity = { type: opcua.UserTokenType.UserName, userName: ask.user, password: ask.password };
    return (await clients[ask.client].changeSessionIdentity(sessions[ask.session], identity)).name;
  },
  async close(ask) {
    await sessions[ask.session].close(ask.deleteSubscriptions !== false);
    return {};
  },
  // {session, nodes: [id, ...], attribute}
  async read(ask) {
    const attributeId = opcua.AttributeIds[ask.attribute || "Value"];
    const found = await sessions[ask.session].read(ask.nodes.map((nodeId) => ({ nodeId, attributeId })));
    return found.map(shown);
  },
  // {session, node, everyMs}: read it again and again
  async pulse(ask) {
    const held = (pulses[ask.session] = { count: 0, worstMs: 0, errors: [], going: true });
    const target = { nodeId: ask.node, attributeId: opcua.AttributeIds.Value };
    (async () => {
      while (held.going) {
        const began = performance.now();
        try {
          const found = await sessions[ask.session].read(target);
          if (!found.statusCode.isGood()) held.errors.push(found.statusCode.name);
        } catch (error) {
          held.errors.push(String(error.message || error));
        }
        held.count += 1;
        held.worstMs = Math.max(held.worstMs, performance.now() - began);
        await new Promise((resolve) => setTimeout(resolve, ask.everyMs));
      }
    })();
    return {};
  },
  // {session}: how many answers came, how long the slowest took, what went wrong
  async pulses(ask) {
    const held = pulses[ask.session];
    held.going = !ask.stop;
    return { count: held.count, worstMs: held.worstMs, errors: held.errors.slice(0, 5) };
  },
  // {session, node}: names, NodeIds and types of what it refers to
  async browse(ask) {
    const result = await sessions[ask.session].browse({
      nodeId: ask.node,
      browseDirection: opcua.BrowseDirection.Forward,
      includeSubtypes: true,
      resultMask: 63,
    });
    return result.references.map((one) => ({
      name: one.browseName.name,
      index: one.browseName.namespaceIndex,
      node: one.nodeId.toString(),
      type: one.typeDefinition.toString(),
      reference: one.referenceTypeId.toString(),
    }));
  },
  async write(ask) {
    const value = { dataType: opcua.DataType[ask.type], value: ask.value };
    const attributeId = opcua.AttributeIds.Value;
    return (await sessions[ask.session].write({ nodeId: ask.node, attributeId, value: { value } })).name;
  },
  async call(ask) {
    const inputArguments = (ask.arguments || []).map(argument);
    const result = await sessions[ask.session].call({ objectId: ask.object, methodId: ask.method, inputArguments });
    return result.statusCode.name;
  },
  // {session, object, method, arguments: [[type, value] or ["Structure", data type, fields], ...]}: the whole answer,
  // structures as their fields; what they consist of, node-opcua reads from the server
  async invokeDeep(ask) {
    const session = sessions[ask.session];
    const inputArguments = [];
    for (const one of ask.arguments || []) {
      if (one[0] !== "Structure") inputArguments.push(argument(one));
      else
        inputArguments.push({
          dataType: opcua.DataType.ExtensionObject,
          value: one[2] === null ? null : await session.constructExtensionObject(opcua.resolveNodeId(one[1]), one[2]),
        });
    }
    const result = await session.call({ objectId: ask.object, methodId: ask.method, inputArguments });
    return {
      status: result.statusCode.name,
      inputs: (result.inputArgumentResults || []).map((one) => one.name),
      outputs: (result.outputArguments || []).map(deep),
    };
  },
  // {session, calls: [{object, method}, ...], arguments}: one request, each call with the same arguments
  async callAll(ask) {
    const inputArguments = (ask.arguments || []).map(argument);
    const calls = ask.calls.map((one) => ({ objectId: one.object, methodId: one.method, inputArguments }));
    return (await sessions[ask.session].call(calls)).map((one) => one.statusCode.name);
  },
  // {session, nodes}: values with their structures as fields
  async readDeep(ask) {
    const attributeId = opcua.AttributeIds.Value;
    const found = await sessions[ask.session].read(ask.nodes.map((nodeId) => ({ nodeId, attributeId })));
    return found.map((data) => ({ value: deep(data.value), status: data.statusCode.name }));
  },
  // as `call`: the status of each argument, and what it gave
  async invoke(ask) {
    const inputArguments = (ask.arguments || []).map(argument);
    const result = await sessions[ask.session].call({ objectId: ask.object, methodId: ask.method, inputArguments });
    return {
      status: result.statusCode.name,
      arguments: (result.inputArgumentResults || []).map((one) => one.name),
      outputs: (result.outputArguments || []).map(plain),
    };
  },
  // as `invoke`, without waiting; `invoked` then gives the answer
  async invokeLater(ask) {
    later[ask.session] = can.invoke(ask);
    return {};
  },
  async invoked(ask) {
    return later[ask.session];
  },
  // {session, method}: [name, type, description] of what it takes and gives
  async definition(ask) {
    const found = await sessions[ask.session].getArgumentDefinition(ask.method);
    const told = (one) => [one.name, opcua.DataType[one.dataType.value], one.description.text];
    return { inputs: found.inputArguments.map(told), outputs: found.outputArguments.map(told) };
  },
  async history(ask) {
    const found = await sessions[ask.session].readHistoryValue(ask.node, new Date(Date.now() - 60000), new Date());
    return found.statusCode.name;
  },
  // {session, method, condition, event (hex), comment}: by node-opcua's own way to the method
  async handle(ask) {
    const event = Buffer.from(ask.event, "hex");
    return (await opcua.callMethodCondition(sessions[ask.session], ask.method, ask.condition, event, ask.comment)).name;
  },
  // {subscription, item, node, select, ofType, like, condition, queue}: `seen` then gives lists of fields
  async watch(ask) {
    const held = subscriptions[ask.subscription];
    const filter = eventFilter(ask);
    const target = { nodeId: ask.node, attributeId: opcua.AttributeIds.EventNotifier };
    const parameters = { samplingInterval: 0, queueSize: ask.queue || 100, discardOldest: true, filter };
    const item = opcua.ClientMonitoredItem.create(held.made, target, parameters, opcua.TimestampsToReturn.Both);
    held.seen[ask.item] = [];
    return new Promise((resolve) => {
      item.on("changed", (fields) => held.seen[ask.item].push(fields.map(ask.deep ? deep : plain)));
      item.on("err", (message) => resolve({ error: message }));
      item.on("initialized", () => resolve({ id: item.monitoredItemId }));
    });
  },
  // {session, nodes, kind: raw | processed | at | events, startMs, endMs, most, bounds, stepMs, aggregates, timesMs,
  // select, ofType, like, points: of each node, release, timestamps}: one HistoryRead
  async historyRead(ask) {
    const request = new opcua.HistoryReadRequest({
      historyReadDetails: details(ask),
      nodesToRead: ask.nodes.map((nodeId, number) => ({
        nodeId: opcua.resolveNodeId(nodeId),
        continuationPoint: ask.points && ask.points[number] ? Buffer.from(ask.points[number], "hex") : undefined,
      })),
      releaseContinuationPoints: Boolean(ask.release),
      timestampsToReturn: opcua.TimestampsToReturn[ask.timestamps || "Source"],
    });
    const response = await new Promise((resolve, reject) =>
      sessions[ask.session].historyRead(request, (error, found) => (error ? reject(error) : resolve(found))),
    );
    return response.results.map((one) => ({
      status: one.statusCode.name,
      point: one.continuationPoint && one.continuationPoint.length ? one.continuationPoint.toString("hex") : null,
      values: one.historyData && one.historyData.dataValues ? one.historyData.dataValues.map(shown) : [],
      events: one.historyData && one.historyData.events ? one.historyData.events.map((it) => it.eventFields.map(plain)) : [],
    }));
  },
  // {session, node, startMs, endMs}: all raw values, page by page; how many, and whether each is later than the last
  async historyAll(ask) {
    const found = { count: 0, pages: 0, ordered: true, sum: 0, lastMs: null };
    let point;
    do {
      const request = new opcua.HistoryReadRequest({
        historyReadDetails: details({ ...ask, kind: "raw" }),
        nodesToRead: [{ nodeId: opcua.resolveNodeId(ask.node), continuationPoint: point }],
        timestampsToReturn: opcua.TimestampsToReturn.Source,
      });
      const response = await new Promise((resolve, reject) =>
        sessions[ask.session].historyRead(request, (error, made) => (error ? reject(error) : resolve(made))),
      );
      const one = response.results[0];
      if (!one.statusCode.isGood()) return { ...found, status: one.statusCode.name };
      for (const data of one.historyData.dataValues) {
        const ms = data.sourceTimestamp.getTime();
        found.ordered &&= found.lastMs === null || ms > found.lastMs;
        found.lastMs = ms;
        found.sum += data.value.value;
        found.count += 1;
      }
      found.pages += 1;
      point = one.continuationPoint && one.continuationPoint.length ? one.continuationPoint : undefined;
    } while (point);
    return found;
  },
  // {session, subscription, publishingMs, lifetime, keepAlive, most}
  async subscribe(ask) {
    const made = await sessions[ask.session].createSubscription2({
      requestedPublishingInterval: ask.publishingMs === undefined ? 50 : ask.publishingMs,
      requestedLifetimeCount: ask.lifetime || 1000,
      requestedMaxKeepAliveCount: ask.keepAlive || 20,
      maxNotificationsPerPublish: ask.most || 0,
      publishingEnabled: true,
    });
    const held = (subscriptions[ask.subscription] = { made, seen: {}, messages: [], ages: [] });
    made.on("raw_notification", (message) => {
      if (ask.ages) held.ages.push(...ages(message));
      else held.messages.push(sizes(message));
    });
    return { id: made.subscriptionId, publishingMs: made.publishingInterval, lifetime: made.lifetimeCount };
  },
  // {subscription, node, item, samplingMs, queue, discardOldest, deadband: [type, value], trigger}
  async monitor(ask) {
    const held = subscriptions[ask.subscription];
    const parameters = {
      samplingInterval: ask.samplingMs || 0,
      queueSize: ask.queue || 1,
      discardOldest: ask.discardOldest !== false,
    };
    if (ask.deadband || ask.trigger)
      parameters.filter = new opcua.DataChangeFilter({
        trigger: opcua.DataChangeTrigger[ask.trigger || "StatusValue"],
        deadbandType: opcua.DeadbandType[ask.deadband ? ask.deadband[0] : "None"],
        deadbandValue: ask.deadband ? ask.deadband[1] : 0,
      });
    const target = { nodeId: ask.node, attributeId: opcua.AttributeIds.Value };
    const item = opcua.ClientMonitoredItem.create(held.made, target, parameters, opcua.TimestampsToReturn.Both);
    held.seen[ask.item] = [];
    return new Promise((resolve) => {
      item.on("changed", (data) => held.seen[ask.item].push(shown(data)));
      item.on("err", (message) => resolve({ error: message }));
      item.on("initialized", () =>
        resolve({ id: item.monitoredItemId, samplingMs: item.result.revisedSamplingInterval, queue: item.result.revisedQueueSize }),
      );
    });
  },
  // {subscription, nodes, queue}: many at once; the statuses by how often they came
  async monitorMany(ask) {
    const held = subscriptions[ask.subscription];
    const counted = {};
    const items = ask.nodes.map((nodeId, number) => ({
      itemToMonitor: { nodeId, attributeId: opcua.AttributeIds.Value },
      monitoringMode: opcua.MonitoringMode.Reporting,
      requestedParameters: { clientHandle: 1000 + number, samplingInterval: 0, queueSize: ask.queue || 1, discardOldest: true },
    }));
    for (let from = 0; from < items.length; from += 500) {
      const request = new opcua.CreateMonitoredItemsRequest({
        subscriptionId: held.made.subscriptionId,
        timestampsToReturn: opcua.TimestampsToReturn.Both,
        itemsToCreate: items.slice(from, from + 500),
      });
      const response = await sessions[ask.session].createMonitoredItems(request);
      for (const result of response.results)
        counted[result.statusCode.name] = (counted[result.statusCode.name] || 0) + 1;
    }
    return counted;
  },
  // {subscription, item}: what came since it was asked last
  async seen(ask) {
    return subscriptions[ask.subscription].seen[ask.item].splice(0);
  },
  // {subscriptions}: how many values came since it was asked last, and how old they were (ms, percentiles)
  async tally(ask) {
    const ages = ask.subscriptions.flatMap((name) => subscriptions[name].ages.splice(0)).sort((a, b) => a - b);
    const at = (share) => (ages.length ? ages[Math.min(ages.length - 1, Math.floor(share * ages.length))] : null);
    return { count: ages.length, p50: at(0.5), p99: at(0.99) };
  },
  async messages(ask) {
    return subscriptions[ask.subscription].messages.splice(0);
  },
  async numbers(ask) {
    return { id: subscriptions[ask.subscription].made.subscriptionId };
  },
  async terminate(ask) {
    await subscriptions[ask.subscription].made.terminate();
    return {};
  },
  // {session, id}: of any session's subscription; the service's own answer
  async deleteSubscription(ask) {
    const response = await sessions[ask.session].deleteSubscriptions({ subscriptionIds: [ask.id] });
    return response.results.map((one) => one.name);
  },
  async transfer(ask) {
    const response = await sessions[ask.session].transferSubscriptions({ subscriptionIds: [ask.id], sendInitialValues: true });
    return response.results.map((one) => one.statusCode.name);
  },
};

function argument([type, value]) {
  if (type === "ByteString") value = Buffer.from(value, "hex");
  if (type === "LocalizedText") value = new opcua.LocalizedText({ text: value });
  return { dataType: opcua.DataType[type], value };
}

function moment(ms) {
  return ms === undefined || ms === null ? new Date("1601-01-01T00:00:00Z") : new Date(ms);
}

function details(ask) {
  const span = { startTime: moment(ask.startMs), endTime: moment(ask.endMs), numValuesPerNode: ask.most || 0 };
  switch (ask.kind) {
    case "raw":
      return new opcua.ReadRawModifiedDetails({ ...span, isReadModified: false, returnBounds: Boolean(ask.bounds) });
    case "processed":
      return new opcua.ReadProcessedDetails({
        startTime: span.startTime,
        endTime: span.endTime,
        processingInterval: ask.stepMs,
        aggregateType: ask.aggregates.map((one) => opcua.resolveNodeId(one)),
        aggregateConfiguration: { useServerCapabilitiesDefaults: true },
      });
    case "at":
      return new opcua.ReadAtTimeDetails({ reqTimes: ask.timesMs.map(moment), useSimpleBounds: false });
    default:
      return new opcua.ReadEventDetails({ ...span, filter: eventFilter(ask) });
  }
}

// {select: [path, ...], ofType, like: [field, pattern], operator: any other}
function eventFilter(ask) {
  const filter = opcua.constructEventFilter(ask.select);
  if (ask.condition)
    filter.selectClauses.push(new opcua.SimpleAttributeOperand({
      typeDefinitionId: "i=2782",
      browsePath: [],
      attributeId: opcua.AttributeIds.NodeId,
    }));
  const operand = (name) => new opcua.SimpleAttributeOperand({
    typeDefinitionId: "i=2041",
    browsePath: [name],
    attributeId: opcua.AttributeIds.Value,
  });
  const literal = (dataType, value) => new opcua.LiteralOperand({ value: { dataType, value } });
  if (ask.ofType)
    filter.whereClause = new opcua.ContentFilter({
      elements: [{
        filterOperator: opcua.FilterOperator.OfType,
        filterOperands: [literal(opcua.DataType.NodeId, opcua.resolveNodeId(ask.ofType))],
      }],
    });
  if (ask.like)
    filter.whereClause = new opcua.ContentFilter({
      elements: [{
        filterOperator: opcua.FilterOperator.Like,
        filterOperands: [operand(ask.like[0]), literal(opcua.DataType.String, ask.like[1])],
      }],
    });
  if (ask.operator)
    filter.whereClause = new opcua.ContentFilter({
      elements: [{
        filterOperator: opcua.FilterOperator[ask.operator],
        filterOperands: [literal(opcua.DataType.NodeId, opcua.resolveNodeId("i=2253"))],
      }],
    });
  return filter;
}

function pem(path) {
  const text = require("fs").readFileSync(path, "utf8");
  return Buffer.from(text.replace(/-----[^-]+-----/g, "").replace(/\s/g, ""), "base64");
}

function sizes(message) {
  return (message.notificationData || []).map((one) => (one && one.monitoredItems ? one.monitoredItems.length : 0));
}

function ages(message) {
  const now = Date.now();
  return (message.notificationData || []).flatMap((one) =>
    ((one && one.monitoredItems) || []).map((item) => now - item.value.sourceTimestamp.getTime()),
  );
}

async function answer(line) {
  const ask = JSON.parse(line);
  try {
    return { ok: await can[ask.do](ask) };
  } catch (error) {
    return { error: String(error.message || error) };
  }
}

async function main() {
  process.stdout.write("{}\n");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(line)) + "\n");
  }
  process.exit(0);
}

process.on("unhandledRejection", (error) => process.stderr.write(`${error}\n`));
main();
