//go:build linux

package drivertest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// applyStagedLayer fills the layer id from an archive, as the storage library does where the driver can stage layers.
func (s testStore) applyStagedLayer(id, parent string, options driver.ApplyOptions) (size int64, err error) {
	target, size, err := s.StageLayer(parent, options)
	if err == nil {
		err = s.CommitLayer(id, target)
	}
	return size, errors.Join(err, s.CleanupStagedLayer(target))
}

// TestStagedLayerIsAsApplied compares layers from StageLayer and CommitLayer with those from ApplyDiff.
func TestStagedLayerIsAsApplied(t *testing.T) {
	nobody := &idmap.Mappings{UIDs: []idmap.Map{{HostID: 1000, Size: 1 << 16}}, GIDs: []idmap.Map{{HostID: 2000, Size: 1 << 16}}}
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		threeLayers(t, s)
		same := func(t *testing.T, parent string, content []byte, options driver.ApplyOptions) {
			t.Helper()
			for _, id := range []string{"staged", "applied"} {
				must(t, s.Create(id, parent, &driver.CreateOptions{IDMappings: options.Mappings}))
			}
			options.Diff = bytes.NewReader(content)
			want, err := s.ApplyDiff("applied", parent, options)
			options.Diff = bytes.NewReader(content)
			size, serr := s.applyStagedLayer("staged", parent, options)
			if (err == nil) != (serr == nil) || err == nil && size != want {
				t.Errorf("staged: %d bytes, %v; applied: %d, %v", size, serr, want, err)
			}
			if err == nil {
				// The times of whiteouts that the driver has made differ.
				sameNames(t, readTree(t, s.inner.Home.Diff("staged")).Names(), readTree(t, s.inner.Home.Diff("applied")).Names()...)
				sameTree(t, s.see(t, "staged"), s.see(t, "applied"))
				s.givesBack(t, "staged", content)
			}
			must(t, errors.Join(s.Remove("staged"), s.Remove("applied")))
		}
		implying := archiveBytes(t, entry{Name: "d/f", Content: "implied"}, entry{Name: "e/.wh.f"}, entry{Name: "x/new/f", Content: "f"})
		for _, parent := range []string{"", "base", "middle"} {
			same(t, parent, archiveBytes(t, newLayer...), driver.ApplyOptions{})
			same(t, parent, archiveBytes(t, newLayer...), driver.ApplyOptions{Mappings: nobody})
			same(t, parent, archiveBytes(t, newLayer...), driver.ApplyOptions{IgnoreChownErrors: true})
			same(t, parent, implying, driver.ApplyOptions{})
			same(t, parent, archiveBytes(t), driver.ApplyOptions{})
			same(t, parent, archiveBytes(t, newLayer...)[:1000], driver.ApplyOptions{})
		}
		same(t, "middle", withXattrs(t), driver.ApplyOptions{})
		for seed := range uint64(30) {
			same(t, "middle", storetest.AnyArchive(t, rand.New(rand.NewPCG(seed, 7))), driver.ApplyOptions{})
		}
		noLeftovers(t, s)
	})
}

// withXattrs returns an archive whose headers do not tell the size of the layer: it has attributes, whiteouts with content, and files in a
// directory that stands for a whiteout.
func withXattrs(t *testing.T) []byte {
	t.Helper()
	return packed(t,
		member{Name: "f", Size: 10, Typeflag: '0', PAXRecords: map[string]string{"SCHILY.xattr.user.a": "v"}},
		member{Name: "g", Linkname: "f", Typeflag: '1'}, member{Name: ".wh.new", Size: 20, Typeflag: '0'},
		member{Name: "d/.wh.h/", Typeflag: '5'}, member{Name: "d/.wh.h/in", Size: 40, Typeflag: '0'},
		member{Name: ".wh..wh.plnk/", Typeflag: '5'}, member{Name: ".wh..wh.plnk/1.2", Size: 80, Typeflag: '0'})
}

