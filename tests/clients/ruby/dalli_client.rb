# Uses Dalli (binary protocol) against the server on the port given, and prints ok.
#
# Arguments: port, `binary`, and a user with a password where the server wants to know who one is.
# RINGCACHE_TEST_CA names the certificate to trust where it speaks TLS.

require "dalli"

PORT, _, USER, PASSWORD = ARGV
AUTHORITY = ENV["RINGCACHE_TEST_CA"]
Dalli.logger.level = Logger::FATAL

def expect(holds, what)
  abort "not as expected: #{what}" unless holds
end

def connect(password)
  options = { socket_timeout: 10, down_retry_delay: 0 }
  options.merge!(username: USER, password: password) if USER
  return Dalli::Client.new("127.0.0.1:#{PORT}", options) unless AUTHORITY
  options[:ssl_context] = OpenSSL::SSL::SSLContext.new.tap { |tls| tls.set_params(ca_file: AUTHORITY) }
  Dalli::Client.new("localhost:#{PORT}", options)
end

def storage(client)
  expect client.set("key", { "a" => [1, 2] }, 600), "set"
  expect client.get("key") == { "a" => [1, 2] }, "get"
  expect client.get("none").nil?, "a miss"
  expect !client.add("key", "other") && client.add("new", "first"), "add"
  client.replace("none", "x")
  expect client.get("none").nil? && client.replace("new", "-", nil, raw: true), "replace"
  expect client.append("new", "+") && client.prepend("new", "/"), "append and prepend"
  expect client.get("new", raw: true) == "/-+", "what was joined"
  expect client.fetch("made", 100) { "value" } == "value", "fetch"
  expect client.fetch("made", 100) { "other" } == "value", "fetch of what is there"
  expect client.touch("key", 100) && !client.touch("none", 100), "touch"
  expect client.gat("key", 200) == { "a" => [1, 2] }, "gat"
  large = "x" * 900_000
  expect client.set("large", large, 0, raw: true) && client.get("large", raw: true) == large, "a large value"
  expect client.set("packed", "y" * 100_000, 0, compress: true) && client.get("packed") == "y" * 100_000, "compression"
  ["ключ", "鍵" * 30].each { |key| expect client.set(key, key) && client.get(key) == key, key }
  expect client.delete("key") && !client.delete("key"), "delete"
end

def many(client)
  keys = (0...300).map { |number| "many#{number}" }
  client.multi { keys.each { |key| client.set(key, key) } }
  expect client.get_multi(keys + ["none"]) == keys.to_h { |key| [key, key] }, "get_multi"
  client.multi { keys.first(100).each { |key| client.delete(key) } }
  expect client.get_multi(keys).size == 200, "quiet deletes"
end

def uniques(client)
  client.set("unique", 1)
  expect client.cas("unique") { |value| value + 1 }, "cas"
  expect client.get("unique") == 2, "what was swapped"
  lost = client.cas("unique") do |value|
    client.set("unique", 10)
    value + 1
  end
  expect !lost && client.get("unique") == 10, "cas that lost"
end

def counters(client)
  expect client.incr("counter", 5, 100, 10) == 10 && client.incr("counter", 5) == 15, "incr"
  expect client.decr("counter", 20) == 0, "decr"
  expect client.incr("nothing").nil?, "a counter that is not there"
end

def node(client)
  expect client.version.values.first.start_with?("1.6."), "version"
  expect client.stats.values.first["curr_items"].to_i.positive?, "statistics"
  expect client.stats(:settings).values.first.key?("maxbytes"), "settings"
  client.flush_all
  expect client.get("unique").nil?, "flush"
end

if USER
  begin
    connect("#{PASSWORD}x").set("key", "value")
    abort "a wrong password was taken"
  rescue Dalli::DalliError, Dalli::RingError
    # Refused, as it must be.
  end
end
client = connect(PASSWORD)
parts = [:storage, :many, :uniques, :counters, :node]
# Over TLS this version fails in get_multi by itself: it asks the socket for what only plain sockets have.
parts.delete(:many) if AUTHORITY
parts.each { |part| send(part, client) }
client.close
puts "ok"
