// Uses memcached, the package of that name, against the server on the port given, and prints ok.

const assert = require("node:assert");
const { promisify } = require("node:util");
const Memcached = require("memcached");

const client = new Memcached(`127.0.0.1:${process.argv[2]}`, { timeout: 10_000, retries: 0 });
const call = (name, ...given) => promisify(client[name]).apply(client, given);

async function storage() {
  assert.equal(await call("set", "key", "value", 600), true);
  assert.equal(await call("get", "key"), "value");
  assert.equal(await call("get", "none"), undefined);
  await assert.rejects(call("add", "key", "other", 0));
  assert.equal(await call("add", "new", "first", 0), true);
  await assert.rejects(call("replace", "none", "x", 0));
  assert.equal(await call("replace", "key", "-", 0), true);
  assert.equal(await call("append", "key", "+"), true);
  assert.equal(await call("prepend", "key", "/"), true);
  assert.equal(await call("get", "key"), "/-+");
  const { cas } = await call("gets", "key");
  assert.equal(await call("cas", "key", "swapped", cas, 0), true);
  assert.equal(await call("cas", "key", "again", cas, 0), false);
  assert.equal(await call("touch", "key", 100), true);
  assert.equal(await call("touch", "none", 100), false);
  assert.equal(await call("del", "key"), true);
  assert.equal(await call("del", "key"), false);
  for (const value of [7, 1.5, { a: [1, "ключ"] }, Buffer.from([0, 255, 13, 10]), "x".repeat(900_000)]) {
    assert.equal(await call("set", "kind", value, 0), true);
    assert.deepEqual(await call("get", "kind"), value);
  }
}

async function counting() {
  await call("set", "counter", 10, 0);
  assert.equal(await call("incr", "counter", 5), 15);
  assert.equal(await call("decr", "counter", 20), 0);
  assert.equal(await call("incr", "none", 1), false);
}

async function many() {
  const keys = Array.from({ length: 200 }, (_, at) => `many${at}`);
  await Promise.all(keys.map((key) => call("set", key, key, 0)));
  assert.deepEqual(await call("getMulti", [...keys, "none"]), Object.fromEntries(keys.map((key) => [key, key])));
}

async function administration() {
  const [version] = await call("version");
  assert.ok(version.version.startsWith("1.6."));
  const [statistics] = await call("stats");
  assert.ok(Number(statistics.curr_items) > 0);
  const [settings] = await call("settings");
  assert.ok(settings.maxbytes > 0);
  assert.ok((await call("slabs")).length && (await call("items")).length);
  assert.ok((await call("cachedump", `127.0.0.1:${process.argv[2]}`, 1, 10)));
  await call("flush");
  assert.equal(await call("get", "counter"), undefined);
}

async function main() {
  for (const part of [storage, counting, many, administration]) {
    await part();
  }
  client.end();
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