// TestStagedLayerErrors is about parents that are gone, and layers that cannot take what was staged.
func TestStagedLayerErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		stage := func(parent string) string {
			t.Helper()
			target, size, err := s.StageLayer(parent, driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "g", Content: "g"})})
			if must(t, err); size != 1 {
				t.Errorf("there are %d bytes", size)
			}
			return target
		}
		for parent, want := range map[string]error{"none": store.ErrLayerUnknown, "../base": nil} {
			_, _, err := s.StageLayer(parent, driver.ApplyOptions{Diff: archiveOf(t)})
			wants(t, err, want, parent)
		}
		_, _, err := s.StageLayer("base", driver.ApplyOptions{})
		wants(t, err, driver.ErrNoArchive, "base")
		_, _, err = s.StageLayer("", driver.ApplyOptions{})
		wants(t, err, driver.ErrNoArchive, "staging a layer: ")
		broken := errors.New("broken")
		_, _, err = s.StageLayer("base", driver.ApplyOptions{Diff: io.MultiReader(bytes.NewReader(archiveBytes(t, newLayer...)[:700]), errReader{broken})})
		wants(t, err, broken, "base")
		noLeftovers(t, s)

		wants(t, s.CommitLayer("none", stage("")), store.ErrLayerUnknown, "none")
		wants(t, s.CommitLayer("child", filepath.Join(s.inner.Home.Tmp(), "staging-1/1/root")), fs.ErrNotExist, "child")
		other, err := reopen(string(s.inner.Home), name)
		must(t, err)
		foreign := stage("base")
		wants(t, other.CommitLayer("child", foreign), fs.ErrNotExist, "child", foreign)
		must(t, other.CleanupStagedLayer(foreign))
		must(t, s.CommitLayer("child", foreign))
		wants(t, s.CommitLayer("child", foreign), fs.ErrNotExist, "child", foreign)
		must(t, s.CleanupStagedLayer(foreign))
		sameNames(t, s.see(t, "child").Names(), "g")
		noLeftovers(t, s)

		// The parent is removed after a layer was staged on top of it.
		s.create(t, "child", "parent")
		target := stage("parent")
		must(t, s.Remove("parent"))
		wants(t, s.CommitLayer("gone", target), store.ErrLayerUnknown, "gone")
		// A staged layer that nobody has committed goes with the driver, or after a crash with the next Init.
		stage("base")
		must(t, s.Cleanup())
		write(t, s.inner.Home.Tmp(), files{"staging-9/1/root/f": "f"})
		_, err = reopen(string(s.inner.Home), name)
		must(t, err)
		noLeftovers(t, s)
	})
}

// errReader is a reader with nothing but an error.
type errReader struct{ error }

func (r errReader) Read([]byte) (int, error) { return 0, r.error }

// TestStagedLayerOnAFullDisk stages a layer for which there is no room.
func TestStagedLayerOnAFullDisk(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := openStore(t, filepath.Join(newDisk(t).dir, "home"), name)
		s.create(t, "", "base")
		large := packed(t, member{Name: "large", Size: 64 << 20, Typeflag: '0'})
		_, _, err := s.StageLayer("base", driver.ApplyOptions{Diff: bytes.NewReader(large)})
		wants(t, err, unix.ENOSPC, "base")
		noLeftovers(t, s)
	})
}

// TestStoreIsFreeWhileALayerIsStaged has others use the store while an archive does not come to its end.
func TestStoreIsFreeWhileALayerIsStaged(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		content := archiveBytes(t, newLayer...)
		r, w := io.Pipe()
		type staged struct {
			target string
			err    error
		}
		done := make(chan staged)
		go func() {
			target, _, err := s.StageLayer("base", driver.ApplyOptions{Diff: r})
			done <- staged{target, err}
		}()
		_, err := w.Write(content[:len(content)/2])
		must(t, err)
		other, err := reopen(string(s.inner.Home), name)
		must(t, err)
		for _, user := range []testStore{other, s} {
			must(t, user.Create("container", "base", nil))
			user.change(t, "container", func(dir string) { write(t, dir, files{"f": "f"}) })
			user.apply(t, "container", "base", entry{Name: "g"})
			must(t, user.Remove("container"))
		}
		_, err = w.Write(content[len(content)/2:])
		must(t, errors.Join(err, w.Close()))
		got := <-done
		must(t, got.err)
		// Nobody sees it before it is committed.
		if _, err := os.Lstat(filepath.Join(got.target, "g")); err != nil {
			t.Error(err)
		}
		s.create(t, "base", "new")
		must(t, s.CommitLayer("new", got.target))
		s.givesBack(t, "new", content)
		noLeftovers(t, s)
	})
}

// TestStagedLayerReaderPanics has the archive's reader panic, and the caller recover: nothing is left.
func TestStagedLayerReaderPanics(t *testing.T) {
	s := newStore(t, backend.Overlay)
	panics := func(what string, stage func()) {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if p := recover(); p != "of the reader" {
					t.Errorf("the panic was %v", p)
				}
				noLeftovers(t, s)
			}()
			stage()
		})
	}
	content := archiveBytes(t, entry{Name: "a", Content: "a"}, entry{Name: "b", Content: "b"})
	panics("layer", func() {
		_, _, err := s.StageLayer("", driver.ApplyOptions{Diff: io.MultiReader(bytes.NewReader(content[:1100]), storetest.Panicking{})})
		t.Errorf("the error is %v", err)
	})
	panics("differ", func() {
		_, err := s.Stage(nil, func(string, string) error { panic("of the reader") })
		t.Errorf("the error is %v", err)
	})
}
