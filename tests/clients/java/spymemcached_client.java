// Uses spymemcached against the server on the port given, by `text` or `binary` as the second argument says, and prints ok.

import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import net.spy.memcached.BinaryConnectionFactory;
import net.spy.memcached.CASResponse;
import net.spy.memcached.DefaultConnectionFactory;
import net.spy.memcached.MemcachedClient;

class SpymemcachedClient {
    static void expect(boolean holds, String what) {
        if (!holds) {
            System.err.println("not as expected: " + what);
            System.exit(1);
        }
    }

    static void storage(MemcachedClient client) throws Exception {
        expect(client.set("key", 600, "value").get() && client.get("key").equals("value"), "set and get");
        expect(client.get("none") == null, "a miss");
        expect(!client.add("key", 0, "other").get() && client.add("new", 0, "first").get(), "add");
        expect(!client.replace("none", 0, "x").get() && client.replace("key", 0, "-").get(), "replace");
        expect(client.append(client.gets("key").getCas(), "key", "+").get(), "append");
        expect(client.prepend(client.gets("key").getCas(), "key", "/").get(), "prepend");
        expect(client.get("key").equals("/-+"), "what was joined");
        expect(client.touch("key", 100).get(), "touch");
        byte[] large = new byte[900_000];
        new Random(1).nextBytes(large);
        expect(client.set("large", 0, large).get(), "set of a large value");
        expect(Arrays.equals((byte[]) client.get("large"), large), "a large value");
        expect(client.delete("key").get() && !client.delete("key").get(), "delete");
    }

    static void uniques(MemcachedClient client) throws Exception {
        client.set("unique", 0, "a").get();
        long unique = client.gets("unique").getCas();
        expect(client.cas("unique", unique, "b") == CASResponse.OK, "cas");
        expect(client.cas("unique", unique, "c") == CASResponse.EXISTS, "cas with an old unique");
    }

    static void counters(MemcachedClient client) throws Exception {
        client.set("counter", 0, "10").get();
        expect(client.incr("counter", 5) == 15 && client.decr("counter", 20) == 0, "counting");
        expect(client.incr("first", 1, 7) == 7 && client.incr("first", 1, 7) == 8, "a first value");
        expect(client.incr("nothing", 1) == -1, "a counter that is not there");
    }

    static void many(MemcachedClient client) throws Exception {
        List<String> keys = new ArrayList<>(List.of("none"));
        for (int number = 0; number < 300; number++) {
            keys.add("many" + number);
            client.set("many" + number, 0, number);
        }
        expect(client.getBulk(keys).size() == 300, "getBulk");
    }

    static void node(MemcachedClient client) throws Exception {
        expect(client.getVersions().values().iterator().next().startsWith("1.6."), "version");
        String records = client.getStats().values().iterator().next().get("curr_items");
        expect(Integer.parseInt(records) > 0, "statistics");
        expect(client.flush().get() && client.get("new") == null, "flush");
    }

    public static void main(String[] given) throws Exception {
        var factory = given[1].equals("binary") ? new BinaryConnectionFactory() : new DefaultConnectionFactory();
        var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(given[0]));
        MemcachedClient client = new MemcachedClient(factory, List.of(address));
        storage(client);
        uniques(client);
        counters(client);
        many(client);
        if (given[1].equals("binary")) {
            // In text this client has no gat.
            expect(client.getAndTouch("many7", 100).getValue().equals(7), "gat");
        }
        node(client);
        client.shutdown();
        System.out.println("ok");
    }
}
