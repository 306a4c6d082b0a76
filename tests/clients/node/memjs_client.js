// Uses memjs (binary protocol) against the server on the port given, and prints ok. A user and a password may follow.

const assert = require("node:assert");
const memjs = require("memjs");

const [port, , username, password] = process.argv.slice(2);
const connect = (options) => memjs.Client.create(`127.0.0.1:${port}`, { timeout: 10, retries: 0, ...options });

async function use(client) {
  assert.equal(await client.set("key", "value", { expires: 600 }), true);
  assert.equal((await client.get("key")).value.toString(), "value");
  assert.equal((await client.get("none")).value, null);
  assert.equal(await client.add("key", "other", {}), false);
  assert.equal(await client.add("new", "first", {}), true);
  assert.equal(await client.replace("none", "x", {}), false);
  assert.equal(await client.replace("key", "-", {}), true);
  assert.equal(await client.append("key", "+"), true);
  assert.equal(await client.prepend("key", "/"), true);
  await assert.rejects(client.append("none", "+"));
  // This client sends the opcode of append for prepend.
  assert.equal((await client.get("key")).value.toString(), "-+/");
  assert.equal((await client.increment("counter", 5, { initial: 10 })).value, 10);
  assert.equal((await client.increment("counter", 5, { initial: 10 })).value, 15);
  assert.equal((await client.decrement("counter", 20, { initial: 10 })).value, 0);
  assert.equal(await client.touch("key", 100), true);
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 256));
  assert.equal(await client.set("large", bytes, {}), true);
  assert.ok((await client.get("large")).value.equals(bytes));
  await assert.rejects(client.set("larger", Buffer.alloc(1_100_000), {}));
  const keys = Array.from({ length: 200 }, (_, at) => `many${at}`);
  await Promise.all(keys.map((key) => client.set(key, key, {})));
  const found = await Promise.all(keys.map((key) => client.get(key)));
  assert.deepEqual(found.map(({ value }) => value.toString()), keys);
  assert.equal(await client.delete("key"), true);
  assert.equal(await client.delete("key"), false);
  const statistics = await new Promise((resolve, reject) =>
    client.stats((error, _server, found) => (error ? reject(error) : resolve(found))));
  assert.ok(Number(statistics.curr_items) > 0);
  await client.flush();
  assert.equal((await client.get("large")).value, null);
}

async function main() {
  if (username) {
    const stranger = connect({ username, password: `${password}x` });
    await assert.rejects(stranger.set("key", "value", {}));
    stranger.close();
  }
  const client = connect({ username, password });
  await use(client);
  client.close();
  console.log("ok");
}

main().catch((error) => { console.error(error); process.exit(1); });
