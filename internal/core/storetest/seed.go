package storetest

import (
	"flag"
	"strconv"
	"sync"
	"time"
)

// Seed returns the seed of random sequences, the same for all backends. It chooses one unless the command line does.
var Seed = sync.OnceValue(func() string {
	seed := flag.Lookup("rapid.seed")
	if seed.Value.String() == "0" {
		if err := seed.Value.Set(strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
			panic(err)
		}
	}
	return seed.Value.String()
})
