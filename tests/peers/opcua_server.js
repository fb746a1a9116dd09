// An independent OPC UA server. Usage: node opcua_server.js '{"folder": ..., "user": ..., "password": ...}'
// Prints one JSON line when it listens: its port and the file of its certificate. Commands come as lines on stdin.
"use strict";
const fs = require("fs");
const path = require("path");
const opcua = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { Variant, DataType, VariantArrayType } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const { DataValue } = require("node-opcua-data-value");
const { MessageSecurityMode, UserTokenType } = require("node-opcua-types");
const { SecurityPolicy } = require("node-opcua-secure-channel");
const { makeAccessLevelFlag } = require("node-opcua-data-model");
const ask = JSON.parse(process.argv[2]);

const values = {
  Bool: [DataType.Boolean, true], SByte: [DataType.SByte, -8], Byte: [DataType.Byte, 200], Int16: [DataType.Int16, -1600],
  UInt16: [DataType.UInt16, 0x1234], Int32: [DataType.Int32, -320000], UInt32: [DataType.UInt32, 3200000000],
  Int64: [DataType.Int64, [0xffffffff, 0xfffffffe]], UInt64: [DataType.UInt64, [1, 2]],
  Float: [DataType.Float, 1.5], Double: [DataType.Double, -2.25], String: [DataType.String, "héllo"],
  Time: [DataType.DateTime, new Date("2026-05-01T12:30:00.250Z")],
  Localized: [DataType.LocalizedText, { text: "Halt", locale: "de" }],
  Bytes: [DataType.ByteString, Buffer.from([1, 2, 3])],
  Floats: [DataType.Float, new Float32Array([1.5, 2.5, -3.5]), VariantArrayType.Array],
  Bools: [DataType.Boolean, [true, false], VariantArrayType.Array],
  ReadOnly: [DataType.Float, 7.5], NaN: [DataType.Double, NaN],
};

async function main() {
  const manager = new OPCUACertificateManager({
    rootFolder: path.join(ask.folder, "pki"), automaticallyAcceptUnknownCertificate: false,
  });
  await manager.initialize();
  for (const name of ask.trusted || []) await manager.trustCertificate(der(name));
  const server = new opcua.OPCUAServer({
    port: 0, host: "127.0.0.1", hostname: "127.0.0.1", serverCertificateManager: manager,
    certificateFile: ask.certificate, privateKeyFile: ask.key, disableDiscovery: false,
    securityPolicies: [SecurityPolicy.None, SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss],
    securityModes: [MessageSecurityMode.None, MessageSecurityMode.Sign, MessageSecurityMode.SignAndEncrypt],
    allowAnonymous: ask.anonymous !== false,
    userManager: { isValidUser: (user, password) => user === ask.user && password === ask.password },
    serverInfo: { applicationUri: "urn:plantedge:test:server" },
    serverCapabilities: { operationLimits: { maxNodesPerRead: ask.most || 1000 } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const own = space.registerNamespace("urn:plantedge:test:plant");
  const folder = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant" });
  const bad = { Uncertain: StatusCodes.UncertainLastUsableValue, Bad: StatusCodes.BadSensorFailure };
  for (const [name, [dataType, value, arrayType]] of Object.entries(values)) {
    for (const id of [name, `Set.${name}`]) add(own, folder, id, dataType, value, arrayType);
  }
  for (const [name, statusCode] of Object.entries(bad)) {
    add(own, folder, name, DataType.Float, 4.5).setValueFromSource({ dataType: DataType.Float, value: 4.5 }, statusCode);
  }
  for (const name of ask.extra || []) add(own, folder, name, DataType.Float, 1.5);
  own.addVariable({ componentOf: folder, browseName: "Numbered", nodeId: "i=1001", dataType: "Int32", value: new Variant({ dataType: DataType.Int32, value: 11 }) });
  await server.start();
  process.stdout.write(JSON.stringify({ port: server.endpoints[0].port, index: own.index }) + "\n");
  process.stdin.on("end", () => process.exit(0)).resume();
}

function der(name) {
  return Buffer.from(fs.readFileSync(name, "ascii").replace(/-----[^-]+-----/g, ""), "base64");
}

function add(own, folder, name, dataType, value, arrayType = VariantArrayType.Scalar) {
  const access = makeAccessLevelFlag(name === "ReadOnly" ? "CurrentRead" : "CurrentRead | CurrentWrite");
  return own.addVariable({
    componentOf: folder, browseName: name, nodeId: `s=${name}`, dataType: DataType[dataType],
    valueRank: arrayType === VariantArrayType.Array ? 1 : -1, accessLevel: access, userAccessLevel: access,
    value: new Variant({ dataType, arrayType, value }),
  });
}

main().catch((error) => { console.error(error); process.exit(1); });
