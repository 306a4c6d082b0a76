<?php
// Uses PHP's memcached extension, which is libmemcached, and prints ok.
//
// Arguments: port, `text` or `binary`, and a user with a password where the server wants to know who one is.

[, $port, $protocol] = $argv;
[$user, $password] = [$argv[3] ?? null, $argv[4] ?? null];

function expect(bool $holds, string $what): void
{
    if (!$holds) {
        fwrite(STDERR, "not as expected: $what\n");
        exit(1);
    }
}

function connect(?string $password): Memcached
{
    global $port, $protocol, $user;
    $client = new Memcached();
    $client->setOption(Memcached::OPT_BINARY_PROTOCOL, $protocol === 'binary');
    $client->setOption(Memcached::OPT_TCP_NODELAY, true);
    if ($user !== null) {
        $client->setSaslAuthData($user, $password);
    }
    $client->addServer('127.0.0.1', (int) $port);
    return $client;
}

function useStorage(Memcached $client): void
{
    expect($client->set('key', 'value', 600), 'set');
    expect($client->get('key') === 'value', 'get');
    expect($client->get('none') === false && $client->getResultCode() === Memcached::RES_NOTFOUND, 'a miss');
    expect(!$client->add('key', 'other') && $client->add('new', 'first'), 'add');
    expect(!$client->replace('none', 'x') && $client->replace('key', '-'), 'replace');
    $client->setOption(Memcached::OPT_COMPRESSION, false);
    expect($client->append('key', '+') && $client->prepend('key', '/'), 'append and prepend');
    $client->setOption(Memcached::OPT_COMPRESSION, true);
    expect($client->get('key') === '/-+', 'what was joined');
    foreach ([7, 1.5, true, "bytes \x00\xff\r\n", ['a' => [1, null]], str_repeat('x', 900_000)] as $value) {
        expect($client->set('kind', $value) && $client->get('kind') === $value, 'a kind of value');
    }
    expect($client->touch('key', 100), 'touch');
    expect($client->delete('key') && !$client->delete('key'), 'delete');
}

function useMany(Memcached $client): void
{
    $values = [];
    for ($number = 0; $number < 300; $number++) {
        $values["many$number"] = "value $number";
    }
    expect($client->setMulti($values), 'setMulti');
    expect($client->getMulti([...array_keys($values), 'none']) == $values, 'getMulti');
    expect($client->getDelayed(array_keys($values)) && count($client->fetchAll()) === 300, 'getDelayed');
    $client->deleteMulti(array_keys($values));
    expect($client->getMulti(array_keys($values)) === [], 'deleteMulti');
}

function useUniques(Memcached $client): void
{
    $client->set('unique', 'a');
    $found = $client->get('unique', null, Memcached::GET_EXTENDED);
    expect($found['value'] === 'a', 'a value with its unique');
    expect($client->cas($found['cas'], 'unique', 'b'), 'cas');
    expect(!$client->cas($found['cas'], 'unique', 'c'), 'cas with an old unique');
    expect($client->getResultCode() === Memcached::RES_DATA_EXISTS, 'why');
    expect($client->get('unique') === 'b', 'what was swapped');
}

function useCounters(Memcached $client): void
{
    $client->set('counter', 10);
    expect($client->increment('counter', 5) === 15 && $client->decrement('counter', 20) === 0, 'counting');
    expect($client->increment('none') === false, 'a counter that is not there');
    global $protocol;
    if ($protocol === 'binary') {
        expect($client->increment('first', 1, 7, 100) === 7, 'a first value');
    }
}

function useNode(Memcached $client): void
{
    [$statistics] = array_values($client->getStats());
    expect($statistics['curr_items'] > 0, 'statistics');
    expect(str_starts_with(array_values($client->getVersion())[0], '1.6.'), 'version');
    expect($client->flush() && $client->get('unique') === false, 'flush');
    $client->quit();
}

if ($user !== null) {
    expect(!connect($password . 'x')->set('key', 'value'), 'a wrong password is refused');
}
$client = connect($password);
foreach (['useStorage', 'useMany', 'useUniques', 'useCounters', 'useNode'] as $part) {
    $part($client);
}
echo "ok\n";
