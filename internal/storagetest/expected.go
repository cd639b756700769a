//go:build linux

package main

import (
	"maps"
	"strings"

	"github.com/seed-642172e2/aufs/internal/bats"
)

// expected has the tests that must end otherwise than with the library's overlay driver, each with the reason. A version of the library
// need not have all of them.
var expected = map[string]string{
	"split-store - use graphRoot as an additional store by default": "with --image-store, the layers stay in the graph root, as with the " +
		"library's own aufs driver",
	"overlay-recreate":                 "the test removes links in the directory of the overlay driver",
	"recover stale tempdir with mount": "the test unmounts the directory of the overlay driver",
}

// noShifting is the reason of tests that are skipped if mounts cannot shift ids.
const noShifting = "aufs cannot shift ids"

// expectedOnAufs has such tests for the backend aufs alone. Those of github.com/containers/storage do not ask whether mounts can shift ids, and pass.
var expectedOnAufs = map[string]string{
	"idmaps-create-mapped-container-shifting":        noShifting,
	"idmaps-shifting-image-mount-uses-host-mappings": noShifting,
}

// expectedWith returns the tests of a library that must end otherwise with a backend of the driver. Where overlay skips a test of shifting, the
// host cannot shift ids at all.
func expectedWith(library, backend string, overlay bats.Outcomes) map[string]string {
	all := maps.Clone(expected)
	if backend == "aufs" && strings.HasPrefix(library, podmansLibrary) {
		for test, why := range expectedOnAufs {
			if overlay[test] != bats.Skipped {
				all[test] = why
			}
		}
	}
	return all
}
