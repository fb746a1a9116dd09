// Node-RED as a service: no editor, no projects, the model's packages given to function nodes. Environment: MODEL.
"use strict";
module.exports = {
  uiHost: "127.0.0.1",
  uiPort: Number(process.env.PORT),
  httpAdminRoot: false,
  httpNodeRoot: false,
  flowFile: "flows.json",
  credentialSecret: false,
  diagnostics: { enabled: false },
  telemetry: { enabled: false },
  runtimeState: { enabled: false },
  editorTheme: { projects: { enabled: false } },
  logging: { console: { level: "info", metrics: false, audit: false } },
  functionGlobalContext: {
    ort: require("onnxruntime-node"), codec: require("@msgpack/msgpack"), model: process.env.MODEL,
  },
};
