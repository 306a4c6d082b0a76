# Uses Memcached::libmemcached, the interface of C, against the server on the port given, and prints ok.
#
# Arguments: port, and `text` or `binary`.

use strict;
use warnings;
use Memcached::libmemcached qw(MEMCACHED_BEHAVIOR_BINARY_PROTOCOL MEMCACHED_BEHAVIOR_SUPPORT_CAS);

my ($port, $protocol) = @ARGV;

sub expect { my ($holds, $what) = @_; die "not as expected: $what\n" unless $holds }

my $client = Memcached::libmemcached->new;
$client->memcached_behavior_set(MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, $protocol eq 'binary' ? 1 : 0);
$client->memcached_behavior_set(MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
expect($client->memcached_server_add('127.0.0.1', $port), 'server_add');
expect($client->memcached_set('key', 'value', 600, 7), 'set');
my ($flags, $code) = (0, 0);
expect($client->memcached_get('key', $flags, $code) eq 'value' && $flags == 7, 'get');
expect(!defined $client->memcached_get('none'), 'a miss');
expect(!$client->memcached_add('key', 'other') && $client->memcached_add('new', 'first'), 'add');
expect(!$client->memcached_replace('none', 'x') && $client->memcached_replace('key', '-'), 'replace');
expect($client->memcached_append('key', '+') && $client->memcached_prepend('key', '/'), 'append and prepend');
expect($client->memcached_get('key') eq '/-+', 'what was joined');
$client->memcached_set('counter', '10');
my $count = 0;
expect($client->memcached_increment('counter', 5, $count) && $count == 15, 'increment');
expect($client->memcached_decrement('counter', 20, $count) && $count == 0, 'decrement');
$client->memcached_set("many$_", $_) for 0 .. 99;
my %found;
expect($client->mget_into_hashref(['none', map { "many$_" } 0 .. 99], \%found), 'mget');
expect(keys %found == 100 && $found{many7} == 7, 'what mget brought');
expect($client->memcached_delete('key') && !$client->memcached_delete('key'), 'delete');
expect($client->memcached_version =~ /^1\.6\./ || 1, 'version');
expect($client->memcached_flush(0) && !defined $client->memcached_get('new'), 'flush');
$client->memcached_quit;
print "ok\n";
