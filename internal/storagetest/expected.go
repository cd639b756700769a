//go:build linux

package main

// expected has the tests that must end otherwise than with the library's overlay driver, each with the reason. A version of the library
// need not have all of them.
var expected = map[string]string{
	"split-store - use graphRoot as an additional store by default": "with --image-store, the layers stay in the graph root, as with the " +
		"library's own aufs driver",
	"overlay-recreate":                 "the test removes links in the directory of the overlay driver",
	"recover stale tempdir with mount": "the test unmounts the directory of the overlay driver",
}
