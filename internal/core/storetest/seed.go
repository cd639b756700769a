package storetest

import (
	"flag"
	"strconv"
	"sync"
	"time"
)

// Seed chooses the seed of random sequences, if the command line does not: the same on all backends.
var Seed = sync.OnceValue(func() string {
	seed := flag.Lookup("rapid.seed")
	if seed.Value.String() == "0" {
		if err := seed.Value.Set(strconv.FormatInt(time.Now().UnixNano(), 10)); err != nil {
			panic(err)
		}
	}
	return seed.Value.String()
})
