//go:build linux

package staging_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/staging"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
)

var (
	must  = storetest.Must
	wants = storetest.Wants
)

// fill has a registry make a staging directory with a file in it. It returns the target.
func fill(t *testing.T, r *staging.Registry[string], h store.Home) (target string) {
	t.Helper()
	dir, err := r.New(h)
	must(t, err)
	must(t, r.Fill(dir, func() (string, error) {
		storetest.Write(t, dir.Target, storetest.Files{"f": "f"})
		return "staged", nil
	}))
	return dir.Target
}

// empty fails the test if something is left in the store's scratch directories.
func empty(t *testing.T, h store.Home) {
	t.Helper()
	entries, err := os.ReadDir(h.Tmp())
	if must(t, err); len(entries) > 0 {
		t.Errorf("%v is left", entries)
	}
}

func TestTake(t *testing.T) {
	h := storetest.StoreOf(t)
	var r staging.Registry[string]
	target := fill(t, &r, h)
	if staged, ok := r.Take(target); !ok || staged != "staged" {
		t.Errorf("took %q, %t", staged, ok)
	}
	if staged, ok := r.Take(target); ok {
		t.Errorf("took %q twice", staged)
	}
	fill(t, &r, h)
	fill(t, &r, h)
	if all := r.TakeAll(); len(all) != 2 {
		t.Errorf("took %v", all)
	}
	if all := r.TakeAll(); len(all) > 0 {
		t.Errorf("took %v twice", all)
	}
}

// TestFailedFill shows that nothing is left after an error or a panic.
func TestFailedFill(t *testing.T) {
	h := storetest.StoreOf(t)
	var r staging.Registry[string]
	broken := errors.New("broken")
	for what, end := range map[string]func() error{
		"error": func() error { return broken },
		"panic": func() error { panic(broken) },
	} {
		t.Run(what, func(t *testing.T) {
			dir, err := r.New(h)
			must(t, err)
			defer func() {
				if p := recover(); (p != nil) != (what == "panic") {
					t.Errorf("the panic is %v", p)
				}
				empty(t, h)
				if staged, ok := r.Take(dir.Target); ok {
					t.Errorf("took %q", staged)
				}
			}()
			err = r.Fill(dir, func() (string, error) {
				storetest.Write(t, dir.Target, storetest.Files{"f": "f"})
				return "staged", end()
			})
			wants(t, err, broken)
		})
	}
}

func TestAbandoned(t *testing.T) {
	h := storetest.StoreOf(t)
	var r staging.Registry[string]
	used := fill(t, &r, h)
	_, err := staging.Abandoned(h, used)
	wants(t, err, nil, "in use")
	for _, target := range []string{
		"", h.Diff("layer"), filepath.Join(t.TempDir(), "staging-1", "1", "root"),
		filepath.Join(h.Tmp(), "apply-1", "1", "root"), filepath.Dir(used),
	} {
		_, err := staging.Abandoned(h, target)
		wants(t, err, nil, "no staging directory")
	}

	// A target is gone, while the driver still has another one in the same scratch directory.
	gone, err := r.New(h)
	must(t, err)
	must(t, gone.Remove())
	if s, err := staging.Abandoned(h, gone.Target); s != nil || err != nil {
		t.Errorf("it is gone, and found as %v, %v", s, err)
	}

	left := filepath.Join(h.Tmp(), "staging-9", "1", "root")
	storetest.Write(t, left, storetest.Files{"f": "f"})
	s, err := staging.Abandoned(h, left)
	must(t, err)
	must(t, s.Remove())
	if s, err := staging.Abandoned(h, left); s != nil || err != nil {
		t.Errorf("it is gone, and found as %v, %v", s, err)
	}
	if _, err := os.Lstat(used); err != nil {
		t.Error(err)
	}
}
