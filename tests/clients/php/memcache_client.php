<?php
// Uses PHP's memcache extension against the server on the port given, and prints ok.

function expect(bool $holds, string $what): void
{
    if (!$holds) {
        fwrite(STDERR, "not as expected: $what\n");
        exit(1);
    }
}

[, $port] = $argv;
$client = new Memcache();
expect($client->connect('127.0.0.1', (int) $port, 10), 'connect');
expect($client->set('key', 'value', 0, 600) && $client->get('key') === 'value', 'set and get');
expect($client->get('none') === false, 'a miss');
expect(!$client->add('key', 'other') && $client->add('new', 'first'), 'add');
expect(!$client->replace('none', 'x') && $client->replace('key', '-'), 'replace');
expect($client->append('key', '+') && $client->prepend('key', '/'), 'append and prepend');
expect($client->get('key') === '/-+', 'what was joined');
foreach ([['a' => [1, null]], "bytes \x00\xff\r\n", str_repeat('x', 900_000)] as $value) {
    expect($client->set('kind', $value) && $client->get('kind') === $value, 'a kind of value');
}
expect($client->set('packed', str_repeat('y', 100_000), MEMCACHE_COMPRESSED), 'a compressed value');
expect($client->get('packed') === str_repeat('y', 100_000), 'a compressed value');
$keys = [];
for ($number = 0; $number < 300; $number++) {
    $keys[] = "many$number";
    expect($client->set("many$number", "value $number"), 'set');
}
expect(count($client->get([...$keys, 'none'])) === 300, 'get of many');
$flags = $unique = null;
expect($client->get('key', $flags, $unique) === '/-+' && $client->cas('key', 'swapped', 0, 0, $unique), 'cas');
expect(!$client->cas('key', 'again', 0, 0, $unique), 'cas with an old unique');
$client->set('counter', '10');
expect($client->increment('counter', 5) === 15 && $client->decrement('counter', 20) === 0, 'counting');
expect($client->delete('key') && !$client->delete('key'), 'delete');
expect(str_starts_with($client->getVersion(), '1.6.'), 'version');
expect($client->getStats()['curr_items'] > 0, 'statistics');
expect(count($client->getExtendedStats('slabs')) === 1, 'statistics of slabs');
expect($client->flush() && $client->get('new') === false, 'flush');
$client->close();
echo "ok\n";
