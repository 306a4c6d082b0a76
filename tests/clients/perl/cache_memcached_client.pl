# Uses Cache::Memcached and Cache::Memcached::Fast against the server on the port given, and prints ok.

use strict;
use warnings;
use Cache::Memcached;
use Cache::Memcached::Fast;

my $server = "127.0.0.1:$ARGV[0]";

sub expect { my ($holds, $what) = @_; die "not as expected: $what\n" unless $holds }

sub use_both {
    my ($client, $name) = @_;
    expect($client->flush_all, "$name: flush_all");
    expect($client->set('key', 'value', 600), "$name: set");
    expect($client->get('key') eq 'value', "$name: get");
    expect(!defined $client->get('none'), "$name: a miss");
    expect(!$client->add('key', 'other') && $client->add('new', 'first'), "$name: add");
    expect(!$client->replace('none', 'x') && $client->replace('key', '-'), "$name: replace");
    expect($client->append('key', '+') && $client->prepend('key', '/'), "$name: append and prepend");
    expect($client->get('key') eq '/-+', "$name: what was joined");
    expect($client->set('kind', { a => [1, 2] }) && $client->get('kind')->{a}[1] == 2, "$name: a structure");
    my $large = "\x00\r\n\xff" x 100_000;
    expect($client->set('large', $large) && $client->get('large') eq $large, "$name: a large value");
    expect($client->set("many$_", $_), "$name: set") for 0 .. 199;
    my $found = $client->get_multi('none', map { "many$_" } 0 .. 199);
    expect(keys %$found == 200 && $found->{many7} == 7, "$name: get_multi");
    $client->set('counter', 10);
    expect($client->incr('counter', 5) == 15 && $client->decr('counter', 20) == 0, "$name: counting");
    expect(!$client->incr('nothing'), "$name: a counter that is not there");
    # Called for nothing, both ask for no reply: a reply too many would be read as the next one's.
    $client->set("silent$_", $_) for 0 .. 99;
    expect($client->get('silent99') == 99, "$name: without replies");
    expect($client->delete('key') && !$client->delete('key'), "$name: delete");
}

my $plain = Cache::Memcached->new({ servers => [$server] });
use_both($plain, 'Cache::Memcached');
expect($plain->stats(['misc'])->{hosts}{$server}{misc}{curr_items} > 0, 'statistics');
$plain->disconnect_all;

my $fast = Cache::Memcached::Fast->new({ servers => [$server], io_timeout => 10 });
use_both($fast, 'Cache::Memcached::Fast');
my $unique = $fast->gets('new');
expect($unique->[1] eq 'first' && $fast->cas('new', $unique->[0], 'swapped'), 'cas');
expect(!$fast->cas('new', $unique->[0], 'again'), 'cas with an old unique');
expect($fast->touch('new', 100) && $fast->gat(100, 'new') eq 'swapped', 'touch and gat');
expect((values %{ $fast->server_versions })[0] =~ /^1\.6\./, 'version');
$fast->disconnect_all;
print "ok\n";
