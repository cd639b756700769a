//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// These tests show what the in-tree driver does with a layer that is in use, and with archives that are made to do harm.
// TestInTreeInterrupted shows the rest. The tests are to fail when that driver begins to do something else.

// newOldStore returns a store that the in-tree driver has made, with the layer child on top of base.
func newOldStore(t *testing.T) intree {
	t.Helper()
	old := newIntree(t, filepath.Join(t.TempDir(), "home"))
	t.Cleanup(func() { unmountLazily(t, old.Home) })
	old.Run(t, nil, "create", "base")
	old.Run(t, nil, "create-rw", "child", "base")
	old.Run(t, archiveOf(t, entry{Name: "f", Content: "f"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"}), "apply", "base")
	return old
}

// try is Run for a command that may fail. It returns what the command wrote.
func (i intree) try(stdin []byte, args ...string) (said string, err error) {
	c := exec.Command(i.Path, append([]string{"-home", i.Home}, args...)...)
	c.Stdin = bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// mountOf has another process mount child until the end of the test, as a container does, and returns the mount point.
func (i intree) mountOf(t *testing.T) (dir string) {
	t.Helper()
	c := exec.Command(i.Path, "-home", i.Home, "run", "child", "--", "/bin/sh", "-c", "echo mine > mine; echo ready; read x")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		_ = c.Wait() // what it unmounts may be gone
	})
	_, err = out.Read(make([]byte, len("ready\n")))
	must(t, err)
	return filepath.Join(i.Home, store.MntDir, "child")
}

// TestInTreeBusy has a container in a layer. This driver's errors name the container; see TestBusy.
func TestInTreeBusy(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		skipWithoutInTree(t)
		t.Run("Cleanup", func(t *testing.T) {
			old := newOldStore(t)
			dir := old.mountOf(t)
			said, err := old.try(nil, "cleanup")
			mounted, merr := mountutil.IsMounted(dir)
			must(t, merr)
			if err != nil || mounted {
				t.Errorf("it says %v, and the mount is there: %t; the failure is another one now\n%s", err, mounted, said)
			}
		})
		t.Run("Remove", func(t *testing.T) {
			old := newOldStore(t)
			old.mountOf(t)
			said, err := old.try(nil, "remove", "child")
			if err == nil || strings.Contains(said, "working directory") {
				t.Errorf("it says %v, and who holds the layer; the failure is another one now\n%s", err, said)
			}
			if listed := old.Run(t, nil, "list"); !strings.Contains(listed, "child") {
				t.Errorf("the layer is gone: %q", listed)
			}
		})
	})
}

// TestInTreeHostile applies the archives of TestHostileArchives. With the in-tree driver, too, the library unpacks in the layer only:
// nothing outside is ever touched. Only our driver passes the other checks.
func TestInTreeHostile(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		skipWithoutInTree(t)
		t.Cleanup(wire.ExpectMessages("Invalid whiteout entry type", "both of real entry and whiteout found"))
		found := map[harm][]string{}
		for what, members := range hostile {
			t.Run(what, func(t *testing.T) {
				old := newOldStore(t)
				v := victim{outside: filepath.Join(filepath.Dir(old.Home), "outside")}
				write(t, v.outside, files{"secret": "secret", "d/": ""})
				before := v.around(t)
				_, err := old.try(packed(t, members(v)...), "apply", "child", "base")
				sameTree(t, v.around(t), before)
				for path, node := range readTree(t, filepath.Join(old.Home, store.DiffDir, "child")) {
					if h := harmOf(path, node, err); h != noHarm && !slices.Contains(found[h], what) {
						found[h] = append(found[h], what)
					}
				}
				if said, err := old.try(nil, "tree", "child"); err != nil {
					t.Logf("it cannot be read: %s", said)
					found[unreadable] = append(found[unreadable], what)
				}
			})
		}
		for _, h := range []harm{halfApplied, foreignMark, unreadable} {
			t.Logf("%s: %q", h, found[h])
			if len(found[h]) == 0 {
				t.Errorf("it is not found that %s", h)
			}
		}
	})
}

const (
	halfApplied harm = "ApplyDiff fails, and the layer has a part of the archive"
	foreignMark harm = "the layer has aufs's own files, whiteouts that are none, or overlayfs's marks"
	unreadable  harm = "the layer cannot be mounted, or read"
)

// harmOf returns the harm in one file of a layer, after an archive was applied to the layer with the result err.
func harmOf(path, node string, err error) harm {
	base := filepath.Base(path)
	switch {
	case path == "." || err != nil && whiteout.IsOwnFile(base):
		return noHarm
	case err != nil:
		return halfApplied
	case strings.HasPrefix(base, whiteoutMetaPrefix) && base != whiteout.OpaqueMark,
		strings.HasPrefix(base, whiteout.Prefix) && !strings.HasPrefix(node, "-"), strings.Contains(node, "overlay."):
		return foreignMark
	}
	return noHarm
}

// skipWithoutInTree skips the test where the in-tree driver refuses to work.
func skipWithoutInTree(t *testing.T) {
	t.Helper()
	if name := fsName(t.TempDir()); name == "btrfs" {
		t.Skipf("the in-tree driver does not take %s", name)
	}
}
