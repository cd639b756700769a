//go:build linux

package main

import (
	"testing"

	"github.com/seed-642172e2/aufs/internal/bats"
)

func TestExpectedWith(t *testing.T) {
	const test, newer, older = "idmaps-create-mapped-container-shifting", "go.podman.io/storage@v1.65.1", "github.com/containers/storage@v1.59.1"
	for _, c := range []struct {
		library, backend string
		overlay          bats.Outcome
		want             bool
	}{
		{newer, "aufs", bats.Passed, true},
		{newer, "aufs", bats.Skipped, false},
		{newer, "overlay", bats.Passed, false},
		{older, "aufs", bats.Passed, false},
	} {
		all := expectedWith(c.library, c.backend, bats.Outcomes{test: c.overlay})
		if all[test] != "" != c.want {
			t.Errorf("%v: %q", c, all[test])
		}
		if len(all) < len(expected) {
			t.Errorf("%v: %v", c, all)
		}
	}
}
