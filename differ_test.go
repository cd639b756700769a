//go:build linux

package aufs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
)

// untarDiffer is a graphdriver.Differ that unpacks an archive. That of pkg/chunked is tried with a real store, in
// internal/imagetest.
type untarDiffer struct {
	content []byte
	mode    *os.FileMode
	err     error
	// ignored, unless it is nil, becomes what it is told of errors of chown.
	ignored *bool
}

func (u untarDiffer) ApplyDiff(dest string, options *archive.TarOptions, _ *graphdriver.DifferOptions) (graphdriver.DriverWithDifferOutput, error) {
	if u.ignored != nil {
		*u.ignored = options.IgnoreChownErrors
	}
	err := archive.Untar(bytes.NewReader(u.content), dest, options)
	if u.mode != nil {
		err = errors.Join(err, os.Chmod(dest, *u.mode))
	}
	return graphdriver.DriverWithDifferOutput{Size: int64(len(u.content)), RootDirMode: u.mode}, errors.Join(err, u.err)
}

func (untarDiffer) Close() error { return nil }

// differ returns the driver with the methods that are about differs.
func (s store) differ(t *testing.T) graphdriver.DriverWithDiffer {
	t.Helper()
	d, ok := s.Driver.(graphdriver.DriverWithDiffer)
	if !ok {
		t.Fatalf("%T is no DriverWithDiffer", s.Driver)
	}
	return d
}

func (s store) stage(t *testing.T, differ untarDiffer) *graphdriver.DriverWithDifferOutput {
	t.Helper()
	out, err := s.differ(t).ApplyDiffWithDiffer(nil, differ)
	must(t, err)
	return &out
}

// TestStagedLayer compares a layer that a differ has filled with one that ApplyDiff has.
func TestStagedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		threeLayers(t, s)
		s.create(t, "middle", "applied", "other-child")
		must(t, s.CreateReadWrite("staged", "middle", nil))
		members := append([]entry{{name: ".wh..wh.plnk/"}, {name: ".wh..wh.plnk/1.2", content: "x"}}, newLayer...)
		s.apply(t, "applied", "middle", members...)
		out := s.stage(t, untarDiffer{content: archiveBytes(t, members...)})
		if out.Size == 0 || filepath.Dir(filepath.Dir(filepath.Dir(out.Target))) != s.inner.home.tmp() {
			t.Errorf("%+v", out)
		}
		must(t, s.differ(t).ApplyDiffFromStagingDirectory("staged", "middle", out, nil))
		sameTree(t, s.see(t, "staged"), s.see(t, "applied"))
		sameNames(t, readTree(t, s.inner.home.diff("staged")).names(), readTree(t, s.inner.home.diff("applied")).names()...)
		for _, id := range []string{"staged", "applied"} {
			s.givesBack(t, id, archiveBytes(t, members...))
		}
		if dir, err := s.differ(t).DifferTarget("staged"); err != nil || dir != s.inner.home.diff("staged") {
			t.Errorf("%s, %v", dir, err)
		}
		// It is no staging directory any more.
		must(t, s.differ(t).CleanupStagingDirectory(out.Target))
		noLeftovers(t, s)

		mode := os.FileMode(0o701)
		s.create(t, "middle", "mode")
		must(t, s.differ(t).ApplyDiffFromStagingDirectory("mode", "middle", s.stage(t, untarDiffer{mode: &mode}), nil))
		info, err := os.Stat(s.get(t, "mode"))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("the root is %v, %v", info.Mode(), err)
		}
		must(t, s.Put("mode"))
	})
}

func TestStagingErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		d := s.differ(t)
		s.create(t, "", "base", "child", "full")
		s.change(t, "full", func(dir string) { write(t, dir, files{"precious": "data"}) })
		broken := errors.New("broken")
		_, err := d.ApplyDiffWithDiffer(nil, untarDiffer{content: archiveBytes(t, newLayer...), err: broken})
		wants(t, err, broken, s.inner.home.tmp())
		noLeftovers(t, s)

		out := s.stage(t, untarDiffer{content: archiveBytes(t, entry{name: "g", content: "g"})})
		apply := func(id, parent string, out *graphdriver.DriverWithDifferOutput) error {
			return d.ApplyDiffFromStagingDirectory(id, parent, out, nil)
		}
		wants(t, apply("none", "", out), graphdriver.ErrLayerUnknown, "none")
		wants(t, apply("child", "full", out), nil, "child", "full")
		wants(t, apply("full", "child", out), nil, "full", "something")
		s.get(t, "child")
		wants(t, apply("child", "base", out), nil, "child", "mounted")
		must(t, s.Put("child"))
		other, err := reopen(string(s.inner.home), name)
		must(t, err)
		wants(t, other.differ(t).CleanupStagingDirectory(out.Target), nil, out.Target, "in use")
		// After all of these it is there yet.
		must(t, apply("child", "base", out))
		sameNames(t, s.see(t, "child").names(), "g")
		sameNames(t, s.see(t, "full").names(), "g", "precious")
		s.create(t, "child", "new")
		wants(t, apply("new", "child", out), fs.ErrNotExist, "new", out.Target)

		for _, target := range []string{
			"", "/", string(s.inner.home), s.inner.home.diff("full"), s.inner.home.tmp() + "/staging-1/1/../../../diff/full/root",
			s.inner.home.tmp() + "/apply-1/1/root", filepath.Join(t.TempDir(), "staging-1", "1", "root"),
		} {
			wants(t, d.CleanupStagingDirectory(target), nil, "no staging directory")
			wants(t, apply("new", "child", &graphdriver.DriverWithDifferOutput{Target: target}), nil, "new")
		}
		_, err = d.DifferTarget("none")
		wants(t, err, graphdriver.ErrLayerUnknown, "none")

		// What is not used is removed, by its owner, or by another one if that is gone.
		must(t, d.CleanupStagingDirectory(s.stage(t, untarDiffer{}).Target))
		write(t, s.inner.home.tmp(), files{"staging-9/1/root/f": "f", "staging-8/1/root/f": "f"})
		left := filepath.Join(s.inner.home.tmp(), "staging-9", "1", stagedRoot)
		wants(t, apply("new", "child", &graphdriver.DriverWithDifferOutput{Target: left}), fs.ErrNotExist, left)
		must(t, d.CleanupStagingDirectory(left))
		s.stage(t, untarDiffer{})
		must(t, s.Cleanup())
		_, err = reopen(string(s.inner.home), name)
		must(t, err)
		noLeftovers(t, s)
	})
}
