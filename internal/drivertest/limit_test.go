//go:build linux

package drivertest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// TestBranchLimit mounts a stack with more branches than the kernel's aufs was built for.
func TestBranchLimit(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		const layers = 1100
		s := newStore(t, backend.Aufs)
		t.Cleanup(wire.ExpectMessages("number of branches exceeded"))
		h := s.inner.Home
		// Make the layers as Create does, but do not sync them.
		id := func(i int) string { return fmt.Sprintf("l%04d", i) }
		var parents []string
		for i := range layers {
			must(t, os.Mkdir(h.Diff(id(i)), 0o755))
			must(t, os.Mkdir(h.Mnt(id(i)), 0o755))
			must(t, os.WriteFile(h.Layers(id(i)), store.FormatParents(parents), 0o644))
			parents = append([]string{id(i)}, parents...)
		}
		top := id(layers - 1)
		_, err := s.Get(top, driver.GetOptions{})
		if err == nil {
			must(t, s.Put(top))
			t.Logf("this kernel allows more than %d branches", layers)
			return
		}
		wants(t, err, unix.ENOSPC, top, strconv.Itoa(layers)+" branches")
		noMounts(t, h.Mnt(""))
		noMounts(t, h.Tmp())
		found := regexp.MustCompile(`allows (\d+)`).FindStringSubmatch(err.Error())
		if found == nil {
			t.Fatalf("%v\n does not say how many there can be", err)
		}
		limit, err := strconv.Atoi(found[1])
		must(t, err)
		t.Logf("this kernel allows %d branches", limit)
		// Exactly that many branches can be mounted.
		s.see(t, id(limit-1))
		// They can be mounted even where more branches would show replaced directories better.
		write(t, h.Diff(id(1)), files{"d/.wh..wh..opq": "", "d/f": ""})
		write(t, h.Diff(id(0)), files{"d/hidden": ""})
		must(t, h.Invalidate(id(1)))
		sameNames(t, s.see(t, id(limit-1)).Names(), "d", "d/f")
		_, err = s.Get(id(limit), driver.GetOptions{})
		wants(t, err, unix.ENOSPC, strconv.Itoa(limit+1)+" branches", "allows "+strconv.Itoa(limit))
		sameNames(t, readTree(t, h.Tmp()).Names())
	})
}
