// Reads and writes tags of a Logix controller with st-ethernet-ip; prints one line of JSON.
// Usage: node logix_client.js MODULES HOST     MODULES: the folder of node_modules. The port is 44818, which the library fixes.
const [modules, host] = process.argv.slice(2);
const { Controller, Tag, TagGroup } = require(modules + "/st-ethernet-ip");
const deadline = setTimeout(() => { console.error("no end within 20 s"); process.exit(3); }, 20000);

async function read(plc, name, program = null) {
    const tag = new Tag(name, program);
    await plc.readTag(tag);
    return tag.value;
}

(async () => {
    const plc = new Controller();
    await plc.connect(host, 0);
    const told = { name: plc.properties.name, read: {}, refused: "" };
    for (const name of ["Speed", "Count", "Small", "Word", "Switch", "Temps[7]", "Recipes[1].Number"])
        told.read[name] = await read(plc, name);
    told.read.Local = await read(plc, "Local", "Main");
    const group = new TagGroup();
    const two = [new Tag("Count"), new Tag("Speed")];
    two.forEach((tag) => group.add(tag));
    await plc.readTagGroup(group);
    told.group = two.map((tag) => tag.value);
    const set = new Tag("Set");
    await plc.readTag(set);
    set.value = 99.5;
    await plc.writeTag(set);
    told.set = await read(plc, "Set");
    const bit = new Tag("Bits.1");
    await plc.readTag(bit);
    bit.value = true;
    await plc.writeTag(bit);
    told.bits = (await read(plc, "Bits")) >>> 0;
    try { await read(plc, "Nothing"); } catch (error) { told.refused = String(error.message || JSON.stringify(error)); }
    told.tags = (plc.tagList || []).map((tag) => tag.name);
    await plc.disconnect();
    clearTimeout(deadline);
    console.log(JSON.stringify(told));
    process.exit(0);
})().catch((error) => { console.error(error); process.exit(2); });
