//go:build linux

package drivertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// TestDeferredRemove shows that DeferredRemove removes the layer at once, and its files only when the caller deletes them.
func TestDeferredRemove(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 2 {
		// The process ends without deleting the files.
		s, err := reopen(args[0], backend.Name(args[1]))
		must(t, err)
		_, err = s.DeferredRemove("child")
		must(t, err)
		return
	}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		h := s.inner.Home
		layer := func() {
			t.Helper()
			s.create(t, "base", "child")
			s.change(t, "child", func(dir string) { write(t, dir, files{"d/f": "f"}) })
		}
		s.create(t, "", "base")
		layer()
		clean, err := s.DeferredRemove("child")
		must(t, err)
		_, err = s.Get("child", driver.GetOptions{})
		wants(t, err, store.ErrLayerUnknown, "child")
		trash := func(want int) {
			t.Helper()
			found, err := filepath.Glob(filepath.Join(h.Tmp(), "trash-*", "*", "*", "d", "f"))
			must(t, err)
			if len(found) != want {
				t.Errorf("in the trash are %q", found)
			}
		}
		trash(1)
		// A new layer of this name and another driver neither disturb the files in the trash nor are disturbed by them.
		layer()
		_, err = reopen(string(h), name)
		must(t, err)
		if problems, err := maintenance.Check(t.Context(), string(h)); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		trash(1)
		must(t, clean())
		noLeftovers(t, s)
		must(t, clean())
		sameNames(t, s.see(t, "child").Names(), "d", "d/f")

		clean, err = s.DeferredRemove("")
		if err == nil || clean == nil {
			t.Errorf("without an id: %v", err)
		}
		must(t, clean())

		c := exec.Command("/proc/self/exe", "-test.run=^TestDeferredRemove$")
		c.Env = append(os.Environ(), childVariable+"="+string(h)+"|"+string(name))
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		trash(1)
		if problems, err := maintenance.Check(t.Context(), string(h)); err != nil || len(problems) != 1 || problems[0].Kind != maintenance.Leftover {
			t.Errorf("%v, %v", problems, err)
		}
		_, err = reopen(string(h), name)
		must(t, err)
		noLeftovers(t, s)
	})
}
