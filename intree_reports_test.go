//go:build linux

package aufs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/archive"
	"golang.org/x/sys/unix"
)

// What the in-tree driver does with a layer that is in use, with several processes, and with archives that somebody has made to
// do harm. TestInTreeInterrupted has the rest.

// newOldStore is a store that the in-tree driver has made, with child on top of base.
func newOldStore(t *testing.T, home string) intree {
	t.Helper()
	old := newIntree(t, home)
	old.run(t, nil, "create", "base")
	old.run(t, nil, "create-rw", "child", "base")
	old.run(t, archiveOf(t, entry{name: "f", content: "f"}, entry{name: "d/"}, entry{name: "d/f", content: "df"}), "apply", "base")
	return old
}

// try is run of a command that may fail.
func (i intree) try(stdin []byte, args ...string) (said string, err error) {
	c := exec.Command(i.program, append([]string{"-home", i.home}, args...)...)
	c.Stdin = bytes.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// mountOf is a mount of child by another process, as a container has it, until the end of the test.
func (i intree) mountOf(t *testing.T) (dir string) {
	t.Helper()
	c := exec.Command(i.program, "-home", i.home, "run", "child", "--", "/bin/sh", "-c", "echo mine > mine; echo ready; read x")
	in, err := c.StdinPipe()
	must(t, err)
	out, err := c.StdoutPipe()
	must(t, err)
	must(t, c.Start())
	t.Cleanup(func() {
		must(t, in.Close())
		_ = c.Wait() // what it unmounts may be gone
		unmountLazily(t, i.home)
	})
	_, err = out.Read(make([]byte, len("ready\n")))
	must(t, err)
	return filepath.Join(i.home, mntDir, "child")
}

func TestInTreeBusy(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		skipWithoutInTree(t)
		t.Run("Cleanup", func(t *testing.T) {
			old := newOldStore(t, filepath.Join(t.TempDir(), "home"))
			dir := old.mountOf(t)
			said, err := old.try(nil, "cleanup")
			mounted, merr := isMounted(dir)
			must(t, merr)
			// Ours is an error that names the holder (TestBusy).
			if err != nil || !mounted {
				t.Errorf("with a container in a layer Cleanup says %v, and the mount is there: %t\n%s", err, mounted, said)
			}
		})
		t.Run("Remove", func(t *testing.T) {
			old := newOldStore(t, filepath.Join(t.TempDir(), "home"))
			old.mountOf(t)
			said, err := old.try(nil, "remove", "child")
			if err == nil || strings.Contains(said, "sh") && strings.Contains(said, "working directory") {
				t.Errorf("with a container in a layer Remove says %v\n%s", err, said)
			}
			if listed := old.run(t, nil, "list"); !strings.Contains(listed, "child") {
				t.Errorf("the layer is gone: %q", listed)
			}
		})
		t.Run("Remove with a copy of the mount elsewhere", func(t *testing.T) {
			old := newOldStore(t, filepath.Join(t.TempDir(), "home"))
			dir := old.mountOf(t)
			// The holder is there alone.
			sleeper := exec.Command("unshare", "--mount", "--propagation", "private", "sleep", "1000")
			must(t, sleeper.Start())
			t.Cleanup(func() { must(t, sleeper.Process.Kill()); _ = sleeper.Wait() })
			inside := filepath.Join("/proc", strconv.Itoa(sleeper.Process.Pid), "root", dir, "mine")
			t.Logf("%s: %v", inside, errOf(os.Stat(inside)))
			unmountLazily(t, dir)
			said, err := old.try(nil, "remove", "child")
			t.Logf("Remove: %v %s; what the other one sees: %v", err, said, errOf(os.Stat(inside)))
		})
	})
}

func errOf(_ fs.FileInfo, err error) error { return err }

// TestInTreeShares has two mounts share the in-tree driver's one path of an xino file, as two processes do that mount at once: the
// second one finds the file there.
func TestInTreeShares(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		skipWithoutInTree(t)
		old := newOldStore(t, filepath.Join(t.TempDir(), "home"))
		const rounds = 40
		failed := make(chan string, 4*rounds)
		done := make(chan bool)
		old.run(t, nil, "create", "c0", "base")
		for worker := range 4 {
			id := "c" + strconv.Itoa(worker)
			if worker > 0 {
				old.run(t, nil, "create", id, "base")
			}
			go func() {
				defer func() { done <- true }()
				for range rounds {
					if said, err := old.try(nil, "run", id, "--", "/bin/true"); err != nil {
						failed <- said
						return
					}
				}
			}()
		}
		for range 4 {
			<-done
		}
		close(failed)
		n := 0
		for said := range failed {
			t.Logf("%s", said)
			n++
		}
		if n == 0 {
			t.Errorf("four processes that mounted different layers at once, %d times each, had no failure", rounds)
		}
	})
}

// TestInTreeHostile applies the archives of TestHostileArchives.
func TestInTreeHostile(t *testing.T) {
	onAufs(t, func(t *testing.T) {
		skipWithoutInTree(t)
		for what, members := range hostile {
			t.Run(what, func(t *testing.T) {
				root := t.TempDir()
				v := victim{outside: filepath.Join(root, "outside")}
				write(t, v.outside, files{"secret": "secret", "d/": ""})
				old := newOldStore(t, filepath.Join(root, "home"))
				diff := filepath.Join(old.home, diffDir, "child")
				before := v.around(t)
				said, err := old.try(packed(t, members(v)...), "apply", "child", "base")
				for path, node := range v.around(t) {
					if before[path] != node {
						t.Errorf("%s is %q, and was %q", path, node, before[path])
					}
				}
				left := 0
				for path, node := range readTree(t, diff) {
					base := filepath.Base(path)
					switch {
					case err != nil:
						left++
					case strings.Contains(node, "overlay."), strings.HasPrefix(base, archive.WhiteoutPrefix) && base != archive.WhiteoutOpaqueDir && !strings.HasPrefix(node, "-"),
						strings.HasPrefix(base, archive.WhiteoutMetaPrefix) && base != archive.WhiteoutOpaqueDir:
						t.Logf("has %s: %s", path, node)
					}
				}
				t.Logf("ApplyDiff: %v; %d left after an error; %s", err, left, said)
				said, err = old.try(nil, "tree", "child")
				if err != nil {
					t.Logf("tree: %s", said)
				}
				if said, err = old.try(nil, "remove", "child"); err != nil {
					t.Logf("remove: %s", said)
				}
				if _, err := os.Lstat(diff); !errors.Is(err, unix.ENOENT) {
					t.Logf("diff: %v", err)
				}
			})
		}
	})
}

// skipWithoutInTree skips where the in-tree driver refuses to work.
func skipWithoutInTree(t *testing.T) {
	t.Helper()
	if name := fsName(t.TempDir()); name == "btrfs" {
		t.Skipf("the in-tree driver does not take %s", name)
	}
}
