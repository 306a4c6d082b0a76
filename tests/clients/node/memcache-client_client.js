// Uses memcache-client against the server on the port given, and prints ok.

const assert = require("node:assert");
const { MemcacheClient } = require("memcache-client");

const client = new MemcacheClient({ server: `127.0.0.1:${process.argv[2]}`, cmdTimeout: 10_000 });

async function main() {
  assert.deepEqual(await client.set("key", "value", { lifetime: 600 }), ["STORED"]);
  assert.equal((await client.get("key")).value, "value");
  assert.equal(await client.get("none"), undefined);
  await assert.rejects(client.add("key", "other"));
  assert.deepEqual(await client.add("new", "first"), ["STORED"]);
  await assert.rejects(client.replace("none", "x"));
  assert.deepEqual(await client.replace("key", "-"), ["STORED"]);
  assert.deepEqual(await client.append("key", "+"), ["STORED"]);
  assert.deepEqual(await client.prepend("key", "/"), ["STORED"]);
  const found = await client.gets("key");
  assert.equal(found.value, "/-+");
  assert.deepEqual(await client.cas("key", "swapped", { casUniq: found.casUniq }), ["STORED"]);
  await assert.rejects(client.cas("key", "again", { casUniq: found.casUniq }));
  for (const value of [7, { a: [1, "ключ"] }, Buffer.from([0, 255, 13, 10]), "x".repeat(300_000)]) {
    await client.set("kind", value);
    assert.deepEqual((await client.get("kind")).value, value);
  }
  await client.set("counter", "10");
  assert.equal(await client.incr("counter", 5), "15");
  assert.equal(await client.decr("counter", 20), "0");
  assert.deepEqual(await client.touch("key", 100), ["TOUCHED"]);
  const keys = Array.from({ length: 200 }, (_, at) => `many${at}`);
  await Promise.all(keys.map((key) => client.set(key, key)));
  const all = await client.get([...keys, "none"]);
  assert.deepEqual(keys.map((key) => all[key].value), keys);
  await client.set("silent", "x", { noreply: true });
  assert.equal((await client.get("silent")).value, "x");
  assert.deepEqual(await client.delete("key"), ["DELETED"]);
  await assert.rejects(client.delete("key"));
  assert.ok((await client.version())[0].startsWith("1.6.") || (await client.version())[1].startsWith("1.6."));
  client.shutdown();
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
