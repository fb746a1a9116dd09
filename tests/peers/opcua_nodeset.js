// Loads a NodeSet2 file into an address space of node-opcua, beside OPC UA's own, and prints as JSON what is in it.
// Usage: node opcua_nodeset.js FILE NAMESPACE_URI
"use strict";
const { AddressSpace } = require("node-opcua-address-space");
const { generateAddressSpace } = require("node-opcua-address-space/nodeJS");
const { nodesets } = require("node-opcua-nodesets");
const { BrowseDirection, NodeClass } = require("node-opcua-data-model");

async function main() {
  const [file, uri] = process.argv.slice(2);
  const space = AddressSpace.create();
  await generateAddressSpace(space, [nodesets.standard, file]);
  const index = space.getNamespaceIndex(uri);
  const found = { namespaces: space.getNamespaceArray().map((one) => one.namespaceUri), variables: {}, methods: {}, objects: {}, types: {} };
  for (const node of space.getNamespace(index).nodeIterator()) {
    const name = node.nodeId.value;
    if (node.nodeClass === NodeClass.Variable) found.variables[name] = variable(space, node);
    else if (node.nodeClass === NodeClass.Method) found.methods[name] = method(node);
    else if (node.nodeClass === NodeClass.Object) found.objects[name] = below(node);
    else if (node.nodeClass === NodeClass.ObjectType) found.types[name] = node.subtypeOfObj.browseName.name;
  }
  process.stdout.write(JSON.stringify(found));
  space.dispose();
}

function variable(space, node) {
  const range = node.getPropertyByName("EURange");
  const unit = node.getPropertyByName("EngineeringUnits");
  const held = (property) => property && property.readValue().value.value;
  const [of, as] = [held(range), held(unit)];
  return {
    type: space.findDataType(node.dataType).browseName.name,
    kind: node.typeDefinitionObj.browseName.name,
    rank: node.valueRank,
    access: node.accessLevel,
    description: node.description.text,
    range: of ? [of.low, of.high] : null,
    unit: as ? [as.unitId, as.displayName.text] : null,
  };
}

function method(node) {
  const told = (list) => list.map((one) => [one.name, one.dataType.value, one.valueRank, one.description.text]);
  return {
    inputs: told(node.getInputArguments()), outputs: told(node.getOutputArguments()), parent: node.parent.nodeId.value,
  };
}

function below(node) {
  return node.findReferencesExAsObject("HierarchicalReferences", BrowseDirection.Forward).map((one) => one.browseName.name);
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
