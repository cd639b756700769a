//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage/pkg/archive"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/storagelib"
)

// A filling is the content of a staging directory: an archive, which the library unpacks. Package imagetest tests what pkg/chunked makes,
// with a real store.
type filling struct {
	content []byte
	mode    *os.FileMode
	err     error
}

func (s testStore) tryToStage(f filling) (target string, err error) {
	return s.Stage(nil, func(target, _ string) error {
		err := archive.Untar(bytes.NewReader(f.content), target, storagelib.TarOptions(s.inner.UnpackOptions(driver.ApplyOptions{})))
		if f.mode != nil {
			err = errors.Join(err, os.Chmod(target, *f.mode))
		}
		return errors.Join(err, f.err)
	})
}

func (s testStore) stage(t *testing.T, f filling) (target string) {
	t.Helper()
	target, err := s.tryToStage(f)
	must(t, err)
	return target
}

// TestStagedLayer compares a layer that a differ has filled with a layer that ApplyDiff has filled.
func TestStagedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		threeLayers(t, s)
		s.create(t, "middle", "applied", "other-child")
		must(t, s.CreateReadWrite("staged", "middle", nil))
		members := append([]entry{{Name: ".wh..wh.plnk/"}, {Name: ".wh..wh.plnk/1.2", Content: "x"}}, newLayer...)
		s.apply(t, "applied", "middle", members...)
		out := s.stage(t, filling{content: archiveBytes(t, members...)})
		if filepath.Dir(filepath.Dir(filepath.Dir(out))) != s.inner.Home.Tmp() {
			t.Errorf("it is at %s", out)
		}
		must(t, s.ApplyStaged("staged", "middle", out, false))
		sameTree(t, s.see(t, "staged"), s.see(t, "applied"))
		sameNames(t, readTree(t, s.inner.Home.Diff("staged")).Names(), readTree(t, s.inner.Home.Diff("applied")).Names()...)
		for _, id := range []string{"staged", "applied"} {
			s.givesBack(t, id, archiveBytes(t, members...))
		}
		if dir, err := s.DifferTarget("staged"); err != nil || dir != s.inner.Home.Diff("staged") {
			t.Errorf("%s, %v", dir, err)
		}
		// out is no staging directory any more.
		must(t, s.CleanupStagingDirectory(out))
		noLeftovers(t, s)

		mode := os.FileMode(0o701)
		s.create(t, "middle", "mode")
		must(t, s.ApplyStaged("mode", "middle", s.stage(t, filling{mode: &mode}), true))
		info, err := os.Stat(s.get(t, "mode"))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("the root is %v, %v", info.Mode(), err)
		}
		must(t, s.Put("mode"))
	})
}

func TestStagingErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "full")
		s.change(t, "full", func(dir string) { write(t, dir, files{"precious": "data"}) })
		broken := errors.New("broken")
		_, err := s.tryToStage(filling{content: archiveBytes(t, newLayer...), err: broken})
		wants(t, err, broken, s.inner.Home.Tmp())
		noLeftovers(t, s)

		out := s.stage(t, filling{content: archiveBytes(t, entry{Name: "g", Content: "g"})})
		apply := func(id, parent, target string) error { return s.ApplyStaged(id, parent, target, false) }
		wants(t, apply("none", "", out), store.ErrLayerUnknown, "none")
		wants(t, apply("child", "full", out), nil, "child", "full")
		wants(t, apply("full", "child", out), nil, "full", "not empty")
		s.get(t, "child")
		wants(t, apply("child", "base", out), nil, "child", "mounted")
		must(t, s.Put("child"))
		other, err := reopen(string(s.inner.Home), name)
		must(t, err)
		wants(t, other.CleanupStagingDirectory(out), nil, out, "in use")
		// After all of these errors, the staging directory is still there.
		must(t, apply("child", "base", out))
		sameNames(t, s.see(t, "child").Names(), "g")
		sameNames(t, s.see(t, "full").Names(), "g", "precious")
		s.create(t, "child", "new")
		wants(t, apply("new", "child", out), fs.ErrNotExist, "new", out)

		for _, target := range []string{
			"", "/", string(s.inner.Home), s.inner.Home.Diff("full"), s.inner.Home.Tmp() + "/staging-1/1/../../../diff/full/root",
			s.inner.Home.Tmp() + "/apply-1/1/root", filepath.Join(t.TempDir(), "staging-1", "1", "root"),
		} {
			wants(t, s.CleanupStagingDirectory(target), nil, "no staging directory")
			wants(t, apply("new", "child", target), nil, "new")
		}
		_, err = s.DifferTarget("none")
		wants(t, err, store.ErrLayerUnknown, "none")

		// An unused staging directory is removed by its owner, or by another driver if the owner is gone.
		must(t, s.CleanupStagingDirectory(s.stage(t, filling{})))
		write(t, s.inner.Home.Tmp(), files{"staging-9/1/root/f": "f", "staging-8/1/root/f": "f"})
		left := filepath.Join(s.inner.Home.Tmp(), "staging-9", "1", "root")
		wants(t, apply("new", "child", left), fs.ErrNotExist, left)
		must(t, s.CleanupStagingDirectory(left))
		s.stage(t, filling{})
		must(t, s.Cleanup())
		_, err = reopen(string(s.inner.Home), name)
		must(t, err)
		noLeftovers(t, s)
	})
}
