// Uses memcache, the package of that name, against the server on the port given, and prints ok.
//
// Arguments: port, `text` or `binary`, and for `binary`, which this client speaks behind a login only, user and password.

const assert = require("node:assert");
const { Memcache } = require("memcache");

const [port, protocol, username, password] = process.argv.slice(2);
const connect = (options) => new Memcache({ nodes: [`127.0.0.1:${port}`], timeout: 10_000, ...options });

async function useText(client) {
  assert.equal(await client.set("key", "value", 600), true);
  assert.equal(await client.get("key"), "value");
  assert.equal(await client.get("none"), undefined);
  assert.equal(await client.add("key", "other"), false);
  assert.equal(await client.add("new", "first"), true);
  assert.equal(await client.replace("none", "x"), false);
  assert.equal(await client.replace("key", "-"), true);
  assert.equal(await client.append("key", "+"), true);
  assert.equal(await client.prepend("key", "/"), true);
  assert.equal(await client.get("key"), "/-+");
  await client.set("counter", "10");
  assert.equal(await client.incr("counter", 5), 15);
  assert.equal(await client.decr("counter", 20), 0);
  assert.equal(await client.touch("key", 100), true);
  const keys = Array.from({ length: 100 }, (_, at) => `many${at}`);
  await Promise.all(keys.map((key) => client.set(key, key)));
  assert.deepEqual([...(await client.gets(keys)).keys()].sort(), [...keys].sort());
  assert.equal(await client.delete("key"), true);
  assert.equal(await client.delete("key"), false);
  const [version] = (await client.version()).values();
  assert.ok(version.includes("1.6."));
  const [statistics] = (await client.stats()).values();
  assert.ok(Number(statistics.curr_items) > 0);
  assert.equal(await client.flush(), true);
  assert.equal(await client.get("new"), undefined);
}

async function useBinary(node) {
  assert.equal(await node.binarySet("key", "value", 600), true);
  assert.equal(await node.binaryGet("key"), "value");
  assert.equal(await node.binaryGet("none"), undefined);
  assert.equal(await node.binaryAdd("key", "other"), false);
  assert.equal(await node.binaryReplace("none", "x"), false);
  assert.equal(await node.binaryAppend("key", "+"), true);
  assert.equal(await node.binaryPrepend("key", "/"), true);
  assert.equal(await node.binaryGet("key"), "/value+");
  assert.equal(await node.binaryIncr("counter", 5, 10), 10);
  assert.equal(await node.binaryIncr("counter", 5, 10), 15);
  assert.equal(await node.binaryDecr("counter", 20), 0);
  assert.equal(await node.binaryTouch("key", 100), true);
  assert.equal(await node.binaryDelete("key"), true);
  assert.equal(await node.binaryGet("key"), undefined);
  assert.ok((await node.binaryVersion()).startsWith("1.6."));
  assert.ok(Number((await node.binaryStats()).curr_items) > 0);
  assert.equal(await node.binaryFlush(), true);
}

async function main() {
  const client = connect(username ? { sasl: { username, password } } : {});
  await client.connect();
  await (protocol === "text" ? useText(client) : useBinary(client.nodes[0]));
  await client.disconnect();
  console.log("ok");
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
