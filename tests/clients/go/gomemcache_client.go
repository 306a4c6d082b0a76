// Uses gomemcache against the server on the port given, and prints ok.
package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"

	"github.com/bradfitz/gomemcache/memcache"
)

func expect(holds bool, what string) {
	if !holds {
		fmt.Println("not as expected:", what)
		os.Exit(1)
	}
}

func storage(client *memcache.Client) {
	expect(client.Set(&memcache.Item{Key: "key", Value: []byte("value"), Flags: 7, Expiration: 600}) == nil, "set")
	found, err := client.Get("key")
	expect(err == nil && string(found.Value) == "value" && found.Flags == 7, "get")
	_, err = client.Get("none")
	expect(err == memcache.ErrCacheMiss, "a miss")
	expect(client.Add(&memcache.Item{Key: "key", Value: []byte("x")}) == memcache.ErrNotStored, "add")
	large := bytes.Repeat([]byte("\x00\r\n\xff"), 100000)
	expect(client.Set(&memcache.Item{Key: "large", Value: large}) == nil, "set of a large value")
	found, err = client.Get("large")
	expect(err == nil && bytes.Equal(found.Value, large), "a large value")
	expect(client.Delete("key") == nil && client.Delete("key") == memcache.ErrCacheMiss, "delete")
}

func uniques(client *memcache.Client) {
	client.Set(&memcache.Item{Key: "unique", Value: []byte("a")})
	first, _ := client.Get("unique")
	second, _ := client.Get("unique")
	first.Value = []byte("b")
	expect(client.CompareAndSwap(first) == nil, "cas")
	expect(client.CompareAndSwap(second) == memcache.ErrCASConflict, "cas with an old unique")
}

func counters(client *memcache.Client) {
	client.Set(&memcache.Item{Key: "counter", Value: []byte("10")})
	value, err := client.Increment("counter", 5)
	expect(err == nil && value == 15, "increment")
	value, err = client.Decrement("counter", 20)
	expect(err == nil && value == 0, "decrement")
	_, err = client.Increment("none", 1)
	expect(err == memcache.ErrCacheMiss, "a counter that is not there")
}

// Many goroutines share one client and its connections.
func many(client *memcache.Client) {
	var group sync.WaitGroup
	keys := []string{"none"}
	for number := 0; number < 200; number++ {
		key := fmt.Sprintf("many%d", number)
		keys = append(keys, key)
		group.Add(1)
		go func() {
			defer group.Done()
			expect(client.Set(&memcache.Item{Key: key, Value: []byte(key)}) == nil, "set of many")
		}()
	}
	group.Wait()
	found, err := client.GetMulti(keys)
	expect(err == nil && len(found) == 200 && string(found["many7"].Value) == "many7", "get of many")
}

func main() {
	client := memcache.New("127.0.0.1:" + os.Args[1])
	storage(client)
	uniques(client)
	counters(client)
	many(client)
	fmt.Println("ok")
}
