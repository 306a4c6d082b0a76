// Uses memcache-plus against the server on the port given, and prints ok.

const assert = require("node:assert");
const MemcachePlus = require("memcache-plus");

const client = new MemcachePlus({ hosts: [`127.0.0.1:${process.argv[2]}`], netTimeout: 10_000 });

async function main() {
  await client.set("key", "value", 600);
  assert.equal(await client.get("key"), "value");
  assert.equal(await client.get("none"), null);
  await assert.rejects(client.add("key", "other"));
  await client.add("new", "first");
  await assert.rejects(client.replace("none", "x"));
  await client.replace("key", "-");
  await client.append("key", "+");
  await client.prepend("key", "/");
  const [value, unique] = await client.gets("key");
  assert.equal(value, "/-+");
  assert.equal(await client.cas("key", "swapped", unique), true);
  assert.equal(await client.cas("key", "again", unique), false);
  await client.set("object", { a: [1, "ключ"] });
  assert.deepEqual(await client.get("object"), { a: [1, "ключ"] });
  await client.set("packed", "y".repeat(100_000), { compressed: true });
  assert.equal(await client.get("packed", { compressed: true }), "y".repeat(100_000));
  await client.set("counter", 10);
  assert.equal(await client.incr("counter", 5), 15);
  assert.equal(await client.decr("counter", 20), 0);
  const keys = Array.from({ length: 100 }, (_, at) => `many${at}`);
  await Promise.all(keys.map((key) => client.set(key, key)));
  assert.deepEqual(await client.getMulti(keys), Object.fromEntries(keys.map((key) => [key, key])));
  await client.delete("key");
  assert.equal(await client.get("key"), null);
  assert.ok((await client.items()).length > 0);
  assert.ok((await client.cachedump(1, 5)).length > 0);
  assert.ok((await client.version()).startsWith("1.6."));
  await client.flush();
  assert.equal(await client.get("counter"), null);
  await client.disconnect();
  console.log("ok");
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
